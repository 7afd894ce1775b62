import pytest

from jointspace.data.split_sets import Splits, make_splits
from jointspace.errors import InputError

SPLITS = Splits((0, 3), (), (1,), {"unseen_paraphrases": (4,), "unseen_combinations": (2, 5)})


def test_a_leak_between_splits_cannot_be_made():
    with pytest.raises(InputError, match=r"episodes \[2\] occur more than once"):
        Splits(train=(0, 2), validation=(1,), test=(2,))


def test_a_leak_into_a_further_test_split_cannot_be_made_either():
    with pytest.raises(InputError, match=r"episodes \[2\] occur more than once"):
        Splits(train=(0, 2), validation=(1,), test=(), others={"unseen": (3, 2)})
    with pytest.raises(InputError, match=r"episodes \[3\] occur more than once"):
        Splits(train=(0,), validation=(), test=(), others={"unseen": (3,), "new": (3,)})


def test_splits_are_found_by_name_and_empty_ones_are_there():
    assert SPLITS.names == (
        "train",
        "validation",
        "test",
        "unseen_combinations",
        "unseen_paraphrases",
    )
    assert {name: SPLITS.positions(name) for name in SPLITS.names} == {
        "train": (0, 3),
        "validation": (),
        "test": (1,),
        "unseen_paraphrases": (4,),
        "unseen_combinations": (2, 5),
    }


def test_an_unknown_split_is_refused_with_the_closest_name():
    with pytest.raises(InputError, match=r"no split 'unseen_paraphrase'\. Did you mean 'unseen_p"):
        SPLITS.positions("unseen_paraphrase")
    with pytest.raises(InputError, match=r"no split 'all'\. Known: test, train, unseen_c"):
        SPLITS.positions("all")


def test_a_core_split_has_one_place():
    with pytest.raises(InputError, match="others holds 'test', which has a place of its own"):
        Splits((0,), (), (), {"test": (1,)})


def test_episodes_are_gathered_by_the_names_of_their_splits():
    named = [("test", 1), ("unseen_combinations", 5), ("train", 3), ("train", 0)]
    named += [("unseen_paraphrases", 4), ("unseen_combinations", 2)]
    assert make_splits(named) == SPLITS
