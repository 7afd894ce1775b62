"""The ablation's records as Markdown: a table per question, every arm beside the base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ablation_arms import ARMS, BASE, QUESTIONS, Arm
from results_file import Record

SECONDS = "train_s"
COLUMNS = {
    "text->vision mAP": "text → vision mAP",
    "vision->text mAP": "vision → text mAP",
    "vision->action R@1": "vision → action R@1",
    "action->vision R@1": "action → vision R@1",
    "text->action mAP": "text → action mAP",
    "vision+text->action R@1": "vision + text (sum) → action R@1",
    "fused vision+text->action R@1": "vision + text (fused) → action R@1",
    "same-scene AUROC": "same-scene AUROC",
    "same-scene TPR at 1 % FP": "same-scene TPR at 1 % FP",
    "unseen_paraphrases: text->vision mAP": "unseen paraphrases, text → vision mAP",
    "unseen_combinations: text->vision mAP": "unseen combinations, text → vision mAP",
}
WINDOW_COLUMNS = {
    "vision->action R@5": "vision → action R@5",
    "action->vision R@5": "action → vision R@5",
    "vision->state R@5": "vision → state R@5",
    "state->vision R@5": "state → vision R@5",
}
"""Shown where the data set ships no split of unseen paraphrases or combinations."""


@dataclass(frozen=True)
class ArmRuns:
    """The runs of one arm.

    Attributes:
        arm: what was overridden.
        is_base: its configuration is the base's.
        by_seed: seed -> record of a run that ended well.
        errors: seed -> why the run of that seed failed.
    """

    arm: Arm
    is_base: bool
    by_seed: Mapping[int, Record]
    errors: Mapping[int, str]

    def values(self, metric: str) -> dict[int, float]:
        """Returns seed -> value, for the seeds that have one."""
        found = {}
        for seed, record in self.by_seed.items():
            value = (
                record[SECONDS]
                if metric == SECONDS
                else record["metrics"].get(metric, {}).get("value")
            )
            if value is not None:
                found[seed] = float(value)
        return found


def metric_columns(runs: Sequence[ArmRuns]) -> dict[str, str]:
    """Returns metric -> heading, for what at least one run has measured."""
    known = {
        name for each in runs for record in each.by_seed.values() for name in record["metrics"]
    }
    wanted = dict(COLUMNS)
    if not any(name.startswith("unseen_") for name in known):
        wanted |= WINDOW_COLUMNS
    return {name: heading for name, heading in wanted.items() if name in known}


def question_table(runs: Sequence[ArmRuns], *, columns: Mapping[str, str]) -> str:
    """Returns the table of one question; the base comes first.

    A cell holds mean and standard deviation over the seeds, least to greatest, and the mean and
    standard deviation of the difference from the base with the same seed.
    """
    base, *others = runs
    heads = ["arm", "seeds", *columns.values(), "training, s"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for each in (base, *others):
        name = f"**{each.arm.name}**" if each.is_base else each.arm.name
        cells = [
            _cell(each.values(metric), {} if each.is_base else base.values(metric))
            for metric in columns
        ]
        cells.append(_cell(each.values(SECONDS), {}, decimals=1))
        lines.append("| " + " | ".join([name, str(len(each.by_seed)), *cells]) + " |")
    lines.append(
        "| " + " | ".join(["*chance*", "", *(_chance(runs, m) for m in columns), ""]) + " |"
    )
    failures = [f"{e.arm.name}, seed {s}: {why}" for e in runs for s, why in e.errors.items()]
    return "\n".join([*lines, *([""] if failures else []), *(f"- failed: {f}" for f in failures)])


def summary(runs: Sequence[ArmRuns], *, columns: Mapping[str, str]) -> list[dict[str, object]]:
    """Returns every number of the tables, for a program."""
    base = runs[0]
    rows = []
    for each in runs:
        for metric in (*columns, SECONDS):
            values, beside = each.values(metric), base.values(metric)
            if values:
                paired = [values[s] - beside[s] for s in values if s in beside]
                rows.append(
                    {
                        "question": each.arm.question,
                        "arm": each.arm.name,
                        "is_base": each.is_base,
                        "metric": metric,
                        "values": values,
                        "mean": float(np.mean(list(values.values()))),
                        "spread": _spread(list(values.values())),
                        "difference": float(np.mean(paired)) if paired else None,
                        "difference_spread": _spread(paired),
                    }
                )
    return rows


def overrides_list(arms: Sequence[Arm]) -> str:
    """Returns what each arm overrides, as a list; folders of this machine are left out."""
    stated = {arm.name: arm.overrides for arm in ARMS}
    return "\n".join(
        f"- {arm.name}: " + ", ".join(f"`{override}`" for override in stated[arm.name])
        for arm in arms
        if arm.name != BASE
    )


def heading(question: str) -> str:
    """Returns the heading of a question."""
    return QUESTIONS.get(question, question)


def number(value: float, *, decimals: int = 3, sign: bool = False) -> str:
    """Returns a number without the zero before its point: .742."""
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _cell(values: Mapping[int, float], beside: Mapping[int, float], *, decimals: int = 3) -> str:
    if not values:
        return "-"
    listed = list(values.values())
    parts = [number(float(np.mean(listed)), decimals=decimals)]
    if len(listed) > 1:
        parts[0] += f" ± {number(_spread(listed) or 0.0, decimals=decimals)}"
        low, high = (number(each, decimals=decimals) for each in (min(listed), max(listed)))
        parts.append(f"{low} … {high}")
    paired = [values[seed] - beside[seed] for seed in values if seed in beside]
    if paired:
        change = number(float(np.mean(paired)), decimals=decimals, sign=True)
        spread = _spread(paired)
        tail = "" if spread is None else f" ± {number(spread, decimals=decimals)}"
        parts.append(f"**{change}**{tail}")
    return "<br>".join(parts)


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _chance(runs: Sequence[ArmRuns], metric: str) -> str:
    for each in runs:
        found = [
            record["metrics"][metric]["chance"]
            for record in each.by_seed.values()
            if record["metrics"].get(metric, {}).get("chance") is not None
        ]
        if found:
            return number(float(np.mean(found)))
    return "-"
