"""`jointspace export`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from jointspace.commands.arguments import Export
from jointspace.commands.opened_run import OpenedRun, open_run
from jointspace.errors import InputError, RunFolderError
from jointspace.evaluation.decision import GrowthThreshold
from jointspace.export.gate import scores_table, short
from jointspace.export.write import ExportedBundle, export_bundle
from jointspace.models.run_folder import load_run
from jointspace.train.interruption import termination_interrupts


@dataclass(frozen=True)
class Exported:
    """A bundle, for a reader and for a program."""

    bundle: ExportedBundle

    def render(self) -> Group:
        """Returns a table of graphs, one of directions, and what else should be known."""
        bundle, choice = self.bundle, self.bundle.choice
        lines = [f"refused: {line}" for line in choice.refusals] + list(bundle.notes)
        lines += [
            f"{modality.replace('+', ' + ')} of {scale} accepts an instruction above "
            f"{each.threshold.accept:.3f}, rejects one below {each.threshold.reject:.3f}: "
            f"{short(each.false_positive_rate)} of the wrong ones of {each.measured_on} "
            f"episodes are accepted, {short(each.right_accepted)} of the right ones"
            for scale, found in bundle.thresholds.items()
            for modality, each in found.items()
        ]
        lines += _growth_lines(bundle.growth)
        worst = max(bundle.parity, key=bundle.parity.__getitem__)
        lines.append(
            f"parity: float32 graphs differ from the model by at most {bundle.parity[worst]:.1e} "
            f"({worst})"
        )
        lines.append(f"bundle: {bundle.folder}, {bundle.num_bytes / 1e6:.2f} MB")
        return Group(
            _graphs_table(bundle), "", scores_table(choice.reference, choice.shipped), "", *lines
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        manifest = self.bundle.manifest
        return {
            "bundle": str(self.bundle.folder),
            "bytes": self.bundle.num_bytes,
            "engines": dict(manifest.engines),
            "graphs": [
                {
                    "name": graph.name,
                    "file": graph.file,
                    "precision": graph.precision,
                    "bytes": manifest.files[graph.file].bytes,
                }
                for graph in manifest.graphs
            ],
            "speed": self.bundle.choice.speed_json(),
            "retrieval": dict(manifest.retrieval),
            "gates": [each.to_json() for each in self.bundle.choice.gates],
            "thresholds": {
                scale: {name: each.to_json() for name, each in found.items()}
                for scale, found in self.bundle.thresholds.items()
            },
            "growth": None if self.bundle.growth is None else asdict(self.bundle.growth),
            "parity": dict(self.bundle.parity),
            "notes": list(self.bundle.notes),
        }


def run(arguments: Export) -> Exported:
    """Exports a run.

    Returns:
        The bundle.

    Raises:
        RunFolderError: the folder holds no run that can be used, or is of several data sets and
            none is named.
        DataError: the data set cannot be read, or is not the run's.
        InputError: the run keeps no test episodes, or a number is too small.
        ExportError: torch's exporter cannot write a part of the model.
        GateError: int8 is asked for, and loses too much.
        MissingExtraError: a package of the extra `export` is not installed.
        StorageError: the bundle could not be written.
    """
    for name, value, least in (
        ("threads", arguments.threads, 1),
        ("candidates", arguments.candidates, 2),
    ):
        if value < least:
            raise InputError(f"--{name} must be at least {least}, got {value}")
    data = arguments.data or _own_data(arguments.run)
    opened = open_run(arguments.run, data=data)
    with termination_interrupts():
        bundle = export_bundle(
            arguments.out,
            model=opened.run.model,
            preprocessor=opened.preprocessor,
            dataset=opened.dataset,
            store=opened.store,
            splits=opened.splits,
            facts=_facts(opened),
            precision=arguments.precision,
            static=arguments.static,
            num_threads=arguments.threads,
            candidates=arguments.candidates,
            fusion_trained=opened.run.config.loss.fused_weight > 0,
        )
    return Exported(bundle)


def _own_data(folder: Path) -> Path:
    """The data set that a run was trained on, as its folder remembers it."""
    data = load_run(folder).data
    if len(data) > 1:
        raise RunFolderError(
            f"{folder}: is a run of {len(data)} data sets, and a bundle is of one robot; choose "
            f"one with --data, of {', '.join(str(each.path) for each in data)}"
        )
    return data[0].path


def _facts(opened: OpenedRun) -> dict[str, Any]:
    model = opened.run.config.model
    splits = opened.splits
    return {
        "run": opened.run.folder.resolve().name,
        "jointspace_version": opened.run.jointspace_version,
        "model": model.name,
        "vision_tower": model.vision.tower,
        "text_tower": model.text.tower,
        "robot": opened.data.embodiment.name,
        "num_episodes": {name: len(splits.positions(name)) for name in splits.names},
    }


def _growth_lines(growth: GrowthThreshold | None) -> list[str]:
    if growth is None:
        return []
    last = growth.stages[-1]
    rates = ", ".join(
        f"{short(each.right_accepted)} after {each.until_s:.1f} s" for each in growth.stages
    )
    line = (
        f"{growth.query} since an instruction was given accepts it above {growth.accept:.3f}: of "
        f"the right ones of {growth.measured_on} episodes {rates}; of the wrong ones "
        f"{short(last.wrong_accepted)} at any time"
    )
    return [line]


def _graphs_table(bundle: ExportedBundle) -> Table:
    choice = bundle.choice
    table = Table(title="graphs, milliseconds at batch 1", title_justify="left")
    table.add_column("file")
    for column in ("precision", "engine", "KB", "float32 ms", "shipped ms"):
        table.add_column(column, justify="right")
    for graph in bundle.manifest.graphs:
        size = f"{bundle.manifest.files[graph.file].bytes / 1e3:,.0f}"
        engine, cells = "", ["", ""]
        if graph.name in choice.chosen:
            engine = choice.engines[graph.name]
            found = choice.milliseconds(graph.name)
            cells = ["" if each is None else f"{each:.3f}" for each in found]
        table.add_row(graph.file, graph.precision, engine, size, *cells)
    return table
