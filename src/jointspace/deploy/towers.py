"""The graphs of a bundle at work: which graph feeds which, and rows out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from jointspace.batch import (
    TEXT,
    UNIT_NORM_TOLERANCE,
    VISION,
    Batch,
    Modality,
    ModalityInput,
)
from jointspace.data.preprocess import Preprocessor
from jointspace.deploy.checks import (
    checked_ids,
    checked_pictures,
    checked_steps,
    checked_times,
    checked_vectors,
)
from jointspace.deploy.graph import (
    FRAME_GRAPH,
    FUSED_OUTPUT,
    Graph,
    TensorSpec,
    fusion_graph,
    output_name,
    runtime_graphs,
)
from jointspace.deploy.manifest import Engine
from jointspace.deploy.session import GraphSession, missing_inputs, open_session, used_feeds
from jointspace.errors import BundleError, InputError, did_you_mean

_MOST_PICTURES = 32
"""Pictures that one call of the frame graph reads: memory stays bounded for any batch."""


class Towers:
    """Runs the graphs of a bundle; may be called by several threads at once.

    Args:
        folder: the bundle.
        graphs: of its manifest; static variants and the graph of single pictures are for other
            engines, and not loaded.
        preprocessor: of the bundle.
        engine: what runs them: one for all, or name of a graph -> engine, ONNX Runtime for others.
        num_threads: that a call may use.
        providers: of ONNX Runtime; None means the processor.
        open_graph: opens each graph in a way of its own, as an exporter does that watches what
            graphs are given; None opens them with the engine.
        left_out: name of a fused query that has no graph -> why, for whoever asks for it.

    Raises:
        BundleError: a graph cannot be loaded, is not there, or takes what no other one returns.
        InputError: as `open_session`.
        MissingExtraError: the engine is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        graphs: Sequence[Graph],
        preprocessor: Preprocessor,
        engine: Engine | Mapping[str, Engine],
        num_threads: int = 1,
        providers: Sequence[str] | None = None,
        open_graph: Callable[[Path, Graph], GraphSession] | None = None,
        left_out: Mapping[Modality, str] | None = None,
    ) -> None:
        self._preprocessor = preprocessor
        self._left_out = left_out or {}
        self._graphs = {graph.name: graph for graph in runtime_graphs(graphs)}
        self.modalities = tuple(dict.fromkeys(g.modality for g in self._graphs.values()))
        self._check_wiring(folder)
        self.embed_dim = self._width(output_name(self.modalities[0]))
        self.frame_width = self._width("frame_vectors") if VISION in self.modalities else 0
        engines = dict.fromkeys(self._graphs, engine) if isinstance(engine, str) else engine
        self._sessions: Mapping[str, GraphSession] = {
            name: open_session(
                folder,
                graph,
                engine=engines.get(name, "onnxruntime"),
                num_threads=num_threads,
                providers=providers,
            )
            if open_graph is None
            else open_graph(folder, graph)
            for name, graph in self._graphs.items()
        }

    def precisions(self, modality: Modality) -> frozenset[str]:
        """Returns the precisions of all graphs that a modality or fused query goes through."""
        names = set(modality.split("+"))
        return frozenset(
            graph.precision
            for graph in self._graphs.values()
            if graph.modality == modality or graph.modality in names
        )

    def embed(self, modality: Modality, batch: Batch) -> Float32[np.ndarray, "batch dim"]:
        """Embeds one modality or fused query of a batch as the preprocessor makes it.

        Args:
            modality: one of `modalities`.
            batch: normalised, as `Embedder` says.

        Returns:
            One unit row per row; zero where the row lacks the modality.

        Raises:
            InputError: unknown modality, or values that are not what the model was built for.
            BundleError: the graphs return what is no unit row.
        """
        self.check_modality(modality)
        members = [Modality(name) for name in modality.split("+")]
        inputs = {member: _with_a_step(batch[member]) for member in members}
        if not len(batch):
            return np.zeros((0, self.embed_dim), np.float32)
        if len(members) == 1:
            return self.rows(modality, self._feeds(modality, inputs[modality]))
        found: dict[str, np.ndarray] = {}
        fusion = self._graphs[fusion_graph(modality)]
        for member, each in inputs.items():
            graph = self._graphs[member]
            needed = [o.name for o in graph.outputs if o.name in _names(fusion.inputs)]
            feeds = used_feeds(graph, self._feeds(member, each))
            found |= self._sessions[member].run(feeds, needed)
        fused = self._sessions[fusion.name].run(used_feeds(fusion, found), [FUSED_OUTPUT])
        return self._checked_rows(modality, fused[FUSED_OUTPUT])

    def rows(
        self, modality: Modality, feeds: Mapping[str, np.ndarray]
    ) -> Float32[np.ndarray, "batch dim"]:
        """Runs the graph of one modality.

        Args:
            modality: one of `modalities`, no fused query.
            feeds: its inputs by name, already checked; what the graph does not take is not used.

        Returns:
            Unit rows.

        Raises:
            InputError: the engine refuses the arrays.
            BundleError: what comes out is no unit row.
        """
        graph, output = self._graphs[modality], output_name(modality)
        made = self._sessions[modality].run(used_feeds(graph, feeds), [output])
        return self._checked_rows(modality, made[output])

    def encode_frames(
        self, pictures: UInt8[np.ndarray, "picture px px 3"]
    ) -> Float32[np.ndarray, "picture width"]:
        """Encodes pictures, each on its own.

        Args:
            pictures: as `checked_pictures` returns them.

        Returns:
            One vector per picture.

        Raises:
            InputError: the engine refuses the arrays.
            BundleError: a vector is not finite.
        """
        vectors = np.empty((len(pictures), self.frame_width), np.float32)
        for start in range(0, len(pictures), _MOST_PICTURES):
            some = pictures[start : start + _MOST_PICTURES]
            images = {"images": np.ascontiguousarray(some)}
            made = self._sessions[FRAME_GRAPH].run(images, ["frame_vectors"])
            vectors[start : start + len(some)] = made["frame_vectors"]
        if not np.isfinite(vectors).all():
            raise BundleError(_broken(FRAME_GRAPH, "a vector that is not finite"))
        return vectors

    def check_modality(self, modality: Modality) -> None:
        """Refuses what the bundle cannot embed.

        Raises:
            InputError: it has no such modality or fused query.
        """
        if modality in self._left_out:
            raise InputError(f"bundle: has no '{modality}', because {self._left_out[modality]}")
        if modality not in self.modalities:
            raise InputError(
                f"bundle: no modality '{modality}'.{did_you_mean(modality, self.modalities)}"
            )

    def _feeds(self, modality: Modality, given: ModalityInput) -> dict[str, np.ndarray]:
        """Makes the inputs of a tower's graph from those of a batch."""
        if modality == TEXT:
            size = self._preprocessor.tokenizer.vocab_size
            ids, valid = checked_ids(modality, given.values, given.valid, size=size)
            return {"tokens": ids, "valid": valid}
        if modality == VISION:
            return self._picture_feeds(given)
        if modality in self._preprocessor.discrete:
            size = self._preprocessor.discrete[modality]
            steps, valid = checked_ids(modality, given.values, given.valid, size=size)
        else:
            normaliser = self._preprocessor.normalisers[modality]
            steps, valid = checked_steps(
                modality, given.values, given.valid, channels=normaliser.dim
            )
            steps = normaliser.inverse(steps)
        time_s = checked_times(modality, given.time_s, valid)
        return {"trajectory": steps, "valid": valid, "time_s": time_s}

    def _picture_feeds(self, given: ModalityInput) -> dict[str, np.ndarray]:
        px, cameras = self._preprocessor.image_px, self._preprocessor.num_cameras
        shape = given.values.shape
        if len(shape) != 6 or shape[2] != cameras:
            raise InputError(
                f"'{VISION}': got pictures of shape {shape}; wanted (batch, time, {cameras}, {px}, "
                f"{px}, 3), of the cameras {', '.join(self._preprocessor.cameras)}"
            )
        if given.valid.dtype != np.bool_ or given.valid.shape != shape[:3]:
            raise InputError(
                f"'{VISION}': got validity of type {given.valid.dtype} and shape "
                f"{given.valid.shape}; wanted booleans of shape {shape[:3]}"
            )
        vectors = np.zeros((*shape[:3], self.frame_width), np.float32)
        pictures = checked_pictures(given.values[given.valid], image_px=px)
        vectors[given.valid] = self.encode_frames(pictures)
        _, valid = checked_vectors(
            vectors, given.valid, num_cameras=cameras, width=self.frame_width
        )
        time_s = checked_times(VISION, given.time_s, valid)
        return {"frame_vectors": vectors, "valid": valid, "time_s": time_s}

    def _checked_rows(
        self, modality: Modality, rows: np.ndarray
    ) -> Float32[np.ndarray, "batch dim"]:
        lengths = np.sqrt(np.einsum("rd,rd->r", rows, rows))
        # Not a number is on neither side.
        if not ((np.abs(lengths - 1) <= UNIT_NORM_TOLERANCE) | (lengths == 0)).all():
            raise BundleError(_broken(modality, f"a row of length {lengths.max()}"))
        return rows

    def _width(self, output: str) -> int:
        for graph in self._graphs.values():
            for each in graph.outputs:
                if each.name == output and isinstance(each.shape[-1], int):
                    return each.shape[-1]
        raise BundleError(f"no graph of the bundle returns '{output}' of a fixed width")

    def _check_wiring(self, folder: Path) -> None:
        if not self.modalities:
            raise BundleError(f"{folder}: has no graph that embeds anything; export the run again")
        from_batch = {"tokens", "trajectory", "images", "frame_vectors", "valid", "time_s"}
        for modality in self.modalities:
            members = modality.split("+")
            needed = [fusion_graph(modality), *members] if len(members) > 1 else [modality]
            needed += [FRAME_GRAPH] if VISION in members else []
            absent = [name for name in needed if name not in self._graphs]
            if absent:
                raise BundleError(
                    f"{folder}: '{modality}' needs the graph '{absent[0]}', which is "
                    "missing; export the run again"
                )
            returned = {o for each in members for o in _names(self._graphs[each].outputs)}
            graph = self._graphs[needed[0]]
            unfed = missing_inputs(graph, returned if len(members) > 1 else from_batch)
            if unfed:
                raise BundleError(
                    f"{folder}: graph '{graph.name}' takes '{unfed[0]}', which nothing gives it; "
                    "export the run again"
                )


def _with_a_step(given: ModalityInput) -> ModalityInput:
    """Returns the input with at least one step, which is masked where there was none."""
    if given.values.ndim < 2 or given.values.shape[1]:
        return given
    return given.map(lambda each: np.zeros((len(each), 1, *each.shape[2:]), each.dtype))


def _names(sides: Sequence[TensorSpec]) -> frozenset[str]:
    return frozenset(each.name for each in sides)


def _broken(name: str, what: str) -> str:
    return (
        f"graph '{name}': returned {what} for inputs that are right; use another engine, or "
        "export the run again"
    )
