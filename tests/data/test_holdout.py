import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jointspace.data.holdout import split_by_episode, split_by_instruction
from jointspace.errors import InputError

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
