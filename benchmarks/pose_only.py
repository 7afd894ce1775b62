"""The pose-only control: how far does knowing where the robot stands go, without eyes and ears?

A query is the robot's measured state at the start of a row, and nothing else: no picture, no
instruction. Regressions fitted on the training rows predict from it what the action will look
like (resampled in time to `NUM_POINTS`, with its duration, standardised), and the candidate
actions are ranked by their distance from the prediction. Whatever a query of instruction and
picture reaches beyond this, it does not owe to the pose.

The control is given the best of its settings on the test rows, in its favour: nearest
neighbours, and ridge regression on the state and on its products.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Float
from measures import Measure, candidate_draws

from jointspace.data.samples import SampleSet
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.retrieval import evaluate_retrieval

NUM_POINTS = 16
NEIGHBOURS = (1, 8, 32)
RIDGES = (1e-2, 1.0, 100.0)
_STD_FLOOR = 1e-6

Rows = Float[np.ndarray, "row feature"]


def pose_only(
    known: SampleSet, test: SampleSet, *, candidates: int, name: str
) -> dict[str, Measure]:
    """Returns the control's R@1 at finding the actions of the test rows.

    Args:
        known: rows of the training episodes.
        test: rows of unseen episodes.
        candidates: so many are drawn at a time, the same ones as for every other query.
        name: of the measure.

    Returns:
        The measure; nothing where the data set records no state.
    """
    states, new_states = start_states(known), start_states(test)
    if states is None or new_states is None:
        return {}
    states, new_states = _standardised(states, new_states)
    actions, new_actions = _standardised(action_features(known), action_features(test))
    scores = [
        _recall_at_1(predict(new_states), new_actions, candidates=candidates)
        for predict in _predictors(states, actions)
    ]
    return {name: max(scores, key=lambda measure: measure.value)}


def start_states(samples: SampleSet) -> Rows | None:
    """Returns the state at the start of each row; None where the data set records none."""
    episodes = samples.dataset.episodes
    states = [
        state[window.start]
        for window in samples.windows
        if (state := episodes[window.episode].state) is not None
    ]
    return np.stack(states).astype(np.float64) if len(states) == len(samples) else None


def action_features(samples: SampleSet) -> Rows:
    """Returns the raw actions of each row at evenly spaced times, and how many steps there are."""
    features = []
    for window in samples.windows:
        action = samples.dataset.episodes[window.episode].action[window.start : window.stop]
        at, steps = np.linspace(0, len(action) - 1, NUM_POINTS), np.arange(len(action))
        points = [np.interp(at, steps, channel) for channel in action.T.astype(np.float64)]
        features.append([*np.concatenate(points), len(action)])
    return np.asarray(features)


def _standardised(known: Rows, new: Rows) -> tuple[Rows, Rows]:
    mean, std = known.mean(0), known.std(0)
    scale = np.where(std > _STD_FLOOR, std, np.inf)  # what never changes says nothing
    return (known - mean) / scale, (new - mean) / scale


def _predictors(states: Rows, actions: Rows) -> Iterator[Callable[[Rows], Rows]]:
    for number in NEIGHBOURS:
        yield partial(_nearest, states, actions, k=min(number, len(states)))
    for features in (_linear, _products):
        known = features(states)
        for ridge in RIDGES:
            square = known.T @ known + ridge * np.eye(known.shape[1])
            weight = np.linalg.solve(square, known.T @ actions)
            yield partial(_regressed, features, weight)


def _nearest(states: Rows, actions: Rows, new: Rows, *, k: int) -> Rows:
    distance = (states**2).sum(1) - 2 * new @ states.T
    return actions[np.argpartition(distance, k - 1, axis=1)[:, :k]].mean(1)


def _regressed(features: Callable[[Rows], Rows], weight: Rows, new: Rows) -> Rows:
    return features(new) @ weight


def _linear(states: Rows) -> Rows:
    return np.concatenate([np.ones((len(states), 1)), states], axis=1)


def _products(states: Rows) -> Rows:
    first, second = np.triu_indices(states.shape[1])
    return np.concatenate([_linear(states), states[:, first] * states[:, second]], axis=1)


def _recall_at_1(predicted: Rows, actions: Rows, *, candidates: int) -> Measure:
    """Ranks by distance: of |p - a|^2 only 2 p.a - |a|^2 differs between the candidates."""
    query = np.concatenate([2 * predicted, -np.ones((len(predicted), 1))], axis=1)
    target = np.concatenate([actions, (actions**2).sum(1, keepdims=True)], axis=1)
    found = []
    for draw in candidate_draws(len(actions), candidates=candidates):
        own = np.arange(len(draw))
        metrics = evaluate_retrieval(
            query[draw].astype(np.float32),
            target[draw].astype(np.float32),
            query_ids=own,
            target_ids=own,
            resampling=Resampling(num_resamples=0),
        )
        found.append(metrics.recall_at_1)
    return Measure(
        float(np.mean([each.value for each in found])),
        float(np.mean([each.chance for each in found])),
    )
