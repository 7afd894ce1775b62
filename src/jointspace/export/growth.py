"""Thresholds for what a robot sees while it moves: a stream that grows since it was told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped

from jointspace.batch import TEXT, VISION, Embeddings
from jointspace.data.frames import FrameStore
from jointspace.data.preprocess import Preprocessor
from jointspace.data.recording import Recording
from jointspace.data.schema import RobotDataset
from jointspace.deploy.stream import VisionStream
from jointspace.deploy.towers import Towers
from jointspace.errors import InputError
from jointspace.evaluation.decision import GrowthStage, GrowthThreshold, MatchThreshold
from jointspace.evaluation.matching import MatchScores, match_scores
from jointspace.evaluation.threshold import calibrate_threshold

NUM_STAGES = 8
"""Parts of a motion with a threshold of their own."""

TIMES_PER_STAGE = 4
"""Times of a stage at which streams are compared with instructions."""

_DURATION_QUANTILE = 0.95
"""Share of the episodes that are over when the last stage ends."""


@dataclass(frozen=True)
class Recorded:
    """Episodes with their pictures.

    Attributes:
        dataset: the usable episodes.
        store: their pictures; None if the preprocessor has no cameras.
        preprocessor: of the run.
    """

    dataset: RobotDataset
    store: FrameStore | None
    preprocessor: Preprocessor


@dataclass(frozen=True)
class GrowingRows:
    """Episodes at several times since their start, as a stream of the robot embeds them.

    Attributes:
        time_s: seconds since the start.
        vision: unit rows at each time; an episode that is over stays as it was then, one without
            pictures is zero.
        whole: the same episodes as whole rows, with their texts.
    """

    time_s: Float64[np.ndarray, " time"]
    vision: Float32[np.ndarray, "time row dim"]
    whole: Embeddings

    def scores(self) -> list[MatchScores]:
        """Compares the stream with the instructions at each time; the pairs are the same ones."""
        texts = self.whole.vectors[TEXT]
        return [
            match_scores(replace(self.whole, vectors={VISION: rows, TEXT: texts}), VISION)
            for rows in self.vision
        ]


@dataclass(frozen=True)
class _Encoder:
    """Graphs that are no bundle yet, as a stream asks them."""

    towers: Towers
    preprocessor: Preprocessor

    def encode_frames(
        self, pictures: Shaped[np.ndarray, "..."]
    ) -> Float32[np.ndarray, "picture width"]:
        return self.towers.encode_frames(pictures)

    def embed_frames(
        self,
        vectors: Shaped[np.ndarray, "..."],
        valid: Shaped[np.ndarray, "..."] | None = None,
        time_s: Shaped[np.ndarray, "..."] | None = None,
    ) -> Float32[np.ndarray, "batch dim"]:
        feeds = {"frame_vectors": vectors, "valid": valid, "time_s": time_s}
        return self.towers.rows(VISION, {k: each for k, each in feeds.items() if each is not None})


def growth_times(dataset: RobotDataset, episodes: Sequence[int]) -> Float64[np.ndarray, " time"]:
    """Chooses at which times since their start episodes are compared with instructions.

    Args:
        dataset: the usable episodes.
        episodes: positions of those that calibrate.

    Returns:
        Regular times, `TIMES_PER_STAGE` for each of `NUM_STAGES` stages; at the last one 95 % of
        the episodes are over.
    """
    steps = [dataset.episodes[each].num_frames - 1 for each in episodes]
    longest_s = max(1.0, float(np.quantile(steps, _DURATION_QUANTILE))) / dataset.info.fps
    count = NUM_STAGES * TIMES_PER_STAGE
    return longest_s * np.arange(1, count + 1) / count


def growing_rows(
    towers: Towers,
    recorded: Recorded,
    *,
    episodes: Sequence[int],
    time_s: Float64[np.ndarray, " time"],
    whole: Embeddings,
) -> GrowingRows:
    """Shows episodes picture by picture to the very stream that a robot has.

    Args:
        towers: the graphs that ship.
        recorded: what to show.
        episodes: positions of the episodes.
        time_s: from `growth_times`.
        whole: rows of the same whole episodes, in their order.

    Returns:
        Their rows at each time.

    Raises:
        BundleError: a graph gives no unit row.
    """
    vision = np.zeros((len(time_s), len(episodes), towers.embed_dim), np.float32)
    preprocessor = recorded.preprocessor
    encoder = _Encoder(towers, preprocessor)
    for row, position in enumerate(episodes):
        episode = recorded.dataset.episodes[position]
        cameras = Recording.of_episode(episode, position, recorded.store, preprocessor).cameras
        if all(pictures is None for pictures in cameras):
            continue
        stream = VisionStream(encoder, longest_s=float(time_s[-1]))
        taken_s = episode.time_s - episode.time_s[0]
        # A time between two pictures sees the earlier one.
        last = np.searchsorted(taken_s, time_s + 0.5 / preprocessor.fps) - 1
        for step in range(min(episode.num_frames, int(last[-1]) + 1)):
            for camera, pictures in zip(preprocessor.cameras, cameras, strict=True):
                if pictures is not None:
                    stream.add(camera, pictures[step], float(taken_s[step]))
            due = last == step
            if due.any():
                vision[due, row] = stream.grown(0.0).row
    return GrowingRows(time_s, vision, whole)


def calibrate_growth(rows: Mapping[str, GrowingRows], *, error_rate: float) -> GrowthThreshold:
    """Finds from which similarity an instruction applies to a stream, and when it no longer can.

    `accept` is calibrated on the largest similarity that a pair ever reaches, so that it bounds how
    many wrong instructions are accepted at any time; `reject` of a stage on the similarities in it.

    Args:
        rows: name of a split -> its episodes, at the same times. The first split with enough
            episodes calibrates; the last one measures.
        error_rate: bound on the wrong pairs accepted at any time, and on the right pairs rejected
            in a stage.

    Returns:
        The threshold, with the rates that were measured.

    Raises:
        InputError: no split has enough episodes, or there is no right or no wrong pair.
    """
    failures = []
    *_, (measuring, measured) = rows.items()
    for name, each in rows.items():
        try:
            accept, rejects, num_episodes = _bounds(each.scores(), error_rate)
        except InputError as error:
            failures.append(f"{name}: {error}")
            continue
        return GrowthThreshold(
            query=VISION,
            accept=accept,
            stages=_measured(measured, accept, rejects),
            asked_wrong_accepted=error_rate,
            asked_right_rejected=error_rate,
            calibrated_on=name,
            measured_on=measuring,
            num_episodes=num_episodes,
        )
    raise InputError("; ".join(failures))


def shares(
    scores: MatchScores, chosen: Bool[np.ndarray, " pair"], among: Bool[np.ndarray, " pair"]
) -> float:
    """Returns which share of some pairs is chosen, every episode weighing alike."""
    episodes = np.unique(scores.episode[among])
    each = [chosen[among & (scores.episode == episode)].mean() for episode in episodes]
    return float(np.mean(each))


def _bounds(scores: Sequence[MatchScores], error_rate: float) -> tuple[float, list[float], int]:
    """Returns what accepts, what rejects in each stage, and how many episodes say so."""
    ever = replace(scores[0], similarity=np.max([each.similarity for each in scores], axis=0))
    threshold = _threshold(ever, error_rate)
    rejects = []
    for some in _stages(scores):
        pooled = MatchScores(
            VISION,
            *(
                np.concatenate([getattr(each, name) for each in some])
                for name in ("similarity", "right", "row", "instruction", "episode")
            ),
        )
        rejects.append(min(_threshold(pooled, error_rate).reject, threshold.accept))
    return threshold.accept, rejects, threshold.num_episodes


def _threshold(scores: MatchScores, error_rate: float) -> MatchThreshold:
    return calibrate_threshold(
        scores, false_positive_rate=error_rate, false_negative_rate=error_rate
    )


def _measured(
    rows: GrowingRows, accept: float, rejects: Sequence[float]
) -> tuple[GrowthStage, ...]:
    scores = rows.scores()
    right = scores[0].right
    accepted = np.zeros(len(right), dtype=np.bool_)
    found = []
    ends_s = rows.time_s[TIMES_PER_STAGE - 1 :: TIMES_PER_STAGE]
    for until_s, reject, some in zip(ends_s.tolist(), rejects, _stages(scores), strict=True):
        for each in some:
            accepted |= each.similarity > accept
        rejected = [
            [shares(each, each.similarity < reject, among) for each in some]
            for among in (~right, right)
        ]
        found.append(
            GrowthStage(
                until_s=until_s,
                reject=reject,
                wrong_accepted=shares(scores[0], accepted, ~right),
                right_accepted=shares(scores[0], accepted, right),
                wrong_rejected=float(np.mean(rejected[0])),
                right_rejected=float(np.mean(rejected[1])),
            )
        )
    return tuple(found)


def _stages(scores: Sequence[MatchScores]) -> list[Sequence[MatchScores]]:
    return [
        scores[first : first + TIMES_PER_STAGE] for first in range(0, len(scores), TIMES_PER_STAGE)
    ]
