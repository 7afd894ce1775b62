"""What `jointspace bench` measures: a bundle, the torch model it was exported from, or both."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jointspace.data.preprocess import Preprocessor
from jointspace.deploy.bundle import read_manifest
from jointspace.deploy.graph import Graph
from jointspace.deploy.manifest import MANIFEST_FILE, Engine, Manifest
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.session import installed_engines, open_session
from jointspace.deploy.stages import BundleStages
from jointspace.deploy.workload import Workload
from jointspace.errors import InputError, did_you_mean

_GPU_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}

Calls = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Pipeline:
    """A way from inputs to rows.

    Attributes:
        name: as shown.
        open: gives stage -> call, for rows and a number of threads; raises what the way lacks.
        engine: that runs the bundle; None in torch.
        on_processor: False where another device computes, so that threads hardly matter.
    """

    name: str
    open: Callable[[Workload, int], Calls]
    engine: Engine | None = None
    on_processor: bool = True


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        bundle: folder of the bundle.
        manifest: of the bundle.
        preprocessor: of the model.
        pipelines: those of the bundle first.
    """

    bundle: Path
    manifest: Manifest
    preprocessor: Preprocessor
    pipelines: tuple[Pipeline, ...]


@contextmanager
def open_subject(
    folder: Path, *, run: Path | None, robot: str, compiled: bool
) -> Iterator[Subject]:
    """Opens a bundle or a run folder.

    Args:
        folder: a bundle, or a run folder, which is exported in float32 for the occasion.
        run: run folder beside a bundle; None measures a bundle without torch.
        robot: name of the robot in a run of several; the only or first one where empty.
        compiled: also measure `torch.compile`.

    Yields:
        What to measure.

    Raises:
        BundleError: the bundle is not as it was written.
        RunFolderError: neither a bundle nor a run folder that can be used.
        InputError: a bundle of other modalities than the run, or the run has no such robot.
        ExportError: the model cannot be exported.
        MissingExtraError: torch or an engine is not installed.
    """
    if (folder / MANIFEST_FILE).is_file():
        manifest = read_manifest(folder)
        preprocessor = Preprocessor.load(folder)
        pipelines = bundle_pipelines(folder, manifest)
        if run is not None:
            model, of_run = _load_model(run, robot)
            if of_run.channels != preprocessor.channels or of_run.image_px != preprocessor.image_px:
                raise InputError(
                    f"{run}: its inputs differ from those of {folder}; give the run that the "
                    "bundle was exported from"
                )
            pipelines += torch_pipelines(model, preprocessor, compiled=compiled)
        yield Subject(folder, manifest, preprocessor, pipelines)
        return
    model, preprocessor = _load_model(folder if run is None else run, robot)
    with tempfile.TemporaryDirectory() as name:
        from jointspace.export.plain import export_plain  # noqa: PLC0415 - needs torch

        bundle = Path(name) / "bundle"
        manifest = export_plain(model, preprocessor, bundle)
        yield Subject(
            bundle,
            manifest,
            preprocessor,
            bundle_pipelines(bundle, manifest)
            + torch_pipelines(model, preprocessor, compiled=compiled),
        )


def bundle_pipelines(folder: Path, manifest: Manifest) -> tuple[Pipeline, ...]:
    """Returns a bundle on every engine and device that there is here."""
    precision = "+".join(sorted({graph.precision for graph in manifest.graphs}))
    found = [
        Pipeline(f"{engine} {precision}", partial(_open_bundle, folder, engine, None), engine)
        for engine in installed_engines()
    ]
    for device, provider in _GPU_PROVIDERS.items():
        if provider in _providers():
            # What a provider cannot compute goes to the next one.
            chain = (provider, "CUDAExecutionProvider", "CPUExecutionProvider")
            opened = partial(_open_bundle, folder, "onnxruntime", tuple(dict.fromkeys(chain)))
            name = f"onnxruntime {precision} {device}"
            found.append(Pipeline(name, opened, "onnxruntime", on_processor=False))
    return tuple(found)


def torch_pipelines(
    model: Any, preprocessor: Preprocessor, *, compiled: bool
) -> tuple[Pipeline, ...]:
    """Returns a model in torch, eager and compiled, on the processor and the device there is."""
    import torch  # noqa: PLC0415 - a bundle needs none

    from jointspace.export.torch_stages import TorchStages  # noqa: PLC0415

    def opened(device: str, is_compiled: bool, work: Workload, num_threads: int) -> Calls:  # noqa: FBT001
        torch.set_num_threads(num_threads)
        stages = TorchStages(model, preprocessor, work, compiled=is_compiled, device=device)
        return stages.calls()

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    kinds = {"eager": False, **({"compile": True} if compiled else {})}
    return tuple(
        Pipeline(
            f"torch {kind}" if device == "cpu" else f"torch {kind} {device}",
            partial(opened, device, is_compiled),
            on_processor=device == "cpu",
        )
        for device in devices
        for kind, is_compiled in kinds.items()
    )


def _open_bundle(
    folder: Path,
    engine: Engine,
    providers: tuple[str, ...] | None,
    work: Workload,
    num_threads: int,
) -> Calls:
    embedder = BundleEmbedder.load(
        folder, engine=engine, num_threads=num_threads, providers=providers
    )

    def opened(graph: Graph) -> Any:
        return open_session(
            folder, graph, engine=engine, num_threads=num_threads, providers=providers
        )

    return BundleStages(embedder, work, open_graph=opened).calls()


def _load_model(folder: Path, robot: str) -> tuple[Any, Preprocessor]:
    from jointspace.models.run_folder import load_run  # noqa: PLC0415 - needs torch

    run = load_run(folder)
    known = {each.embodiment.name: each.preprocessor for each in run.data}
    if not robot:
        return run.model, next(iter(known.values()))
    if robot not in known:
        raise InputError(f"{folder}: no robot '{robot}'.{did_you_mean(robot, known)}")
    return run.model, known[robot]


def _providers() -> tuple[str, ...]:
    if "onnxruntime" not in installed_engines():
        return ()
    import onnxruntime  # noqa: PLC0415 - OpenVINO alone will do

    return tuple(onnxruntime.get_available_providers())
