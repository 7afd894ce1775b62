"""What the words of a command look like, learned from where demonstrations took the gripper.

Nobody labels objects. But a demonstration of "lift the red block" closes the gripper at the red
block, so of all things in its first picture one lies where the gripper will be. Which visual words
lie there, over all demonstrations, tells what a command's row is about; and where they lie in
pictures tells where the camera stands.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from jointspace.errors import InputError
from jointspace.robot.policy.places import quadratic
from jointspace.robot.policy.wordings import distinct_rows

_FEWEST_PIXELS, _MOST_PIXELS = 3, 150
"""Fewer are noise, more are the table."""
_FEWEST_EPISODES = 20
_DRAWS = 1500
_ROUNDS = 12
_COARSE_ROUNDS = 4
_COARSE_M, _FINE_M, _INLIER_M = 0.05, 0.03, 0.02
_HERE_M, _THERE_M, _NEXT_M = 0.03, 0.02, 0.16
_MOVED_M = 0.04
_SHOWN = 0.25
_ITEM_RIDGE, _TARGET_RIDGE = 0.1, 0.01
"""The target is a fainter part of a sentence's row than the item. Less for the item would find no
more in wordings that were trained on, and less in others."""

Relevances = tuple[Float64[np.ndarray, "episode word"], Float64[np.ndarray, "episode word"]]
"""Of every word to item and target."""


@dataclass(frozen=True)
class Grounding:
    """From a command's row to the words that it is about, and from pictures to the table.

    Attributes:
        camera: "6 2": from the monomials of a place in the first camera's picture to x and y in
            metres, for what lies on the table.
        texts: rows of the instructions that were demonstrated, each once.
        item: what each of them adds to each word's relevance to what is acted on, by its likeness
            (`_likeness`) to the command.
        target: the same of where it goes.
    """

    camera: Float64[np.ndarray, "6 2"]
    texts: Float32[np.ndarray, "text dim"]
    item: Float64[np.ndarray, "text word"]
    target: Float64[np.ndarray, "text word"]

    def relevance(
        self, text_row: Float[np.ndarray, " dim"]
    ) -> tuple[Float64[np.ndarray, " word"], Float64[np.ndarray, " word"]]:
        """Returns the relevance of every word to a command's item and to its target, 0..1."""
        likeness = _likeness(text_row[None], self.texts)[0]
        return _as_relevance(likeness @ self.item), _as_relevance(likeness @ self.target)

    def on_table(self, place: Float[np.ndarray, "2"]) -> Float64[np.ndarray, "2"]:
        """Returns x and y, in metres, of a place in the first camera's picture."""
        return quadratic(place.astype(np.float64)) @ self.camera


def fit_grounding(
    text_rows: Float32[np.ndarray, "episode dim"],
    counts: Float64[np.ndarray, "episode word"],
    places: Float64[np.ndarray, "episode word 2"],
    *,
    first: Float[np.ndarray, "episode 2"],
    second: Float[np.ndarray, "episode 2"],
    rng: np.random.Generator,
) -> tuple[Grounding, Relevances]:
    """Learns a grounding from the first pictures of demonstrations; in closed form, in seconds.

    Args:
        text_rows: of the instructions.
        counts: pixels of each visual word in the first picture of the first camera.
        places: their mean place there.
        first: where the gripper first closed, or ended: x and y in metres.
        second: where it opened again, or ended.
        rng: draws the triples from which the camera's place is guessed.

    Returns:
        The grounding, and the relevance of every word to each demonstration's item and target as it
        shows them itself, by where its gripper went; as its instruction tells them where it does
        not. What learns from the demonstrations is to read these: then it trusts what it is told to
        look for, and does not learn to do without.

    Raises:
        InputError: no visual word tells where the gripper went, as where all scenes are alike.

    Source:
        M. A. Fischler, R. C. Bolles (1981), random sample consensus, for the start; then rounds of
        choosing each episode's best word and fitting the camera to them.
    """
    occurs = (counts >= _FEWEST_PIXELS) & (counts <= _MOST_PIXELS)
    camera = _fit_camera(places, occurs, first, rng)
    table = quadratic(places) @ camera
    away_m = np.linalg.norm(table - first[:, None], axis=-1)
    here = np.where(occurs, np.exp(-((away_m / _HERE_M) ** 2)), 0.0)
    # What goes beside a thing ends near it, not on it: the nearest thing that is not the item.
    other_m = np.linalg.norm(table - second[:, None], axis=-1)
    other_m = np.where(occurs & (here <= 0.25), other_m, np.inf)
    nearest_m = other_m.min(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        there = np.exp(-(((other_m - nearest_m) / _THERE_M) ** 2))
    there = np.where(np.isfinite(other_m) & (nearest_m < _NEXT_M), there, 0.0)
    moved = np.linalg.norm(first - second, axis=1) > _MOVED_M
    there = np.where(moved[:, None], there, here)
    seen = counts >= _FEWEST_PIXELS
    texts, place = distinct_rows(text_rows)
    told = place[:, None] == np.arange(len(texts))
    likeness = _likeness(text_rows, text_rows)
    weights, relevances = [], []
    for wanted, ridge in ((here, _ITEM_RIDGE), (there, _TARGET_RIDGE)):
        own = _fit_relevance(likeness, wanted, seen, ridge=ridge)
        weights.append(told.T @ own)
        shown = wanted.max(1, keepdims=True) > _SHOWN
        relevances.append(np.where(shown, wanted, _as_relevance(likeness @ own)))
    return Grounding(camera, texts, *weights), (relevances[0], relevances[1])


def _fit_camera(
    places: Float64[np.ndarray, "episode word 2"],
    occurs: Bool[np.ndarray, "episode word"],
    goals: Float[np.ndarray, "episode 2"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, "6 2"]:
    best_share, camera = 0.0, np.zeros((6, 2))
    for word in np.flatnonzero(occurs.sum(0) >= _FEWEST_EPISODES):
        own = np.flatnonzero(occurs[:, word])
        points = np.column_stack([np.ones(len(own)), places[own, word]])
        triples = rng.integers(len(own), size=(_DRAWS, 3))
        triples = triples[np.abs(np.linalg.det(points[triples])) > 0.02]
        if not len(triples):
            continue
        maps = np.linalg.solve(points[triples], goals[own][triples].astype(np.float64))
        errors_m = np.linalg.norm(np.einsum("ec,tcd->ted", points, maps) - goals[own], axis=-1)
        inliers = (errors_m < _INLIER_M).mean(1)
        if inliers.max() > best_share:
            best_share = float(inliers.max())
            camera[:3] = maps[int(inliers.argmax())]
    monomials = quadratic(places)
    for number in range(_ROUNDS):
        errors_m = np.linalg.norm(monomials @ camera - goals[:, None], axis=-1)
        errors_m = np.where(occurs, errors_m, np.inf)
        words, least_m = errors_m.argmin(1), errors_m.min(1)
        kept = np.flatnonzero(least_m < (_COARSE_M if number < _COARSE_ROUNDS else _FINE_M))
        if len(kept) < _FEWEST_EPISODES:
            raise InputError(
                f"grounding: in only {len(kept)} of {len(goals)} demonstrations something of a "
                f"colour of its own lies where the gripper goes, wanted {_FEWEST_EPISODES}; this "
                "policy needs scenes whose objects differ in colour, and a first camera that "
                "stands still"
            )
        rows = monomials[kept, words[kept]]
        camera = np.linalg.solve(rows.T @ rows + 1e-6 * np.eye(6), rows.T @ goals[kept])
    return camera


def _fit_relevance(
    likeness: Float64[np.ndarray, "episode episode"],
    wanted: Float64[np.ndarray, "episode word"],
    seen: Bool[np.ndarray, "episode word"],
    *,
    ridge: float,
) -> Float64[np.ndarray, "episode word"]:
    """Kernel ridge regression of every word's relevance, over the episodes that show it."""
    weights = np.zeros_like(wanted, dtype=np.float64)
    for word in np.flatnonzero(seen.sum(0) >= _FEWEST_EPISODES):
        own = np.flatnonzero(seen[:, word])
        gram = likeness[np.ix_(own, own)] + ridge * np.eye(len(own))
        weights[own, word] = np.linalg.solve(gram, wanted[own, word])
    return weights


def _as_relevance(predicted: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    return np.clip(predicted, 0, 1) ** 2


def _likeness(
    one: Float[np.ndarray, "row dim"], other: Float[np.ndarray, "text dim"]
) -> Float64[np.ndarray, "row text"]:
    """The quadratic kernel of unit rows, 0..1.

    What a row says of the target is said in another way for each skill, so that no one direction
    tells it; products of two entries do.
    """
    return ((1 + one.astype(np.float64) @ other.astype(np.float64).T) / 2) ** 2
