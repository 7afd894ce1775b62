import json
import re
from dataclasses import replace

import pytest

from jointspace.batch import ACTION, TEXT, VISION, Direction, Modality
from jointspace.commands.evaluation_tables import accuracy_lines
from jointspace.evaluation import canvas
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.contact_sheet import retrieve_examples
from jointspace.evaluation.document import Table
from jointspace.evaluation.factors import goal_factors
from jointspace.evaluation.report import write_report
from jointspace.evaluation.report_factors import ceiling_blocks, scene_blocks
from jointspace.evaluation.report_summary import ceiling_of, summary_blocks
from jointspace.evaluation.split_report import measure_split
from jointspace.evaluation.wording import number
from tests.evaluation.reference import toy_embeddings
from tests.evaluation.tabletop import (
    tabletop,
    tabletop_alternatives,
    tabletop_space,
    tabletop_store,
)

QUICK = Resampling(num_resamples=20)
REVEALED = {ACTION: ("skill", "direction")}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(canvas, "_DPI", 30)


@pytest.fixture(scope="module")
def dataset():
    return tabletop()


def measured(dataset, name, **changes):
    embeddings = tabletop_space(dataset)
    given = {
        "holds_out": "the episodes",
        "factors": goal_factors(dataset),
        "alternatives": tabletop_alternatives(dataset, embeddings),
        "revealed": REVEALED,
        "resampling": QUICK,
    }
    scales = {"windows": tabletop_space(dataset, rows_each=2, seed=1), "episodes": embeddings}
    return measure_split(name, scales, **(given | changes))


@pytest.fixture(scope="module")
def splits(dataset):
    return [measured(dataset, "test"), measured(dataset, "unseen_words", holds_out="the words")]


def test_a_split_is_measured_with_factors_scenes_and_ceilings(splits):
    split = splits[0]
    assert list(split.results) == ["windows", "episodes"]
    assert Direction(VISION, ACTION) not in split.results["episodes"].retrieval
    assert set(split.factors) == set(split.scenes) == {VISION, ACTION}
    assert split.grouping == "skill"
    assert set(split.groups) == set(split.labels.values()) == {"lift", "push", "rotate", "touch"}
    assert set(split.ceilings) == {ACTION}


def test_data_without_factors_is_measured_all_the_same():
    split = measure_split("test", {"episodes": toy_embeddings()}, resampling=QUICK)
    absent = (split.factors, split.scenes, split.ceilings, split.labels, split.groups)
    assert not any(absent)
    assert split.results["episodes"].retrieval


def test_the_first_table_holds_the_six_directions_of_every_split_with_chance(splits):
    tables = [block for block in summary_blocks(splits) if isinstance(block, Table)]
    core, understood, about = tables
    assert core.groups == (("test", 3), ("unseen words", 3))
    assert len(core.rows) == 6
    rows = {row[0].value: row for row in core.rows}
    metrics = splits[0].results["windows"].retrieval[Direction(VISION, ACTION)]
    assert rows["vision → action"][1].value == number(metrics.recall_at_1.value)
    assert rows["vision → action"][1].note == f"vs {number(metrics.recall_at_1.chance)}\nof 120"
    ceiling = splits[0].ceilings[ACTION].from_text
    assert f"≤ {number(ceiling.mean_average_precision)}" in rows["text → action"][3].note
    assert "≤" not in rows["text → vision"][3].note
    assert [row[0].value for row in understood.rows][:2] == [
        "skill of the best text",
        "colour of the best text",
    ]
    found = splits[0].scenes[VISION].true_positive_rate
    (row,) = (row for row in understood.rows if "found at 1 % false" in row[0].value)
    assert row[1].value == number(found.value)
    (_, scenes) = scene_blocks(splits[0])
    column = scenes.header.index("right ones found at 1 % false")
    assert scenes.rows[0][column].value == number(found.value)
    told = next(line for line in accuracy_lines(splits[0]) if "of a scene, from vision" in line)
    assert told.endswith(f"found at 1 % false {number(found.value)} ({number(found.chance)})")
    assert [row[1].value for row in about.rows] == ["the episodes", "the words"]


def test_a_ceiling_belongs_to_one_direction(splits):
    ceilings = splits[0].ceilings
    assert ceiling_of(Direction(ACTION, TEXT), ceilings) == ceilings[ACTION].to_text
    assert ceiling_of(Direction(TEXT, ACTION), ceilings) == ceilings[ACTION].from_text
    assert ceiling_of(Direction(VISION, ACTION), ceilings) is None
    assert ceiling_of(Direction(TEXT, VISION), ceilings) is None
    (paragraph,) = ceiling_blocks(splits[0])
    assert "shows skill and direction, but not colour and shape" in paragraph.text


def test_a_report_of_several_splits_folds_the_details_and_shows_the_examples(
    tmp_path, dataset, splits
):
    store = tabletop_store(dataset, tmp_path)
    embeddings = splits[0].embeddings["episodes"]
    examples = retrieve_examples(embeddings, dataset, store, labels=splits[0].labels)
    undrawn = [replace(split, embeddings={}) for split in splits]  # pictures take long
    files = write_report(undrawn, tmp_path / "report", examples=examples)
    names = [path.name for path in files.pictures]
    assert names == [
        "contact-sheet.png",
        "recall-test-windows.png",
        "recall-test-episodes.png",
        "recall-unseen_words-windows.png",
        "recall-unseen_words-episodes.png",
    ]
    page = files.html.read_text(encoding="utf-8")
    assert page.count("<details>") == page.count("</details>") == 4
    assert page.index("At a glance") < page.index("What it finds") < page.index("Split: test")
    assert page.count("data:image/png;base64,") == len(names)
    assert "New here: the words." in page
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]*", "", page), flags=re.IGNORECASE)


def test_the_metrics_file_holds_every_split_with_stable_keys(tmp_path, splits):
    files = write_report(splits, tmp_path, pictures=False)
    payload = json.loads(files.metrics.read_text(encoding="utf-8"))
    assert list(payload["splits"]) == ["test", "unseen_words"]
    split = payload["splits"]["test"]
    assert list(split) == [
        "holds_out",
        "core",
        "scales",
        "factors",
        "groups",
        "scenes",
        "ceilings",
    ]
    assert [each["scale"] for each in split["core"]] == [
        "episodes",
        "windows",
        "episodes",
        "episodes",
        "windows",
        "episodes",
    ]
    skill = split["factors"][0]
    assert (skill["query"], skill["factor"]) == ("vision", "skill")
    assert skill["accuracy"]["value"] == splits[0].factors[VISION]["skill"].accuracy.value
    assert split["groups"]["factor"] == "skill"
    assert split["groups"]["values"][0]["name"] == "lift"
    assert split["scenes"][1]["auroc"]["chance"] == 0.5
    found = splits[0].scenes[ACTION].true_positive_rate
    assert split["scenes"][1]["true_positive_rate"]["value"] == found.value
    assert split["ceilings"][0]["hidden"] == ["colour", "shape"]


def test_a_single_split_is_not_folded(tmp_path, splits):
    split = splits[0]
    alone = replace(split, embeddings={"episodes": split.embeddings["episodes"]})
    files = write_report([alone], tmp_path)
    page = files.html.read_text(encoding="utf-8")
    assert "<details>" not in page
    assert "What is understood" in page
    assert "ordered by skill, goal and then by episode" in page
    assert (tmp_path / "map-episodes.png").is_file()


def test_fused_queries_without_text_are_measured_too(dataset):
    embeddings = tabletop_space(dataset)
    fused, spoken = Modality("vision+action"), Modality("vision+text")
    vectors = {**embeddings.vectors, fused: embeddings.vectors[VISION]}
    vectors[spoken] = embeddings.vectors[VISION]
    more = type(embeddings)(vectors, embeddings.rows, embeddings.texts)
    split = measure_split(
        "test",
        {"episodes": more},
        factors=goal_factors(dataset),
        alternatives=tabletop_alternatives(dataset, embeddings),
        resampling=QUICK,
    )
    assert set(split.factors) == set(split.scenes) == {VISION, ACTION, fused}
