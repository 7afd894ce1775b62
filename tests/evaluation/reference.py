"""Slow and plain counterparts of what evaluation computes, for comparison."""

import itertools
import math

import numpy as np

from jointspace.batch import ACTION, TEXT, VISION, Embeddings, Modality, RowIds


def unit(rows, dtype=np.float32):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def scores_of_order(positive):
    """R@1, R@5, R@10, average precision, nDCG@10 and first rank of one list of True and False."""
    places = [place for place, right in enumerate(positive, start=1) if right]
    precision = sum(sum(positive[:place]) / place for place in places) / len(places)
    gain = sum(1 / math.log2(place + 1) for place in places if place <= 10)
    best = sum(1 / math.log2(place + 1) for place in range(1, min(len(places), 10) + 1))
    return [*(places[0] <= k for k in (1, 5, 10)), precision, gain / best, places[0]]


def scores_over_tie_orders(similarity, positive):
    """The mean over every order of the candidates, the sort being stable."""
    candidates = range(len(similarity))
    results = []
    for permutation in itertools.permutations(candidates):
        order = sorted(permutation, key=lambda j: -similarity[j])
        results.append(scores_of_order([bool(positive[j]) for j in order]))
    return np.mean(results, axis=0)


def rank_counts(query, target, positive, ignore=()):
    """Greater and equal counts by a float64 loop."""
    ignored = {tuple(pair) for pair in np.asarray(ignore).reshape(-1, 2).tolist()}
    greater, equal = [], []
    for i, right in enumerate(positive):
        scores = target.astype(np.float64) @ query[i].astype(np.float64)
        counted = [j for j in range(len(target)) if j == right or (i, j) not in ignored]
        greater.append(sum(scores[j] > scores[right] for j in counted))
        equal.append(sum(scores[j] == scores[right] for j in counted))
    return np.array(greater), np.array(equal)


def on_grid(generator, num_rows, dim=6):
    """Rows of few, coarse values: products are exact in float32, and ties and copies abound."""
    return generator.integers(-1, 2, size=(num_rows, dim)).astype(np.float32)


def row_ids(episode, instruction=None, goal=None, start_s=None, stop_s=None):
    episode = np.asarray(episode, dtype=np.int64)
    instruction = np.zeros_like(episode) if instruction is None else np.asarray(instruction)
    start_s = np.arange(len(episode)) * 10.0 if start_s is None else np.asarray(start_s, float)
    return RowIds(
        episode=episode,
        instruction=instruction,
        goal=instruction.copy() if goal is None else np.asarray(goal),
        start_s=start_s,
        stop_s=start_s + 1.0 if stop_s is None else np.asarray(stop_s, float),
    )


def toy_embeddings(*, num_instructions=4, episodes_each=5, noise=0.05, seed=0, fused=False):
    """A good space: each row near its own point, which lies near its instruction's."""
    generator = np.random.default_rng(seed)
    num_rows = num_instructions * episodes_each
    instruction = np.repeat(np.arange(num_instructions), episodes_each)
    text = unit(generator.standard_normal((num_instructions, 12)))[instruction]
    point = unit(text + 0.4 * unit(generator.standard_normal((num_rows, 12))))
    vectors = {
        VISION: unit(point + noise * generator.standard_normal((num_rows, 12))),
        TEXT: text,
        ACTION: unit(point + noise * generator.standard_normal((num_rows, 12))),
    }
    if fused:
        vectors[Modality("vision+text")] = unit(vectors[VISION] + 0.1 * text)
    texts = {i: f"do thing number {i}" for i in range(num_instructions)}
    return Embeddings(vectors, row_ids(np.arange(num_rows), instruction), texts)
