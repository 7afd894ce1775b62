import json
from dataclasses import replace

import numpy as np
import pytest

from jointspace.data.rosbag_messages import image_message, joint_state_message, text_message
from jointspace.data.rosbag_write import write_bag
from jointspace.errors import ConfigError, DataError, InputError
from jointspace.robot.core.perception import Band
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.replay import replay
from jointspace.robot.replay_topics import config_for_bag
from tests.data.bag_factory import messages
from tests.robot.stand_ins import DIM, FakeEmbedder, FakeStream, make_runtime

START_NS = 1_700_000_000 * 10**9
MS = 1_000_000


def at(ms):
    return START_NS + ms * MS


def pictures(count=20, *, every_ms=100, first_ms=0, topic="/camera/image_rect_color"):
    pixels = np.full((8, 8, 3), 90, dtype=np.uint8)
    return [
        image_message(topic, pixels, time_ns=at(first_ms + i * every_ms), frame_id="front")
        for i in range(count)
    ]


def said(*texts, topic="/natural_language_command"):
    return [text_message(topic, text, time_ns=at(ms)) for ms, text in texts]


def write(folder, *parts):
    everything = sorted((m for part in parts for m in part), key=lambda m: m.time_ns)
    write_bag(folder, everything, custom_data={})
    return folder


def decisions(file):
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [(line["time_s"], line["decision"]) for line in lines if "decision" in line]


def play(tmp_path, bag, runtime=None, **options):
    """The summary, and every decision with its time."""
    out = tmp_path / "out.jsonl"
    out.unlink(missing_ok=True)
    runtime = make_runtime() if runtime is None else runtime
    summary = replay(bag, runtime, model_id="m", out=out, **options)
    return summary, decisions(out)


def test_the_robot_moves_when_told_and_stands_when_told_to_stop(tmp_path):
    bag = write(tmp_path / "bag", pictures(), said((505, "forward"), (1203, "stop")))
    summary, made = play(tmp_path, bag)
    moving = [time_s for time_s, each in made if any(each["values"])]
    assert moving[0] == pytest.approx(0.55)
    assert moving[-1] == pytest.approx(1.2)
    assert summary.first_motion_s == pytest.approx(0.045)
    stopped = next(time_s for time_s, each in made if each["state"] == "stopped")
    assert stopped == pytest.approx(1.203)  # at once, not at the next tick
    assert made[-1][1]["state"] == "shut down"
    assert made[-1][1]["values"] == [0, 0]
    assert made[-1][1]["sent"]
    assert sum(summary.states.values()) == len(made)
    assert summary.states["idle"] == 11


def test_a_camera_that_falls_silent_stops_the_robot_after_its_timeout(tmp_path):
    bag = write(tmp_path / "bag", pictures(10), said((0, "forward")), pictures(1, first_ms=2000))
    _, made = play(tmp_path, bag)
    blind = [time_s for time_s, each in made if each["state"] == "blind"]
    assert blind[0] == pytest.approx(1.45)  # the last picture is of 0.9 s, the timeout 0.5 s
    assert all(not any(each["values"]) for time_s, each in made if time_s in blind)


@pytest.mark.parametrize("latency_s", [0.0, 0.08, 0.25])
def test_what_is_perceived_takes_effect_after_the_latency(tmp_path, latency_s):
    bag = write(tmp_path / "bag", pictures(), said((505, "forward")))
    summary, made = play(tmp_path, bag, latency_s=latency_s)
    acting = next(time_s for time_s, each in made if each["state"] == "acting")
    # The network may be at a picture from before the command, and then takes its time twice.
    assert 0.505 + latency_s <= acting <= 0.505 + 2 * latency_s + 0.05
    between = np.diff([sight.time_s for sight in summary.sights])
    assert between.min() >= latency_s - 1e-9
    if latency_s == 0.25:
        assert summary.drops["replaced"] > 5
        assert summary.states["acting"] > 15


def test_control_keeps_its_rate_whatever_the_latency(tmp_path):
    bag = write(tmp_path / "bag", pictures(), said((0, "forward")))
    _, made = play(tmp_path, bag, latency_s=0.4)
    times = [time_s for time_s, each in made if each["state"] != "shut down"]
    np.testing.assert_allclose(np.diff(times), 0.05)


def test_the_same_bag_gives_the_same_bytes(tmp_path):
    bag = write(tmp_path / "bag", pictures(), said((100, "forward"), (900, "turn left")))
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        replay(bag, make_runtime(), model_id="m", latency_s=0.03, out=folder / "out")
        replay(bag, make_runtime(), model_id="m", latency_s=0.03, out=folder / "out.jsonl")
    for name in ("out/out.mcap", "out/metadata.yaml", "out.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_bag_that_is_written_holds_what_the_robot_said(tmp_path):
    bag = write(tmp_path / "bag", pictures(), said((500, "forward")))
    summary, made = play(tmp_path, bag)
    replay(bag, make_runtime(), model_id="m", out=tmp_path / "out")
    found = messages(tmp_path / "out")
    sent = [(time_s, each["values"]) for time_s, each in made if each["sent"]]
    twists = [
        ((time_ns - START_NS) / 1e9, [twist.linear.x, twist.angular.z])
        for time_ns, twist in found["/robot_velocity"]
    ]
    assert twists == [(pytest.approx(time_s), values) for time_s, values in sent]
    assert summary.num_sent == len(twists)
    assert len(found["/jointspace/similarity"]) == 15  # pictures from the command on
    labels = [d.label for d in found["/embedding"][0][1].layout.dim]
    assert labels[:2] == ["model=m", "modality=vision"]
    assert {len(message.data) for _, message in found["/embedding"]} == {DIM}


def test_a_command_of_ones_own_takes_the_place_of_those_in_the_bag(tmp_path):
    bag = write(tmp_path / "bag", pictures(), said((300, "turn left")))
    _, made = play(tmp_path, bag, say="forward")
    assert max(each["values"][0] for _, each in made) > 0
    assert not any(each["values"][1] for _, each in made)
    mute = write(tmp_path / "mute", pictures())
    summary, _ = play(tmp_path, mute, say="forward")
    assert summary.states["acting"] > 30


def test_what_cannot_be_read_stops_the_robot_and_is_counted(tmp_path):
    shown = pictures()
    for each in shown[5:]:
        each.message.encoding = "32FC1"
    bag = write(tmp_path / "bag", shown, said((0, "forward")))
    summary, made = play(tmp_path, bag)
    assert summary.drops["malformed"] == 15
    assert "depth" in summary.last_refusal
    assert [each["state"] for _, each in made if each["state"] == "blind"]
    assert "not used: malformed 15" in summary.render()


def test_a_similarity_below_the_threshold_is_no_motion(tmp_path):
    bag = write(tmp_path / "bag", pictures(), said((0, "forward")))
    summary, made = play(tmp_path, bag, make_runtime(FakeEmbedder(similarity_value=0.1)))
    assert summary.first_motion_s is None
    assert not any(any(each["values"]) for _, each in made)
    assert {sight.verdict for sight in summary.sights[1:]} == {"reject"}
    text = summary.render()
    assert "first motion after the command: never" in text
    assert "+0.100  accepted 0 of" in text


def test_the_summary_is_one_json_object(tmp_path):
    bag = write(tmp_path / "bag", pictures(), said((0, "forward")))
    summary, _ = play(tmp_path, bag)
    told = json.loads(json.dumps(summary.to_json()))
    assert told["num_decisions"] == sum(told["states"].values())
    assert {each["verdict"] for each in told["similarity"][1:]} == {"accept"}
    assert told["duration_s"] == pytest.approx(1.9)


def test_mistakes_are_named(tmp_path):
    bag = write(tmp_path / "bag", pictures(), said((0, "forward")))
    with pytest.raises(InputError, match="latency: got -1 s"):
        replay(bag, make_runtime(), model_id="m", latency_s=-1.0)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="is there already"):
        replay(bag, make_runtime(), model_id="m", out=tmp_path / "there")
    with pytest.raises(ConfigError, match=r"no message on it\. Did you mean '/camera/image_rect"):
        replay(bag, make_runtime(image_topics=["camera/image_rect"]), model_id="m")
    with pytest.raises(DataError, match="cannot be read as a bag"):
        replay(tmp_path / "none.mcap", make_runtime(), model_id="m")


def two_cameras():
    return (
        pictures(topic="/front/image_raw"),
        pictures(topic="/wrist/image_raw"),
        said((0, "forward"), topic="/task"),
        [
            joint_state_message("/arm/joint_states", np.zeros(2), names="ab", time_ns=at(i * 100))
            for i in range(20)
        ],
    )


def test_topics_that_were_not_set_are_found_in_the_bag(tmp_path):
    bag = write(tmp_path / "bag", *two_cameras())
    cameras = ("observation.images.wrist", "observation.images.front")
    config = config_for_bag(make_runtime().config, bag, cameras=cameras)
    assert config.image_topics == ("/wrist/image_raw", "/front/image_raw")
    assert config.cameras == cameras
    assert (config.command_topic, config.state_topic) == ("/task", "/arm/joint_states")
    embedder = FakeEmbedder()
    runtime = RobotRuntime(
        config,
        embedder,
        cameras=cameras,
        make_stream=lambda: FakeStream(embedder),
        judge=Band(accept=0.5, reject=0.3),
    )
    assert replay(bag, runtime, model_id="m").states["acting"] > 30


def test_topics_that_were_set_or_are_there_are_kept(tmp_path):
    bag = write(tmp_path / "bag", *two_cameras(), pictures())
    config = make_runtime().config
    found = config_for_bag(config, bag, cameras=("front",))
    assert found.image_topics == config.image_topics
    named = replace(config, image_topics=("/front/image_raw",), command_topic="/said")
    kept = config_for_bag(named, bag, cameras=("front",))
    assert (kept.image_topics, kept.command_topic) == (("/front/image_raw",), "/said")


def test_topics_that_cannot_be_found_are_asked_for(tmp_path):
    config = make_runtime().config
    bag = write(tmp_path / "bag", *two_cameras())
    with pytest.raises(ConfigError, match="no camera 'hand', but front"):
        config_for_bag(config, bag, cameras=("hand",))
    mute = write(tmp_path / "mute", pictures())
    with pytest.raises(ConfigError, match="say one with --say"):
        config_for_bag(config, mute, cameras=("front",))
    assert config_for_bag(config, mute, cameras=("front",), needs_command=False)
