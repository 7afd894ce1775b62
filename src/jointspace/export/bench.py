"""Test rows embedded by graphs, beside those of the float32 graphs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from jointspace.batch import Batch, Embeddings, Modality
from jointspace.data.preprocess import Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.deploy.graph import Graph
from jointspace.deploy.manifest import Engine
from jointspace.deploy.towers import Towers
from jointspace.embedder import Embedder
from jointspace.errors import BundleError, InputError
from jointspace.evaluation.embedding import embed_samples
from jointspace.export.gate import Gate, gate

REFERENCE_ENGINE: Engine = "onnxruntime"
"""What the float32 graphs that everything is compared with are run by."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class GraphEmbedder:
    """Graphs that are no bundle yet, behind the `Embedder` protocol.

    Attributes:
        towers: the graphs.
        model: what they were exported from, for the gates of its pairs.
    """

    towers: Towers
    model: Embedder

    @property
    def embed_dim(self) -> int:
        """Width of the joint space."""
        return self.towers.embed_dim

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities, and the fused queries that there are graphs for."""
        return self.towers.modalities

    def embed(self, modality: Modality, batch: Batch) -> Float32[np.ndarray, "batch dim"]:
        """Embeds one modality or fused query of a NumPy batch; see `Embedder`."""
        return self.towers.embed(modality, batch)

    def pair_gate(self, first: Modality, second: Modality) -> Float32[np.ndarray, " dim"] | None:
        """Returns what each dimension counts where two modalities are compared."""
        return self.model.pair_gate(first, second)


class GateBench:
    """Holds the test rows as float32 embeds them, and puts variants beside them.

    Args:
        folder: of the graphs and of their variants.
        graphs: that the runtime uses, in float32.
        preprocessor: of the run.
        samples: name of the scale of rows -> rows of test episodes.
        model: what the graphs were exported from, for the gates of its pairs.
        num_threads: that a call may use.
        progress: called with rows done and rows in all.

    Raises:
        InputError: no direction can be measured on the rows.
    """

    def __init__(
        self,
        folder: Path,
        graphs: Sequence[Graph],
        preprocessor: Preprocessor,
        samples: Mapping[str, SampleSet],
        *,
        model: Embedder,
        num_threads: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self._folder = folder
        self._graphs = {graph.name: graph for graph in graphs}
        self._preprocessor = preprocessor
        self._samples = samples
        self._model = model
        self._num_threads = num_threads
        self.reference = self.embed(samples, {}, progress=progress)
        self.scores = gate("fp32", self.reference, self.reference).reference
        self._latest: tuple[tuple[str, ...], dict[str, Embeddings]] = (), self.reference

    def gate(
        self, name: str, changed: Mapping[str, Graph], *, engines: Mapping[str, Engine]
    ) -> Gate:
        """Puts a variant beside float32.

        Args:
            name: of the variant, for a refusal.
            changed: name of a graph -> what takes its place.
            engines: name of a graph -> what runs it, changed or not; the reference's for others.

        Returns:
            The comparison; a variant that cannot run, or gives no unit rows, is refused.
        """
        try:
            rows = self.rows(changed, engines=engines)
        except (BundleError, InputError) as error:
            return Gate(name, self.scores, {}, failure=str(error))
        return gate(name, self.reference, rows)

    def rows(
        self, changed: Mapping[str, Graph], *, engines: Mapping[str, Engine]
    ) -> dict[str, Embeddings]:
        """Embeds the test rows with some graphs changed; what they do not touch is the reference.

        Args:
            changed: name of a graph -> what takes its place.
            engines: name of a graph -> what runs it, changed or not; the reference's for others.

        Returns:
            Name of the scale of rows -> unit rows.

        Raises:
            BundleError: a graph cannot run, or gives no unit rows.
            InputError: as `embed_samples`.
        """
        names = [
            name
            for name, graph in self._graphs.items()
            if changed.get(name, graph) != graph
            or engines.get(name, REFERENCE_ENGINE) != REFERENCE_ENGINE
        ]
        if not names:
            return dict(self.reference)
        key = tuple(
            f"{engines.get(name, REFERENCE_ENGINE)} {changed.get(name, self._graphs[name]).file}"
            for name in names
        )
        if key == self._latest[0]:
            return self._latest[1]
        touched = [
            modality
            for modality in next(iter(self.reference.values())).modalities
            if any(_reads(modality, self._graphs[name]) for name in names)
        ]
        found = self.embed(self._samples, changed, engines=engines, modalities=touched)
        rows = {
            scale: replace(rows, vectors={**rows.vectors, **found[scale].vectors})
            for scale, rows in self.reference.items()
        }
        self._latest = key, rows
        return rows

    def embed(
        self,
        samples: Mapping[str, SampleSet],
        changed: Mapping[str, Graph],
        *,
        engines: Mapping[str, Engine] | None = None,
        modalities: Iterable[Modality] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Embeddings]:
        """Embeds rows with the graphs, some of them changed.

        Args:
            samples: any name -> rows.
            changed: name of a graph -> what takes its place.
            engines: name of a graph -> what runs it; the reference's for others.
            modalities: which to embed; None means all.
            progress: called with rows done and rows in all.

        Returns:
            Unit rows under the same names.

        Raises:
            BundleError: a graph cannot run, or gives no unit rows.
            InputError: as `embed_samples`.
        """
        embedder = GraphEmbedder(self.towers(changed, engines=engines or {}), self._model)
        chosen = None if modalities is None else tuple(modalities)
        return {
            name: embed_samples(embedder, rows, modalities=chosen, progress=progress)
            for name, rows in samples.items()
        }

    def towers(self, changed: Mapping[str, Graph], *, engines: Mapping[str, Engine]) -> Towers:
        """Opens the graphs, some of them changed.

        Args:
            changed: name of a graph -> what takes its place.
            engines: name of a graph -> what runs it; the reference's for others.

        Raises:
            BundleError: a graph cannot be loaded.
        """
        return Towers(
            self._folder,
            graphs=[changed.get(name, graph) for name, graph in self._graphs.items()],
            preprocessor=self._preprocessor,
            engine={**dict.fromkeys(self._graphs, REFERENCE_ENGINE), **engines},
            num_threads=self._num_threads,
        )


def _reads(modality: Modality, graph: Graph) -> bool:
    """Whether a modality or fused query goes through a graph."""
    return modality == graph.modality or graph.modality in modality.split("+")
