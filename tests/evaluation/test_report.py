import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jointspace.batch import TEXT, VISION
from jointspace.errors import InputError, MissingExtraError, StorageError
from jointspace.evaluation import canvas
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.metrics_json import METRICS_VERSION
from jointspace.evaluation.report import write_report
from jointspace.evaluation.report_text import accuracy_blocks, estimate_cell, retrieval_blocks
from jointspace.evaluation.retrieval import Estimate
from jointspace.evaluation.space_plots import similarity_matrices, space_map
from jointspace.evaluation.split_report import SplitReport
from jointspace.evaluation.wording import number, place, shortened
from jointspace.storage import write_whole
from tests.evaluation.reference import toy_embeddings

QUICK = Resampling(num_resamples=20)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(canvas, "_DPI", 40)


@pytest.fixture(scope="module")
def embeddings():
    return toy_embeddings(fused=True)


@pytest.fixture(scope="module")
def evaluation(embeddings):
    return evaluate_embeddings(embeddings, resampling=QUICK)


def of_test(results, embeddings=None):
    return [SplitReport("test", results, embeddings=embeddings or {})]


def test_a_report_holds_metrics_pages_and_pictures(tmp_path, embeddings, evaluation):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": s, "loss": 1 / s}) + "\n" for s in (1, 2, 3)))
    files = write_report(
        of_test({"windows": evaluation}, {"windows": embeddings}),
        tmp_path / "new" / "report",
        log=log,
        about={"data set": "toy <1>"},
        title="A toy",
    )
    written = {path.name for path in (tmp_path / "new" / "report").iterdir()}
    names = ["recall-windows.png", "similarity-windows.png", "map-windows.png", "training.png"]
    assert written == {*names, "metrics.json", "report.md", "report.html"}
    assert [path.name for path in files.pictures] == names
    for path in files.pictures:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert np.asarray(picture.convert("L")).std() > 5
    page = files.html.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "toy &lt;1&gt;" in page
    assert "vision + text → action" in page
    assert "[](" not in files.markdown.read_text(encoding="utf-8")


def test_the_metrics_file_holds_every_number_with_chance_and_interval(tmp_path, evaluation):
    files = write_report(
        of_test({"windows": evaluation, "episodes": evaluation}), tmp_path, pictures=False
    )
    payload = json.loads(files.metrics.read_text(encoding="utf-8"))
    assert payload["version"] == METRICS_VERSION
    assert list(payload["splits"]["test"]["scales"]) == ["windows", "episodes"]
    scale = payload["splits"]["test"]["scales"]["windows"]
    assert [(r["query"], r["target"]) for r in scale["retrieval"]] == [
        (d.query, d.target) for d in evaluation.retrieval
    ]
    first = next(iter(evaluation.retrieval.values()))
    assert scale["retrieval"][0]["recall_at_5"] == {
        "value": first.recall_at_5.value,
        "chance": first.recall_at_5.chance,
        "low": first.recall_at_5.low,
        "high": first.recall_at_5.high,
    }
    assert scale["instruction_accuracy"][0]["query"] == "vision"
    assert scale["matching"][0]["query"] == "vision"
    assert scale["matching"][0]["auroc"]["chance"] == 0.5
    assert scale["geometry"]["uniformity"].keys() == {"vision", "text", "action"}
    assert (scale["num_rows"], scale["num_texts"], scale["num_episodes"]) == (20, 4, 20)


def test_numbers_without_an_interval_are_null_in_json_and_none_in_words(tmp_path, embeddings):
    evaluation = evaluate_embeddings(embeddings, resampling=Resampling(num_resamples=0))
    files = write_report(of_test({"windows": evaluation}), tmp_path, pictures=False)
    payload = json.loads(files.metrics.read_text(encoding="utf-8"))
    assert (
        payload["splits"]["test"]["scales"]["windows"]["retrieval"][0]["recall_at_1"]["low"] is None
    )
    assert "nan" not in files.markdown.read_text(encoding="utf-8").lower()


def test_without_matplotlib_only_pictures_are_refused(tmp_path, monkeypatch, evaluation):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"jointspace\[report\]"):
        write_report(of_test({"windows": evaluation}), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    write_report(of_test({"windows": evaluation}), tmp_path / "b", pictures=False)
    assert len(list((tmp_path / "b").iterdir())) == 3


def test_reports_of_nothing_or_of_unknown_scales_are_refused(tmp_path, embeddings, evaluation):
    with pytest.raises(InputError, match="nothing was measured"):
        write_report([], tmp_path)
    with pytest.raises(InputError, match="nothing was measured"):
        SplitReport("test", {})
    with pytest.raises(InputError, match=r"\['episodes'\] have no results"):
        of_test({"windows": evaluation}, {"episodes": embeddings})
    with pytest.raises(InputError, match=r"different names, got \['test', 'test'\]"):
        write_report(of_test({"windows": evaluation}) * 2, tmp_path)


def test_an_evaluation_without_directions_still_makes_a_report(tmp_path):
    embeddings = toy_embeddings(num_instructions=1, episodes_each=1)
    evaluation = evaluate_embeddings(embeddings)
    files = write_report(of_test({"windows": evaluation}, {"windows": embeddings}), tmp_path)
    assert "Not measured: " in files.markdown.read_text(encoding="utf-8")
    assert [path.name for path in files.pictures] == ["map-windows.png"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_whole(path, "old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"metrics\.json: could not be written: No space left"):
        write_whole(path, b"new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_numbers_clearly_off_chance_are_marked(evaluation):
    (table,) = [b for b in retrieval_blocks(evaluation) if hasattr(b, "header")]
    by_name = {row[0].value: row for row in table.rows}
    row = by_name["vision → action"]
    assert row[1].tone == row[-1].tone == "clear"
    assert row[0].note == "20 queries\n20 candidates"
    # Four texts: R@5 of 1 is what chance gives, too.
    assert by_name["vision → text"][2].tone == "unclear"


def test_a_number_at_chance_is_never_marked_whatever_its_interval():
    assert estimate_cell(Estimate(0.1, 0.1, 0.12, 0.2)).tone == "unclear"
    assert estimate_cell(Estimate(0.15, 0.1, 0.12, 0.2)).tone == "clear"
    assert estimate_cell(Estimate(9.0, 9.0, 5.0, 7.0), is_rank=True).tone == "unclear"
    assert estimate_cell(Estimate(6.0, 9.0, 5.0, 7.0), is_rank=True).tone == "clear"
    assert estimate_cell(Estimate(0.9, 0.1, float("nan"), float("nan"))).tone == "unclear"


def test_instructions_are_listed_where_they_are_few(embeddings, evaluation):
    tables = [b for b in accuracy_blocks(evaluation, embeddings) if hasattr(b, "header")]
    assert tables[1].rows[0][0].value == "do thing number 0"
    assert len([b for b in accuracy_blocks(evaluation, None) if hasattr(b, "header")]) == 1


def test_matching_stands_beside_the_accuracy_with_its_medians(embeddings, evaluation):
    table = next(b for b in accuracy_blocks(evaluation, embeddings) if hasattr(b, "header"))
    cells = dict(zip(table.header, table.rows[0], strict=True))
    quality = evaluation.matching[VISION]
    assert cells["match AUROC"].value == number(quality.auroc.value)
    assert cells["closest wording"].value == number(quality.auroc_closest.value)
    assert cells["median cosine"].value == f"right {number(quality.median_right)}"
    without = replace(evaluation, matching={VISION: replace(quality, auroc_closest=None)})
    table = next(b for b in accuracy_blocks(without, None) if hasattr(b, "header"))
    assert [row[-2].value for row in table.rows] == ["none", "none"]


def test_odd_instructions_can_be_drawn(embeddings):
    texts = dict.fromkeys(range(4), "")
    texts |= {0: "costs $5 and $6", 1: "拿起红色的杯子", 2: "x" * 10_000}
    odd = type(embeddings)(embeddings.vectors, embeddings.rows, texts)
    with Image.open(io.BytesIO(space_map(odd))) as picture:
        assert picture.width == 360


def test_many_rows_and_instructions_can_be_drawn():
    many = toy_embeddings(num_instructions=50, episodes_each=9)
    many.rows.instruction[:5] = -1
    many.vectors[TEXT][:5] = 0
    pairs = list(evaluate_embeddings(many, resampling=QUICK).retrieval)[:1]
    for png in (space_map(many), similarity_matrices(many, pairs)):
        with Image.open(io.BytesIO(png)) as picture:
            assert picture.format == "PNG"
    assert pairs[0].query == VISION


def test_numbers_are_written_with_the_digits_that_matter():
    assert [number(v) for v in (0.5, 0.0123, 0.0, 1.0, float("nan"))] == [
        "0.50",
        "0.012",
        "0.00",
        "1.00",
        "none",
    ]
    assert [place(v) for v in (1.0, 1234.56, float("nan"))] == ["1.0", "1,234.6", "none"]
    assert shortened("a\n b") == "a b"
    assert len(shortened("x" * 100)) == 60
