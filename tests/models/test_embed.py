import numpy as np
import pytest
import torch

from jointspace.batch import ACTION, STATE, TEXT, VISION, Batch, ModalityInput, fused_name
from jointspace.embedder import Embedder
from jointspace.errors import InputError
from jointspace.evaluation.embedding import pair_gates
from jointspace.models.embed import TorchEmbedder
from tests.models.batches import as_numpy, batch, build


@pytest.fixture
def model():
    return build()


def test_numpy_goes_in_and_unit_rows_come_out(model):
    embedder: Embedder = TorchEmbedder(model)
    for modality in embedder.modalities:
        vectors = embedder.embed(modality, as_numpy(batch()))
        assert isinstance(vectors, np.ndarray)
        assert vectors.shape == (4, embedder.embed_dim)
        norms = np.linalg.norm(vectors, axis=1)
        assert norms[0] == pytest.approx(1)
        assert norms[3] == 0


def test_the_embedder_equals_the_model_in_evaluation_mode(model):
    expected = model.eval().encode(TEXT, batch()).detach().numpy()
    np.testing.assert_array_equal(TorchEmbedder(model).embed(TEXT, as_numpy(batch())), expected)


def test_embedding_is_repeatable_and_leaves_the_model_in_training_mode(model):
    model.train()
    embedder = TorchEmbedder(model)
    first, second = (embedder.embed(VISION, as_numpy(batch())) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert model.training


def test_modalities_name_the_fused_queries_once(model):
    names = TorchEmbedder(model).modalities
    assert names[:4] == (VISION, TEXT, ACTION, STATE)
    assert fused_name((VISION, TEXT)) in names
    assert fused_name((ACTION, STATE)) in names
    assert len(set(names)) == len(names) == 10


def test_an_empty_batch_gives_no_rows(model):
    made = as_numpy(batch())
    none = {m: each.map(lambda array: array[:0]) for m, each in made.inputs.items()}
    nothing = Batch(none, made.rows.take(slice(0, 0)))
    assert TorchEmbedder(model).embed(VISION, nothing).shape == (0, 16)


def test_unknown_missing_and_misshapen_inputs_are_refused(model):
    embedder, made = TorchEmbedder(model), as_numpy(batch())
    with pytest.raises(InputError, match=r"no modality 'visoin'\. Did you mean 'vision'\?"):
        embedder.embed("visoin+text", made)
    with pytest.raises(InputError, match="batch: no modality 'text'"):
        embedder.embed(TEXT, Batch({VISION: made[VISION]}, made.rows))
    wide = ModalityInput(made[VISION].values[:, :, :, :8], made[VISION].valid, made[VISION].time_s)
    with pytest.raises(InputError, match=r"pictures have shape .*wanted \(batch, time, camera, 16"):
        embedder.embed(VISION, Batch({VISION: wide}, made.rows))
    with pytest.raises(InputError, match=r"wanted .* 4 channels"):
        embedder.embed(ACTION, Batch({ACTION: made[STATE]}, made.rows))


def test_other_modalities_of_the_batch_are_not_looked_at(model):
    made = as_numpy(batch())
    broken = ModalityInput(made[STATE].values.astype("U4"), made[STATE].valid, made[STATE].time_s)
    vectors = TorchEmbedder(model).embed(TEXT, Batch({TEXT: made[TEXT], STATE: broken}, made.rows))
    assert np.isfinite(vectors).all()


def test_the_result_holds_on_to_no_graph(model):
    vectors = TorchEmbedder(model).embed(TEXT, as_numpy(batch()))
    assert vectors.dtype == np.float32
    assert torch.is_grad_enabled()


def test_gates_are_given_as_arrays_for_every_pair_that_is_compared(model):
    assert pair_gates(TorchEmbedder(model), TorchEmbedder(model).modalities) == {}
    gated = build(pair_metric="gated")
    for number, each in enumerate(gated.gates.parameters()):
        each.data += number / 10
    embedder = TorchEmbedder(gated)
    gates = pair_gates(embedder, embedder.modalities)
    # Six pairs of four modalities, and six queries of two that search the two others.
    assert len(gates) == 6 + 12
    for pair, gate in gates.items():
        expected = gated.pair_gate(*pair).detach().numpy()
        np.testing.assert_array_equal(gate, expected)
        assert gate.dtype == np.float32
    assert frozenset((fused_name((VISION, TEXT)), ACTION)) in gates
    assert frozenset((fused_name((VISION, TEXT)), TEXT)) not in gates
    with pytest.raises(InputError, match="no temperature for"):
        embedder.pair_gate(VISION, VISION)
