from dataclasses import replace

import pytest

from jointspace.config import DataConfig
from jointspace.data.open import open_dataset
from jointspace.data.splits import Splits, split_dataset, split_findings, split_rule
from jointspace.errors import InputError
from tests.data.memory_dataset import make_dataset, make_episode

SHIPPED = ("train", "train", "validation", "test", "unseen_shapes", "train", "train")
"""The splits of seven episodes, as a data set may ship them."""


def shipped_dataset(names=SHIPPED, *, failed=(), copies=None):
    """Episode i is in split names[i]; `copies` maps an episode to the one that it repeats."""
    return make_dataset(
        [
            make_episode(
                i,
                instruction=f"words {i}",
                split=name,
                success=i not in failed if failed else None,
                seed=(copies or {}).get(i, i),
            )
            for i, name in enumerate(names)
        ]
    )


def findings(dataset, **changes):
    config = DataConfig(**changes)
    return [
        str(each)
        for each in split_findings(dataset, split_dataset(dataset, config=config), config=config)
    ]


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


def test_both_formats_of_the_same_real_data_are_split_alike(samples_dir):
    old = open_dataset(samples_dir / "cr5_small_v21")
    new = open_dataset(samples_dir / "cr5_small_v30")
    splits = split_dataset(old, config=DataConfig())
    assert splits == split_dataset(new, config=DataConfig())
    for part in (splits.train, splits.validation, splits.test):
        assert {old.episodes[p].instruction for p in part} == set(old.instructions)


@pytest.mark.parametrize("split", ["auto", "shipped"])
def test_the_splits_that_a_data_set_ships_are_taken(split):
    config = DataConfig(split=split)
    assert split_rule(shipped_dataset(), config=config) == "shipped"
    assert split_dataset(shipped_dataset(), config=config) == Splits(
        (0, 1, 5, 6), (2,), (3,), {"unseen_shapes": (4,)}
    )


@pytest.mark.parametrize("split", ["episode", "instruction"])
def test_shipped_splits_are_passed_over_where_others_are_asked_for(split):
    config = DataConfig(split=split, validation_fraction=0.2, test_fraction=0.4)
    splits = split_dataset(shipped_dataset(), config=config)
    assert not splits.others
    assert [len(splits.positions(name)) for name in splits.names] == [3, 1, 3]
    assert split_rule(shipped_dataset(), config=config) == split
    assert not split_findings(shipped_dataset(), splits, config=config)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "train", "test", ""),
        ("train", "train", "train", "train"),
        ("unseen", "validation", "test", "test"),
        ("", "", "", ""),
    ],
)
def test_auto_holds_out_episodes_where_the_shipped_splits_cannot_serve(names):
    dataset = shipped_dataset(names)
    assert split_rule(dataset, config=DataConfig()) == "episode"
    by_episode = split_dataset(dataset, config=DataConfig(split="episode"))
    assert split_dataset(dataset, config=DataConfig()) == by_episode
    assert findings(dataset) == []


@pytest.mark.parametrize("validation", ["val", "valid", "dev", "Validation"])
def test_splits_are_known_by_the_names_that_data_sets_give_them(validation):
    names = ("training", " Train", validation, "testing", "eval", "Held Out")
    assert split_dataset(shipped_dataset(names), config=DataConfig()) == Splits(
        (0, 1), (2,), (3, 4), {"Held Out": (5,)}
    )


def test_a_part_of_the_training_episodes_validates_where_no_validation_split_is_shipped():
    dataset = shipped_dataset(("train",) * 10 + ("test",) * 2, copies={3: 8})
    splits = split_dataset(dataset, config=DataConfig(validation_fraction=0.3))
    assert splits.test == (10, 11)
    assert sorted([*splits.train, *splits.validation]) == list(range(10))
    assert len(splits.validation) in {3, 4}
    assert (3 in splits.train) == (8 in splits.train)
    messages = findings(dataset, validation_fraction=0.3)
    assert any("no validation split; 3 of its training episodes validate" in m for m in messages)
    none = split_dataset(dataset, config=DataConfig(validation_fraction=0.0))
    assert none == Splits(tuple(range(10)), (), (10, 11))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("", ""), "ships no training split: its episodes name no split; set data.split to"),
        (("val", "test"), "ships no training split: its episodes name 'test', 'val'; set"),
    ],
)
def test_shipped_splits_that_train_nothing_are_refused(names, message):
    with pytest.raises(InputError, match=message):
        split_dataset(shipped_dataset(names), config=DataConfig(split="shipped"))


def test_the_use_of_shipped_splits_is_told():
    (message,) = findings(shipped_dataset())
    assert message == (
        "note: data.split: the splits that the data set ships are used: train 4, validation 1, "
        "test 1, unseen_shapes 1"
    )


def test_episodes_without_a_split_are_not_used_and_counted():
    dataset = shipped_dataset(("train", "val", "test", "", ""))
    config = DataConfig(split="shipped")
    assert split_dataset(dataset, config=config) == Splits((0,), (1,), (2,))
    messages = findings(dataset, split="shipped")
    assert "warning: data.split: 2 of 5 episodes name no split; they are not used" in messages


def test_copies_in_a_shipped_training_and_test_split_are_a_leak_that_is_told():
    names = ("train", "train", "validation", "test", "test", "unseen")
    leaking = shipped_dataset(names, copies={3: 0, 4: 2, 5: 1})
    warnings = [m for m in findings(leaking) if m.startswith("warning: data.split: ")]
    found = (
        "1 of 2 test episodes are copies of train episodes, as episode 3",
        "1 of 1 unseen episodes are copies of train episodes, as episode 5",
        "1 of 2 test episodes are copies of validation episodes, as episode 4",
    )
    leak = "a leak, their scores are too good"
    assert warnings == [f"warning: data.split: {each}: {leak}" for each in found]
    assert not [m for m in findings(leaking, split="episode") if m.startswith("warning")]


@pytest.mark.parametrize("split", ["shipped", "episode", "instruction"])
def test_failures_are_in_no_split_unless_they_are_kept(split):
    names = ("train",) * 8 + ("val",) * 4 + ("test",) * 4 + ("unseen",) * 4
    dataset = shipped_dataset(names, failed=(1, 7, 9, 17))

    def used(**changes):
        splits = split_dataset(dataset, config=DataConfig(split=split, **changes))
        return sorted(p for name in splits.names for p in splits.positions(name))

    assert used() == [p for p in range(20) if p not in {1, 7, 9, 17}]
    assert used(failures="keep") == list(range(20))
    note = (
        "note: data.failures: 4 of 20 episodes are labelled as failures; they neither train nor "
        "measure (data.failures = 'keep' uses them)"
    )
    assert note in findings(dataset, split=split)
    assert not [m for m in findings(dataset, split=split, failures="keep") if "failures" in m]


def test_a_failure_that_names_no_split_does_not_stand_against_the_shipped_ones():
    dataset = shipped_dataset((*SHIPPED, ""), failed=(7,))
    assert split_rule(dataset, config=DataConfig()) == "shipped"
    assert split_rule(dataset, config=DataConfig(failures="keep")) == "episode"


def test_episodes_that_are_not_labelled_are_no_failures():
    dataset = shipped_dataset(failed=(1,))
    unlabelled = [replace(e, success=None) for e in dataset.episodes]
    splits = split_dataset(make_dataset(unlabelled), config=DataConfig())
    assert splits.train == (0, 1, 5, 6)


def test_a_data_set_of_failures_alone_is_refused():
    dataset = shipped_dataset(failed=range(7))
    with pytest.raises(InputError, match=r"all 7 are labelled as failures; set data\.failures"):
        split_dataset(dataset, config=DataConfig())
    assert split_dataset(dataset, config=DataConfig(failures="keep")).test == (3,)
