import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

from jointspace.config import RunConfig, read_config
from jointspace.errors import InputError
from jointspace.robot.configuration_file import read_robot_config
from jointspace.robot.policy.motion import MOTION_DIM
from jointspace.sim.closed_loop import run_closed_loop
from jointspace.sim.environment import TabletopEnv

ROOT = Path(__file__).parents[1]
# Benchmarks are programs beside each other, and no package.
sys.path.insert(0, str(ROOT / "benchmarks"))

import together  # noqa: E402 - found by the line above
from ablation import (  # noqa: E402 - found by the line above
    Plan,
    arm_config,
    tasks_of,
)
from ablation_arms import ARMS, QUESTIONS, Arm, choose_arms  # noqa: E402
from ablation_tables import ArmRuns, question_table  # noqa: E402
from cache import count_collisions, eviction_times_us, hit_times_us  # noqa: E402
from closed_loop_limits import language  # noqa: E402
from closed_loop_robot import VARIANTS  # noqa: E402
from measures import true_positive_rate  # noqa: E402
from model_sizes import SIZES, size_config, size_plot  # noqa: E402
from page_blocks import rewrite_blocks  # noqa: E402
from pose_only import _recall_at_1  # noqa: E402
from results_file import ResultsFile, flat_config, is_same_run  # noqa: E402
from told_policy import LAYOUT, demonstrate, goal_row, scene_row, told_policies  # noqa: E402

from jointspace.batch import SIX_DIRECTIONS  # noqa: E402

DEMO = ROOT / "configs" / "demo.toml"


@pytest.mark.parametrize("config", ["demo.toml", "lerobot.toml"])
def test_every_arm_is_a_valid_configuration_within_the_budget(config):
    path = ROOT / "configs" / config
    for arm in choose_arms(None, sentence_encoder="some/folder"):
        assert arm.question in QUESTIONS
        arm_config(path, read_config(path), arm)
    assert len({arm.name for arm in ARMS}) == len(ARMS)


def test_an_arm_with_an_unknown_key_or_another_budget_is_refused_by_name():
    base = read_config(DEMO)
    with pytest.raises(InputError, match=r"arm 'new'.*model\.pair: unknown key"):
        arm_config(DEMO, base, Arm("new", "loss", ("model.pair=1",)))
    with pytest.raises(InputError, match=r"arm 'big'.*same budget"):
        arm_config(DEMO, base, Arm("big", "loss", ("train.batch_size=8",)))


def test_an_arm_that_is_the_base_is_not_trained_again():
    arms = choose_arms(["temperature"], sentence_encoder=None)
    plan = Plan(read_config(DEMO), arms, "data", 400)
    names = [task.arm.name for task in tasks_of(plan, base_file=DEMO, seeds=[0, 1])]
    assert names == ["base", "temperature-.03", "temperature-.2"] * 2


def test_a_stored_run_is_the_same_while_new_keys_have_their_defaults():
    wanted = flat_config(RunConfig())
    earlier = {key: value for key, value in wanted.items() if key != "loss.margin"}
    assert is_same_run(earlier, wanted)
    assert not is_same_run(earlier, wanted | {"loss.margin": 0.3})
    assert not is_same_run(wanted | {"loss.gone": 1}, wanted)
    assert not is_same_run(wanted, wanted | {"seed": 1})
    assert is_same_run(wanted, wanted | {"train.num_threads": 2})


def test_a_line_that_a_kill_has_cut_is_passed_over_and_spoils_no_other(tmp_path):
    results = ResultsFile(tmp_path / "results.jsonl")
    results.append({"seed": 0})
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"seed": ')
    results.append({"seed": 1})
    assert results.read() == [{"seed": 0}, {"seed": 1}]


def test_marked_blocks_of_a_page_are_rewritten_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- measured: x -->\nold\n<!-- end of x -->\nb\n")
    assert rewrite_blocks(page, {"x": r"new \1", "y": "no"}) == ["x"]
    assert page.read_text() == "a\n<!-- measured: x -->\n\nnew \\1\n\n<!-- end of x -->\nb\n"
    with pytest.raises(InputError, match="marks no block of y"):
        rewrite_blocks(page, {"y": "no"})


def test_every_question_and_the_quality_table_have_their_block_on_one_page():
    """Short trainings answer most; what they cannot show is asked at full length."""
    concepts = ROOT / "docs" / "concepts"
    short, full = (
        (concepts / f"{name}.md").read_text(encoding="utf-8")
        for name in ("evidence", "evidence-full-length")
    )
    for name in (*QUESTIONS, "quality"):
        assert (short + full).count(f"<!-- measured: {name} -->") == 1
        assert (short + full).count(f"<!-- end of {name} -->") == 1
    for page in (short, full):
        assert page.count("<!-- measured: setup -->") == page.count("<!-- end of setup -->") == 1


def test_true_positives_are_counted_at_the_lowest_threshold_that_keeps_the_rate():
    rng = np.random.default_rng(0)
    # Few distinct values, so that ties matter.
    right, wrong = rng.integers(4, 12, 60) / 10, rng.integers(0, 10, 300) / 10
    kept = [t for t in [-1.0, *wrong] if np.mean(wrong > t) <= 0.05]
    expected = max(np.mean(right > t) for t in kept)
    assert true_positive_rate(right, wrong, false_positive_rate=0.05) == expected
    same = np.zeros(100)
    assert true_positive_rate(same, same, false_positive_rate=0.01) == 0


def test_the_pose_control_ranks_actions_by_their_distance():
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(50, 6))
    predicted = actions + rng.normal(size=actions.shape)
    distance = ((predicted[:, None] - actions[None]) ** 2).sum(-1)
    expected = np.mean(distance.argmin(1) == np.arange(50))
    found = _recall_at_1(predicted, actions, candidates=100)
    assert 0.1 < expected < 1
    assert found.value == pytest.approx(expected)
    assert found.chance == pytest.approx(1 / 50)


def test_differences_from_the_base_are_paired_by_seed():
    def record(value):
        metric = {"text->vision mAP": {"value": value, "chance": 0.1}}
        return {"train_s": 1.0, "metrics": metric}

    base = ArmRuns(Arm("base", "base", ()), True, {0: record(0.5), 1: record(0.7)}, {})
    arm = ArmRuns(Arm("x", "loss", ()), False, {0: record(0.6), 1: record(0.8)}, {2: "broke"})
    table = question_table([base, arm], columns={"text->vision mAP": "mAP"})
    assert "| **base** | 2 | .600 ± .141<br>.500 … .700 |" in table
    assert "| x | 2 | .700 ± .141<br>.600 … .800<br>**+.100** ± .000 |" in table
    assert "| *chance* |  | .100 |" in table
    assert "- failed: x, seed 2: broke" in table


def test_the_textbooks_cache_takes_pictures_for_their_mirror_images_and_ours_none():
    counts = count_collisions(20)
    assert sum(each["textbook"] for each in counts.values()) > 10
    assert not any(each["jointspace"] for each in counts.values())


def test_both_caches_are_timed_on_every_case():
    times = hit_times_us(calls=2, repeats=1) | eviction_times_us(50, calls=2, repeats=1)
    assert len(times) == 6
    assert all({"textbook", "jointspace"} == set(each) for each in times.values())


def test_every_size_is_a_valid_configuration_of_one_budget_and_has_its_place_in_the_plot():
    given = argparse.Namespace(config=DEMO, overrides=["data.image_px=48"], steps=7, seed=3)
    configs = [size_config(size, given) for size in SIZES]
    assert len({repr(config.model) for config in configs}) == len(SIZES) > 3
    assert {(c.train, c.data, c.seed) for c in configs} == {(configs[0].train, configs[0].data, 3)}
    assert configs[0].train.num_steps == 7
    metrics = {"text->vision mAP": {"value": 0.5, "chance": 0.1}}
    results = {size: {"cpu_ms": 1.0, "metrics": metrics} for size in SIZES}
    assert size_plot(results).startswith(b"\x89PNG")


def test_every_variant_of_the_robot_changes_a_valid_configuration():
    arm = ROOT / "configs" / "robot" / "arm.toml"
    plain = read_robot_config(arm)
    for name, variant in VARIANTS.items():
        changed = read_robot_config(arm, overrides=variant.settings) != plain
        late = variant.picture_delay_steps + variant.latency_steps > 0
        assert (changed or late) == (name != "robot"), name


def test_a_told_scene_is_seen_from_the_tool():
    env = TabletopEnv(cameras=())
    observation, _ = env.reset(seed=0, skill="stack")
    goal, pose = env.goal, LAYOUT.pose(observation["state"].astype(np.float64))
    row = scene_row(env.world, goal, np.arange(MOTION_DIM, dtype=np.float32), pose)
    for first, item in ((0, goal.item), (7, goal.target)):
        away_m = env.world.position(item) - pose[:3]
        np.testing.assert_allclose(row[first : first + 3], away_m / 0.1, rtol=1e-5)
        cosine = np.cos(4 * (env.world.yaw_rad(item) - pose[3]))
        assert row[first + 4] == pytest.approx(cosine, abs=1e-5)
    np.testing.assert_array_equal(row[14:], np.arange(MOTION_DIM))
    env.reset(seed=0, skill="lift")
    assert not scene_row(env.world, env.goal, row[14:], pose)[7:14].any()
    assert not np.array_equal(goal_row(goal), goal_row(env.goal))


def test_told_policies_repeat_the_nearest_demonstration_or_blend_several():
    told = demonstrate(3, seed=0)
    assert len(told.seen) == len(told.chunks) == len(told.episodes)
    policies = told_policies(told, num_steps=2, seed=0)
    result = run_closed_loop(policies, episodes_per_skill=1, skills=("touch",), max_steps=6)
    assert set(result.success) == {"cloning", "retrieval", "plain retrieval", "plain nearest"}


def test_a_probe_of_rows_that_hold_the_letters_of_a_sentence_names_what_it_says():
    def embed(texts):
        rows = np.array(
            [[text.count(each) for each in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        )
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    found = {each.what: each.share.rate for each in language(embed, num_goals=6, seed=0)}
    assert set(found) == {
        f"{factor}, {kind} wordings"
        for factor in ("skill", "colour", "target's colour")
        for kind in ("trained", "unseen")
    }
    assert found["skill, trained wordings"] > 0.6 > 1 / 8


def test_training_together_takes_as_many_steps_on_each_data_set_as_alone():
    base = read_config(ROOT / "configs" / "lerobot.toml", overrides=["data.mixture_weights=[3,1]"])
    for arm, sets in together.ARMS.items():
        config = together.arm_config(base, arm, steps=30, seed=2)
        assert config.train.num_steps == config.train.evaluate_every == 30 * len(sets)
        assert config.data.mixture_weights == ()
        assert config.seed == config.data.split_seed == 2


def test_together_hurts_where_its_mean_falls_below_the_interval_of_alone():
    def records(arm, values):
        for seed, value in enumerate(values):
            estimate = {"value": value, "chance": 0.1, "low": value - 0.1, "high": value + 0.1}
            found = {str(direction): {"mAP": estimate} for direction in SIX_DIRECTIONS}
            yield {"arm": arm, "seed": seed, "measures": dict.fromkeys(together.ARMS[arm], found)}

    for values, verdict in (
        ((0.45, 0.55), "inside"),  # its mean is .5: that of alone is .55, from .45 to .65
        ((0.35, 0.5), "hurt"),
        ((0.8, 0.6), "better"),
    ):
        alone = [each for name in together.SETS for each in records(name, (0.5, 0.6, 0.9))]
        lines = together.table([*alone, *records("together", values)], "mAP").splitlines()
        assert len(lines) == 2 + 2 * len(SIX_DIRECTIONS)
        assert all(line.endswith(f"| {verdict} |") for line in lines[2:])
    assert "| simulated | vision->text (chance .100) | .550 ± .071 | .450 … .650 |" in lines[2]
    assert "| .700 ± .141 | +.150 ± .212 | better |" in lines[2]
