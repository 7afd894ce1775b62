"""Compares what is written with a data set that the official converter wrote."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointspace.data.lerobot_write import EpisodeRecord, WriteLayout, finish_dataset, write_block
from jointspace.data.open import open_dataset

LABELS = {"goal", "success", "split", "other_instructions", "factor/skill"}
OWN_STATS = {"q01", "q10", "q50", "q90", "q99"}
"""Statistics that the official recorder writes and the older converter did not."""


@pytest.fixture(scope="module")
def official(samples_dir):
    return samples_dir / "cr5_small_v30"


@pytest.fixture(scope="module")
def written(official, tmp_path_factory):
    """The first steps of the official data set's first and last episodes, written anew."""
    folder = tmp_path_factory.mktemp("written")
    dataset = open_dataset(official)
    features = json.loads((official / "meta" / "info.json").read_text())["features"]
    height_px, width_px, _ = features["observation.images.top"]["shape"]
    layout = WriteLayout(
        fps=10,
        robot_type=dataset.info.robot_type,
        action_names=dataset.info.action_names,
        state_names=dataset.info.state_names,
        cameras=("top",),
        height_px=height_px,
        width_px=width_px,
    )
    for block, episode in enumerate((dataset.episodes[0], dataset.episodes[-1])):
        record = EpisodeRecord(
            instruction=episode.instruction,
            action=episode.action[:4],
            state=episode.state[:4],
            pictures={"top": np.full((4, height_px, width_px, 3), 90 + block, dtype=np.uint8)},
            factors={"skill": "put"},
        )
        write_block(folder, [record], layout=layout, block=block, first_episode=block)
    finish_dataset(folder, layout=layout, num_blocks=2, manifest={})
    return folder


def _info(folder):
    return json.loads((folder / "meta" / "info.json").read_text())


def _plain(kind):
    """The type of a column, apart from the length of a list and the names of its parts."""
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return ["list", _plain(kind.value_type)]
    return "string" if pa.types.is_large_string(kind) else str(kind)


def _columns(file):
    return {field.name: _plain(field.type) for field in pq.read_schema(file)}


def test_files_lie_where_the_official_ones_lie(official, written):
    def kinds(folder):
        files = (file for file in folder.rglob("*") if file.is_file())
        return {str(f.relative_to(folder)) for f in files if not f.name.startswith("file-00")}

    assert kinds(written) == kinds(official) | {"meta/simulation.json"}
    for place in ("data", "meta/episodes", "videos/observation.images.top"):
        for folder in (official, written):
            assert list((folder / place / "chunk-000").glob("file-000.*"))


def test_info_has_the_keys_and_types_of_the_official_one(official, written):
    ours, theirs = _info(written), _info(official)
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        assert type(ours[key]) is type(value), key
    for key in ("codebase_version", "chunks_size", "fps", "data_path", "video_path", "robot_type"):
        assert ours[key] == theirs[key]


def test_features_are_declared_like_the_official_ones(official, written):
    ours, theirs = _info(written)["features"], _info(official)["features"]
    assert list(ours) == list(theirs)
    for name, feature in theirs.items():
        for key in ("dtype", "shape"):
            assert ours[name][key] == feature[key], name
    for name in ("action", "observation.state", "timestamp", "index"):
        assert ours[name]["names"] == theirs[name]["names"]
    video = ours["observation.images.top"]["info"]
    for key, value in theirs["observation.images.top"]["info"].items():
        key = "is_depth_map" if key == "video.is_depth_map" else key  # renamed since  # noqa: PLW2901
        assert video[key] == value, key


def test_steps_have_the_official_columns(official, written):
    file = "data/chunk-000/file-000.parquet"
    assert _columns(written / file) == _columns(official / file)
    ours, theirs = (pq.read_table(folder / file).slice(0, 4) for folder in (written, official))
    for name in theirs.column_names:
        assert ours[name].to_pylist() == theirs[name].to_pylist(), name


def test_every_episode_has_a_row_group_of_its_own(written):
    meta = pq.ParquetFile(written / "data" / "chunk-000" / "file-001.parquet").metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [4]


def test_episodes_have_the_official_columns_and_our_labels(official, written):
    file = "meta/episodes/chunk-000/file-000.parquet"
    ours, theirs = _columns(written / file), _columns(official / file)
    quantiles = {name for name in ours if name.rsplit("/", 1)[-1] in OWN_STATS}
    assert len(quantiles) == 8 * len(OWN_STATS)
    assert set(ours) - quantiles - LABELS == set(theirs)
    assert {name: ours[name] for name in theirs} == theirs
    assert ours["goal"] == ours["split"] == ours["factor/skill"] == "string"
    assert ours["success"] == "bool"
    assert ours["other_instructions"] == ["list", "string"]


def test_the_text_of_a_task_is_the_index_as_in_the_official_table(official, written):
    for folder, name in ((official, "__index_level_0__"), (written, "task")):
        schema = pq.read_schema(folder / "meta" / "tasks.parquet")
        assert schema.names == ["task_index", name]
        assert _plain(schema.field(name).type) == "string"
        assert json.loads(schema.metadata[b"pandas"])["index_columns"] == [name]


def test_statistics_are_nested_like_the_official_ones(official, written):
    ours, theirs = (
        json.loads((folder / "meta" / "stats.json").read_text()) for folder in (written, official)
    )
    assert set(ours) == set(theirs)
    for feature, stats in theirs.items():
        assert set(ours[feature]) == set(stats) | OWN_STATS
        for name, value in stats.items():
            found = ours[feature][name]
            assert np.shape(found) == np.shape(value), (feature, name)
            assert np.asarray(found).dtype == np.asarray(value).dtype, (feature, name)


def test_statistics_of_an_episode_agree_with_the_official_ones(official, tmp_path):
    """The converter's own numbers for a whole episode, apart from the rounding to float32."""
    (episode, *_) = open_dataset(official).episodes
    layout = WriteLayout(
        fps=10,
        robot_type="",
        action_names=open_dataset(official).info.action_names,
        state_names=open_dataset(official).info.state_names,
        cameras=(),
        height_px=16,
        width_px=16,
    )
    record = EpisodeRecord(
        instruction=episode.instruction, action=episode.action, state=episode.state, pictures={}
    )
    write_block(tmp_path, [record], layout=layout, block=0, first_episode=0)
    finish_dataset(tmp_path, layout=layout, num_blocks=1, manifest={})
    file = "meta/episodes/chunk-000/file-000.parquet"
    (ours,) = pq.read_table(tmp_path / file).to_pylist()
    theirs = pq.read_table(official / file).slice(0, 1).to_pylist()[0]
    names = [n for n in theirs if n.startswith("stats/") and "images" not in n]
    assert len(names) == 7 * 5
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-7, err_msg=name)
