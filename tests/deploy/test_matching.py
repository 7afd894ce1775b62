from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, gated_rows
from jointspace.deploy.matching import Matcher
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.errors import InputError
from tests.deploy import bundles

GATE = bundles.GATES[frozenset((VISION, TEXT))]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return BundleEmbedder.load(bundles.make_bundle(tmp_path_factory.mktemp("b") / "bundle"))


def unit(row):
    return (row / np.linalg.norm(row)).astype(np.float32)


@pytest.mark.parametrize(
    ("similarity", "decision"),
    [(0.61, "accept"), (0.59, "abstain"), (0.21, "abstain"), (0.19, "reject"), (-1, "reject")],
)
def test_a_row_is_accepted_rejected_or_neither_by_its_similarity_through_the_gate(
    embedder, similarity, decision
):
    # Rows whose gated versions have just this cosine.
    across = np.sqrt(1 - similarity**2)
    row = unit(np.eye(bundles.DIM)[0] / GATE)
    text_row = unit((similarity * np.eye(bundles.DIM)[0] + across * np.eye(bundles.DIM)[1]) / GATE)
    assert gated_rows(row[None], GATE)[0] @ gated_rows(text_row[None], GATE)[0] == pytest.approx(
        similarity, abs=1e-6
    )
    match = Matcher(embedder, VISION).match(row, text_row)
    assert match.similarity == pytest.approx(similarity, abs=1e-6)
    assert match.decision == decision


def test_a_threshold_of_ones_own_is_used_for_its_modality_alone(embedder):
    own = replace(bundles.THRESHOLD, query=ACTION, accept=-2.0, reject=-2.0)
    row = np.eye(bundles.DIM, dtype=np.float32)[0]
    assert Matcher(embedder, ACTION, threshold=own).match(row, row).decision == "accept"
    with pytest.raises(InputError, match="threshold is for 'action'; wanted one for 'vision'"):
        Matcher(embedder, VISION, threshold=own)


def test_without_a_threshold_nothing_is_judged(embedder):
    with pytest.raises(InputError, match=r"no calibrated threshold for 'action'.*Export with"):
        Matcher(embedder, ACTION)


def test_a_row_that_lacks_its_modality_is_not_judged(embedder):
    matcher = Matcher(embedder, VISION)
    row, zero = np.eye(bundles.DIM, dtype=np.float32)[0], np.zeros(bundles.DIM, np.float32)
    with pytest.raises(InputError, match="'vision': got a zero row"):
        matcher.match(zero, row)
    with pytest.raises(InputError, match="'text': got a zero row"):
        matcher.match(row, zero)
    with pytest.raises(InputError, match="'text': got rows"):
        matcher.match(row, row * np.nan)
