import shutil
import struct

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from jointspace.cli import main
from jointspace.data.frames import decode_span, prepare_frames, resize_frame
from jointspace.data.inspect import inspect_dataset
from jointspace.data.open import open_dataset
from jointspace.data.ros_types import IMAGE, ros_types
from jointspace.data.rosbag_messages import (
    BagMessage,
    array_message,
    image_message,
    joint_state_message,
    text_message,
)
from jointspace.data.rosbag_write import write_bag
from jointspace.data.schema import MessageSpan
from jointspace.errors import ConfigError, DataError
from tests.data.bag_factory import LAYOUT, record, write_bags

START_NS = 1_700_000_000 * 10**9
STEP_NS = 100_000_000


def times(count, *, every_ns=STEP_NS, late_ns=0):
    return [START_NS + i * every_ns + late_ns for i in range(count)]


def shade(value):
    return np.full((16, 24, 3), value, dtype=np.uint8)


def pictures(topic, at, *, first=0):
    return [
        image_message(topic, shade(first + i), time_ns=t, frame_id="c") for i, t in enumerate(at)
    ]


def numbers(topic, at, make=array_message, names=("a", "b")):
    return [
        make(topic, np.array([i, -i], dtype=float), names=names, time_ns=t)
        for i, t in enumerate(at)
    ]


def told(text, at=START_NS):
    return text_message("/instruction", text, time_ns=at)


def write(folder, *parts, **custom):
    messages = sorted((m for part in parts for m in part), key=lambda m: m.time_ns)
    write_bag(folder, messages, custom_data=custom)
    return folder


def usual(count=10):
    return (
        [told("push the red block")],
        pictures("/front/image_raw", times(count)),
        numbers("/joint_states", times(count), joint_state_message),
        numbers("/arm/command", times(count, late_ns=1_000_000)),
    )


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_what_was_written_is_read_back(tmp_path, storage):
    records = [record(0), record(1, length=9, success=False, split="test"), record(2, success=None)]
    dataset = open_dataset(write_bags(tmp_path / "bags", records, storage=storage))
    assert not dataset.findings
    info = dataset.info
    assert (info.format, info.fps, info.robot_type) == ("rosbag2", 10.0, "arm")
    assert info.cameras == ("observation.images.front", "observation.images.wrist")
    assert (info.action_names, info.state_names) == (LAYOUT.action_names, LAYOUT.state_names)
    assert len(dataset.episodes) == 3
    for number, (wanted, found) in enumerate(zip(records, dataset.episodes, strict=True)):
        assert found.index == number
        np.testing.assert_array_equal(found.action, wanted.action)
        np.testing.assert_array_equal(found.state, wanted.state)
        np.testing.assert_allclose(found.time_s, np.arange(len(wanted.action)) / 10)
        for name in ("instruction", "goal", "success", "split", "other_instructions", "factors"):
            assert getattr(found, name) == getattr(wanted, name)
        for camera, shown in wanted.pictures.items():
            decoded = np.stack(list(decode_span(found.videos[f"observation.images.{camera}"])))
            np.testing.assert_array_equal(decoded, shown)


def test_the_frame_store_holds_the_resized_pictures(tmp_path):
    records = [record(0), record(1)]
    dataset, store = prepare_frames(
        open_dataset(write_bags(tmp_path / "bags", records)), image_px=8, cameras=("wrist",)
    )
    for place, wanted in enumerate(records):
        frames = store.frames(place, "observation.images.wrist")
        resized = [resize_frame(each, image_px=8) for each in wanted.pictures["wrist"]]
        np.testing.assert_array_equal(frames, np.stack(resized))
    assert not [f for f in dataset.findings if f.severity == "skipped"]


def test_a_single_bag_is_a_data_set_as_folder_and_as_file(tmp_path):
    write_bags(tmp_path, [record()])
    as_folder = open_dataset(tmp_path / "bag_0").episodes[0]
    shutil.copy(tmp_path / "bag_0" / "bag_0.mcap", tmp_path / "alone.mcap")
    as_file = open_dataset(tmp_path / "alone.mcap").episodes[0]
    np.testing.assert_array_equal(as_file.action, as_folder.action)
    assert as_file.instruction == as_folder.instruction
    assert (as_folder.goal, as_file.goal) == ("push red block", "")  # labels are in metadata.yaml


def test_every_picture_of_a_steady_camera_has_the_message_nearest_to_it(tmp_path):
    rng = np.random.default_rng(0)
    at = [t + int(rng.integers(-20_000_000, 20_000_000)) for t in times(30)]
    write(
        tmp_path / "bag",
        [told("push the red block")],
        pictures("/front/image_raw", at),
        numbers("/joint_states", times(300, every_ns=STEP_NS // 10), joint_state_message),
        numbers("/arm/command", times(30, late_ns=1_000_000)),
    )
    dataset = open_dataset(tmp_path / "bag")
    assert dataset.info.fps == pytest.approx(10, abs=0.5)
    (tmp_path / "bags.toml").write_text("rate_hz = 10\n")
    episode = open_dataset(tmp_path / "bag").episodes[0]
    assert episode.videos["observation.images.front"].messages == tuple(range(30))
    steps_ns = at[0] + np.arange(30) * STEP_NS
    nearest = [round((t - START_NS) / (STEP_NS / 10)) for t in steps_ns]
    np.testing.assert_array_equal(episode.state[:, 0], np.clip(nearest, 0, 299))


def test_lost_pictures_are_repeated_and_reported(tmp_path):
    at = times(20)
    shown = [m for i, m in enumerate(pictures("/front/image_raw", at)) if i not in {5, 6, 12}]
    write(
        tmp_path / "bag",
        shown,
        numbers("/joint_states", at, joint_state_message),
        numbers("/arm/command", at),
    )
    dataset = open_dataset(tmp_path / "bag")
    episode = dataset.episodes[0]
    assert episode.num_frames == 20
    frames = np.stack(list(decode_span(episode.videos["observation.images.front"])))
    np.testing.assert_array_equal(
        frames[:, 0, 0, 0], [0, 1, 2, 3, 4, 4, 7, 7, 8, 9, 10, 11, 11, 13, 14, 15, 16, 17, 18, 19]
    )
    assert any("16% of the steps of bag repeat" in str(f) for f in dataset.findings)


def test_only_the_time_of_all_topics_counts(tmp_path):
    write(
        tmp_path / "bag",
        pictures("/front/image_raw", times(40)),
        numbers("/joint_states", times(40)[10:], joint_state_message),
        numbers("/arm/command", times(40)[:30]),
    )
    dataset = open_dataset(tmp_path / "bag")
    episode = dataset.episodes[0]
    assert episode.num_frames == 20
    frames = list(decode_span(episode.videos["observation.images.front"]))
    assert [int(frame[0, 0, 0]) for frame in frames] == list(range(10, 30))
    np.testing.assert_array_equal(episode.action[:, 0], np.arange(10, 30))
    np.testing.assert_array_equal(episode.state[:, 0], np.arange(20))
    assert any("cut to the time in which all topics" in str(f) for f in dataset.findings)


def test_stamps_of_the_messages_count_not_when_they_arrived(tmp_path):
    at = times(10)
    late = [
        BagMessage(m.topic, m.kind, m.time_ns + 80_000_000, m.message)
        for m in pictures("/front/image_raw", at)
    ]
    write(tmp_path / "bag", late, numbers("/arm/command", at))
    episode = open_dataset(tmp_path / "bag").episodes[0]
    np.testing.assert_array_equal(episode.action[:, 0], np.arange(10))


def test_stamps_of_another_clock_are_not_used_and_reported(tmp_path):
    stamped = [
        BagMessage(m.topic, m.kind, m.time_ns + 3600 * 10**9, m.message)
        for m in pictures("/front/image_raw", times(10))
    ]
    later = [t + 3600 * 10**9 for t in times(10)]
    write(tmp_path / "bag", stamped, numbers("/arm/command", later))
    dataset = open_dataset(tmp_path / "bag")
    assert dataset.episodes[0].num_frames == 10
    assert any("another clock" in str(finding) for finding in dataset.findings)


def test_the_mapping_names_topics_fields_rate_and_clock(tmp_path):
    folder = tmp_path / "bags"
    at = times(40)
    write(
        folder / "bag",
        pictures("/left/image_raw", at),
        pictures("/right/image_raw", times(20, every_ns=2 * STEP_NS), first=100),
        numbers("/joint_states", at, joint_state_message),
        numbers("/other_arm/command", at),
        numbers("/arm/command", at),
        [text_message("/said", "lift the cube", time_ns=START_NS)],
        [text_message("/logged", "started", time_ns=START_NS)],
    )
    (folder / "bags.toml").write_text(
        """
        clock = "hand"
        robot_type = "two_arms"
        instruction = "/said"
        [cameras]
        hand = "/right/image_raw"
        [action]
        topic = "/arm/command"
        fields = ["data.1"]
        [state]
        topic = "/joint_states"
        [sensors.elsewhere]
        topic = "/other_arm/command"
        """
    )
    dataset = open_dataset(folder)
    episode = dataset.episodes[0]
    assert (dataset.info.fps, dataset.info.robot_type) == (5.0, "two_arms")
    assert dataset.info.cameras == ("observation.images.hand",)
    assert dataset.info.sensors == {"elsewhere": 2}
    assert episode.instruction == "lift the cube"
    np.testing.assert_array_equal(episode.action, -np.arange(0, 40, 2, dtype=np.float32)[:, None])
    np.testing.assert_array_equal(episode.sensors["elsewhere"][:, 0], np.arange(0, 40, 2))
    (folder / "bags.toml").write_text('rate_hz = 20\naction.topic = "/arm/command"\n')
    assert open_dataset(folder).episodes[0].num_frames == pytest.approx(78, abs=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate = 10", "rate: unknown key. Did you mean 'rate_hz'"),
        ("rate_hz = -1", "rate_hz: got -1"),
        ("max_gap_s = 0", "max_gap_s: got 0"),
        ("[sensors.force]", "sensors.force: no topic"),
        ('action = "/x"', "action: got '/x', expected a table"),
        ("rate_hz = ", "no valid TOML"),
    ],
)
def test_a_mistake_in_the_mapping_is_named(tmp_path, text, message):
    write(tmp_path / "bag", *usual())
    (tmp_path / "bags.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"bags\.toml") as caught:
        open_dataset(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('action.topic = "/arm/comand"', "on '/arm/comand'. Did you mean '/arm/command'"),
        ('clock = "fromt"', "no camera 'fromt'. Did you mean 'front'"),
        ('[cameras]\nfront = "/joint_states"', "has sensor_msgs/msg/JointState, no pictures"),
        ('instruction = "/joint_states"', "instruction: got sensor_msgs/msg/JointState"),
        ('state = {topic = "/joint_states", fields = ["postion"]}', "Did you mean 'position'"),
    ],
)
def test_a_mapping_that_does_not_suit_the_bags_is_refused(tmp_path, text, message):
    write(tmp_path / "bag", *usual())
    (tmp_path / "bags.toml").write_text(text)
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    assert message in str(caught.value)


def test_an_action_that_is_not_clear_is_asked_for(tmp_path):
    write(tmp_path / "bag", *usual(), numbers("/hand/command", times(10)))
    with pytest.raises(DataError, match=r"action could be /arm/command or /hand/command; name its"):
        open_dataset(tmp_path)
    write(tmp_path / "mute", pictures("/front/image_raw", times(5)))
    with pytest.raises(DataError, match=r"is on no topic that is known.*/front/image_raw"):
        open_dataset(tmp_path / "mute")


def test_topics_that_are_not_used_are_noted(tmp_path):
    write(tmp_path / "bag", *usual(), pictures("/front/depth/image_raw", times(10)))
    notes = [str(finding) for finding in open_dataset(tmp_path).findings]
    assert any("not used: /front/depth/image_raw" in note for note in notes)


def unusable_bags():
    steady = times(10)
    paused = [t + (10**9 if i > 5 else 0) for i, t in enumerate(steady)]
    command = numbers("/arm/command", steady)
    not_finite = [*command[:4], *numbers("/arm/command", [steady[4]]), *command[5:]]
    not_finite[4].message.data[1] = np.nan
    return {
        "no messages on /joint_states": (usual()[1], usual()[3]),
        "pauses": (
            pictures("/front/image_raw", paused),
            numbers("/joint_states", [*times(3), *times(30)[20:]], joint_state_message),
            numbers("/arm/command", paused),
        ),
        "action is NaN or infinite in 1 of 10 steps, as in step 4": (*usual()[1:3], not_finite),
        "no time at which all topics": (
            pictures("/front/image_raw", times(5)),
            numbers("/joint_states", times(20)[10:], joint_state_message),
            command,
        ),
        "1 step, at least 2": tuple(part[:1] for part in usual()[1:]),
        "holds 1 numbers": (
            *usual()[1:3],
            [*command[:3], array_message("/arm/command", np.ones(1), names="a", time_ns=steady[3])],
        ),
    }


@pytest.mark.parametrize("reason", unusable_bags())
def test_a_bag_that_cannot_be_used_is_left_out_with_its_reason(tmp_path, reason):
    write(tmp_path / "good_1", *usual())
    write(tmp_path / "good_2", *usual())
    write(tmp_path / "odd", *unusable_bags()[reason])
    dataset = open_dataset(tmp_path)
    assert [episode.index for episode in dataset.episodes] == [0, 1]
    skipped = [f for f in dataset.findings if f.severity == "skipped"]
    assert [finding.where for finding in skipped] == ["odd"]
    assert reason in skipped[0].message


def test_where_no_bag_can_be_used_the_first_reason_is_said(tmp_path):
    parts = unusable_bags()["pauses"]
    write(tmp_path / "a", *parts)
    write(tmp_path / "b", *parts)
    with pytest.raises(DataError, match=r"no usable bag: a: .* pauses.*\(and 1 more\)"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "metadata", "no-file"])
def test_a_damaged_bag_is_left_out_with_its_reason(tmp_path, damage):
    write(tmp_path / "good", *usual())
    bag = write(tmp_path / "odd", *usual())
    file = bag / "odd.mcap"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "noise":
        noise = np.random.default_rng(0).bytes(len(content) // 2)
        file.write_bytes(content[:200] + noise + content[200 + len(noise) :])
    elif damage == "metadata":
        (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    else:
        file.unlink()
    dataset = open_dataset(tmp_path)
    assert len(dataset.episodes) == 1
    assert [f.where for f in dataset.findings if f.severity == "skipped"] == ["odd"]


def test_a_message_that_is_cut_off_is_named(tmp_path):
    write(tmp_path / "bag", *usual())
    types = ros_types()

    def serialised(message, kind):
        data = types.serialize_cdr(message, kind)
        return data[:20] if kind == "sensor_msgs/msg/JointState" else data

    store = type("Store", (), {"__getattr__": lambda self, name: getattr(types, name)})()
    store.serialize_cdr = serialised
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jointspace.data.rosbag_write.ros_types", lambda: store)
        write(tmp_path / "odd", *usual())
    dataset = open_dataset(tmp_path)
    messages = [f.message for f in dataset.findings if f.severity == "skipped"]
    assert messages
    assert messages[0].startswith("message 0 of /joint_states is damaged")


def test_a_picture_that_cannot_be_decoded_leaves_its_episode_out(tmp_path):
    write(tmp_path / "good", *usual())
    parts = usual()
    parts[1][3].message.encoding = "16UC1"
    write(tmp_path / "odd", *parts)
    dataset, _ = prepare_frames(open_dataset(tmp_path), image_px=8)
    assert len(dataset.episodes) == 1
    assert any("'16UC1', which is 16-bit depth" in f.message for f in dataset.findings)


def test_bags_with_other_channels_are_refused(tmp_path):
    for number, names in enumerate((("a", "b"), ("a", "b"), ("a", "c"))):
        write(
            tmp_path / f"bag_{number}",
            *usual()[:3],
            numbers("/arm/command", times(10), names=names),
        )
    with pytest.raises(DataError, match=r"bag_2: action has 2 channels \(a, c\)"):
        open_dataset(tmp_path)


def test_joints_named_in_another_order_keep_their_places(tmp_path):
    states = numbers("/joint_states", times(10), joint_state_message)
    for each in states[5:]:
        each.message.name.reverse()
        each.message.position = each.message.position[::-1].copy()
    write(tmp_path / "bag", *usual()[:2], states, usual()[3])
    state = open_dataset(tmp_path).episodes[0].state
    np.testing.assert_array_equal(state, np.outer(np.arange(10), [1, -1]))


def test_an_instruction_that_changes_or_is_none_is_reported(tmp_path):
    parts = usual()
    write(tmp_path / "a", *parts, [told("lift it", START_NS + STEP_NS)])
    write(tmp_path / "b", [told("valid")], *parts[1:])
    dataset = open_dataset(tmp_path)
    assert [e.instruction for e in dataset.episodes] == ["push the red block", ""]
    found = [str(finding) for finding in dataset.findings]
    assert any("the instruction changes within it (2 texts)" in each for each in found)
    assert any("1 of 2 bags have no instruction, as b" in each for each in found)


def test_labels_of_a_recording_are_taken_from_its_custom_data(tmp_path):
    write(tmp_path / "a", *usual(), goal="push red", success="False", split="test", factors="[1]")
    write(tmp_path / "b", *usual()[1:], instruction="lift the cube", success="perhaps", episode="x")
    dataset = open_dataset(tmp_path)
    first, second = dataset.episodes
    assert (first.goal, first.success, first.split, first.factors) == (
        "push red",
        False,
        "test",
        {},
    )
    assert (second.instruction, second.success) == ("lift the cube", None)
    odd = [str(finding) for finding in dataset.findings if "not understood" in str(finding)]
    assert [each.split("'")[1] for each in odd] == ["factors", "episode", "success"]


def test_types_that_ros_does_not_ship_are_read_by_the_bags_own_definition(tmp_path):
    store = ros_types()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        definition = "float32 left\nfloat32 right\n"
        kind = "my_robot/msg/Wheels"
        wheels = writer.add_connection(
            "/wheel_command", kind, msgdef=definition, rihs01="RIHS01_" + "0" * 64
        )
        camera = writer.add_connection("/front/image_raw", IMAGE, typestore=store)
        for i, t in enumerate(times(10)):
            picture = image_message("", shade(i), time_ns=t, frame_id="")
            writer.write(camera, t, store.serialize_cdr(picture.message, IMAGE))
            writer.write(wheels, t, b"\x00\x01\x00\x00" + struct.pack("<ff", i, -i))
    (tmp_path / "bags.toml").write_text('action.topic = "/wheel_command"\n')
    dataset = open_dataset(tmp_path)
    assert dataset.info.action_names == ("left", "right")
    np.testing.assert_array_equal(dataset.episodes[0].action[:, 1], -np.arange(10))


def test_a_bag_of_ros_1_and_a_folder_without_bags_are_refused(tmp_path):
    with pytest.raises(DataError, match="rosbags-convert"):
        open_dataset(tmp_path / "old.bag")
    with pytest.raises(DataError, match="LeRobot"):
        open_dataset(tmp_path)


def test_inspect_tells_what_is_in_bags(tmp_path, capsys):
    write_bags(tmp_path / "bags", [record(0), record(1)])
    assert main(["inspect", str(tmp_path / "bags")]) == 0
    printed = capsys.readouterr().out
    assert "rosbag2, robot arm, 10 steps per second" in printed
    assert "observation.images.wrist: pictures, 46 frames in 2 files" in printed


def test_the_sample_bags_equal_the_data_set_that_they_were_made_of(samples_dir):
    bags = open_dataset(samples_dir / "mcap")
    source = {e.index: e for e in open_dataset(samples_dir / "cr5_small_v21").episodes}
    assert [e.num_frames for e in bags.episodes] == [262, 215]
    for found, number in zip(bags.episodes, (0, 24), strict=True):
        wanted = source[number]
        np.testing.assert_array_equal(found.action, wanted.action)
        np.testing.assert_array_equal(found.state, wanted.state)
        assert found.instruction == wanted.instruction
        (span,), (video,) = found.videos.values(), wanted.videos.values()
        assert isinstance(span, MessageSpan)
        for a, b in zip(list(decode_span(span))[::50], list(decode_span(video))[::50], strict=True):
            assert np.abs(a.astype(int) - b).mean() < 4
    assert not inspect_dataset(samples_dir / "mcap" / "cr5_episode_00").findings
