"""A bundle as an `Embedder`, and the way in real time: raw pictures, words and readings in.

Importing it loads NumPy alone; ONNX Runtime (or OpenVINO) comes when a bundle is loaded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

from jointspace.batch import TEXT, VISION, Batch, Modality, gated_rows
from jointspace.data.preprocess import Preprocessor
from jointspace.deploy.bundle import Bundle, read_bundle
from jointspace.deploy.checks import (
    check_texts,
    check_words,
    checked_ids,
    checked_pictures,
    checked_steps,
    checked_times,
    checked_vectors,
)
from jointspace.deploy.graph import runtime_graphs
from jointspace.deploy.manifest import Manifest
from jointspace.deploy.self_test import check_self_test
from jointspace.deploy.session import EngineChoice, choose_engines
from jointspace.deploy.towers import Towers
from jointspace.errors import InputError, did_you_mean
from jointspace.evaluation.decision import GrowthThreshold, MatchThreshold


class BundleEmbedder:
    """Embeds with the graphs of a bundle, without torch; may be called by several threads at once.

    What is not right is refused by name: there is an error or a right row, never a wrong one.

    Attributes:
        manifest: what the bundle says of itself; its `digest` is the version for a cache.
        preprocessor: from raw rows to a `Batch`.
        thresholds: modality -> from which similarity with a text that text applies.
        growth: modality -> the same for a stream that grows since its instruction was given.

    Args:
        bundle: verified.
        towers: its graphs.
    """

    def __init__(self, bundle: Bundle, towers: Towers) -> None:
        self.manifest: Manifest = bundle.manifest
        self.preprocessor: Preprocessor = bundle.preprocessor
        self.thresholds: Mapping[Modality, MatchThreshold] = bundle.manifest.thresholds
        self.growth: Mapping[Modality, GrowthThreshold] = bundle.manifest.growth
        self._gates = bundle.gates
        self._towers = towers
        self._targets = {t for each in bundle.manifest.fused_queries.values() for t in each}

    @staticmethod
    def load(
        folder: str | Path,
        *,
        num_threads: int = 1,
        engine: EngineChoice = "auto",
        providers: Sequence[str] | None = None,
    ) -> "BundleEmbedder":
        """Verifies every byte of a bundle, loads its graphs, and computes its self-test.

        Args:
            folder: the bundle.
            num_threads: that a call may use.
            engine: `auto` is the bundle's choice for each graph where it is installed.
            providers: of ONNX Runtime, such as `CUDAExecutionProvider`; None means the processor.

        Returns:
            The embedder.

        Raises:
            BundleError: the bundle is not as it was written, is of another version, or computes
                other rows here than where it was exported.
            InputError: unknown engine or provider, or fewer than one thread.
            MissingExtraError: the engine, or the package of its tokenizer, is not installed.
        """
        path = Path(folder)
        bundle = read_bundle(path)
        preferred = {} if providers is not None else bundle.manifest.engines
        towers = Towers(
            path,
            graphs=bundle.manifest.graphs,
            preprocessor=bundle.preprocessor,
            engine=choose_engines(
                engine,
                graphs=[graph.name for graph in runtime_graphs(bundle.manifest.graphs)],
                preferred=preferred,
            ),
            num_threads=num_threads,
            providers=providers,
            left_out=bundle.manifest.left_out,
        )
        check_self_test(towers, bundle.preprocessor, bundle.self_test, where=path)
        return BundleEmbedder(bundle, towers)

    @property
    def embed_dim(self) -> int:
        """Width of the joint space."""
        return self.manifest.embed_dim

    @property
    def model_id(self) -> str:
        """Hash of the model's weights, which all its bundles share."""
        return self.manifest.model_id

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What it embeds, and the fused queries that it has graphs for."""
        return self._towers.modalities

    def embed(self, modality: Modality, batch: Batch) -> Float32[np.ndarray, "batch dim"]:
        """Embeds one modality, or a fused query such as `vision+text`, of a NumPy batch.

        Args:
            modality: one of `modalities`.
            batch: as the preprocessor makes it, steps normalised.

        Returns:
            One unit row per row of the batch; a row that lacks the modality is all zero.

        Raises:
            InputError: the bundle or the batch lacks the modality, its shape or type is not what
                the model was built for, or a valid value is not finite or no known id.
            BundleError: the graphs return what is no unit row.
        """
        return self._towers.embed(modality, batch)

    def pair_gate(self, first: Modality, second: Modality) -> Float32[np.ndarray, " dim"] | None:
        """Returns what each dimension counts where two modalities are compared.

        All fused queries of one target share a gate.

        Args:
            first: a modality or fused query.
            second: what it is compared with; only one of them may be a fused query.

        Returns:
            A positive number for each dimension, the same in either order; None where the pair is
            compared by the cosine of its rows.

        Raises:
            InputError: the two are not compared.
        """
        for each in (first, second):
            self._towers.check_modality(each)
        plain, fused = sorted((first, second), key=lambda name: "+" in name)
        is_fused = "+" in fused
        if first == second or "+" in plain or (is_fused and plain not in self._targets):
            raise InputError(
                f"bundle: '{first}' and '{second}' are not compared; wanted two modalities, or a "
                f"fused query and one of {', '.join(sorted(self._targets)) or 'no target'}"
            )
        pair = frozenset((first, second))
        if pair in self._gates or not is_fused:
            return self._gates.get(pair)
        shared = (g for p, g in self._gates.items() if plain in p and any("+" in m for m in p))
        return next(shared, None)

    def encode_frames(
        self, pictures: Shaped[np.ndarray, "..."]
    ) -> Float32[np.ndarray, "picture width"]:
        """Encodes pictures, each on its own: once, when it arrives, however many rows show it.

        Args:
            pictures: uint8 RGB of the model's size, "picture px px 3".

        Returns:
            One vector per picture, for `embed_frames`.

        Raises:
            InputError: the model sees no pictures, or they have another type or shape.
            BundleError: a vector is not finite.
        """
        self._towers.check_modality(VISION)
        return self._towers.encode_frames(
            checked_pictures(pictures, image_px=self.preprocessor.image_px)
        )

    def embed_frames(
        self,
        vectors: Shaped[np.ndarray, "..."],
        valid: Shaped[np.ndarray, "..."] | None = None,
        time_s: Shaped[np.ndarray, "..."] | None = None,
    ) -> Float32[np.ndarray, "batch dim"]:
        """Embeds rows of encoded pictures.

        Args:
            vectors: from `encode_frames`, "batch time camera width".
            valid: True where a picture is real, "batch time camera"; None means everywhere.
            time_s: seconds of each time since the row's start, "batch time"; None where each row
                has one time alone, which is its start.

        Returns:
            One unit row each; zero where nothing is valid.

        Raises:
            InputError: the model sees no pictures, a type or shape is another one, a valid vector
                or time is not finite, or times go backwards.
            BundleError: what comes out is no unit row.
        """
        self._towers.check_modality(VISION)
        kept, mask = checked_vectors(
            vectors,
            valid,
            num_cameras=self.preprocessor.num_cameras,
            width=self._towers.frame_width,
        )
        if time_s is None and kept.shape[1] == 1:
            time_s = np.zeros(kept.shape[:2], np.float32)
        times = checked_times(VISION, time_s, mask)
        return self._rows(VISION, {"frame_vectors": kept, "valid": mask, "time_s": times})

    def embed_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        """Embeds instructions.

        Args:
            texts: each holds at least one word.

        Returns:
            One unit row each.

        Raises:
            InputError: a text is blank, no `str`, or holds nothing that the model can read; a bare
                string is given; or the model reads no texts.
            BundleError: what comes out is no unit row.
        """
        self._towers.check_modality(TEXT)
        if isinstance(texts, str):
            raise InputError(f"'{TEXT}': got one string; wanted a list of them")
        check_texts(texts)
        tokenizer = self.preprocessor.tokenizer
        ids, valid = tokenizer.encode(texts)
        check_words(texts, ids, valid, tokenizer=tokenizer)
        return self._rows(TEXT, {"tokens": ids, "valid": valid})

    def embed_steps(
        self,
        modality: Modality,
        values: Shaped[np.ndarray, "..."],
        valid: Shaped[np.ndarray, "..."] | None = None,
        time_s: Shaped[np.ndarray, "..."] | None = None,
    ) -> Float32[np.ndarray, "batch dim"]:
        """Embeds trajectories: actions, states, or readings of another sensor.

        Args:
            modality: whose they are.
            values: in RAW units, floating point, "batch time channel"; of a discrete modality
                whole numbers, "batch time".
            valid: True where a step is real; None means everywhere. A reading that is not finite
                must be marked as not valid.
            time_s: seconds of each step since the row's start, "batch time"; None spaces them by
                the rate of the training data.

        Returns:
            One unit row each; zero where nothing is valid.

        Raises:
            InputError: the model has no such modality of steps, a type or shape is another one, a
                valid value or time is not finite or no known id, or times go backwards.
            BundleError: what comes out is no unit row.
        """
        made = self.preprocessor
        known = [m for m in (*made.normalisers, *made.discrete) if m in self.modalities]
        if modality not in known:
            raise InputError(
                f"bundle: no modality '{modality}' of steps.{did_you_mean(modality, known)}"
            )
        if modality in made.discrete:
            steps, mask = checked_ids(modality, values, valid, size=made.discrete[modality])
        else:
            channels = made.normalisers[modality].dim
            steps, mask = checked_steps(modality, values, valid, channels=channels)
        if time_s is None:
            time_s = np.broadcast_to(np.arange(mask.shape[1]) / made.fps, mask.shape)
        times = checked_times(modality, time_s, mask)
        return self._rows(modality, {"trajectory": steps, "valid": mask, "time_s": times})

    def similarity(
        self,
        query: Modality,
        query_row: Shaped[np.ndarray, "..."],
        target: Modality,
        target_rows: Shaped[np.ndarray, "..."],
    ) -> Float32[np.ndarray, " target"]:
        """Compares one row with others, through the gate of their modalities.

        Args:
            query: what the row is of; may be a fused query.
            query_row: a unit row, "dim".
            target: what the other rows are of.
            target_rows: unit rows, "target dim".

        Returns:
            One similarity in [-1, 1] per target row; 0 where a row lacks its modality.

        Raises:
            InputError: the two are not compared, or rows have another shape or are not finite.
        """
        gate = self.pair_gate(query, target)
        query_rows = query_row[None]
        for modality, rows in ((query, query_rows), (target, target_rows)):
            if rows.ndim != 2 or rows.shape[1] != self.embed_dim or not np.isfinite(rows).all():
                raise InputError(
                    f"'{modality}': got rows of shape {rows.shape}; wanted rows of width "
                    f"{self.embed_dim} that hold neither NaN nor infinity"
                )
        found = gated_rows(target_rows, gate) @ gated_rows(query_rows, gate)[0]
        return found.astype(np.float32)

    def _rows(
        self, modality: Modality, feeds: Mapping[str, np.ndarray]
    ) -> Float32[np.ndarray, "batch dim"]:
        if not len(feeds["valid"]):
            return np.zeros((0, self.embed_dim), np.float32)
        return self._towers.rows(modality, feeds)
