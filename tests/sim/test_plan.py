import itertools

import pytest

from jointspace.errors import InputError
from jointspace.sim.goals import SKILLS, Goal
from jointspace.sim.layout import COLOURS, OBJECT_KINDS, Item
from jointspace.sim.plan import SimulationPlan, is_unseen_combination

DIRECTIONS = {"push": "left", "beside": "left", "rotate": "clockwise"}


def goal(skill, colour, kind):
    item = Item(name="object0", kind=kind, colour=colour, half_m=0.025, place=(0.5, 0.0))
    target = Item(name="object1", kind="block", colour="red", half_m=0.025, place=(0.5, 0.2))
    has_target = skill in {"put", "stack", "beside"}
    return Goal(skill, item, target if has_target else None, DIRECTIONS.get(skill, ""))


@pytest.mark.parametrize("num_episodes", [20, 21, 300, 1237])
def test_every_episode_is_in_one_split_and_every_split_has_some(num_episodes):
    plan = SimulationPlan(num_episodes=num_episodes)
    numbers = [number for span in plan.split_ranges.values() for number in span]
    assert numbers == list(range(num_episodes))
    assert all(len(span) >= 2 for span in plan.split_ranges.values())
    assert list(plan.split_ranges) == [
        "train",
        "validation",
        "test",
        "unseen_paraphrases",
        "unseen_combinations",
    ]
    assert all(number in plan.split_ranges[plan.split_of(number)] for number in range(num_episodes))


def test_blocks_hold_every_episode_once():
    plan = SimulationPlan(num_episodes=57, block_episodes=10)
    blocks = [plan.episodes_of(block) for block in range(plan.num_blocks)]
    assert list(itertools.chain(*blocks)) == list(range(57))
    assert {len(block) for block in blocks[:-1]} == {10}


def test_training_sees_every_skill_colour_and_shape_in_most_combinations():
    combinations = list(itertools.product(SKILLS, COLOURS, OBJECT_KINDS))
    unseen = [each for each in combinations if is_unseen_combination(goal(*each))]
    assert 0.1 < len(unseen) / len(combinations) < 0.15
    for axis, names in enumerate((SKILLS, tuple(COLOURS), OBJECT_KINDS)):
        for name in names:
            held_out = sum(each[axis] == name for each in unseen)
            everything = sum(each[axis] == name for each in combinations)
            assert 0 < held_out < everything / 3


def test_a_button_of_one_colour_is_never_pressed_in_training():
    unseen = [c for c in COLOURS if is_unseen_combination(goal("press", c, "button"))]
    assert len(unseen) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_episodes": 19}, "episodes: got 19, expected at least 20"),
        ({"seed": -1}, "seed: got -1"),
        ({"cameras": ()}, "cameras: got"),
        ({"cameras": ("front", "front")}, "cameras: got"),
        ({"image_px": 65}, "image_px: got 65, expected an even number"),
        ({"image_px": 16}, "image_px: got 16"),
        ({"noisy_fraction": 1.1}, "noisy_fraction: got 1.1"),
        ({"noise_std_m": 0.1}, "noise_std_m: got 0.1"),
        ({"block_episodes": 0}, "block_episodes: got 0"),
    ],
)
def test_impossible_plans_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SimulationPlan(**({"num_episodes": 40} | changes))
