"""From a trained model to a bundle: graphs, parity, int8, the gate, thresholds, all in one go."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jointspace.batch import TEXT, VISION, Embeddings, Modality
from jointspace.data.frames import FrameStore
from jointspace.data.preprocess import Preprocessor
from jointspace.data.schema import RobotDataset
from jointspace.data.splits import Splits
from jointspace.deploy.bundle import staged_bundle, write_bundle
from jointspace.deploy.graph import Graph, runtime_graphs
from jointspace.deploy.manifest import MANIFEST_FILE, Manifest
from jointspace.deploy.session import installed_engines
from jointspace.errors import InputError
from jointspace.evaluation.decision import GrowthThreshold
from jointspace.evaluation.embedding import pair_gates
from jointspace.evaluation.scales import EPISODES
from jointspace.evaluation.split_samples import split_samples
from jointspace.export.bench import GateBench
from jointspace.export.calibration import calibration_batches, record_feeds
from jointspace.export.card import bundle_card
from jointspace.export.choose import Choice, Precision, choose
from jointspace.export.gate import scores_json
from jointspace.export.graphs import export_graphs
from jointspace.export.growth import Recorded, calibrate_growth, growing_rows, growth_times
from jointspace.export.onnx_file import OPSET
from jointspace.export.parity import check_parity
from jointspace.export.thresholds import ERROR_RATE, StatedThreshold, calibrate_thresholds
from jointspace.export.variants import make_variants
from jointspace.models.checkpoint import weights_hash
from jointspace.models.embed import TorchEmbedder
from jointspace.models.joint import JointModel
from jointspace.progress import progress_bar

MOST_WINDOWS = 400
"""Windows of the test split that the gate reads, unless told otherwise."""


@dataclass(frozen=True)
class ExportedBundle:
    """A bundle, and how it came to be.

    Attributes:
        folder: where it lies.
        manifest: what it says of itself.
        choice: what ships and what was refused.
        parity: the largest difference of each float32 graph from the model.
        thresholds: name of the scale of rows -> modality -> from which similarity an instruction
            applies. The manifest's are those of the first, which is what a robot embeds: windows,
            unless every episode is too short for one.
        growth: the same for pictures that come since an instruction was given; None without.
        notes: what could not be done, and why.
        num_bytes: of all files.
    """

    folder: Path
    manifest: Manifest
    choice: Choice
    parity: Mapping[str, float]
    thresholds: Mapping[str, Mapping[Modality, StatedThreshold]]
    growth: GrowthThreshold | None
    notes: tuple[str, ...]
    num_bytes: int


def export_bundle(
    out: Path,
    *,
    model: JointModel,
    preprocessor: Preprocessor,
    dataset: RobotDataset,
    store: FrameStore | None,
    splits: Splits,
    facts: Mapping[str, Any] | None = None,
    precision: Precision = "auto",
    static: bool = False,
    num_threads: int = 1,
    candidates: int | None = MOST_WINDOWS,
    fusion_trained: bool = True,
) -> ExportedBundle:
    """Writes a bundle whose retrieval is shown not to have suffered.

    Args:
        out: the bundle; replaced if it is one, once the new one is complete.
        model: trained; moved to the processor.
        preprocessor: of the robot that the bundle is for.
        dataset: the usable episodes.
        store: their pictures; None if the preprocessor has no cameras.
        splits: of the data set: training rows calibrate, test rows pass the gate, validation rows
            give thresholds.
        facts: of the run, for the manifest.
        precision: what is shipped.
        static: also write graphs whose shapes are fixed, in float32.
        num_threads: that a graph may use while it is timed.
        candidates: windows of the test split that are measured, drawn at random; None means all.
        fusion_trained: False leaves out the fused queries, of a run that never trained them.

    Returns:
        The bundle.

    Raises:
        ExportError: torch's exporter cannot write a graph, or it differs from the model.
        GateError: int8 is forced, and loses too much.
        InputError: there is no test episode, or nothing can be measured on them.
        MissingExtraError: a package of the extra `export` is not installed.
        StorageError: `out` holds something else, or a file cannot be written.
    """
    if not splits.test:
        raise InputError(
            f"{dataset.info.path}: the run keeps no test episodes of it, and without them nothing "
            "shows what a bundle has lost; train with data.test_fraction above 0"
        )
    model = model.cpu().eval()
    embedder = TorchEmbedder(model, only=preprocessor.modalities)
    with staged_bundle(out) as folder:
        graphs = export_graphs(model, preprocessor, folder, static=static, fused=fusion_trained)
        parity = check_parity(model, preprocessor, folder, graphs)
        used = runtime_graphs(graphs)
        engines = installed_engines()
        variants = make_variants(
            folder,
            used,
            record_feeds(
                folder,
                used,
                preprocessor,
                calibration_batches(dataset, store, preprocessor, train=splits.train),
            ),
            engines=engines,
            int8=precision != "fp32",
            num_threads=num_threads,
        )
        with progress_bar("embedding test rows") as report:
            bench = GateBench(
                folder,
                used,
                preprocessor,
                split_samples(
                    dataset, store, preprocessor, episodes=splits.test, candidates=candidates
                ),
                model=embedder,
                num_threads=num_threads,
                progress=report,
            )
        choice = choose(variants, bench, precision=precision, engines=engines)
        samples = (
            split_samples(dataset, store, preprocessor, episodes=splits.validation)
            if splits.validation
            else {}
        )
        chosen = {name: form.graph for name, form in choice.chosen.items()}
        validation = bench.embed(samples, chosen, engines=choice.engines)
        thresholds, notes = _thresholds(choice, validation)
        whole = {"validation": validation} if validation else {}
        growth, more = _growth(
            bench,
            choice,
            Recorded(dataset, store, preprocessor),
            {name: rows[EPISODES] for name, rows in {**whole, "test": choice.rows}.items()},
            splits,
        )
        notes += more
        shipped = _settle(folder, graphs, choice)
        told = {
            **(facts or {}),
            "parity": dict(parity),
            "speed": choice.speed_json(),
            "thresholds": {
                scale: {name: each.to_json() for name, each in found.items()}
                for scale, found in thresholds.items()
            },
            "gate": {
                "tolerance": choice.gates[-1].tolerance if choice.gates else None,
                "refusals": list(choice.refusals),
            },
        }
        manifest = write_bundle(
            folder,
            graphs=shipped,
            preprocessor=preprocessor,
            model_id=weights_hash(model),
            fused_queries=_fused_queries(model, shipped),
            gates=pair_gates(embedder, dict.fromkeys(graph.modality for graph in used)),
            thresholds={
                name: each.threshold for name, each in next(iter(thresholds.values())).items()
            },
            growth={} if growth is None else {growth.query: growth},
            retrieval=scores_json(choice.reference, choice.shipped),
            card=bundle_card(
                out.resolve().name,
                preprocessor,
                choice,
                thresholds,
                growth=growth,
                dataset=dataset.info.path.name,
            ),
            facts=told,
            dataset=dataset.info.path.name,
            opset=OPSET,
            engines=choice.engines,
            left_out={} if fusion_trained else _untrained(model),
        )
    num_bytes = (out / MANIFEST_FILE).stat().st_size
    num_bytes += sum(each.bytes for each in manifest.files.values())
    return ExportedBundle(out, manifest, choice, parity, thresholds, growth, notes, num_bytes)


def _growth(
    bench: GateBench,
    choice: Choice,
    recorded: Recorded,
    whole: Mapping[str, Embeddings],
    splits: Splits,
) -> tuple[GrowthThreshold | None, tuple[str, ...]]:
    """Calibrates what a robot judges by while it moves, or says why it cannot."""
    if not {VISION, TEXT} <= set(whole["test"].modalities):
        return None, ()
    if recorded.preprocessor.episode_frames == 1:
        return None, (f"growing {VISION}: an episode's row has one picture, and shows no motion",)
    graphs = {name: form.graph for name, form in choice.chosen.items()}
    towers = bench.towers(graphs, engines=choice.engines)
    time_s = growth_times(recorded.dataset, splits.validation or splits.test)
    rows = {
        name: growing_rows(
            towers, recorded, episodes=splits.positions(name), time_s=time_s, whole=each
        )
        for name, each in whole.items()
    }
    try:
        return calibrate_growth(rows, error_rate=ERROR_RATE), ()
    except InputError as error:
        return None, (f"no threshold for growing {VISION}: {error}",)


def _thresholds(
    choice: Choice, validation: Mapping[str, Embeddings]
) -> tuple[dict[str, Mapping[Modality, StatedThreshold]], tuple[str, ...]]:
    """Calibrates on validation rows, as they ship; on test rows where those are too few.

    Of each scale for itself: how similar a text is to a moment says nothing of how similar it is to
    a whole episode.
    """
    found: dict[str, Mapping[Modality, StatedThreshold]] = {}
    notes: list[str] = []
    for scale, test in choice.rows.items():
        rows = {"validation": validation[scale]} if scale in validation else {}
        found[scale], missing = calibrate_thresholds({**rows, "test": test})
        notes += [f"{scale}: {each}" for each in missing]
    return found, tuple(notes)


def _settle(folder: Path, graphs: tuple[Graph, ...], choice: Choice) -> tuple[Graph, ...]:
    """Gives the forms that ship the names of the graphs, and removes the others."""
    for name, forms in choice.variants.items():
        plain, shipped = forms[0].graph, choice.chosen[name].graph
        if shipped.file != plain.file:
            (folder / shipped.file).replace(folder / plain.file)
        for form in forms[1:]:
            (folder / form.graph.file).unlink(missing_ok=True)
    return tuple(
        replace(graph, precision=choice.chosen[graph.name].graph.precision)
        if graph.name in choice.chosen
        else graph
        for graph in graphs
    )


def _untrained(model: JointModel) -> dict[Modality, str]:
    """Says why a run's fused queries are not in its bundle."""
    why = (
        "the run did not train fused queries (loss.fused_weight = 0); train with "
        "loss.fused_weight above 0 and export again"
    )
    return {query.name: why for query in model.fused_queries}


def _fused_queries(
    model: JointModel, graphs: tuple[Graph, ...]
) -> dict[Modality, tuple[Modality, ...]]:
    """Returns what each fused query that has a graph is trained to retrieve."""
    here = {graph.modality for graph in graphs}
    found: dict[Modality, tuple[Modality, ...]] = {}
    for query in model.fused_queries:
        if query.name in here and query.target in here:
            found[query.name] = (*found.get(query.name, ()), query.target)
    return found
