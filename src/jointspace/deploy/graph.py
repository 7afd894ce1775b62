"""What a graph of a bundle takes and returns: the names that writer and reader agree on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import quote

from jointspace.batch import VISION, Modality
from jointspace.errors import InputError

GRAPH_FOLDER = "graphs"
"""Where a bundle keeps its graphs."""

FRAME_GRAPH = "vision_frame"
"""Reads one picture, once, when it arrives."""

IMAGE_GRAPH = "vision_image"
"""Reads one picture of one camera into the joint space in one go."""

STATIC = "static/"
"""Prefix of the name of a graph whose shapes are all fixed, for engines that want them so."""

FUSION = "fusion_"
"""Prefix of the name of a graph that makes a fused query of what tower graphs return."""

FUSED_OUTPUT = "fused_embedding"

DType = Literal["float32", "int64", "bool"]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        dtype: of its numbers.
        shape: a number for each fixed axis, a name for each free one.
    """

    name: str
    dtype: DType
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """A graph of a bundle.

    Attributes:
        name: unique in the bundle; `static/` before it says that all shapes are fixed.
        modality: what it embeds; a fused query such as `vision+text` as well.
        file: path below the bundle, with forward slashes.
        precision: of its weights and products, such as `fp32` or `int8`.
        inputs: in the order of the graph.
        outputs: in the order of the graph; the embedding first, where it makes one.
    """

    name: str
    modality: Modality
    file: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def is_static(self) -> bool:
        """Whether all shapes are fixed."""
        return self.name.startswith(STATIC)

    @property
    def members(self) -> tuple[Modality, ...]:
        """The modalities that a fused query is made of; of any other graph its only one."""
        return tuple(Modality(name) for name in self.modality.split("+"))

    def to_json(self) -> dict[str, Any]:
        """Returns what `from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> "Graph":
        """Reads what `to_json` returned.

        Raises:
            InputError: a key is missing or unknown.
        """
        try:
            sides = {
                side: tuple(
                    TensorSpec(**{**each, "shape": tuple(each["shape"])}) for each in stored[side]
                )
                for side in ("inputs", "outputs")
            }
            return Graph(**{**stored, **sides})
        except (KeyError, TypeError) as error:
            raise InputError(
                f"graph: got the keys {', '.join(map(str, stored))}; wanted name, modality, file, "
                f"precision, inputs and outputs of name, dtype and shape ({error})"
            ) from error


def runtime_graphs(graphs: Sequence[Graph]) -> tuple[Graph, ...]:
    """Returns the graphs that the runtime uses.

    The others, with fixed shapes or for single pictures, are for engines that quantise by their own
    rules (TensorRT wants signed activations), and stay in float32.
    """
    return tuple(g for g in graphs if not g.is_static and g.name != IMAGE_GRAPH)


def graph_file(name: str) -> str:
    """Returns the path of a graph of that name below the bundle, on any file system."""
    folder = f"{GRAPH_FOLDER}/{STATIC if name.startswith(STATIC) else ''}"
    return f"{folder}{quote(name.removeprefix(STATIC), safe='+')}.onnx"


def output_name(modality: Modality, part: str = "embedding") -> str:
    """Returns the name of an output of a modality's graph.

    Args:
        modality: which one; vision's outputs begin with `images`.
        part: `embedding`, or what fusion reads beside it: `tokens` and `tokens_valid`, or `pooled`
            and `present`.

    Returns:
        A name such as `images_embedding`, which a fusion graph's input has too.
    """
    return f"{'images' if modality == VISION else modality}_{part}"


def fusion_graph(query: Modality) -> str:
    """Returns the name of the graph of a fused query such as `vision+text`."""
    return f"{FUSION}{query}"
