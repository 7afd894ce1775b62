import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointspace.data.lerobot import read_lerobot
from jointspace.data.lerobot_text import is_flag
from tests.factories import write_lerobot


def _write_tasks(path, texts):
    lines = [json.dumps({"task_index": i, "task": text}) for i, text in enumerate(texts)]
    (path / "meta" / "tasks.jsonl").write_text("\n".join(lines), encoding="utf-8")


def _texts(path):
    return [episode.instruction for episode in read_lerobot(path).episodes]


@pytest.mark.parametrize("text", ["valid", "Valid.", " N/A ", "3", "success"])
def test_marks_of_quality_are_flags(text):
    assert is_flag(text)


@pytest.mark.parametrize("text", ["validate the part", "pick 3 cubes", "", "öffne die Tür"])
def test_sentences_and_nothing_are_no_flags(text):
    assert not is_flag(text)


@pytest.mark.parametrize("column", ["__index_level_0__", "task", "index"])
def test_v3_tasks_are_read_under_any_name_of_their_column(tmp_path, column):
    written = write_lerobot(tmp_path, version="v3.0", num_episodes=2, num_frames=3)
    file = tmp_path / "meta" / "tasks.parquet"
    table = pq.read_table(file)
    pq.write_table(table.rename_columns(["task_index", column]), file)
    assert _texts(tmp_path) == list(written.instructions)


def test_a_flag_is_passed_over_for_the_text_that_the_metadata_lists(tmp_path):
    write_lerobot(tmp_path, num_episodes=1, num_frames=3)
    _write_tasks(tmp_path, ["valid", "valid"])
    row = {"episode_index": 0, "tasks": ["valid", "open the drawer"], "length": 3}
    (tmp_path / "meta" / "episodes.jsonl").write_text(json.dumps(row))
    assert _texts(tmp_path) == ["open the drawer"]


def test_an_annotation_stands_in_for_a_flag(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=3)
    _write_tasks(tmp_path, ["good", "close the lid"])
    written.change_column("task_index", [0, 0, 0])
    written.change_column("annotation.human.action.task_description", [1, 1, 1])
    assert _texts(tmp_path) == ["close the lid"]


def test_a_text_column_in_the_table_comes_first(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=3)
    written.change_column("language_instruction", ["wipe the table"] * 3)
    assert _texts(tmp_path) == ["wipe the table"]


def test_an_index_without_a_text_leaves_the_episode_without_instruction(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=3)
    written.change_column("task_index", [7, 7, 7], episode=0)
    (tmp_path / "meta" / "episodes.jsonl").unlink()
    dataset = read_lerobot(tmp_path)
    assert dataset.episodes[0].instruction == ""
    assert dataset.episodes[1].instruction == written.instructions[1]
    assert "1 of 2 episodes have no instruction" in str(dataset.findings[0])


def test_an_instruction_that_changes_within_an_episode_is_reported(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=2, num_frames=4)
    written.change_column("task_index", [1, 1, 0, 0], episode=0)
    dataset = read_lerobot(tmp_path)
    assert dataset.episodes[0].instruction == dataset.instructions[1]
    assert "episode 0: the instruction changes within it" in str(dataset.findings[0])


def test_long_and_unicode_instructions_are_kept_whole_and_named(tmp_path):
    long = "put it there " * 800
    foreign = "把杯子放在桌子上, żółta łyżka"
    write_lerobot(tmp_path, num_episodes=3, num_frames=3, instructions=[long, foreign, " a  b "])
    dataset = read_lerobot(tmp_path)
    assert [e.instruction for e in dataset.episodes] == [long.strip(), foreign, "a  b"]
    notes = [str(f) for f in dataset.findings]
    assert any("10,399 characters" in note for note in notes)
    assert any("beyond ASCII" in note and "把杯子" in note for note in notes)


def test_a_text_that_is_no_string_is_no_instruction(tmp_path):
    write_lerobot(tmp_path, version="v3.0", num_episodes=1, num_frames=3)
    pq.write_table(pa.table({"task_index": [0]}), tmp_path / "meta" / "tasks.parquet")
    row = pq.read_table(tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    rows = [r | {"tasks": ["lift the lid"]} for r in row.to_pylist()]
    pq.write_table(
        pa.Table.from_pylist(rows),
        tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet",
    )
    assert _texts(tmp_path) == ["lift the lid"]
