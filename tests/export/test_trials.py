"""What graphs are tried on holds everything that could go wrong."""

import numpy as np

from jointspace.batch import ACTION, STATE, TEXT, VISION
from jointspace.export.trials import make_trial
from tests.encoders.inputs import NUM_ACTIONS
from tests.export.robots import MAX_TOKENS, preprocessor

STEPS = {VISION: 3, TEXT: MAX_TOKENS, ACTION: 6, STATE: 4}


def trial(robot, **changes):
    wanted = {"rows": 9, "steps": STEPS, **changes}
    return make_trial(robot, generator=np.random.default_rng(0), **wanted)


def test_rows_lack_each_modality_alone_and_all_together():
    present = {m: each.present for m, each in trial(preprocessor()).batch.inputs.items()}
    assert not any(here[4] for here in present.values())
    lacking = {m: set(np.flatnonzero(~here)) - {4} for m, here in present.items()}
    assert lacking == {VISION: {2}, TEXT: {8}, ACTION: {5}, STATE: {2}}


def test_rows_are_numbered_so_that_single_ones_can_lack_everything():
    made = trial(preprocessor(), rows=1, first=4)
    assert not any(each.valid.any() for each in made.batch.inputs.values())


def test_steps_have_gaps_and_times_that_grow():
    made = trial(preprocessor()).batch[ACTION]
    ends = made.valid.cumsum(1)
    gaps = ~made.valid & (ends > 0) & (ends < ends[:, -1:])
    assert gaps.any()
    assert (np.diff(made.time_s, axis=1) > 0).all()


def test_readings_go_beyond_where_they_are_clipped():
    robot = preprocessor()
    made = trial(robot)
    clipped = made.batch[ACTION].values
    bounds = robot.normalisers[ACTION].high[:-1]
    assert (np.abs(clipped[..., :-1]) == bounds).any()
    assert (made.raw[ACTION][..., -1] != robot.normalisers[ACTION].centre[-1]).any()
    assert not clipped[..., -1].any()


def test_discrete_actions_are_ids_and_texts_are_of_the_vocabulary():
    made = trial(preprocessor(discrete=True))
    assert made.raw[ACTION].dtype == np.int64
    assert 0 <= made.raw[ACTION].min() <= made.raw[ACTION].max() < NUM_ACTIONS
    assert made.batch[TEXT].values.max() < preprocessor().tokenizer.vocab_size
