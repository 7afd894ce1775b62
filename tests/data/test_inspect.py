import builtins
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from jointspace.data.inspect import inspect_dataset
from jointspace.errors import DataError
from tests.factories import INSTRUCTIONS, write_lerobot, write_video

CAMERA = "observation.images.top"


def _messages(inspection):
    return [str(finding) for finding in inspection.findings]


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])
def test_a_sound_data_set_has_its_facts_and_no_findings(tmp_path, version):
    write_lerobot(tmp_path, version=version, num_episodes=3, num_frames=[8, 12, 10])
    found = inspect_dataset(tmp_path)
    assert found.findings == ()
    assert found.format == f"LeRobot {version}"
    assert (found.num_episodes, found.num_frames, found.shortest, found.longest) == (3, 30, 8, 12)
    assert found.duration_s == pytest.approx(3.0)
    (camera,) = found.cameras
    assert (camera.name, camera.codecs, camera.sizes) == (CAMERA, ("h264",), ((64, 48),))
    assert (camera.num_files, camera.num_frames) == (2 if version == "v3.0" else 3, 30)
    assert camera.rates_hz == (10.0,)
    assert dict(found.instructions) == {INSTRUCTIONS[0]: 2, INSTRUCTIONS[1]: 1}


def test_ranges_are_those_of_all_episodes(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=6, cameras=())
    state = np.concatenate(written.states)
    ranges = inspect_dataset(tmp_path).state
    assert [each.name for each in ranges] == ["state_0", "state_1"]
    for k, each in enumerate(ranges):
        assert (each.low, each.high) == (state[:, k].min(), state[:, k].max())
        assert not each.constant


def test_the_report_is_json_and_text_with_the_same_content(tmp_path):
    write_lerobot(tmp_path, num_episodes=2, num_frames=6, sensors={"observation.force": 3})
    found = inspect_dataset(tmp_path)
    parsed = json.loads(json.dumps(found.to_json()))
    assert parsed["path"] == str(tmp_path)
    assert parsed["num_frames"] == 12
    assert parsed["action"][2]["name"] == "action_2"
    assert parsed["sensors"] == {"observation.force": 3}
    text = found.render()
    for part in (
        "LeRobot v2.1, robot factory, 10 steps per second",
        "2 usable episodes, 12 steps, 1.2 s; 6 to 6 steps per episode",
        f"{CAMERA}: h264 64x48, 12 frames in 2 files",
        "Action, 3 dimensions",
        "Sensor observation.force, 3 channels",
        f"    1 x {INSTRUCTIONS[0]}",
        "Nothing wrong was found",
    ):
        assert part in text


def test_the_text_of_a_poor_data_set_says_what_is_not_there(tmp_path):
    write_lerobot(
        tmp_path, num_episodes=2, num_frames=700, cameras=(), state_dim=0, instructions=()
    )
    text = inspect_dataset(tmp_path).render()
    for part in (
        "Cameras: none",
        "State: none",
        "Instructions, 0 distinct",
        "2.3 min",
        "Findings, 1",
    ):
        assert part in text


def test_many_and_long_instructions_are_shortened_in_the_text(tmp_path):
    texts = [f"go to place {i} {'and on ' * 20}" for i in range(25)]
    write_lerobot(tmp_path, num_episodes=25, num_frames=2, cameras=(), instructions=texts)
    text = inspect_dataset(tmp_path).render()
    assert "Instructions, 25 distinct" in text
    assert "and 5 more" in text
    assert max(map(len, text.splitlines())) < 140


# --- disagreements between metadata and files -----------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_episodes": 9}, "total_episodes is 9, the files have 2"),
        ({"total_frames": 9}, "total_frames is 9, the files have 12"),
        ({"total_tasks": 9}, "total_tasks is 9, the files have 2"),
        ({"total_videos": 9}, "total_videos is 9, the files have 2"),
        ({"splits": {"train": "0:5"}}, "split 'train' is 0:5; 3 of its episodes do not exist"),
        ({"splits": {"train": "0:2", "val": "1:2"}}, "'train' and 'val' share 1 episodes: a leak"),
        ({"splits": {"train": "all"}}, "split 'train' is 'all', which is no range of episodes"),
        (
            {"data_path": "d/{episode_index}.parquet"},
            "data_path leads to d/0.parquet, which does not",
        ),
        (
            {"video_path": "v/{video_key}.mp4"},
            f"video_path leads to v/{CAMERA}.mp4, which does not",
        ),
        ({"video_path": "v/{nobody}.mp4"}, "video_path 'v/{nobody}.mp4' cannot be filled in"),
        ({"features": None}, "names no features; the columns of the tables are used"),
    ],
)
def test_names_what_info_says_wrongly(tmp_path, changes, message):
    write_lerobot(tmp_path, num_episodes=2, num_frames=6).change_info(**changes)
    assert any(message in each for each in _messages(inspect_dataset(tmp_path)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"info": {"video.codec": "av1"}}, "says codec av1, the files are h264"),
        ({"shape": [480, 640, 3]}, "says 640x480 pixels, the files have 64x48"),
        ({"shape": [3, 480, 640], "names": None}, "says 640x480 pixels, the files have 64x48"),
        ({"shape": [3, 48, 64], "names": ["channels", "height", "width"]}, None),
        ({"shape": [48, 64, 3], "names": None}, None),
        ({"info": {"video.codec": "unknown"}}, None),
    ],
)
def test_compares_codec_and_size_with_the_files(tmp_path, change, message):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=6)
    features = written.info()["features"]
    features[CAMERA] |= change
    written.change_info(features=features)
    messages = _messages(inspect_dataset(tmp_path))
    assert messages == [] if message is None else message in messages[0]


def test_compares_the_rate_of_the_videos_with_that_of_the_steps(tmp_path):
    write_lerobot(tmp_path, num_episodes=2, num_frames=6).change_info(fps=30)
    messages = _messages(inspect_dataset(tmp_path))
    assert any("runs at 10 frames per second, the steps at 30" in each for each in messages)


def test_compares_declared_shapes_and_features_with_the_tables(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=6)
    features = written.info()["features"]
    features["action"]["shape"] = [9]
    features["next.done"] = {"dtype": "bool", "shape": [1]}
    written.change_info(features=features)
    assert _messages(inspect_dataset(tmp_path)) == [
        "warning: action: meta/info.json says shape [9], the tables have 3 numbers",
        "warning: next.done: declared in meta/info.json, but no table has the column",
    ]


def test_compares_the_list_of_episodes_with_the_tables(tmp_path):
    write_lerobot(tmp_path, num_episodes=3, num_frames=6)
    rows = [{"episode_index": 0, "length": 5}, {"episode_index": 1}, {"episode_index": 8}]
    (tmp_path / "meta" / "episodes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert _messages(inspect_dataset(tmp_path)) == [
        "warning: meta/episodes: lists 1 episodes without rows, as episode 8",
        "warning: meta/episodes: does not list 1 episodes that have rows, as episode 2",
        "warning: episode 0: meta/episodes says 5 steps, the table has 6",
    ]
    (tmp_path / "meta" / "episodes.jsonl").unlink()
    (message,) = _messages(inspect_dataset(tmp_path))
    assert "not found, so lengths and texts are unchecked" in message


def test_compares_the_places_of_shared_videos_with_whole_frames(tmp_path):
    write_lerobot(tmp_path, version="v3.0", num_episodes=2, num_frames=6, episodes_per_file=1)
    file = tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(file)
    names = [f"videos/{CAMERA}/from_timestamp", f"videos/{CAMERA}/to_timestamp"]
    for name, values in zip(names, ([0.04, 0.0], [0.64, 0.9]), strict=True):
        table = table.set_column(table.column_names.index(name), name, [values])
    pq.write_table(table, file)
    assert _messages(inspect_dataset(tmp_path)) == [
        f"warning: episode 0: {CAMERA} starts between two frames, at 0.04 s; the nearer is used",
        f"warning: episode 1: {CAMERA} spans 9.0 frames, the episode 6 steps",
    ]


# --- videos ---------------------------------------------------------------------------------------


def _break_videos(path):
    written = write_lerobot(path, num_episodes=5, num_frames=6)
    written.video(1).unlink()
    written.video(2).write_bytes(b"")
    write_video(written.video(3), written.pictures[3][CAMERA][:4])
    write_video(written.video(4), np.repeat(written.pictures[4][CAMERA], 2, axis=0))
    written.change_info(total_videos=4)


def test_names_missing_empty_short_and_long_videos_without_decoding(tmp_path):
    _break_videos(tmp_path)
    found = inspect_dataset(tmp_path, check_videos=False)
    assert found.num_episodes == 5
    missing, empty, short, long = _messages(found)
    assert missing == f"warning: {CAMERA}: no pictures in 1 episodes, as in episode 1"
    assert empty == f"warning: {CAMERA}/episode_000002.mp4: the file is empty"
    assert "fewer frames than steps in 1 episodes, as in episode 3: 4 frames, 6 steps" in short
    assert "more frames than steps in 1 episodes, as in episode 4: 12 frames, 6 steps" in long


def test_decoding_leaves_out_what_training_would(tmp_path):
    _break_videos(tmp_path)
    calls = []
    found = inspect_dataset(tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert found.num_episodes == 2
    assert [f.where for f in found.findings if f.severity == "skipped"] == [
        "episode 1",
        "episode 2",
        "episode 3",
    ]
    assert calls


def test_decoding_finds_a_black_camera(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=6)
    write_video(written.video(1), np.zeros_like(written.pictures[1][CAMERA]))
    assert _messages(inspect_dataset(tmp_path, check_videos=False)) == []
    (message,) = _messages(inspect_dataset(tmp_path))
    assert "all black in 1 of 2 episodes" in message


def test_reports_even_when_no_video_can_be_decoded(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=6)
    for i in range(2):
        written.video(i).write_bytes(b"")
    found = inspect_dataset(tmp_path)
    assert found.num_episodes == 2
    assert any("no episode has all its pictures" in message for message in _messages(found))
    assert f"{CAMERA}: no file that can be opened, 0 frames in 2 files" in found.render()


def test_without_the_video_package_it_says_what_was_not_checked(tmp_path, monkeypatch):
    write_lerobot(tmp_path, num_episodes=2, num_frames=6)
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (message,) = _messages(inspect_dataset(tmp_path))
    assert "not checked: this feature needs the package 'av'" in message


def test_pictures_in_tables_are_counted(tmp_path):
    write_lerobot(tmp_path, num_episodes=2, num_frames=6, images_in_table=True)
    found = inspect_dataset(tmp_path)
    assert found.findings == ()
    (camera,) = found.cameras
    assert (camera.codecs, camera.num_files, camera.num_frames) == (("pictures",), 2, 12)


# --- content --------------------------------------------------------------------------------------


def test_names_constant_dimensions(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=6, cameras=())
    for i in range(2):
        action = written.actions[i].copy()
        action[:, 1] = 4.0
        written.change_column("action", list(action), episode=i)
    found = inspect_dataset(tmp_path)
    assert [each.constant for each in found.action] == [False, True, False]
    assert _messages(found) == ["note: action: 1 of 3 dimensions never change: action_1"]


@pytest.mark.parametrize(
    ("ahead", "what"), [(1, "the next state"), (0, "the state of the same step")]
)
def test_names_an_action_that_is_the_state(tmp_path, ahead, what):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=8, action_dim=2, cameras=())
    for i in range(2):
        shifted = np.roll(written.states[i], -ahead, axis=0)
        written.change_column("action", list(shifted), episode=i)
    (message,) = _messages(inspect_dataset(tmp_path))
    assert f"action: equals {what} in 100% of the steps" in message


def test_names_repeated_and_motionless_episodes(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=4, num_frames=6, cameras=())
    for column, values in (
        ("action", written.actions[0]),
        ("observation.state", written.states[0]),
    ):
        written.change_column(column, list(values), episode=2)
    written.change_column("action", np.ones((6, 3)).tolist(), episode=3)
    assert _messages(inspect_dataset(tmp_path)) == [
        "warning: action: never changes in 1 episodes: 3",
        "warning: episode 0: same steps again in 2: a leak once training and test share them",
    ]


def test_what_the_reader_left_out_is_in_the_report(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=3, num_frames=6, cameras=())
    written.change_column("action", np.full((6, 3), np.nan).tolist(), episode=1)
    found = inspect_dataset(tmp_path)
    assert found.num_episodes == 2
    assert "skipped: episode 1: action is NaN or infinite in 6 of 6 steps" in _messages(found)[0]


def test_a_data_set_that_cannot_be_used_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        inspect_dataset(tmp_path / "nowhere")


# --- real data ------------------------------------------------------------------------------------


def test_reports_what_is_wrong_with_gr00t(samples_dir):
    found = inspect_dataset(samples_dir / "gr00t_sim_v20", check_videos=False)
    assert [(c.codecs, c.sizes, c.num_frames) for c in found.cameras] == [
        (("h264",), ((256, 256),), 2096)
    ]
    text = found.render()
    for part in (
        "observation.images.egoview: declared in meta/info.json, but no episode has pictures of it",
        "total_videos is 2, the files have 5",
        "split 'train' is 0:100; 95 of its episodes do not exist",
        "25 of 44 dimensions never change",
    ):
        assert part in text


def test_cr5_is_sound_in_both_versions(samples_dir):
    for name in ("cr5_small_v21", "cr5_small_v30"):
        assert inspect_dataset(samples_dir / name, check_videos=False).findings == ()
