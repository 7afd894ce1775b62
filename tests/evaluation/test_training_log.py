import json

from jointspace.evaluation.training_log import read_curves


def _write(path, records, tail=""):
    path.write_text("".join(json.dumps(r) + "\n" for r in records) + tail, encoding="utf-8")
    return path


def test_numbers_become_curves_and_mappings_share_a_panel(tmp_path):
    log = _write(
        tmp_path / "log.jsonl",
        [
            {"kind": "train", "step": s, "loss": 3 - s, "pairs": {"a->b": s, "b->a": -s}}
            for s in (2, 1)
        ]
        + [
            {
                "kind": "validation",
                "step": s,
                "worst": 0.1,
                "directions": {"a->b": {"recall_at_1": 0.5, "rows": "windows"}},
            }
            for s in (1, 2)
        ],
    )
    panels = read_curves(log)
    assert list(panels) == [
        "training loss",
        "training loss of each direction",
        "validation, above chance",
        "validation R@1 of each direction",
    ]
    (loss,) = panels["training loss"]
    assert (loss.steps, loss.values) == ((1.0, 2.0), (2.0, 1.0))
    assert [c.name for c in panels["training loss of each direction"]] == ["a → b", "b → a"]
    assert panels["validation R@1 of each direction"][0].values == (0.5, 0.5)


def test_half_lines_and_things_that_are_no_numbers_are_passed_over(tmp_path):
    log = _write(
        tmp_path / "log.jsonl",
        [
            {"step": 1, "loss": 1.0, "flag": True, "name": "x", "elapsed_s": 1.0, "waited_s": 0.5},
            {"step": 2, "loss": float("nan"), "once": 3},
            {"loss": 5.0},
            [1],
            {"step": 3, "loss": 0.5},
        ],
        tail='{"step": 4, "lo',
    )
    panels = read_curves(log)
    assert list(panels) == ["training loss"]
    assert panels["training loss"][0].steps == (1.0, 3.0)


def test_an_unknown_number_gets_a_panel_of_its_own(tmp_path):
    log = _write(tmp_path / "log.jsonl", [{"step": s, "rows_per_second": s} for s in (1, 2)])
    assert list(read_curves(log)) == ["train/rows per second"]


def test_a_log_that_does_not_exist_has_no_curves(tmp_path):
    assert read_curves(tmp_path / "log.jsonl") == {}
