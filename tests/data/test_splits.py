import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jointspace.config import DataConfig
from jointspace.data.open import open_dataset
from jointspace.data.splits import (
    Splits,
    duplicate_groups,
    load_splits,
    save_splits,
    split_by_episode,
    split_by_instruction,
    split_dataset,
)
from jointspace.errors import DataError, InputError, RunFolderError
from tests.data.memory_dataset import make_dataset, make_episode

ASK = {"validation_fraction": 0.1, "test_fraction": 0.2, "seed": 0}


def counts(splits, instruction_ids):
    """Episodes of each instruction in train, validation and test."""
    return {
        i: [
            sum(instruction_ids[e] == i for e in part)
            for part in (splits.train, splits.validation, splits.test)
        ]
        for i in sorted(set(instruction_ids))
    }


@settings(max_examples=40)
@given(
    ids=st.lists(st.integers(-1, 5), min_size=3, max_size=60),
    validation=st.sampled_from([0.0, 0.1, 0.3]),
    test=st.sampled_from([0.0, 0.2, 0.5]),
    seed=st.integers(0, 5),
)
def test_every_episode_is_in_exactly_one_split_and_none_asked_for_is_empty(
    ids, validation, test, seed
):
    splits = split_by_episode(ids, validation_fraction=validation, test_fraction=test, seed=seed)
    assert sorted([*splits.train, *splits.validation, *splits.test]) == list(range(len(ids)))
    assert splits.train
    assert bool(splits.validation) == (validation > 0)
    assert bool(splits.test) == (test > 0)
    assert abs(len(splits.test) - test * len(ids)) <= 1
    assert abs(len(splits.validation) - validation * len(ids)) <= 1


def test_splits_are_in_proportion_to_each_instruction():
    ids = [0] * 50 + [1] * 30 + [2] * 20
    splits = split_by_episode(ids, **ASK)
    assert counts(splits, ids) == {0: [35, 5, 10], 1: [21, 3, 6], 2: [14, 2, 4]}


def test_places_left_by_rounding_go_to_instructions_that_have_none():
    ids = [0] * 50 + [1] * 3
    splits = split_by_episode(ids, **ASK)
    assert counts(splits, ids)[1] == [1, 1, 1]


def test_training_keeps_an_episode_of_each_instruction_while_it_can():
    ids = [0] * 40 + list(range(1, 11))
    splits = split_by_episode(ids, **ASK)
    assert all(counts(splits, ids)[i] == [1, 0, 0] for i in range(1, 11))
    every_one_alone = split_by_episode([0, 1, 2, 3, 4], **ASK)
    assert [len(p) for p in (every_one_alone.train, every_one_alone.test)] == [3, 1]


def test_the_seed_alone_chooses_the_episodes():
    ids = [0, 1] * 20
    assert split_by_episode(ids, **ASK) == split_by_episode(ids, **ASK)
    assert split_by_episode(ids, **ASK) != split_by_episode(ids, **(ASK | {"seed": 1}))


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_an_episode_go_to_one_split(seed):
    groups = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    splits = split_by_episode([0] * 10, groups=groups, **(ASK | {"seed": seed}))
    for part in (splits.train, splits.validation, splits.test):
        assert {(e + 5) % 10 for e in part} == set(part)
    assert len(splits.test) == 2


def test_a_fraction_that_rounds_to_everything_still_leaves_one_to_train_on():
    splits = split_by_episode([0, 0, 0], validation_fraction=0.49, test_fraction=0.5, seed=0)
    assert [len(p) for p in (splits.train, splits.validation, splits.test)] == [1, 1, 1]


@pytest.mark.parametrize("num_episodes", [0, 1, 2])
def test_too_few_episodes_for_every_split_are_refused(num_episodes):
    with pytest.raises(InputError, match=f"no test episodes: {num_episodes} episodes cannot fill"):
        split_by_episode([0] * num_episodes, **ASK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_fraction": 1.0}, r"test_fraction must lie in \[0, 1\), got 1.0"),
        ({"validation_fraction": -0.1}, r"validation_fraction must lie in \[0, 1\), got -0.1"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leaves nothing to train on"),
        ({"groups": [0]}, "groups: got 1 for 9 episodes"),
    ],
)
def test_impossible_fractions_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        split_by_episode([0] * 9, **(ASK | change))


def test_a_leak_between_splits_cannot_be_made():
    with pytest.raises(InputError, match=r"episodes \[2\] occur more than once"):
        Splits(train=(0, 2), validation=(1,), test=(2,))


def test_held_out_instructions_are_held_out_whole():
    ids = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 3 + [-1]
    splits = split_by_instruction(ids, **ASK)
    held = [{ids[e] for e in part} for part in (splits.train, splits.validation, splits.test)]
    assert [len(each) for each in held] == [8, 1, 2]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]
    assert 30 in splits.train
    assert [len(p) for p in (splits.train, splits.validation, splits.test)] == [22, 3, 6]


def test_two_instructions_cannot_fill_three_splits():
    with pytest.raises(InputError, match="no test episodes: 2 distinct instructions cannot fill"):
        split_by_instruction([0, 1] * 10, **ASK)


def test_copies_are_found_by_their_numbers_and_still_episodes_are_no_copies():
    still = np.zeros((4, 3), dtype=np.float32)
    state = np.ones((12, 1), dtype=np.float32)
    episodes = [
        make_episode(0, seed=1),
        make_episode(1, seed=2),
        make_episode(2, seed=1),
        make_episode(3, action=still),
        make_episode(4, action=still),
        make_episode(5, seed=1, state=state),
    ]
    assert duplicate_groups(episodes) == (0, 1, 0, 3, 4, 5)


def test_copies_with_a_constant_action_are_found_by_their_moving_state():
    still = np.zeros((12, 3), dtype=np.float32)
    moving = np.linspace(0, 1, 12, dtype=np.float32)[:, None]
    episodes = [
        make_episode(0, action=still, state=moving),
        make_episode(1, action=still, state=2 * moving),
        make_episode(2, action=still, state=moving),
        make_episode(3, action=still, state=np.ones_like(moving)),
        make_episode(4, action=still, state=np.ones_like(moving)),
    ]
    assert duplicate_groups(episodes) == (0, 1, 0, 3, 4)


def test_episodes_that_are_equal_only_end_to_end_are_no_copies():
    rows = np.arange(24, dtype=np.float32)
    episodes = [
        make_episode(0, action=rows[:12].reshape(4, 3), state=rows[12:].reshape(4, 3)),
        make_episode(1, action=rows[:16].reshape(4, 4), state=rows[16:].reshape(4, 2)),
    ]
    assert duplicate_groups(episodes) == (0, 1)


@pytest.mark.parametrize("seed", range(8))
def test_instructions_that_share_a_copy_are_held_out_together(seed):
    # Episode i has instruction i; copies link 0-4-2 and 1-3, and episode 10 has no instruction.
    ids = [0, 1, 2, 3, 4, 5, 6, 4, 2, 3, -1, -1]
    groups = [0, 1, 2, 3, 4, 5, 6, 0, 4, 1, 5, 11]
    splits = split_by_instruction(
        ids, groups=groups, validation_fraction=0.25, test_fraction=0.25, seed=seed
    )
    components = [{0, 4, 2, 7, 8}, {1, 3, 9}, {5, 10}, {6}]
    for part in (splits.train, splits.validation, splits.test):
        assert all(part_of <= set(part) or not part_of & set(part) for part_of in components)
    assert 11 in splits.train
    for part in (splits.validation, splits.test):
        assert sum(component <= set(part) for component in components) == 1


def test_instructions_joined_by_copies_count_as_one():
    message = "no test episodes: 2 distinct instructions without copies of each other's episodes"
    with pytest.raises(InputError, match=message):
        split_by_instruction([0, 1, 2, 1], groups=[0, 1, 2, 0], **ASK)
    with pytest.raises(InputError, match="groups: got 1 for 3 episodes"):
        split_by_instruction([0, 1, 2], groups=[0], **ASK)


@pytest.mark.parametrize("seed", range(5))
def test_a_split_by_instruction_keeps_copies_under_other_words_together(seed):
    # Recordings 0..3 occur twice, each time under other words.
    episodes = [make_episode(i, seed=i % 4, instruction=f"words {i}") for i in range(8)]
    splits = split_dataset(
        make_dataset(episodes),
        config=DataConfig(
            split="instruction", validation_fraction=0.25, test_fraction=0.25, split_seed=seed
        ),
    )
    for part in (splits.train, splits.validation, splits.test):
        assert {(e + 4) % 8 for e in part} == set(part)
    assert [len(p) for p in (splits.train, splits.validation, splits.test)] == [4, 2, 2]


def test_a_data_set_is_split_as_its_configuration_says():
    texts = ["b", "a", "c", "", "a"]
    episodes = [make_episode(i, instruction=texts[i % 5]) for i in range(20)]
    dataset = make_dataset(episodes)
    by_episode = split_dataset(dataset, config=DataConfig())
    assert len(by_episode.test) == 4
    by_instruction = split_dataset(
        dataset, config=DataConfig(split="instruction", validation_fraction=0.0, test_fraction=0.3)
    )
    assert len({texts[e % 5] for e in by_instruction.test}) == 1
    assert not {texts[e % 5] for e in by_instruction.test} & {
        texts[e % 5] for e in by_instruction.train
    }


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
    with pytest.raises(RunFolderError, match="format version 99, this jointspace reads 2"):
        load_splits(path, dataset)


def test_both_formats_of_the_same_real_data_are_split_alike(samples_dir):
    old = open_dataset(samples_dir / "cr5_small_v21")
    new = open_dataset(samples_dir / "cr5_small_v30")
    splits = split_dataset(old, config=DataConfig())
    assert splits == split_dataset(new, config=DataConfig())
    ids = [old.instructions.index(e.instruction) for e in old.episodes]
    assert all(min(row) >= 1 for row in counts(splits, ids).values())
