"""`jointspace evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group

from jointspace.commands.arguments import Evaluate
from jointspace.commands.evaluation_tables import accuracy_lines, core_table
from jointspace.commands.opened_run import OpenedRun, open_run
from jointspace.data.splits import Splits, split_rule
from jointspace.errors import InputError, did_you_mean
from jointspace.evaluation.ceiling import Revealed, read_revealed
from jointspace.evaluation.contact_sheet import ShownQuery, retrieve_examples
from jointspace.evaluation.embedding import embed_samples
from jointspace.evaluation.factors import GoalFactors, goal_factors
from jointspace.evaluation.metrics_json import metrics_payload
from jointspace.evaluation.report import ReportFiles, write_report
from jointspace.evaluation.scales import EPISODES
from jointspace.evaluation.scene import embed_alternatives
from jointspace.evaluation.split_report import SplitReport, measure_split
from jointspace.evaluation.split_samples import split_samples
from jointspace.models.run_folder import LOG_FILE
from jointspace.progress import progress_bar

ALL_SPLITS = "all"
"""Stands for every split that is held out for evaluation."""

_FITTED = ("train", "validation")
_HOLDS_OUT = {
    "train": "nothing: the model was trained on these episodes",
    "validation": "the episodes, though they decided when the training stopped",
    "unseen_paraphrases": "the wording: these sentences were never trained on, their goals were",
    "unseen_combinations": (
        "the combination: no episode that was trained on does this skill to an object of this "
        "colour and shape"
    ),
}
_TEST_HOLDS_OUT = {
    "episode": "the episodes, with instructions like those of the training",
    "shipped": "the episodes, set apart by the data set itself",
    "instruction": "the instructions: none of them was trained on",
}


@dataclass(frozen=True)
class Evaluated:
    """What was measured, and where the report is.

    Attributes:
        splits: what was measured on each split, the first one being what was asked for, or test.
        about: the run, the data set, the model.
        files: the report.
    """

    splits: tuple[SplitReport, ...]
    about: dict[str, str]
    files: ReportFiles

    def render(self) -> Group:
        """Returns a table per split, chance beside every number, and last the report's path."""
        parts: list[Any] = []
        for split in self.splits:
            parts += [core_table(split), *accuracy_lines(split), ""]
        return Group(*parts, f"report: {self.files.html}")

    def to_json(self) -> dict[str, Any]:
        """Returns what `metrics.json` holds, and the report's files."""
        files = {
            "metrics": str(self.files.metrics),
            "markdown": str(self.files.markdown),
            "html": str(self.files.html),
            "pictures": [str(picture) for picture in self.files.pictures],
        }
        return metrics_payload(self.splits, about=self.about) | {"files": files}


def run(arguments: Evaluate, *, revealed: Revealed | None = None) -> Evaluated:
    """Measures a run on its splits and writes the report.

    Args:
        arguments: of the command line.
        revealed: the factors of the goal that each modality shows; None takes what the data set's
            manifest says.

    Returns:
        What was measured.

    Raises:
        RunFolderError: the folder holds no run that can be used.
        DataError: the data set or its manifest cannot be read, or it is not the run's.
        InputError: there is no such split or it has no episodes, or fewer than two candidates are
            asked for.
        MissingExtraError: matplotlib is not installed.
        StorageError: a file of the report could not be written.
    """
    if arguments.candidates is not None and arguments.candidates < 2:
        raise InputError(f"--candidates must be at least 2, got {arguments.candidates}")
    opened = open_run(arguments.run, data=arguments.data)
    chosen = _chosen_splits(arguments, opened.splits)
    factors = goal_factors(opened.dataset)
    if factors is not None and revealed is None:
        revealed = read_revealed(opened.dataset.info.path)
    splits = [
        _measured(
            opened,
            name,
            positions,
            candidates=arguments.candidates,
            factors=factors,
            revealed=revealed,
        )
        for name, positions in chosen.items()
    ]
    about = _about(arguments, opened, splits)
    files = write_report(
        splits,
        arguments.out or opened.data.report_folder,
        examples=_examples(opened, splits[0]),
        log=arguments.run / LOG_FILE,
        about=about,
    )
    return Evaluated(tuple(splits), about, files)


def _chosen_splits(arguments: Evaluate, splits: Splits) -> dict[str, tuple[int, ...]]:
    """The positions of the episodes of each split to measure, test first."""
    if arguments.split == ALL_SPLITS:
        held_out = [name for name in splits.names if name not in _FITTED]
        found = {name: splits.positions(name) for name in sorted(held_out, key="test".__ne__)}
        found = {name: positions for name, positions in found.items() if positions}
        if not found:
            raise InputError(
                f"{arguments.run}: no split is held out; train with data.test_fraction above 0"
            )
        return found
    if arguments.split not in splits.names:
        known = (*splits.names, ALL_SPLITS)
        raise InputError(
            f"{arguments.run}: the run has no split '{arguments.split}', only "
            f"{', '.join(known)}.{did_you_mean(arguments.split, known)}"
        )
    positions = splits.positions(arguments.split)
    if not positions:
        raise InputError(
            f"{arguments.run}: there are no {arguments.split} episodes; "
            f"train with data.{arguments.split}_fraction above 0, or choose another --split"
        )
    return {arguments.split: positions}


def _measured(
    opened: OpenedRun,
    name: str,
    positions: Sequence[int],
    *,
    candidates: int | None,
    factors: GoalFactors | None,
    revealed: Revealed | None,
) -> SplitReport:
    embeddings = {}
    samples_of = split_samples(
        opened.dataset,
        opened.seen,
        opened.preprocessor,
        episodes=positions,
        candidates=candidates,
    )
    for scale, samples in samples_of.items():
        with progress_bar(f"embedding {scale} of {name}") as report:
            embeddings[scale] = embed_samples(opened.embedder, samples, progress=report)
    alternatives = embed_alternatives(
        opened.embedder, opened.preprocessor, opened.dataset, episodes=positions
    )
    holds_out = _HOLDS_OUT.get(name, "")
    if name == "test":
        rule = split_rule(opened.dataset, config=opened.run.config.data)
        holds_out = _TEST_HOLDS_OUT[rule]
    return measure_split(
        name,
        embeddings,
        holds_out=holds_out,
        factors=factors,
        alternatives=alternatives,
        revealed=revealed,
    )


def _examples(opened: OpenedRun, split: SplitReport) -> tuple[ShownQuery, ...]:
    if opened.store is None or EPISODES not in split.embeddings:
        return ()
    return retrieve_examples(
        split.embeddings[EPISODES], opened.dataset, opened.store, labels=split.labels
    )


def _about(arguments: Evaluate, opened: OpenedRun, splits: Sequence[SplitReport]) -> dict[str, str]:
    info, model = opened.dataset.info, opened.run.config.model
    names = ", ".join(split.name for split in splits)
    rule = split_rule(opened.dataset, config=opened.run.config.data)
    return {
        "run": str(arguments.run),
        "data set": f"{arguments.data} ({info.format}, {info.robot_type})",
        "split" if len(splits) == 1 else "splits": f"{names}, by {rule}",
        "candidates": (
            "every window and episode"
            if arguments.candidates is None
            else f"at most {arguments.candidates:,} windows of each split, drawn at random"
        ),
        "left out": "; ".join(opened.left_out) or "nothing",
        "model": f"{model.name}, {model.embed_dim} dimensions",
        "jointspace": opened.run.jointspace_version,
    }
