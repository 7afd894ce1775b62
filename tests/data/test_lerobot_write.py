import json
import math
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointspace.data import lerobot_write, lerobot_write_meta
from jointspace.data.decode import decode_video
from jointspace.data.inspect import inspect_dataset
from jointspace.data.lerobot_write import (
    EpisodeRecord,
    WriteLayout,
    finish_dataset,
    finished_blocks,
    write_block,
)
from jointspace.data.open import open_dataset
from jointspace.errors import DataError, InputError, MissingExtraError, StorageError

HEIGHT_PX, WIDTH_PX = 32, 48
CAMERAS = ("front", "wrist")
LENGTHS = (5, 3, 12, 4)
BLOCKS = (range(3), range(3, 4))


def _layout(**changes):
    values = {
        "fps": 10,
        "robot_type": "arm",
        "action_names": ("dx", "dy", "grip"),
        "state_names": ("x", "y"),
        "cameras": CAMERAS,
        "height_px": HEIGHT_PX,
        "width_px": WIDTH_PX,
    }
    return WriteLayout(**values | changes)


def _pictures(rng, length):
    """A dim gradient on which a bright square of its own colour moves, each episode differently."""
    ramp = np.linspace(40, 90, WIDTH_PX)[None, :, None] * np.ones((HEIGHT_PX, 1, 3))
    pictures = np.repeat(ramp[None], length, axis=0).astype(np.uint8)
    colour = rng.integers(0, 256, size=3)
    for i in range(length):
        x, y = (i * 2) % (WIDTH_PX - 12), int(rng.integers(0, 10)) * 2
        pictures[i, y : y + 12, x : x + 12] = colour
    return pictures


def _record(number, **changes):
    rng = np.random.default_rng(number)
    length = LENGTHS[number]
    values = {
        "instruction": f"push the red block to the {('left', 'right', 'left', 'back')[number]}",
        "action": rng.normal(size=(length, 3)).astype(np.float32),
        "state": rng.normal(size=(length, 2)).astype(np.float32),
        "pictures": {camera: _pictures(rng, length) for camera in CAMERAS},
        "goal": ("push left", "push right", "push left", "")[number],
        "success": (True, False, None, True)[number],
        "split": ("train", "train", "test", "unseen")[number],
        "factors": {"skill": "push", "colour": "red"} if number else {"direction": "left"},
        "other_instructions": (("lift the ball", "press the über-button"), (), ("x y",), ())[
            number
        ],
    }
    return EpisodeRecord(**values | changes)


def _write(folder, *, order=(0, 1), layout=None):
    layout = layout or _layout()
    for block in order:
        numbers = BLOCKS[block]
        records = (_record(number) for number in numbers)
        write_block(folder, records, layout=layout, block=block, first_episode=numbers.start)


def _finish(folder, **changes):
    values = {"layout": _layout(), "num_blocks": 2, "manifest": {"seed": 7}}
    finish_dataset(folder, **values | changes)


def _contents(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "set"
    _write(folder)
    _finish(folder)
    return folder


# --- what is written reads back -------------------------------------------------------------------


def test_numbers_and_labels_read_back_bit_equal(written):
    dataset = open_dataset(written)
    assert dataset.findings == ()
    assert dataset.info.format == "LeRobot v3.0"
    assert dataset.info.robot_type == "arm"
    assert dataset.info.fps == 10
    assert dataset.info.action_names == ("dx", "dy", "grip")
    assert dataset.info.state_names == ("x", "y")
    assert dataset.info.cameras == ("observation.images.front", "observation.images.wrist")
    assert [episode.index for episode in dataset.episodes] == [0, 1, 2, 3]
    for episode in dataset.episodes:
        record = _record(episode.index)
        np.testing.assert_array_equal(episode.action, record.action)
        np.testing.assert_array_equal(episode.state, record.state)
        for name in ("instruction", "goal", "success", "split", "factors", "other_instructions"):
            assert getattr(episode, name) == getattr(record, name), name


def test_every_step_has_its_picture(written):
    for episode in open_dataset(written).episodes:
        for camera in CAMERAS:
            span = episode.videos[f"observation.images.{camera}"]
            frames = np.stack(list(decode_video(span.path)))
            found = frames[span.first_frame : span.first_frame + span.num_frames].astype(float)
            wanted = _record(episode.index).pictures[camera].astype(float)
            assert found.shape == wanted.shape
            for i in range(len(wanted)):
                apart = np.mean((found[i] - wanted) ** 2, axis=(1, 2, 3))
                assert 10 * math.log10(255**2 / apart[i]) > 32
                assert apart[i] == apart.min()


def test_a_file_holds_the_frames_of_its_episodes_and_no_more(written):
    for camera in CAMERAS:
        folder = written / "videos" / f"observation.images.{camera}" / "chunk-000"
        counts = [len(list(decode_video(file))) for file in sorted(folder.iterdir())]
        assert counts == [sum(LENGTHS[:3]), LENGTHS[3]]


def test_inspection_finds_nothing_wrong(written):
    found = inspect_dataset(written)
    assert found.findings == ()
    assert (found.num_episodes, found.num_frames) == (4, sum(LENGTHS))


def test_info_names_totals_splits_and_tasks(written):
    info = json.loads((written / "meta" / "info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (4, 24, 3)
    assert info["splits"] == {"train": "0:2", "test": "2:3", "unseen": "3:4"}
    assert json.loads((written / "meta" / "simulation.json").read_text()) == {"seed": 7}


def test_rows_count_through_all_files_and_point_to_their_task(written):
    tables = [pq.read_table(file) for file in sorted((written / "data").rglob("*.parquet"))]
    assert [len(table) for table in tables] == [20, 4]
    rows = pa.concat_tables(tables)
    assert rows["index"].to_pylist() == list(range(24))
    assert rows["frame_index"].to_pylist() == [i for n in LENGTHS for i in range(n)]
    numbers = rows["episode_index"].to_pylist()
    assert numbers == [e for e, n in enumerate(LENGTHS) for _ in range(n)]
    tasks = pq.read_table(written / "meta" / "tasks.parquet").to_pylist()
    texts = {task["task_index"]: task["task"] for task in tasks}
    assert len(texts) == 3
    for number, task in zip(numbers, rows["task_index"].to_pylist(), strict=True):
        assert texts[task] == _record(number).instruction


def test_places_of_episodes_join_without_a_gap(written):
    rows = pq.read_table(written / "meta" / "episodes").to_pylist()
    assert [(r["dataset_from_index"], r["dataset_to_index"]) for r in rows] == [
        (0, 5),
        (5, 8),
        (8, 20),
        (20, 24),
    ]
    key = "videos/observation.images.wrist"
    assert [(r[f"{key}/file_index"], r[f"{key}/from_timestamp"]) for r in rows] == [
        (0, 0.0),
        (0, 0.5),
        (0, 0.8),
        (1, 0.0),
    ]
    assert [r[f"{key}/to_timestamp"] for r in rows] == [0.5, 0.8, 2.0, 0.4]


def test_the_table_of_tasks_has_the_text_as_the_index_of_a_pandas_frame(written):
    schema = pq.read_schema(written / "meta" / "tasks.parquet")
    assert json.loads(schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_a_data_set_without_cameras_and_labels_is_written(tmp_path):
    layout = _layout(cameras=())
    bare = EpisodeRecord(
        instruction="go home", action=_record(0).action, state=_record(0).state, pictures={}
    )
    write_block(tmp_path, [bare], layout=layout, block=0, first_episode=0)
    _finish(tmp_path, layout=layout, num_blocks=1)
    (episode,) = open_dataset(tmp_path).episodes
    assert (episode.goal, episode.success, episode.split) == ("", None, "")
    assert (dict(episode.factors), episode.other_instructions) == ({}, ())
    assert not episode.videos
    assert json.loads((tmp_path / "meta" / "info.json").read_text())["splits"] == {"train": "0:1"}


def test_a_factor_that_does_not_apply_reads_as_absent(tmp_path):
    record = _record(0, factors={"skill": "push", "target": ""})
    write_block(tmp_path, [record], layout=_layout(), block=0, first_episode=0)
    _finish(tmp_path, num_blocks=1)
    assert open_dataset(tmp_path).episodes[0].factors == {"skill": "push"}


def test_a_folder_of_files_that_is_full_is_followed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_write_meta, "CHUNK_FILES", 2)
    for block in range(3):
        write_block(tmp_path, [_record(block)], layout=_layout(), block=block, first_episode=block)
    _finish(tmp_path, num_blocks=3)
    found = [name for name in _contents(tmp_path) if name.startswith(("data", "videos"))]
    assert found == [
        f"{start}chunk-{chunk}{end}"
        for start, suffix in (
            ("data/", "parquet"),
            ("videos/observation.images.front/", "mp4"),
            ("videos/observation.images.wrist/", "mp4"),
        )
        for chunk, end in (
            ("000", f"/file-000.{suffix}"),
            ("000", f"/file-001.{suffix}"),
            ("001", f"/file-000.{suffix}"),
        )
    ]
    assert json.loads((tmp_path / "meta" / "info.json").read_text())["chunks_size"] == 2
    assert inspect_dataset(tmp_path).findings == ()


# --- the same bytes, whatever happens -------------------------------------------------------------


def test_the_order_of_blocks_leaves_no_trace(written, tmp_path):
    _write(tmp_path, order=(1, 0))
    _finish(tmp_path)
    assert _contents(tmp_path) == _contents(written)


def test_nothing_but_the_data_set_is_left(written):
    assert sorted(_contents(written)) == [
        "data/chunk-000/file-000.parquet",
        "data/chunk-000/file-001.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/simulation.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "videos/observation.images.front/chunk-000/file-000.mp4",
        "videos/observation.images.front/chunk-000/file-001.mp4",
        "videos/observation.images.wrist/chunk-000/file-000.mp4",
        "videos/observation.images.wrist/chunk-000/file-001.mp4",
    ]


def _interrupted(numbers):
    for number in numbers:
        yield _record(number)
    raise KeyboardInterrupt


def test_an_interrupted_block_does_not_count_and_is_written_again(written, tmp_path):
    _write(tmp_path, order=(1,))
    with pytest.raises(KeyboardInterrupt):
        write_block(tmp_path, _interrupted([0, 1]), layout=_layout(), block=0, first_episode=0)
    assert finished_blocks(tmp_path) == {1}
    with pytest.raises(DataError, match="block 0 is not there; write it before finishing"):
        _finish(tmp_path)
    _write(tmp_path, order=(0,))
    assert finished_blocks(tmp_path) == {0, 1}
    _finish(tmp_path)
    assert _contents(tmp_path) == _contents(written)


def test_a_block_whose_rewriting_is_interrupted_no_longer_counts(tmp_path):
    _write(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_block(tmp_path, _interrupted([0]), layout=_layout(), block=0, first_episode=0)
    assert finished_blocks(tmp_path) == {1}


def test_a_block_counts_only_once_its_videos_are_there(tmp_path, monkeypatch):
    names = []
    write_whole = lerobot_write.write_whole

    def fail_at_second(path, content):
        names.append(path.name)
        if len(names) == 2:
            raise StorageError("disk full")
        write_whole(path, content)

    monkeypatch.setattr(lerobot_write, "write_whole", fail_at_second)
    with pytest.raises(StorageError, match="disk full"):
        _write(tmp_path, order=(0,))
    assert names == ["file-000.mp4", "file-000.mp4"]
    assert finished_blocks(tmp_path) == set()


@pytest.mark.parametrize("cut", [0, 100, -10])
def test_a_damaged_block_does_not_count(tmp_path, cut):
    _write(tmp_path)
    file = tmp_path / ".blocks" / "000001.npz"
    file.write_bytes(file.read_bytes()[:cut])
    assert finished_blocks(tmp_path) == {0}
    with pytest.raises(DataError, match=r"000001\.npz: cannot be read"):
        _finish(tmp_path)


@pytest.mark.parametrize("stop_at", ["file-001.parquet", "tasks.parquet", "info.json"])
def test_finishing_is_continued_after_an_interruption(written, tmp_path, monkeypatch, stop_at):
    _write(tmp_path)
    write_whole = lerobot_write.write_whole

    def stop(path, content):
        if path.name == stop_at:
            raise KeyboardInterrupt
        write_whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(lerobot_write, "write_whole", stop)
        with pytest.raises(KeyboardInterrupt):
            _finish(tmp_path)
    assert not (tmp_path / "meta" / "info.json").exists()
    assert finished_blocks(tmp_path) == {0, 1}
    _finish(tmp_path)
    assert _contents(tmp_path) == _contents(written)


def test_what_is_left_of_the_blocks_is_cleared_away(written, tmp_path, monkeypatch):
    _write(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(lerobot_write.shutil, "rmtree", lambda _: (_ for _ in ()).throw(OSError("x")))
        with pytest.raises(StorageError, match=r"\.blocks: could not be removed"):
            _finish(tmp_path)
    (tmp_path / ".blocks" / "000000.npz").unlink()
    _finish(tmp_path)
    assert _contents(tmp_path) == _contents(written)


# --- refusals -------------------------------------------------------------------------------------


def _changed(name, change):
    return _record(1, **{name: change(getattr(_record(1), name))})


def _with_nan(values):
    values = values.copy()
    values[2, 1] = np.nan
    return values


def _cut(pictures):
    return {**pictures, "wrist": pictures["wrist"][:-1]}


REFUSED = {
    "nan": (_changed("action", _with_nan), "action is NaN or infinite in step 2; expected finite"),
    "infinite": (
        _changed("state", lambda s: s + np.float32(np.inf)),
        "state is NaN or infinite in step 0",
    ),
    "action dimension": (
        _changed("action", lambda a: a[:, :2]),
        r"action is float32 of shape \(3, 2\), expected float32 of shape \(3, 3\)",
    ),
    "action of one axis": (_changed("action", lambda a: a[:, 0]), r"action is .*\(3,\), expected"),
    "action type": (
        _changed("action", lambda a: a.astype(np.float64)),
        r"action is float64 of shape \(3, 3\), expected float32",
    ),
    "state length": (
        _changed("state", lambda s: s[:-1]),
        r"state is float32 of shape \(2, 2\), expected float32 of shape \(3, 2\)",
    ),
    "pictures' length": (
        _changed("pictures", _cut),
        r"pictures of 'wrist' is uint8 of shape \(2, .*expected uint8 of shape \(3, ",
    ),
    "pictures' type": (
        _changed("pictures", lambda p: {c: v.astype(np.float32) for c, v in p.items()}),
        r"pictures of 'front' is float32 of shape \(3, 32, 48, 3\), expected uint8",
    ),
    "pictures' size": (
        _changed("pictures", lambda p: {c: v[:, :30] for c, v in p.items()}),
        r"pictures of 'front' is uint8 of shape \(3, 30, 48, 3\), .*\(3, 32, 48, 3\)",
    ),
    "missing camera": (
        _changed("pictures", lambda p: {"front": p["front"]}),
        r"pictures of \['front'\], expected those of the layout's cameras \['front', 'wrist'\]",
    ),
    "no steps": (
        _record(
            1,
            action=np.zeros((0, 3), np.float32),
            state=np.zeros((0, 2), np.float32),
            pictures={c: np.zeros((0, HEIGHT_PX, WIDTH_PX, 3), np.uint8) for c in CAMERAS},
        ),
        "0 steps, expected at least 2",
    ),
    "no instruction": (_record(1, instruction=""), "the instruction is '', expected a sentence"),
    "a flag": (_record(1, instruction="test"), "the instruction is 'test', expected a sentence"),
    "spaces": (_record(1, instruction="go "), "the instruction is 'go ', expected a sentence"),
    "empty other": (_record(1, other_instructions=("",)), "one of other_instructions is empty"),
    "nameless factor": (_record(1, factors={"": "red"}), "a factor has no name, only 'red'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_an_episode_that_would_not_read_back(tmp_path, case):
    record, message = REFUSED[case]
    with pytest.raises(InputError, match=f"episode 31: {message}"):
        write_block(tmp_path, [_record(0), record], layout=_layout(), block=0, first_episode=30)
    assert _contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height_px": 63}, "height_px: got 63, expected an even number of at least 16; h264"),
        ({"width_px": 97}, "width_px: got 97, expected an even number"),
        ({"width_px": 2}, "width_px: got 2, expected an even number of at least 16"),
        ({"fps": 0}, "fps: got 0, expected a whole number of at least 1"),
        ({"action_names": ()}, r"action_names: got \[\], expected distinct names, at least 1"),
        ({"state_names": ("x", "x")}, r"state_names: got \['x', 'x'\], expected distinct names"),
        ({"cameras": ("a", "a")}, r"cameras: got \['a', 'a'\], expected distinct names"),
        ({"cameras": ("../a",)}, r"cameras: got \['../a'\], expected distinct names of letters"),
    ],
)
def test_refuses_a_layout_that_the_format_cannot_hold(changes, message):
    with pytest.raises(InputError, match=message):
        _layout(**changes)


def test_refuses_a_block_without_episodes_and_numbers_below_zero(tmp_path):
    with pytest.raises(InputError, match="block 3: no episodes, expected at least one"):
        write_block(tmp_path, [], layout=_layout(), block=3, first_episode=0)
    with pytest.raises(InputError, match="block -1, first_episode 0: expected numbers from 0 on"):
        write_block(tmp_path, [_record(0)], layout=_layout(), block=-1, first_episode=0)
    with pytest.raises(InputError, match="num_blocks: got 0, expected at least 1"):
        _finish(tmp_path, num_blocks=0)


def test_refuses_to_finish_what_does_not_fit_together(tmp_path):
    _write(tmp_path)
    with pytest.raises(InputError, match=r"has \(4, 2, 2\) .* episode 0 was written with \(3, 2,"):
        _finish(tmp_path, layout=_layout(action_names=("a", "b", "c", "d")))
    write_block(tmp_path, [_record(3)], layout=_layout(), block=1, first_episode=8)
    with pytest.raises(DataError, match="begins with episode 8; the blocks before hold 3"):
        _finish(tmp_path)
    _write(tmp_path)
    missing = next(Path(tmp_path).rglob("observation.images.wrist/chunk-000/file-001.mp4"))
    missing.unlink()
    with pytest.raises(DataError, match=r"file-001\.mp4: no such file, although block 1"):
        _finish(tmp_path)


def test_refuses_a_split_in_two_pieces(tmp_path):
    layout = _layout(cameras=())
    records = [_record(0, split=name, pictures={}) for name in ("train", "test", "train")]
    write_block(tmp_path, records, layout=layout, block=0, first_episode=0)
    with pytest.raises(InputError, match="split 'train': its episodes from 0 to 2 are interrupted"):
        _finish(tmp_path, layout=layout, num_blocks=1)


def test_says_which_extra_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[video\]'"):
        _write(tmp_path)
