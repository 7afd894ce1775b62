"""`jointspace evaluate` on a data set that ships splits, goals, factors and other instructions."""

import json
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointspace import cli
from jointspace.batch import ACTION, VISION
from jointspace.commands import evaluate
from jointspace.commands.arguments import Evaluate
from jointspace.evaluation.report import write_report
from jointspace.models.run_folder import load_run
from tests.commands.test_pipeline import TINY
from tests.factories import write_lerobot

GOALS = (("lift", "red"), ("lift", "blue"), ("push", "red"), ("push", "blue"))
SPLITS = ("train",) * 8 + ("validation",) * 4 + ("test",) * 4 + ("unseen_paraphrases",) * 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twenty episodes: in every split but that of training each goal once."""
    folder = tmp_path_factory.mktemp("data") / "set"
    words = [f"{skill} the {colour} block" for skill, colour in GOALS]
    told = [words[i % 4] if i < 16 else f"please {words[i % 4]}" for i in range(20)]
    write_lerobot(folder, version="v3.0", num_episodes=20, num_frames=24, instructions=told)
    columns = {
        "split": list(SPLITS),
        "goal": [words[i % 4] for i in range(20)],
        "success": [True] * 20,
        "factor/skill": [GOALS[i % 4][0] for i in range(20)],
        "factor/colour": [GOALS[i % 4][1] for i in range(20)],
        "other_instructions": [[w for w in words if w != words[i % 4]] for i in range(20)],
    }
    for file in sorted((folder / "meta" / "episodes").rglob("*.parquet")):
        table = pq.read_table(file)
        for name, values in columns.items():
            own = [values[i] for i in table["episode_index"].to_pylist()]
            table = table.append_column(name, pa.array(own))
        pq.write_table(table, file)
    manifest = {"revealed_factors": {"action": ["skill"]}}
    (folder / "meta" / "simulation.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run_folder(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    config = folder / "tiny.toml"
    config.write_text("", encoding="utf-8")
    words = ["train", str(config), "--data", str(data), "--out", str(folder / "run")]
    assert cli.main([*words, "--set", *TINY, "model.pair_metric=gated"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def evaluated(data, run_folder, tmp_path_factory):
    arguments = Evaluate(
        run=run_folder, data=data, split="all", candidates=5, out=tmp_path_factory.mktemp("report")
    )
    return evaluate.run(arguments)


def test_all_splits_that_are_held_out_are_in_one_report_test_first(evaluated):
    assert [split.name for split in evaluated.splits] == ["test", "unseen_paraphrases"]
    told = json.loads(evaluated.files.metrics.read_text(encoding="utf-8"))
    assert list(told["splits"]) == ["test", "unseen_paraphrases"]
    page = evaluated.files.html.read_text(encoding="utf-8")
    assert "these sentences were never trained on" in page
    assert evaluated.files.pictures[0].name == "contact-sheet.png"


def test_the_rows_that_are_measured_have_the_gates_of_the_run(evaluated, run_folder):
    model = load_run(run_folder).model
    for split in evaluated.splits:
        for embeddings in split.embeddings.values():
            gate = model.pair_gate(VISION, ACTION).detach().numpy()
            np.testing.assert_array_equal(embeddings.gate(ACTION, VISION), gate)
            assert not np.allclose(gate, 1, atol=1e-3), "it has learned"


def test_windows_are_thinned_to_the_candidates_asked_for(evaluated):
    for split in evaluated.splits:
        windows = split.results["windows"]
        assert windows.num_rows == 5  # of 8
        assert split.results["episodes"].num_rows == 4
    assert "at most 5 windows" in evaluated.about["candidates"]


def test_factors_scenes_and_ceilings_are_measured_from_what_the_data_set_says(evaluated):
    for split in evaluated.splits:
        assert set(split.factors[VISION]) == {"skill", "colour"}
        assert split.scenes[VISION].num_wrong == 12
        assert split.ceilings[ACTION].hidden == ("colour",)
        assert split.ceilings[ACTION].to_text.recall_at_1 == 0.5


def test_the_caller_may_say_what_is_revealed(data, run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "write_report", partial(write_report, pictures=False))
    arguments = Evaluate(run=run_folder, data=data, split="unseen_paraphrases", out=tmp_path)
    told = evaluate.run(arguments, revealed={VISION: ("colour",)})
    (split,) = told.splits
    assert split.name == "unseen_paraphrases"
    assert set(split.ceilings) == {VISION}


def test_a_split_that_is_not_there_is_named_with_those_that_are(data, run_folder, capsys):
    words = ["evaluate", str(run_folder), "--data", str(data), "--split", "unseen_paraphrase"]
    assert cli.main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "no split 'unseen_paraphrase', only train, validation, test, unseen_paraphrases" in said
    assert "Did you mean 'unseen_paraphrases'?" in said


def test_a_single_candidate_is_refused(data, run_folder, capsys):
    words = ["evaluate", str(run_folder), "--data", str(data), "--candidates", "1"]
    assert cli.main(words) == 2
    assert "--candidates must be at least 2, got 1" in capsys.readouterr().err
