import sys

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from jointspace.data.rosbag_episode import START_S, camera_topic, write_episode_bag
from jointspace.data.rosbag_messages import text_message
from jointspace.data.rosbag_write import write_bag
from jointspace.errors import InputError, MissingExtraError, StorageError
from tests.data.bag_factory import LAYOUT, messages, record

START_NS = START_S * 10**9


@pytest.fixture(params=["mcap", "sqlite3"])
def written(request, tmp_path):
    write_episode_bag(tmp_path / "bag", record(), layout=LAYOUT, episode=0, storage=request.param)
    return tmp_path / "bag"


def test_every_step_has_its_state_action_and_pictures_at_its_time(written):
    found, wanted = messages(written), record()
    times_ns = [START_NS + step * 100_000_000 for step in range(23)]
    for topic in ("/joint_states", "/action", *map(camera_topic, LAYOUT.cameras)):
        assert [time_ns for time_ns, _ in found[topic]] == times_ns
    states = np.stack([message.position for _, message in found["/joint_states"]])
    actions = np.stack([message.data for _, message in found["/action"]])
    np.testing.assert_array_equal(states, wanted.state)
    np.testing.assert_array_equal(actions, wanted.action)
    for camera in LAYOUT.cameras:
        for step, (time_ns, image) in enumerate(found[camera_topic(camera)]):
            assert (image.height, image.width, image.step) == (16, 24, 72)
            assert (image.encoding, image.header.frame_id) == ("rgb8", camera)
            assert image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == time_ns
            pixels = image.data.reshape(16, 24, 3)
            np.testing.assert_array_equal(pixels, wanted.pictures[camera][step])


def test_channels_are_named_in_the_messages(written):
    found = messages(written)
    assert found["/joint_states"][0][1].name == list(LAYOUT.state_names)
    assert found["/action"][0][1].layout.dim[0].label == "dx,dy,grip"


def test_the_instruction_is_said_at_the_start_and_repeated_every_second(written):
    said = messages(written)["/natural_language_command"]
    assert [time_ns - START_NS for time_ns, _ in said] == [0, 10**9, 2 * 10**9]
    assert {message.data for _, message in said} == {record().instruction}


def test_late_comers_get_the_instruction_and_every_subscriber_suits(written):
    with Reader(written) as reader:
        qos = {each.topic: each.ext.offered_qos_profiles[0] for each in reader.connections}
    assert {profile.reliability.name for profile in qos.values()} == {"RELIABLE"}
    assert qos["/natural_language_command"].durability.name == "TRANSIENT_LOCAL"
    assert qos["/action"].durability.name == "VOLATILE"


def test_labels_are_custom_data(written):
    with Reader(written) as reader:
        assert reader.storage.metadata.custom == {
            "episode": "0",
            "robot_type": "arm",
            "goal": "push red block",
            "success": "true",
            "split": "train",
            "factors": '{"skill": "push", "colour": "red", "target": ""}',
            "other_instructions": '["lift the blue ball"]',
        }


def test_the_same_episode_gives_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_episode_bag(tmp_path / folder / "bag", record(), layout=LAYOUT, episode=3)
    for name in ("bag.mcap", "metadata.yaml"):
        contents = {(tmp_path / folder / "bag" / name).read_bytes() for folder in ("one", "two")}
        assert len(contents) == 1


def test_a_bag_that_fails_half_way_leaves_nothing(tmp_path):
    def cut_off():
        yield text_message("/said", "hello", time_ns=1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_bag(tmp_path / "bag", cut_off(), custom_data={})
    assert not list(tmp_path.iterdir())


def test_a_bag_is_never_overwritten(tmp_path):
    (tmp_path / "bag").mkdir()
    with pytest.raises(InputError, match="is there already"):
        write_bag(tmp_path / "bag", [text_message("/said", "hello", time_ns=1)], custom_data={})


def test_a_bag_without_messages_is_refused(tmp_path):
    with pytest.raises(InputError, match="no messages"):
        write_bag(tmp_path / "bag", [], custom_data={})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/bag"):
        write_bag(
            tmp_path / "file" / "bag", [text_message("/said", "x", time_ns=1)], custom_data={}
        )


def test_without_rosbags_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbags", None)
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    with pytest.raises(MissingExtraError, match=r"jointspace\[robot\]"):
        write_bag(tmp_path / "bag", [], custom_data={})
