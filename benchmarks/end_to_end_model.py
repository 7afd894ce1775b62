"""The models that `end_to_end.py` measures, and their bundles."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jointspace.batch import ACTION
from jointspace.config import DataConfig, LossConfig, ModelConfig, TrajectoryConfig, VisionConfig
from jointspace.data.collate import Sample, Steps
from jointspace.data.normalise import Normaliser
from jointspace.data.preprocess import Preprocessor
from jointspace.data.tokenizer import Tokenizer
from jointspace.deploy.bundle import read_manifest
from jointspace.deploy.graph import runtime_graphs
from jointspace.deploy.latency import measure_by_turns
from jointspace.deploy.manifest import MANIFEST_FILE, Engine
from jointspace.deploy.session import installed_engines, open_session
from jointspace.deploy.workload import make_workload

PX, STEPS, CHANNELS = 224, 100, 7
TOWERS = ("mobilenet", "separable")
TRAJECTORIES = ("frequency", "transformer")

VISION_CHANNELS = (128, 256, 512, 1024, 2048)
"""Of the separable tower; the efficient model takes half of each."""

INSTRUCTIONS = ("pick up the red cube", "put the blue bowl on the plate", "open the drawer")
TIMED_CALIBRATION = 16


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        tower: `mobilenet` is a frozen MobileNetV2 of `transformers` with an adapter behind it,
            `separable` the tower of the efficient model.
        trajectory: the tower of the actions.
        folder: of the bundles and of the network's files.
    """

    tower: str
    trajectory: str
    folder: Path


def make_preprocessor() -> Preprocessor:
    """Returns preprocessing of one camera at 224 px and windows of 100 x 7."""
    rng = np.random.default_rng(0)
    known = rng.normal(size=(1000, CHANNELS)).astype(np.float32)
    return Preprocessor(
        image_px=PX,
        cameras=("front",),
        fps=10.0,
        window_s=STEPS / 10,
        window_frames=1,
        episode_frames=8,
        max_tokens=32,
        tokenizer=Tokenizer.fit(INSTRUCTIONS, max_tokens=32),
        normalisers={ACTION: Normaliser.fit([known], name=ACTION)},
    )


def make_model(case: Case, preprocessor: Preprocessor) -> Any:
    """Returns the model of a case with fresh weights, the same ones each time."""
    import torch  # noqa: PLC0415 - bundles are measured without it

    from jointspace.models.build import build_model  # noqa: PLC0415

    name, vision = "efficient", VisionConfig(channels=VISION_CHANNELS, width=512)
    if case.tower == "mobilenet":
        # The efficient model has no pretrained tower; widths are its own otherwise.
        name = "vision-language-action"
        network = str(_mobilenet(case.folder / "mobilenet_v2"))
        vision = VisionConfig(tower="pretrained", pretrained=network, width=256)
    torch.manual_seed(0)
    return build_model(
        ModelConfig(
            name=name,
            embed_dim=256,
            sensors=(),
            fusion="none",
            vision=vision,
            action=TrajectoryConfig(tower=case.trajectory),
        ),
        LossConfig(),
        DataConfig(image_px=PX, max_tokens=preprocessor.max_tokens),
        vocab_size=preprocessor.tokenizer.vocab_size,
        channels=preprocessor.channels,
        num_cameras=1,
    ).eval()


def _mobilenet(folder: Path) -> Path:
    """Writes MobileNetV2 as its publisher lays it out, with random weights.

    Its normalisations hold the statistics of noise, so that activations are as large as those of a
    trained network: numbers that fade from layer to layer would become slow ones.
    """
    import torch  # noqa: PLC0415
    from transformers import MobileNetV2Config, MobileNetV2Model  # noqa: PLC0415

    if folder.exists():
        return folder
    torch.manual_seed(0)
    network = MobileNetV2Model(MobileNetV2Config()).train()
    for each in network.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            each.momentum = 1.0
    with torch.no_grad():
        network(pixel_values=torch.randn(4, 3, PX, PX))
    network.save_pretrained(folder)
    processor = {
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "rescale_factor": 1 / 255,
        "crop_size": {"height": PX, "width": PX},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


def bundle_names(folder: Path) -> list[str]:
    """Returns the names of the bundles in a folder."""
    return sorted(each.parent.name for each in folder.glob(f"*/{MANIFEST_FILE}"))


def write_bundles(case: Case) -> dict[str, Any]:
    """Writes the model in float32 and in every form of int8 that its graphs allow.

    Args:
        case: whose folder takes the bundles; the name of each says its precision.

    Returns:
        Facts of the model.
    """
    from jointspace.export.plain import export_plain  # noqa: PLC0415

    folder, preprocessor = case.folder, make_preprocessor()
    model = make_model(case, preprocessor)
    if not (folder / "fp32").exists():
        export_plain(model, preprocessor, folder / "fp32")
    for scheme in ("static", "static-all"):
        if not (folder / f"int8 {scheme}").exists():
            _write_int8(folder / "fp32", folder / f"int8 {scheme}", scheme)
    tower = model.tower("vision")
    sizes = {
        name: sum(each.stat().st_size for each in (folder / name).rglob("*") if each.is_file())
        for name in bundle_names(folder)
    }
    return {
        "tower": case.tower,
        "trajectory": case.trajectory,
        "vision tower, million parameters": round(
            sum(each.numel() for each in tower.parameters()) / 1e6, 2
        ),
        "frame encoder, million multiply-adds": round(_multiply_adds(tower.frame) / 1e6),
        "bundle, MiB": {name: round(size / 2**20, 1) for name, size in sizes.items()},
    }


def faster_engines(folder: Path, preprocessor: Preprocessor) -> dict[str, Engine]:
    """Measures which engine is faster for each graph of a bundle, as `jointspace export` does."""
    from jointspace.export.calibration import at_batch_1, record_feeds  # noqa: PLC0415

    graphs = runtime_graphs(read_manifest(folder).graphs)
    work = make_workload(preprocessor, batch=1)
    steps = work.steps[ACTION][0]
    row = Sample(
        frames=None if work.clips is None else work.clips[0],
        frames_time_s=work.clip_time_s[0],
        text=INSTRUCTIONS[0],
        steps={ACTION: Steps(steps, np.arange(len(steps)) / preprocessor.fps)},
    )
    feeds = record_feeds(folder, graphs, preprocessor, [preprocessor.batch([row])])
    found: dict[str, Engine] = {}
    for graph in graphs:
        given, wanted = at_batch_1(graph.name, feeds[graph.name]), [graph.outputs[0].name]
        spent = measure_by_turns(
            {
                engine: partial(open_session(folder, graph, engine=engine).run, given, wanted)
                for engine in installed_engines()
            },
            budget_s=1.0,
            fewest=20,
            most=300,
        )
        found[graph.name] = min(spent, key=lambda engine, spent=spent: spent[engine].cpu_ms or 0.0)
    return found


def _write_int8(plain: Path, out: Path, scheme: str) -> None:
    """Quantises convolutions by the scheme, all else dynamically."""
    from jointspace.deploy.bundle import read_bundle, staged_bundle, write_bundle  # noqa: PLC0415
    from jointspace.deploy.graph import FRAME_GRAPH, IMAGE_GRAPH  # noqa: PLC0415
    from jointspace.export.quantise import quantise, schemes_of  # noqa: PLC0415

    bundle = read_bundle(plain)
    rng = np.random.default_rng(0)
    pictures = [
        {"images": rng.integers(0, 256, (1, 3, PX, PX)).astype(np.float32)}
        for _ in range(TIMED_CALIBRATION)
    ]
    graphs = []
    with staged_bundle(out) as aside:
        for graph in bundle.manifest.graphs:
            if graph.name == IMAGE_GRAPH:
                continue  # the runtime does not use it
            target = aside / graph.file
            target.parent.mkdir(parents=True, exist_ok=True)
            known = schemes_of(plain / graph.file)
            chosen = scheme if graph.name == FRAME_GRAPH else next(iter(known), None)
            if chosen is None:
                target.write_bytes((plain / graph.file).read_bytes())
                graphs.append(graph)
                continue
            feeds = pictures if graph.name == FRAME_GRAPH else []
            quantise(plain / graph.file, target, scheme=chosen, calibration=feeds)
            graphs.append(replace(graph, precision="int8"))
        write_bundle(
            aside,
            graphs=graphs,
            preprocessor=bundle.preprocessor,
            model_id=bundle.manifest.model_id,
            gates=bundle.gates,
            card="# For timing alone\n",
        )


def _multiply_adds(frame: Any) -> int:
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    counted = []

    def count(module: Any, _: Any, output: Any) -> None:
        places = output[0].numel() // output.shape[1] if output.ndim == 4 else 1
        counted.append(module.weight.numel() * places)

    hooks = [
        each.register_forward_hook(count)
        for name, each in frame.named_modules()
        # The map of coordinates is the same for all pictures, and constant once exported.
        if isinstance(each, nn.Conv2d | nn.Linear) and name != "coordinate_stem"
    ]
    with torch.inference_mode():
        frame(torch.zeros(1, PX, PX, 3, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return sum(counted)
