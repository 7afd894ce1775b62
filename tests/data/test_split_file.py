import json
from dataclasses import replace

import numpy as np
import pytest

from jointspace.config import DataConfig
from jointspace.data.open import open_dataset
from jointspace.data.split_file import load_splits, save_splits
from jointspace.data.splits import Splits, split_dataset
from jointspace.errors import DataError, RunFolderError
from tests.data.memory_dataset import make_dataset, make_episode


def test_stored_splits_hold_for_a_data_set_that_was_read_again(tmp_path):
    dataset = make_dataset([make_episode(i, num_frames=8 + i) for i in range(10, 30)])
    splits = split_dataset(dataset, config=DataConfig())
    save_splits(tmp_path / "splits.json", splits, dataset)
    assert load_splits(tmp_path / "splits.json", dataset) == splits
    broken = dataset.episodes[splits.test[0]].index
    fewer = replace(dataset, episodes=tuple(e for e in dataset.episodes if e.index != broken))
    again = load_splits(tmp_path / "splits.json", fewer)
    assert [fewer.episodes[p].index for p in again.test] == [
        dataset.episodes[p].index for p in splits.test[1:]
    ]
    assert len(again.train) == len(splits.train)


def test_another_data_set_is_refused(tmp_path):
    dataset = make_dataset([make_episode(i) for i in range(10)])
    save_splits(tmp_path / "splits.json", split_dataset(dataset, config=DataConfig()), dataset)
    longer = make_dataset([make_episode(i, num_frames=13) for i in range(10)])
    with pytest.raises(DataError, match="episode 0 has 13 steps, but 12 in the data set"):
        load_splits(tmp_path / "splits.json", longer)
    others = make_dataset([make_episode(i) for i in range(20, 30)])
    with pytest.raises(DataError, match="none of the 7 train episodes"):
        load_splits(tmp_path / "splits.json", others)


@pytest.mark.parametrize("changed", ["action", "state"])
def test_another_data_set_of_equal_lengths_is_refused(tmp_path, changed):
    state = np.ones((12, 2), dtype=np.float32)
    dataset = make_dataset([make_episode(i, state=state) for i in range(10)], state_dim=2)
    path = tmp_path / "splits.json"
    save_splits(path, split_dataset(dataset, config=DataConfig()), dataset)
    values = getattr(dataset.episodes[6], changed).copy()
    values[3, 1] += 1
    altered = replace(dataset.episodes[6], **{changed: values})
    others = replace(dataset, episodes=(*dataset.episodes[:6], altered, *dataset.episodes[7:]))
    with pytest.raises(DataError, match=r"episode 6 has other actions .*; this is another data"):
        load_splits(path, others)


def test_missing_episodes_are_refused_only_where_training_goes_on(tmp_path):
    dataset = make_dataset([make_episode(i) for i in range(40)])
    splits = split_dataset(dataset, config=DataConfig())
    path = tmp_path / "splits.json"
    save_splits(path, splits, dataset)

    def without(*gone):
        return replace(dataset, episodes=tuple(e for e in dataset.episodes if e.index not in gone))

    assert load_splits(path, dataset, to_train=True) == splits
    load_splits(path, without(splits.test[0]), to_train=True)
    gone = sorted([splits.train[2], splits.validation[0]])
    load_splits(path, without(*gone))
    with pytest.raises(DataError, match=rf"2 of the .* usable: {gone[0]}, {gone[1]}; the run"):
        load_splits(path, without(*gone), to_train=True)
    with pytest.raises(DataError, match=r"25 of the .* and 5 more; the run cannot be continued"):
        load_splits(path, without(*splits.train[:25]), to_train=True)


def test_splits_of_one_format_hold_for_the_other(samples_dir, tmp_path):
    old = open_dataset(samples_dir / "cr5_small_v21")
    new = open_dataset(samples_dir / "cr5_small_v30")
    splits = split_dataset(old, config=DataConfig())
    save_splits(tmp_path / "splits.json", splits, old)
    assert load_splits(tmp_path / "splits.json", new, to_train=True) == splits


def test_a_splits_file_of_another_version_is_refused(tmp_path):
    dataset = make_dataset([make_episode(i) for i in range(10)])
    path = tmp_path / "splits.json"
    save_splits(path, split_dataset(dataset, config=DataConfig()), dataset)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(RunFolderError, match="format version 99, this jointspace reads 3"):
        load_splits(path, dataset)


def test_further_test_splits_are_stored_and_hold_for_fewer_episodes(tmp_path):
    dataset = make_dataset([make_episode(i) for i in range(10, 20)])
    splits = Splits((0, 1, 5), (2,), (), {"unseen_words": (3, 9), "unseen_shapes": (4,)})
    path = tmp_path / "splits.json"
    save_splits(path, splits, dataset)
    assert json.loads(path.read_text())["others"] == {
        "unseen_words": [13, 19],
        "unseen_shapes": [14],
    }
    assert load_splits(path, dataset, to_train=True) == splits
    fewer = replace(dataset, episodes=dataset.episodes[1:9])
    assert load_splits(path, fewer) == Splits(
        (0, 4), (1,), (), {"unseen_words": (2,), "unseen_shapes": (3,)}
    )
    without = replace(dataset, episodes=dataset.episodes[:4])
    with pytest.raises(DataError, match=r"none of the 1 unseen_shapes episodes of .* is in it"):
        load_splits(path, without)


def test_a_file_of_version_2_is_read_and_has_no_further_splits(tmp_path):
    dataset = make_dataset([make_episode(i) for i in range(10)])
    splits = split_dataset(dataset, config=DataConfig())
    path = tmp_path / "splits.json"
    save_splits(path, splits, dataset)
    stored = json.loads(path.read_text())
    assert stored.pop("others") == {}
    path.write_text(json.dumps(stored | {"version": 2}))
    assert load_splits(path, dataset, to_train=True) == splits
    assert not load_splits(path, dataset).others
