from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Embeddings
from jointspace.config import DataConfig, TextConfig
from jointspace.data.collate import Sample
from jointspace.data.preprocess import Preprocessor
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.scene import SceneAlternatives, embed_alternatives, scene_matching
from tests.evaluation.reference import unit
from tests.evaluation.tabletop import tabletop, tabletop_alternatives, tabletop_space

QUICK = Resampling(num_resamples=50)


@pytest.fixture(scope="module")
def dataset():
    return tabletop()


@pytest.fixture(scope="module")
def embeddings(dataset):
    return tabletop_space(dataset, noise=0.6)


@pytest.fixture(scope="module")
def alternatives(dataset, embeddings):
    return tabletop_alternatives(dataset, embeddings)


@pytest.mark.parametrize("query", [VISION, ACTION])
def test_matching_equals_a_loop_over_pairs(embeddings, alternatives, query):
    measured = scene_matching(embeddings, query, alternatives, resampling=QUICK)
    right, wrong, hits, chances = [], [], [], []
    for row, episode in enumerate(embeddings.rows.episode.tolist()):
        others = [alternatives.vectors[t] for t in alternatives.texts[episode]]
        vector = embeddings.vectors[query][row]
        own = float(np.float32(vector.astype(float) @ embeddings.vectors[TEXT][row].astype(float)))
        scores = [float(np.float32(vector.astype(float) @ o.astype(float))) for o in others]
        right.append(own)
        wrong += scores
        best = max(own, *scores)
        hits.append((own == best) / ([own, *scores].count(best)))
        chances.append(1 / (1 + len(others)))
    won = np.mean([(r > w) + 0.5 * (r == w) for r, w in product(right, wrong)])
    assert measured.auroc.value == pytest.approx(won)
    may_pass = len(wrong) // 100
    threshold = sorted(wrong, reverse=True)[may_pass]
    assert may_pass >= 1
    assert measured.true_positive_rate.value == np.mean(np.array(right) > threshold)
    assert measured.true_positive_rate.chance == (may_pass + 1) / (len(wrong) + 1)
    assert measured.true_positive_rate.low < measured.true_positive_rate.high
    assert measured.accuracy.value == pytest.approx(np.mean(hits))
    assert measured.accuracy.chance == pytest.approx(np.mean(chances))
    assert (measured.num_rows, measured.num_wrong) == (len(right), len(wrong))
    assert measured.auroc.low < measured.auroc.value < measured.auroc.high


def test_a_collapsed_model_scores_chance(embeddings, alternatives):
    same = np.tile(embeddings.vectors[TEXT][:1], (len(embeddings), 1))
    collapsed = Embeddings({VISION: same, TEXT: same}, embeddings.rows)
    texts = SceneAlternatives(alternatives.texts, dict.fromkeys(alternatives.vectors, same[0]))
    measured = scene_matching(collapsed, VISION, texts, resampling=QUICK)
    assert measured.auroc.value == 0.5
    assert measured.true_positive_rate.value == 0
    assert measured.accuracy.value == pytest.approx(measured.accuracy.chance)


def test_rows_without_other_instructions_do_not_count(embeddings, alternatives):
    few = SceneAlternatives(
        {e: t for e, t in alternatives.texts.items() if e < 110}, alternatives.vectors
    )
    assert scene_matching(embeddings, VISION, few, resampling=QUICK).num_rows == 10
    none = SceneAlternatives({}, {})
    assert scene_matching(embeddings, VISION, none) is None


class Words:
    """Embeds a text by its tokens; notes what it was given."""

    embed_dim = 8
    modalities = (TEXT,)

    def __init__(self):
        self.rows = []

    def pair_gate(self, first, second):
        return None

    def embed(self, modality, batch):
        assert modality == TEXT
        self.rows.append(len(batch))
        point = np.random.default_rng(0).standard_normal((200, 8))
        tokens = batch[TEXT]
        return unit((point[tokens.values] * tokens.valid[..., None]).sum(axis=1))


@pytest.fixture(scope="module")
def preprocessor(dataset):
    blind = replace(dataset, info=replace(dataset.info, cameras=()))
    return Preprocessor.fit(blind, train=[0, 1], config=DataConfig(), text=TextConfig())


def test_each_other_instruction_is_embedded_once_as_the_text_tower_reads_it(dataset, preprocessor):
    words = Words()
    positions = range(0, len(dataset.episodes), 2)
    found = embed_alternatives(words, preprocessor, dataset, episodes=positions)
    chosen = [dataset.episodes[position] for position in positions]
    assert found.texts == {e.index: e.other_instructions for e in chosen}
    distinct = {t for e in chosen for t in e.other_instructions}
    assert set(found.vectors) == distinct
    assert sum(words.rows) == len(distinct)
    text = chosen[0].other_instructions[0]
    alone = words.embed(TEXT, preprocessor.batch([Sample(text=text)]))[0]
    np.testing.assert_allclose(found.vectors[text], alone, atol=1e-6)


def test_the_own_instruction_is_never_its_own_alternative(dataset, preprocessor):
    first = dataset.episodes[0]
    odd = replace(first, other_instructions=(first.instruction, "push it", "push it"))
    changed = replace(dataset, episodes=(odd,))
    found = embed_alternatives(Words(), preprocessor, changed, episodes=[0])
    assert found.texts == {first.index: ("push it",)}
    alone = replace(changed, episodes=(replace(odd, other_instructions=()),))
    assert embed_alternatives(Words(), preprocessor, alone, episodes=[0]) is None
