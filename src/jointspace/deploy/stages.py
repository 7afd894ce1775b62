"""The stages from a camera's bytes to a match decision, each as a call that can be timed."""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float32

from jointspace.batch import ACTION, TEXT, VISION, Modality
from jointspace.data.resize import resize_frame
from jointspace.deploy.cache_rows import CachedRows, cached_texts
from jointspace.deploy.graph import FUSED_OUTPUT, Graph, fusion_graph
from jointspace.deploy.matching import Match, Matcher
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.session import GraphSession, used_feeds
from jointspace.deploy.workload import Workload, message_rgb, steps_stage
from jointspace.evaluation.threshold import MatchThreshold

CONVERT, RESIZE = "convert", "resize"
FRAME, WINDOW = "vision frame", "vision window"
TEXT_HIT, TEXT_MISS = "text hit", "text miss"
FUSE, SIMILARITY = "fuse", "similarity"
END_TO_END = "end to end"

SHARED = (CONVERT, RESIZE, TEXT_HIT, SIMILARITY)
"""Stages without a graph, that cost the same with every engine."""


class BundleStages:
    """The stages of a bundle, for rows of one workload.

    Args:
        embedder: of the bundle, on the engine to measure.
        work: what each call reads.
        open_graph: opens a graph of the bundle on that engine, for the stage that fuses alone;
            without it there is no such stage.
    """

    def __init__(
        self,
        embedder: BundleEmbedder,
        work: Workload,
        *,
        open_graph: Callable[[Graph], GraphSession] | None = None,
    ) -> None:
        self.embedder = embedder
        self._work = work
        self._open_graph = open_graph
        self._cached: CachedRows[str] = cached_texts(
            embedder.embed_texts,
            version=embedder.manifest.digest,
            normalise=embedder.preprocessor.tokenizer.normalise,
            dim=embedder.embed_dim,
        )
        self._matchers = {
            m: Matcher(embedder, m, threshold=embedder.thresholds.get(m) or _at_zero(m))
            for m in (VISION, ACTION)
            if m in embedder.modalities and TEXT in embedder.modalities
        }
        # Of a window, all pictures but the newest were encoded when they came.
        self._window = np.zeros((0, 0, 0, 0), np.float32)
        if work.clips is not None:
            flat = work.clips.reshape(-1, *work.clips.shape[3:])
            self._window = embedder.encode_frames(flat).reshape(*work.clips.shape[:3], -1)

    def calls(self) -> dict[str, Callable[[], object]]:
        """Returns stage -> call, in the order of the way; stages that the model lacks are left out.

        The first call of each does what only has to be done once.
        """
        embedder, work = self.embedder, self._work
        found: dict[str, Callable[[], object]] = {}
        if work.clips is not None:
            frames = [message_rgb(message) for message in work.messages]
            newest = work.clips[:, -1].reshape(-1, *work.clips.shape[3:])
            px = embedder.preprocessor.image_px
            found |= {
                CONVERT: lambda: [message_rgb(message) for message in work.messages],
                RESIZE: lambda: [resize_frame(frame, image_px=px) for frame in frames],
                FRAME: lambda: embedder.encode_frames(newest),
                WINDOW: lambda: embedder.embed_frames(self._window, time_s=work.clip_time_s),
            }
        if TEXT in embedder.modalities:
            found[TEXT_HIT] = lambda: [self._cached.row(text) for text in work.texts]
            found[TEXT_MISS] = lambda: embedder.embed_texts(work.texts)
        for modality, values in work.steps.items():
            if modality in embedder.modalities:
                found[steps_stage(modality)] = partial(embedder.embed_steps, modality, values)
        fused = self._fuse_call()
        if fused is not None:
            found[FUSE] = fused
        if self._matchers:
            query = next(iter(self._matchers))
            texts = embedder.embed_texts(work.texts)
            found[SIMILARITY] = partial(embedder.similarity, query, texts[0], TEXT, texts)
            found[END_TO_END] = self.decide
        return found

    def decide(self) -> list[dict[Modality, Match]]:
        """Goes the whole way of each row: frame, trajectory and cached instruction to decisions."""
        embedder, work = self.embedder, self._work
        rows: dict[Modality, Float32[np.ndarray, "batch dim"]] = {}
        if work.clips is not None:
            px = embedder.preprocessor.image_px
            squares = [resize_frame(message_rgb(each), image_px=px) for each in work.messages]
            newest = embedder.encode_frames(np.stack(squares))
            window = self._window.copy()
            window[:, -1] = newest.reshape(window[:, -1].shape)
            rows[VISION] = embedder.embed_frames(window, time_s=work.clip_time_s)
        if ACTION in self._matchers:
            rows[ACTION] = embedder.embed_steps(ACTION, work.steps[ACTION])
        decided = []
        for number, text in enumerate(work.texts):
            told = self._cached.row(text)
            decided.append(
                {m: each.match(rows[m][number], told) for m, each in self._matchers.items()}
            )
        return decided

    def _fuse_call(self) -> Callable[[], object] | None:
        """Returns the call of the first fused query's graph alone, its towers done before."""
        manifest = self.embedder.manifest
        query = next(iter(manifest.fused_queries), None)
        if query is None or self._open_graph is None:
            return None
        graphs = {graph.name: graph for graph in manifest.graphs}
        made: dict[str, np.ndarray] = {}
        for member in query.split("+"):
            graph = graphs[member]
            feeds = used_feeds(graph, self._feeds(Modality(member)))
            made |= self._open_graph(graph).run(feeds, [each.name for each in graph.outputs])
        fusion = graphs[fusion_graph(query)]
        session, feeds = self._open_graph(fusion), used_feeds(fusion, made)
        return lambda: session.run(feeds, [FUSED_OUTPUT])

    def _feeds(self, modality: Modality) -> dict[str, np.ndarray]:
        made, work = self.embedder.preprocessor, self._work
        if modality == TEXT:
            ids, valid = made.tokenizer.encode(work.texts)
            return {"tokens": ids, "valid": valid}
        if modality == VISION:
            valid, time_s = np.ones(self._window.shape[:3], np.bool_), work.clip_time_s
            return {"frame_vectors": self._window, "valid": valid, "time_s": time_s}
        steps = work.steps[modality]
        valid = np.ones(steps.shape[:2], np.bool_)
        time_s = np.broadcast_to(np.arange(steps.shape[1]) / made.fps, valid.shape)
        return {"trajectory": steps, "valid": valid, "time_s": time_s}


def _at_zero(modality: Modality) -> MatchThreshold:
    """A threshold for bundles that have none, which decides as fast and says nothing."""
    return MatchThreshold(
        query=modality,
        accept=0.0,
        reject=0.0,
        asked_false_positive_rate=1.0,
        asked_false_negative_rate=1.0,
        false_positive_rate=1.0,
        false_negative_rate=1.0,
        right_accepted=1.0,
        num_right=0,
        num_wrong=0,
        num_episodes=0,
    )
