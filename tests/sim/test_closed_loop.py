import io
import json

import numpy as np
import pytest
from rich.console import Console

from jointspace.errors import InputError
from jointspace.evaluation.wilson import wilson_interval
from jointspace.sim.closed_loop import run_closed_loop
from jointspace.sim.policies import STAY, ExpertPolicy, NoOpPolicy, reference_policies


class Recorder:
    """Does nothing, and remembers what it was told and shown."""

    def __init__(self, action=STAY):
        self.action = action
        self.told = []
        self.shown = []

    def reset(self, observation, instruction):
        self.told.append(instruction)
        self.shown.append(observation)

    def act(self, observation, instruction):
        assert instruction == self.told[-1]
        return self.action


class Failing(Recorder):
    def __init__(self, *, at_reset=False):
        super().__init__()
        self.at_reset = at_reset

    def reset(self, observation, instruction):
        if self.at_reset:
            raise KeyError("weights")
        super().reset(observation, instruction)

    def act(self, observation, instruction):
        raise RuntimeError("out of memory")


@pytest.fixture(scope="module")
def result():
    policies = {"no-op": NoOpPolicy(), "expert": ExpertPolicy()}
    return run_closed_loop(policies, episodes_per_skill=2, skills=("lift", "press"), max_steps=45)


def test_the_expert_reaches_everything_and_no_op_nothing(result):
    expert, no_op = result.success["expert"], result.success["no-op"]
    assert {skill: each.num_successes for skill, each in expert.items()} == {"lift": 2, "press": 2}
    assert {skill: each.num_successes for skill, each in no_op.items()} == {"lift": 0, "press": 0}
    assert result.overall["expert"].num_trials == 4
    assert (result.overall["no-op"].low, result.overall["no-op"].high) == wilson_interval(0, 4)
    assert 10 < result.mean_steps["expert"] < 45
    assert np.isnan(result.mean_steps["no-op"])


def test_the_table_has_skills_by_policies_and_all(result):
    printed = io.StringIO()
    Console(file=printed, width=100).print(result.render())
    lines = printed.getvalue().splitlines()
    assert any("no-op" in line and "expert" in line for line in lines)
    row = next(line for line in lines if "lift" in line)
    assert "0 (0-66)" in row
    assert "100 (34-100)" in row
    assert "100 (51-100)" in next(line for line in lines if " all " in line)


def test_the_json_holds_every_number(result):
    payload = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert payload["policies"]["expert"]["skills"]["lift"]["rate"] == 1.0
    assert payload["policies"]["expert"]["overall"]["num_trials"] == 4
    assert payload["policies"]["no-op"]["mean_steps"] is None
    assert payload["episodes_per_skill"] == 2


def test_every_policy_meets_the_same_episodes_and_other_seeds_other_ones():
    def met(seed, count):
        first, second = Recorder(), Recorder()
        run_closed_loop(
            {"first": first, "second": second},
            episodes_per_skill=count,
            seed=seed,
            skills=("push",),
            max_steps=1,
        )
        assert first.told == second.told
        for one, other in zip(first.shown, second.shown, strict=True):
            np.testing.assert_array_equal(one["state"], other["state"])
        return first.told

    assert met(0, 3) == met(0, 5)[:3]
    assert met(0, 3) != met(1, 3)


def test_policies_see_pictures_where_asked_for_and_progress_is_told():
    recorder, reports = Recorder(), []
    run_closed_loop(
        {"mine": recorder},
        episodes_per_skill=1,
        skills=("lift", "push"),
        cameras=("front",),
        image_px=32,
        max_steps=1,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert recorder.shown[0]["pictures"]["front"].shape == (32, 32, 3)
    assert reports == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Failing(), r"policy 'mine', episode of seed \d+, step 0: act raised RuntimeError: out of"),
        (Failing(at_reset=True), r"policy 'mine', episode of seed \d+: reset raised KeyError"),
        (Recorder(np.full(7, np.nan)), r"seed \d+, step 0: act returned \[nan nan.*expected 7"),
        (Recorder(np.zeros(6)), "expected 7 finite numbers"),
        (Recorder("left"), "step 0: act raised ValueError"),
    ],
)
def test_a_policy_that_goes_wrong_is_named_with_its_seed_and_step(policy, message):
    with pytest.raises(InputError, match=message):
        run_closed_loop({"mine": policy}, episodes_per_skill=1, skills=("lift",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policies": {}}, "at least one policy and one skill"),
        ({"skills": ()}, "at least one policy and one skill"),
        ({"episodes_per_skill": 0}, "episodes: got 0, expected 1 or more per skill"),
        ({"seed": -1}, "seed: got -1"),
        ({"skills": ("pull",)}, "skill 'pull' is not known"),
    ],
)
def test_impossible_arguments_are_refused(changes, message):
    arguments = {"policies": {"no-op": NoOpPolicy()}, "episodes_per_skill": 1, **changes}
    with pytest.raises(InputError, match=message):
        run_closed_loop(arguments.pop("policies"), **arguments)


@pytest.mark.slow
def test_floors_lie_low_and_the_ceiling_high():
    result = run_closed_loop(
        reference_policies(), episodes_per_skill=3, skills=("put", "push", "rotate"), max_steps=75
    )
    reached = {name: share.num_successes for name, share in result.overall.items()}
    assert reached["no-op"] == 0
    assert reached["random"] <= 1
    assert reached["other-goal"] <= 2
    assert reached["expert"] == 9
