"""`jointspace evaluate`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Group
from rich.table import Table

from jointspace.batch import TEXT, Embeddings
from jointspace.commands.arguments import Evaluate
from jointspace.commands.opened_run import OpenedRun, open_run
from jointspace.commands.progress import progress_bar
from jointspace.data.samples import SampleSet
from jointspace.data.windows import num_short_episodes
from jointspace.errors import InputError
from jointspace.evaluation.directions import Evaluation, evaluate_embeddings
from jointspace.evaluation.embedding import embed_samples
from jointspace.evaluation.metrics_json import metrics_payload
from jointspace.evaluation.report import ReportFiles, write_report
from jointspace.evaluation.retrieval import Estimate, RetrievalMetrics
from jointspace.evaluation.wording import direction_name, number
from jointspace.models.run_folder import LOG_FILE


@dataclass(frozen=True)
class Evaluated:
    """What was measured, and where the report is.

    Attributes:
        results: the scale of rows (`windows`, `episodes`) -> what was measured on it.
        about: the run, the data set, the split.
        files: the report.
    """

    results: Mapping[str, Evaluation]
    about: Mapping[str, str]
    files: ReportFiles

    def render(self) -> Group:
        """Returns a table per scale, chance beside every number, and the report's path."""
        parts: list[Any] = []
        for name, evaluation in self.results.items():
            parts += [_table(name, evaluation), *_accuracies(evaluation), *evaluation.notes, ""]
        return Group(*parts, f"report: {self.files.html}")

    def to_json(self) -> dict[str, Any]:
        """Returns what `metrics.json` holds, and the report's files."""
        files = {
            "metrics": str(self.files.metrics),
            "markdown": str(self.files.markdown),
            "html": str(self.files.html),
            "pictures": [str(picture) for picture in self.files.pictures],
        }
        return metrics_payload(self.results, about=self.about) | {"files": files}


def run(arguments: Evaluate) -> Evaluated:
    """Measures a run on one of its splits and writes the report.

    Returns:
        What was measured.

    Raises:
        RunFolderError: the folder holds no run that can be used.
        DataError: the data set cannot be read, or is not the run's.
        InputError: the split has no episodes.
        MissingExtraError: matplotlib is not installed.
        StorageError: a file of the report could not be written.
    """
    opened = open_run(arguments.run, data=arguments.data)
    positions = getattr(opened.run.splits(opened.dataset), arguments.split)
    if not positions:
        raise InputError(
            f"{arguments.run}: there are no {arguments.split} episodes; "
            f"train with data.{arguments.split}_fraction above 0, or choose another --split"
        )
    embeddings = _embeddings(opened, positions)
    results = {name: evaluate_embeddings(each) for name, each in embeddings.items()}
    if "windows" in results:
        results["episodes"] = _without_duration(results["episodes"])
        if not results["episodes"].retrieval:
            del results["episodes"], embeddings["episodes"]
    about = _about(arguments, opened)
    files = write_report(
        results,
        arguments.out or arguments.run,
        embeddings=embeddings,
        log=arguments.run / LOG_FILE,
        about=about,
    )
    return Evaluated(results, about, files)


def _without_duration(episodes: Evaluation) -> Evaluation:
    """Keeps of whole episodes the directions that search text or are searched by text alone.

    Pictures and readings of a whole episode share its duration, which would match them by itself.
    """
    return replace(
        episodes,
        retrieval={d: m for d, m in episodes.retrieval.items() if TEXT in {d.query, d.target}},
        notes=(*episodes.notes, "directions without text: left out, duration would match episodes"),
    )


def _embeddings(opened: OpenedRun, positions: tuple[int, ...]) -> dict[str, Embeddings]:
    """Embeds the split's episodes at both scales; without windows where all are too short."""
    dataset, store, preprocessor = opened.dataset, opened.store, opened.run.preprocessor
    num_short = num_short_episodes(
        [episode.num_frames for episode in dataset.episodes],
        fps=dataset.info.fps,
        window_s=preprocessor.window_s,
        episodes=positions,
    )
    samples = {}
    if num_short < len(positions):
        samples["windows"] = SampleSet.of_windows(dataset, store, preprocessor, episodes=positions)
    samples["episodes"] = SampleSet.of_episodes(dataset, store, preprocessor, episodes=positions)
    embeddings = {}
    for name, each in samples.items():
        with progress_bar(f"embedding {name}") as report:
            embeddings[name] = embed_samples(opened.embedder, each, progress=report)
    return embeddings


def _about(arguments: Evaluate, opened: OpenedRun) -> dict[str, str]:
    info, model = opened.dataset.info, opened.run.config.model
    return {
        "run": str(arguments.run),
        "data set": f"{arguments.data} ({info.format}, {info.robot_type})",
        "split": f"{arguments.split}, by {opened.run.config.data.split}",
        "left out": "; ".join(opened.left_out) or "nothing",
        "model": f"{model.name}, {model.embed_dim} dimensions",
        "jointspace": opened.run.jointspace_version,
    }


def _table(name: str, evaluation: Evaluation) -> Table:
    table = Table(
        title=(
            f"{name}: {evaluation.num_rows} rows of {evaluation.num_episodes} episodes, "
            f"{evaluation.num_texts} distinct instructions"
        ),
        title_justify="left",
        caption="in brackets: what chance would score",
        caption_justify="left",
    )
    table.add_column("direction")
    for heading in ("R@1", "R@5", "R@10", "mAP", "nDCG@10", "median rank", "among"):
        table.add_column(heading, justify="right")
    for direction, metrics in evaluation.retrieval.items():
        table.add_row(direction_name(direction), *_cells(metrics))
    return table


def _cells(metrics: RetrievalMetrics) -> tuple[str, ...]:
    estimates: tuple[Estimate, ...] = (
        metrics.recall_at_1,
        metrics.recall_at_5,
        metrics.recall_at_10,
        metrics.mean_average_precision,
        metrics.ndcg_at_10,
        metrics.median_rank,
    )
    cells = (f"{number(each.value)} ({number(each.chance)})" for each in estimates)
    return (*cells, str(metrics.num_targets))


def _accuracies(evaluation: Evaluation) -> list[str]:
    """Says for each modality how often it finds the instruction that applies."""
    return [
        f"which instruction applies, from {modality.replace('+', ' + ')}: "
        f"{number(each.accuracy.value)} (chance {number(each.accuracy.chance)}, "
        f"always the most frequent {number(each.majority)})"
        for modality, each in evaluation.accuracy.items()
    ]
