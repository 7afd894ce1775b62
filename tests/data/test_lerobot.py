import json
import shutil

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointspace.data.lerobot import read_lerobot
from jointspace.data.lerobot_meta import read_lerobot_meta
from jointspace.data.open import open_dataset
from jointspace.data.schema import ImageSpan, VideoSpan
from jointspace.errors import DataError
from tests.factories import INSTRUCTIONS, write_lerobot

CAMERA = "observation.images.top"
VERSIONS = ("v2.0", "v2.1", "v3.0")


def _messages(dataset, severity):
    return [f"{f.where}: {f.message}" for f in dataset.findings if f.severity == severity]


@pytest.mark.parametrize("version", VERSIONS)
def test_reads_back_what_was_written(tmp_path, version):
    written = write_lerobot(tmp_path, version=version, num_frames=[6, 9, 5], num_episodes=3)
    dataset = open_dataset(tmp_path)
    assert dataset.findings == ()
    assert dataset.info.format == f"LeRobot {version}"
    assert dataset.info.fps == 10
    assert dataset.info.cameras == (CAMERA,)
    assert dataset.info.action_names == ("action_0", "action_1", "action_2")
    assert dataset.info.state_names == ("state_0", "state_1")
    assert [e.index for e in dataset.episodes] == [0, 1, 2]
    for i, episode in enumerate(dataset.episodes):
        np.testing.assert_array_equal(episode.action, written.actions[i])
        np.testing.assert_array_equal(episode.state, written.states[i])
        np.testing.assert_allclose(episode.time_s, [k / 10 for k in range(episode.num_frames)])
        assert episode.instruction == written.instructions[i]


def test_v3_spans_follow_each_other_in_their_shared_file(tmp_path):
    write_lerobot(tmp_path, version="v3.0", num_frames=[6, 9, 5], num_episodes=3)
    spans = [e.videos[CAMERA] for e in read_lerobot(tmp_path).episodes]
    assert [(s.path.name, s.first_frame, s.num_frames) for s in spans] == [
        ("file-000.mp4", 0, 6),
        ("file-000.mp4", 6, 9),
        ("file-001.mp4", 0, 5),
    ]


@pytest.mark.parametrize(
    ("action_key", "state_key", "camera"),
    [("actions", "state", "image"), ("action", "observation.state", "observation.images.wrist")],
)
@pytest.mark.parametrize("names", ["list", "nested", "null", "dict"])
@pytest.mark.parametrize("table_dtype", ["float32", "float64"])
def test_understands_other_names_and_number_types(
    tmp_path, *, action_key, state_key, camera, names, table_dtype
):
    written = write_lerobot(
        tmp_path,
        num_episodes=2,
        num_frames=4,
        action_key=action_key,
        state_key=state_key,
        cameras=[camera],
        names=names,
        table_dtype=table_dtype,
    )
    dataset = read_lerobot(tmp_path)
    assert dataset.findings == ()
    np.testing.assert_array_equal(dataset.episodes[1].action, written.actions[1])
    np.testing.assert_array_equal(dataset.episodes[1].state, written.states[1])
    assert dataset.info.cameras == (camera,)
    word = "action" if names == "null" else action_key
    assert dataset.info.action_names == tuple(f"{word}_{i}" for i in range(3))


def test_joins_per_dimension_columns(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    for i in range(2):
        for k, name in enumerate(("action.x", "action.y", "action.grip")):
            written.change_column(name, written.actions[i][:, k], episode=i)
        written.change_column("action", None, episode=i)
        written.change_column("action_is_pad", [False] * 4, episode=i)
    dataset = read_lerobot(tmp_path)
    assert dataset.info.action_names == ("action.x", "action.y", "action.grip")
    np.testing.assert_array_equal(dataset.episodes[1].action, written.actions[1])


def test_reads_further_sensors_and_drops_one_with_gaps(tmp_path):
    sensors = {"observation.force": 3, "observation.effort": 2}
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4, sensors=sensors)
    gap = written.sensors[1]["observation.effort"].copy()
    gap[2, 1] = np.nan
    written.change_column("observation.effort", list(gap), episode=1)
    dataset = read_lerobot(tmp_path)
    assert dataset.info.sensors == {"observation.force": 3}
    for episode, readings in zip(dataset.episodes, written.sensors, strict=True):
        assert set(episode.sensors) == {"observation.force"}
        np.testing.assert_array_equal(
            episode.sensors["observation.force"], readings["observation.force"]
        )
    assert any("observation.effort: NaN" in m for m in _messages(dataset, "warning"))


def test_rows_are_put_in_the_order_of_their_frame_index(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=5)
    file = written.table()
    pq.write_table(pq.read_table(file).take([3, 0, 4, 1, 2]), file)
    np.testing.assert_array_equal(read_lerobot(tmp_path).episodes[0].action, written.actions[0])


def test_without_a_frame_index_rows_count_in_order(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=5)
    written.change_column("frame_index", None)
    episode = read_lerobot(tmp_path).episodes[0]
    np.testing.assert_array_equal(episode.action, written.actions[0])
    assert episode.videos[CAMERA] == VideoSpan(written.video(), 0, 5)


def test_a_trimmed_episode_starts_at_its_frame_in_the_video(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=8)
    file = written.table()
    pq.write_table(pq.read_table(file).slice(3), file)
    episode = read_lerobot(tmp_path).episodes[0]
    assert episode.videos[CAMERA] == VideoSpan(written.video(), 3, 5)
    assert episode.time_s[0] == 0


def test_drifting_timestamps_are_reported_and_do_not_move_frames(tmp_path):
    write_lerobot(tmp_path, num_episodes=2, num_frames=20, timestamp_drift_s=0.7)
    dataset = read_lerobot(tmp_path)
    assert dataset.episodes[0].time_s[-1] == pytest.approx(1.9)
    (message,) = _messages(dataset, "warning")
    assert "in 2 of 2 episodes" in message
    assert "0.70 s" in message


def test_absolute_timestamps_are_no_drift(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=5)
    written.change_column("timestamp", 1.7e9 + np.arange(5) / 10)
    assert read_lerobot(tmp_path).findings == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_an_episode_with_a_step_that_is_no_number_is_left_out(tmp_path, bad):
    written = write_lerobot(tmp_path, num_episodes=3, num_frames=5, table_dtype="float64")
    action = written.actions[1].astype(np.float64)
    action[3, 0] = bad
    written.change_column("action", list(action), episode=1)
    dataset = read_lerobot(tmp_path)
    assert [e.index for e in dataset.episodes] == [0, 2]
    (message,) = _messages(dataset, "skipped")
    assert message == "episode 1: action is NaN or infinite in 1 of 5 steps, as in step 3"


def test_a_missing_value_counts_as_no_number(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=3)
    written.change_column("action", [[0.0, 1.0, 0.0], None, [0.0, None, 0.0]], episode=0)
    (message,) = _messages(read_lerobot(tmp_path), "skipped")
    assert message == "episode 0: action is NaN or infinite in 2 of 3 steps, as in step 1"


def test_empty_and_one_step_episodes_are_left_out(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=3, num_frames=[4, 1, 4])
    file = written.table(2)
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    dataset = read_lerobot(tmp_path)
    assert [e.index for e in dataset.episodes] == [0]
    assert _messages(dataset, "skipped") == [
        "episode 1: 1 step, at least 2 are needed",
        "episode 2: 0 steps, at least 2 are needed",
    ]


def test_gaps_in_the_frame_index_leave_an_episode_out(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    written.change_column("frame_index", [0, 1, 3, 4], episode=1)
    (message,) = _messages(read_lerobot(tmp_path), "skipped")
    assert "frame_index goes from 1 to 3" in message


def test_an_unreadable_table_leaves_its_episode_out(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=3, num_frames=4)
    written.table(0).write_bytes(b"")
    content = written.table(2).read_bytes()
    written.table(2).write_bytes(content[: len(content) // 2])
    dataset = read_lerobot(tmp_path)
    assert [e.index for e in dataset.episodes] == [1]
    first, second = _messages(dataset, "skipped")
    assert first == "chunk-000/episode_000000.parquet: the file is empty"
    assert "chunk-000/episode_000002.parquet: not a readable Parquet file" in second


def test_an_episode_number_that_was_not_renumbered_is_taken_from_the_file_name(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=3, num_frames=4)
    for i in range(3):
        written.change_column("episode_index", [0] * 4, episode=i)
    episodes = read_lerobot(tmp_path).episodes
    assert [e.index for e in episodes] == [0, 1, 2]
    np.testing.assert_array_equal(episodes[2].action, written.actions[2])


def test_frames_that_run_into_the_next_episode_leave_the_episode_out(tmp_path):
    write_lerobot(tmp_path, version="v3.0", num_episodes=2, num_frames=6)
    file = tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[1][f"videos/{CAMERA}/from_timestamp"] = 0.4
    pq.write_table(pa.Table.from_pylist(rows), file)
    dataset = read_lerobot(tmp_path)
    assert [e.index for e in dataset.episodes] == [1]
    (message,) = _messages(dataset, "skipped")
    assert "its frames 0 to 6" in message
    assert "episode 1, from 4" in message


def test_cameras_are_those_that_have_files(tmp_path):
    cameras = ["observation.images.top", "observation.images.wrist"]
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4, cameras=cameras)
    folder = written.video().parent.parent
    (folder / cameras[1]).rename(folder / "extra")
    dataset = read_lerobot(tmp_path)
    assert dataset.info.cameras == (cameras[0], "extra")
    assert _messages(dataset, "warning") == [
        "observation.images.wrist: declared in meta/info.json, but no episode has pictures of it",
        "extra: not declared in meta/info.json, but there are pictures of it; they are used",
    ]


def test_finds_videos_in_another_folder_than_the_metadata_says(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    folder = written.video().parent
    folder.rename(folder.parent / "top")
    shutil.move(tmp_path / "videos" / "chunk-000", tmp_path / "recordings")
    dataset = read_lerobot(tmp_path)
    assert dataset.info.cameras == (CAMERA,)
    assert dataset.episodes[1].videos[CAMERA].path.name == "episode_000001.mp4"


def test_a_missing_video_is_missing_in_its_episode_only(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=3, num_frames=4)
    written.video(1).unlink()
    dataset = read_lerobot(tmp_path)
    assert [CAMERA in e.videos for e in dataset.episodes] == [True, False, True]


def test_depth_cameras_are_left_out(tmp_path):
    cameras = ["observation.images.top", "observation.images.depth"]
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=4, cameras=cameras)
    features = written.info()["features"]
    features[cameras[1]]["info"]["video.is_depth_map"] = True
    written.change_info(features=features)
    dataset = read_lerobot(tmp_path)
    assert dataset.info.cameras == (cameras[0],)
    assert _messages(dataset, "note") == [f"{cameras[1]}: depth maps are not read as pictures"]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_pictures_in_tables_are_located_by_row(tmp_path, version):
    written = write_lerobot(
        tmp_path, version=version, num_episodes=2, num_frames=[3, 4], images_in_table=True
    )
    dataset = read_lerobot(tmp_path)
    assert dataset.findings == ()
    first = 3 if version == "v3.0" else 0
    assert dataset.episodes[1].videos == {
        CAMERA: ImageSpan(written.table(1), CAMERA, first, 4, tmp_path)
    }


def test_a_data_set_without_pictures_state_or_text_is_read(tmp_path):
    write_lerobot(tmp_path, num_episodes=2, num_frames=4, cameras=(), state_dim=0, instructions=())
    dataset = read_lerobot(tmp_path)
    assert dataset.info.cameras == ()
    assert dataset.info.state_names == ()
    assert dataset.episodes[0].state is None
    assert dataset.instructions == ()
    assert _messages(dataset, "warning") == [
        "instructions: 2 of 2 episodes have no instruction, as episode 0"
    ]


def test_works_without_features_in_the_metadata(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    written.change_info(features=None)
    dataset = read_lerobot(tmp_path)
    np.testing.assert_array_equal(dataset.episodes[1].action, written.actions[1])
    assert dataset.info.action_names == ("action_0", "action_1", "action_2")
    assert dataset.info.cameras == (CAMERA,)


# --- refusals: the message names the file and the cause -------------------------------------------


def test_refuses_a_missing_folder_and_a_file(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: not a folder"):
        open_dataset(tmp_path / "file")


def test_refuses_a_folder_without_info(tmp_path):
    with pytest.raises(DataError, match=r"info\.json: not found; a LeRobot data set has meta/"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'{"fps": 10,', "not valid JSON at line 1 column 12"),
        (b"[1, 2]", "expected a JSON object, got list"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
    ],
)
def test_refuses_a_broken_info_file(tmp_path, content, message):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3)
    (tmp_path / "meta" / "info.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path)
    assert caught.value.path == tmp_path / "meta" / "info.json"


@pytest.mark.parametrize("version", ["v1.6", "v4.0", None])
def test_refuses_an_unknown_version(tmp_path, version):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3).change_info(codebase_version=version)
    with pytest.raises(DataError, match=rf"codebase_version is {version!r}; readable are v2\.0"):
        open_dataset(tmp_path)


def test_takes_a_version_without_its_letter(tmp_path):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3).change_info(codebase_version="2.1")
    assert open_dataset(tmp_path).info.format == "LeRobot v2.1"


@pytest.mark.parametrize("fps", [0, -10, "10", True, None])
def test_refuses_an_unusable_rate(tmp_path, fps):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3).change_info(fps=fps)
    with pytest.raises(DataError, match="expected frames per second, a number above 0"):
        open_dataset(tmp_path)


def test_refuses_broken_task_lines_by_number(tmp_path):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3)
    (tmp_path / "meta" / "tasks.jsonl").write_text('{"task_index": 0, "task": "x"}\n{"task_in')
    with pytest.raises(DataError, match=r"tasks\.jsonl: not valid JSON at line 2"):
        open_dataset(tmp_path)


def test_refuses_a_broken_episode_table(tmp_path):
    write_lerobot(tmp_path, version="v3.0", num_episodes=1, num_frames=3)
    file = tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    file.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"file-000\.parquet: not a readable Parquet file"):
        open_dataset(tmp_path)


def test_refuses_a_data_set_without_tables(tmp_path):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(DataError, match=r"data: no \.parquet file, so no episode"):
        open_dataset(tmp_path)


def test_refuses_a_data_set_without_action(tmp_path):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3).change_column("action", None)
    with pytest.raises(DataError, match=r"no action column; the columns are .*task_index"):
        open_dataset(tmp_path)


def test_refuses_an_action_column_of_words(tmp_path):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3).change_column("action", ["a", "b", "c"])
    with pytest.raises(DataError, match="column 'action' holds string; expected numbers"):
        open_dataset(tmp_path)


def test_refuses_action_chunks(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=3)
    written.change_column("action", np.zeros((3, 30, 7)).tolist())
    with pytest.raises(
        DataError, match=r"episode_000000\.parquet: column 'action' holds list<.*ch"
    ):
        open_dataset(tmp_path)


def test_refuses_flattened_action_chunks_by_their_declared_shape(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=3, action_dim=14)
    features = written.info()["features"]
    features["action"]["shape"] = [2, 7]
    written.change_info(features=features)
    with pytest.raises(DataError, match=r"feature 'action' has shape \[2, 7\]: several vectors"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(("column", "role"), [("action", "action"), ("observation.state", "state")])
def test_refuses_another_dimension_in_one_episode_and_names_its_file(tmp_path, column, role):
    written = write_lerobot(tmp_path, num_episodes=4, num_frames=3, action_dim=2)
    written.change_column(column, np.zeros((3, 5)).tolist(), episode=2)
    with pytest.raises(
        DataError, match=f"{role} of episode 2 has 5 numbers per step; .* have 2"
    ) as e:
        open_dataset(tmp_path)
    assert e.value.path == written.table(2)


def test_refuses_another_dimension_within_a_table_and_names_the_row(tmp_path):
    written = write_lerobot(tmp_path, version="v3.0", num_episodes=2, num_frames=2)
    written.change_column("action", [[1.0, 2.0], [1.0, 2.0], [1.0], [1.0, 2.0]])
    with pytest.raises(DataError, match="'action' has 1 numbers in row 2, 2 in others"):
        open_dataset(tmp_path)


def test_refuses_a_table_that_lacks_the_action_of_the_others(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=3)
    written.change_column("action", None, episode=1)
    with pytest.raises(DataError, match=r"000001\.parquet: no column action, which the other"):
        open_dataset(tmp_path)


def test_refuses_a_shared_table_without_episode_numbers(tmp_path):
    write_lerobot(tmp_path, version="v3.0", num_episodes=2, num_frames=3).change_column(
        "episode_index", None
    )
    with pytest.raises(DataError, match="no column episode_index"):
        open_dataset(tmp_path)


def test_refuses_a_data_set_without_a_usable_episode_and_says_why(tmp_path):
    write_lerobot(tmp_path, num_episodes=2, num_frames=1)
    with pytest.raises(DataError, match=r"no usable episode: episode 0: 1 step.* \(and 1 more\)"):
        open_dataset(tmp_path)


# --- real data ------------------------------------------------------------------------------------


def test_cr5_reads_equal_from_v21_and_v30(samples_dir):
    old, new = (open_dataset(samples_dir / n) for n in ("cr5_small_v21", "cr5_small_v30"))
    assert old.findings == new.findings == ()
    assert len(old.episodes) == len(new.episodes) == 56
    assert sum(e.num_frames for e in old.episodes) == 13357
    assert old.instructions == new.instructions
    assert old.instructions == ("put the banana on the plate", "put the flash drive on the book")
    for a, b in zip(old.episodes, new.episodes, strict=True):
        assert (a.index, a.instruction) == (b.index, b.instruction)
        np.testing.assert_array_equal(a.action, b.action)
        np.testing.assert_array_equal(a.state, b.state)
        np.testing.assert_array_equal(a.time_s, b.time_s)


def test_cr5_reads_as_plain_pyarrow_does(samples_dir):
    root = samples_dir / "cr5_small_v21"
    dataset = open_dataset(root)
    tasks = [json.loads(line) for line in (root / "meta" / "tasks.jsonl").read_text().splitlines()]
    for index in (0, 17, 55):
        table = pq.read_table(root / "data" / "chunk-000" / f"episode_{index:06d}.parquet")
        rows = table.to_pylist()
        episode = dataset.episodes[index]
        action = np.array([row["action"] for row in rows], dtype=np.float32)
        state = np.array([row["observation.state"] for row in rows], dtype=np.float32)
        np.testing.assert_array_equal(episode.action, action)
        np.testing.assert_array_equal(episode.state, state)
        assert episode.instruction == tasks[rows[0]["task_index"]]["task"]


def test_gr00t_text_comes_from_the_task_and_not_from_the_quality_flag(samples_dir):
    dataset = open_dataset(samples_dir / "gr00t_sim_v20")
    assert dataset.info.format == "LeRobot v2.0"
    assert dataset.info.cameras == ("observation.images.ego_view",)
    assert len(dataset.instructions) == len(dataset.episodes) == 5
    assert all(text.startswith("pick the ") for text in dataset.instructions)
    assert dataset.episodes[0].action.shape == (416, 44)
    assert "the task 'valid' is no instruction" in " ".join(_messages(dataset, "note"))
    assert any("egoview: declared" in message for message in _messages(dataset, "warning"))


def test_irregular_timestamps_do_not_change_which_frame_belongs_to_a_step(samples_dir):
    dataset = open_dataset(samples_dir / "cr5_raw_v21")
    (message,) = _messages(dataset, "warning")
    assert "in 4 of 8 episodes" in message
    for episode in dataset.episodes:
        span = episode.videos[CAMERA]
        with av.open(str(span.path)) as container:
            frames = container.streams.video[0].frames
        assert (span.first_frame, span.num_frames) == (0, frames) == (0, episode.num_frames)
        np.testing.assert_allclose(np.diff(episode.time_s), 0.1)


def test_the_instructions_of_the_factory_are_two():
    assert len(set(INSTRUCTIONS)) == 2


# --- empty columns, and what pandas makes of missing numbers --------------------------------------


def _empty_column(written, name, rows, *, episode):
    written.change_column(name, pa.array(rows, pa.list_(pa.float32())), episode=episode)


@pytest.mark.parametrize("rows", [[None] * 4, [[]] * 4, [None, [], None, []]])
@pytest.mark.parametrize("episodes", [[1], [0, 1]])
def test_a_sensor_without_a_number_is_dropped(tmp_path, rows, episodes):
    sensors = {"observation.force": 3, "observation.effort": 2}
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4, sensors=sensors)
    for i in episodes:
        _empty_column(written, "observation.effort", rows, episode=i)
    dataset = read_lerobot(tmp_path)
    assert dataset.info.sensors == {"observation.force": 3}
    assert len(dataset.episodes) == 2
    (message,) = _messages(dataset, "warning")
    assert message.startswith("observation.effort: not of one width in every episode")


@pytest.mark.parametrize("name", ["action", "observation.state"])
@pytest.mark.parametrize("row", [None, []])
def test_an_action_or_state_without_a_number_is_a_clear_error(tmp_path, name, row):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    _empty_column(written, name, [row] * 4, episode=1)
    with pytest.raises(DataError, match=rf"000001\.parquet: column '{name}' is null or an empty"):
        read_lerobot(tmp_path)


@pytest.mark.parametrize("part", ["chunk_index", "file_index", "from_timestamp", "to_timestamp"])
def test_a_place_that_is_nan_means_that_the_episode_lacks_the_camera(tmp_path, part):
    write_lerobot(tmp_path, version="v3.0", num_episodes=3, num_frames=4)
    file = tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    rows = pq.read_table(file).to_pylist()
    for row in rows:  # one missing number makes floats of a column of integers
        for key in ("episode_index", "length", f"videos/{CAMERA}/chunk_index"):
            row[key] = float(row[key])
        row[f"videos/{CAMERA}/file_index"] = float(row[f"videos/{CAMERA}/file_index"])
    rows[1][f"videos/{CAMERA}/{part}"] = float("nan")
    pq.write_table(pa.Table.from_pylist(rows[::-1]), file)
    episodes = read_lerobot(tmp_path).episodes
    assert [set(e.videos) for e in episodes] == [{CAMERA}, set(), {CAMERA}]
    meta = read_lerobot_meta(tmp_path).episodes
    assert [(i, meta[i].length) for i in sorted(meta)] == [(0, 4), (1, 4), (2, 4)]


def test_a_length_that_is_no_whole_number_is_unknown(tmp_path):
    write_lerobot(tmp_path, version="v3.0", num_episodes=3, num_frames=4)
    file = tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    rows = pq.read_table(file).to_pylist()
    for row, length in zip(rows, (float("nan"), 4.0, 4.5), strict=True):
        row["length"] = length
    pq.write_table(pa.Table.from_pylist(rows), file)
    meta = read_lerobot_meta(tmp_path).episodes
    assert [meta[i].length for i in range(3)] == [None, 4, None]


# --- labels beside the official columns -----------------------------------------------------------

LABELS = {
    "goal": "put banana",
    "success": True,
    "split": "train",
    "factor/skill": "put",
    "factor/target": "",
    "other_instructions": ["lift it", "push it"],
}


def _label_episodes(folder, labels):
    """Adds columns to the episode table: name -> one value per episode, or a pyarrow array."""
    file = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(file)
    for name, values in labels.items():
        table = table.append_column(name, values if isinstance(values, pa.Array) else [values])
    pq.write_table(table, file)


def test_reads_the_labels_of_episodes(tmp_path):
    write_lerobot(tmp_path, version="v3.0", num_episodes=2, num_frames=3)
    _label_episodes(tmp_path, {name: [value, value] for name, value in LABELS.items()})
    dataset = read_lerobot(tmp_path)
    assert dataset.findings == ()
    for episode in dataset.episodes:
        assert (episode.goal, episode.success, episode.split) == ("put banana", True, "train")
        assert episode.factors == {"skill": "put"}
        assert episode.other_instructions == ("lift it", "push it")
    assert dataset.goals == ("put banana",)


def test_reads_the_labels_of_json_lines(tmp_path):
    write_lerobot(tmp_path, version="v2.1", num_episodes=2, num_frames=3)
    file = tmp_path / "meta" / "episodes.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1] |= LABELS
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    bare, labelled = read_lerobot(tmp_path).episodes
    assert (bare.goal, bare.success, bare.factors) == ("", None, {})
    assert (labelled.goal, labelled.success) == ("put banana", True)
    assert labelled.factors == {"skill": "put"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_data_set_without_labels_has_none(tmp_path, version):
    write_lerobot(tmp_path, version=version, num_episodes=2, num_frames=3)
    for episode in read_lerobot(tmp_path).episodes:
        assert (episode.goal, episode.success, episode.split) == ("", None, "")
        assert (episode.factors, episode.other_instructions) == ({}, ())


@pytest.mark.parametrize("name", list(LABELS))
@pytest.mark.parametrize(
    "values",
    [
        [None, None],
        [float("nan"), float("nan")],
        [3, 4],
        [b"\xff", b"put"],
        pa.nulls(2),
        [{"x": 1}, None],
        [[float("nan")], None],
        [["", None], []],
    ],
)
def test_a_malformed_label_counts_as_absent(tmp_path, name, values):
    write_lerobot(tmp_path, version="v3.0", num_episodes=2, num_frames=3)
    _label_episodes(tmp_path, {name: values})
    dataset = read_lerobot(tmp_path)
    assert dataset.findings == ()
    for episode in dataset.episodes:
        assert (episode.goal, episode.success, episode.split) == ("", None, "")
        assert (episode.factors, episode.other_instructions) == ({}, ())


@pytest.mark.parametrize("tasks", [[float("nan")] * 2, [None] * 2, [7, 8]])
def test_malformed_tasks_of_an_episode_count_as_none(tmp_path, tasks):
    write_lerobot(tmp_path, version="v3.0", num_episodes=2, num_frames=3)
    file = tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    pq.write_table(pq.read_table(file).drop_columns("tasks").append_column("tasks", [tasks]), file)
    assert [meta.tasks for meta in read_lerobot_meta(tmp_path).episodes.values()] == [(), ()]
    assert [episode.instruction for episode in read_lerobot(tmp_path).episodes] != ["", ""]
