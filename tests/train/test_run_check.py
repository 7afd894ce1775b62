"""Whether a folder holds the run that is to be continued; `test_setup` asks it by training."""

from jointspace.config import RunConfig, TrainConfig
from jointspace.train.run_check import first_difference


def test_the_first_key_in_which_two_configurations_differ_is_named_with_both_values():
    stored = RunConfig(seed=1, train=TrainConfig(num_steps=5, batch_size=8))
    assert first_difference(stored, stored) is None
    wanted = RunConfig(seed=1, train=TrainConfig(num_steps=6, batch_size=8))
    assert first_difference(stored, wanted) == ("train.num_steps", 5, 6)
    assert first_difference(stored.train, wanted.train, "train") == ("train.num_steps", 5, 6)
    assert first_difference(5, 5, "key") is None
    assert first_difference(5, 6, "key") == ("key", 5, 6)
