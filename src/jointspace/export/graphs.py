"""From a trained model and its preprocessing to ONNX graphs, one for each part of a bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from jointspace.batch import TEXT, VISION, Modality
from jointspace.data.preprocess import Preprocessor
from jointspace.data.windows import window_steps
from jointspace.deploy.graph import (
    FRAME_GRAPH,
    FUSED_OUTPUT,
    IMAGE_GRAPH,
    STATIC,
    DType,
    Graph,
    TensorSpec,
    fusion_graph,
    graph_file,
    output_name,
)
from jointspace.export.modules import (
    PARTS,
    FrameModule,
    FusionModule,
    FusionReads,
    ImageModule,
    StepsModule,
    TextModule,
    TowerModule,
    VisionModule,
)
from jointspace.export.onnx_file import example_inputs, write_onnx
from jointspace.fusion.fuse import EarlyFusion
from jointspace.models.joint import JointModel, tower_width

PRECISION = "fp32"
"""Of what is exported; other precisions are made of it."""

_TRACED = {"batch": 3, "picture": 3, "time": 5}
"""Sizes of the free axes while tracing. None is 1, which torch would take for fixed."""


@dataclass(frozen=True)
class Part:
    """A part of the model that becomes a graph.

    Attributes:
        name: of the graph.
        modality: that it embeds.
        module: what is exported.
        inputs: of the graph, with its free axes.
        outputs: of the graph.
        fixed: sizes of the free axes in the static variant.
    """

    name: str
    modality: Modality
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    fixed: Mapping[str, int]


def export_graphs(
    model: JointModel,
    preprocessor: Preprocessor,
    folder: Path,
    *,
    static: bool = False,
    fused: bool = True,
) -> tuple[Graph, ...]:
    """Writes a model as ONNX graphs in float32, one for each part, as `deploy.graph` names them.

    The graphs take raw pictures and raw readings; normalisation is inside. What belongs to other
    robots of the run is left out.

    Args:
        model: set to evaluation mode, on the processor.
        preprocessor: of the robot that the graphs are for, by `Preprocessor.embodiment`.
        folder: of the bundle; files go to `graphs` in it.
        static: also write each graph with all shapes fixed: one row of one window.
        fused: also write the fused queries that the model is trained for. They make tower graphs
            return what fusion reads.

    Returns:
        The graphs, in the order of the model's modalities; static variants last.

    Raises:
        ExportError: torch's exporter cannot write a part.
        MissingExtraError: a package of the extra `export` is not installed.
        StorageError: a file cannot be written.
    """
    parts = model_parts(model, preprocessor, fused=fused)
    graphs = [_export(part, folder) for part in parts]
    if static:
        graphs += [_export(_static(part), folder) for part in parts]
    return tuple(graphs)


def model_parts(
    model: JointModel, preprocessor: Preprocessor, *, fused: bool = True
) -> tuple[Part, ...]:
    """Returns what of a model becomes a graph; see `export_graphs`."""
    model.eval()
    here = [m for m in model.modalities if m in preprocessor.modalities]
    queries = {
        query.name: query.members
        for query in model.fused_queries
        if fused and all(member in here for member in query.members)
    }
    reads: FusionReads = "nothing"
    if queries:
        reads = "pooled" if isinstance(model.fusion, EarlyFusion) else "tokens"
    parts: list[Part] = []
    for modality in here:
        if modality == VISION:
            parts += _vision(model, preprocessor, reads)
        elif modality == TEXT:
            parts.append(_text(model, preprocessor, reads))
        else:
            parts.append(_steps(model, preprocessor, modality, reads))
    towers = {part.modality: part for part in parts if part.name == part.modality}
    for name, members in queries.items():
        parts.append(_fusion(model, name, [towers[member] for member in members], reads))
    return tuple(parts)


def _vision(model: JointModel, preprocessor: Preprocessor, reads: FusionReads) -> list[Part]:
    width = tower_width(model.tower(VISION))
    px, cameras = preprocessor.image_px, preprocessor.num_cameras
    pictures = _float("images", "picture", 3, px, px)
    frame = Part(
        name=FRAME_GRAPH,
        modality=VISION,
        module=FrameModule(model),
        inputs=(pictures,),
        outputs=(_float("frame_vectors", "picture", width),),
        fixed={"picture": 1},
    )
    embodiment = preprocessor.embodiment
    inputs = (
        _float("frame_vectors", "batch", "time", cameras, width),
        TensorSpec("valid", "bool", ("batch", "time", cameras)),
        _float("time_s", "batch", "time"),
    )
    module = VisionModule(model, VISION, embodiment=embodiment, reads=reads)
    fixed = {"batch": 1, "time": preprocessor.window_frames}
    parts = [frame, _tower(VISION, module, inputs, fixed)]
    if cameras == preprocessor.window_frames == 1:
        image = ImageModule(model, VISION, embodiment=embodiment, reads="nothing")
        whole = (_float("images", "batch", 3, px, px),)
        parts.append(_tower(IMAGE_GRAPH, image, whole, {"batch": 1}))
    return parts


def _text(model: JointModel, preprocessor: Preprocessor, reads: FusionReads) -> Part:
    inputs = (
        TensorSpec("tokens", "int64", ("batch", "time")),
        TensorSpec("valid", "bool", ("batch", "time")),
    )
    module = TextModule(model, embodiment=preprocessor.embodiment, reads=reads)
    fixed = {"batch": 1, "time": preprocessor.max_tokens}
    return _tower(TEXT, module, inputs, fixed)


def _steps(
    model: JointModel, preprocessor: Preprocessor, modality: Modality, reads: FusionReads
) -> Part:
    normaliser = preprocessor.normalisers.get(modality)
    dtype: DType = "int64" if normaliser is None else "float32"
    channels = () if normaliser is None else (normaliser.dim,)
    inputs = (
        TensorSpec("trajectory", dtype, ("batch", "time", *channels)),
        TensorSpec("valid", "bool", ("batch", "time")),
        _float("time_s", "batch", "time"),
    )
    module = StepsModule(
        model, modality, normaliser, embodiment=preprocessor.embodiment, reads=reads
    )
    steps = window_steps(preprocessor.window_s, fps=preprocessor.fps)
    return _tower(modality, module, inputs, {"batch": 1, "time": steps})


def _tower(
    name: str,
    module: TowerModule,
    inputs: tuple[TensorSpec, ...],
    fixed: Mapping[str, int],
) -> Part:
    modality, reads = module.modality, module.reads
    made = _run(module, inputs, _TRACED)
    names = [output_name(modality, part) for part in ("embedding", *PARTS[reads])]
    shapes = [("batch", *each.shape[1:]) for each in made]
    if reads == "tokens":
        # Most towers make a token of each step, some a single one of all.
        shorter, least = (
            _run(module, inputs, sizes)[1].shape[1]
            for sizes in ({**_TRACED, "time": _TRACED["time"] - 1}, fixed)
        )
        if made[1].shape[1] != shorter:
            axis = output_name(modality, "token")
            shapes[1:] = [(shape[0], axis, *shape[2:]) for shape in shapes[1:]]
            fixed = {**fixed, axis: least}
    outputs = tuple(
        TensorSpec(each, _dtype(tensor), shape)
        for each, tensor, shape in zip(names, made, shapes, strict=True)
    )
    return Part(name, modality, module, inputs, outputs, fixed)


def _fusion(
    model: JointModel, query: Modality, members: Sequence[Part], reads: FusionReads
) -> Part:
    inputs = tuple(spec for part in members for spec in part.outputs)
    return Part(
        name=fusion_graph(query),
        modality=query,
        module=FusionModule(model, tuple(part.modality for part in members), reads=reads),
        inputs=inputs,
        outputs=(_float(FUSED_OUTPUT, "batch", model.embed_dim),),
        fixed={axis: size for part in members for axis, size in part.fixed.items()},
    )


def _run(
    module: nn.Module, inputs: Sequence[TensorSpec], sizes: Mapping[str, int]
) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        outputs: tuple[Tensor, ...] = module(*example_inputs(inputs, sizes=sizes))
    return outputs


def _static(part: Part) -> Part:
    def settle(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        return tuple(
            replace(spec, shape=tuple(part.fixed.get(str(axis), axis) for axis in spec.shape))
            for spec in specs
        )

    name = f"{STATIC}{part.name}"
    return replace(part, name=name, inputs=settle(part.inputs), outputs=settle(part.outputs))


def _export(part: Part, folder: Path) -> Graph:
    file = graph_file(part.name)
    # Every axis has a size of its own, so that none is taken for another.
    free = dict.fromkeys(
        axis for spec in part.inputs for axis in spec.shape if isinstance(axis, str)
    )
    sizes = {axis: _TRACED.get(axis, 7 + place) for place, axis in enumerate(free)}
    write_onnx(part.module, folder / file, inputs=part.inputs, outputs=part.outputs, sizes=sizes)
    return Graph(part.name, part.modality, file, PRECISION, part.inputs, part.outputs)


def _float(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


def _dtype(tensor: Tensor) -> DType:
    return "bool" if tensor.dtype == torch.bool else "float32"
