import numpy as np
import pytest
import torch

from jointspace.batch import ACTION, TEXT, Batch, ModalityInput
from jointspace.models.tensors import to_numpy, to_tensors
from tests.models.batches import as_numpy, batch, rows


def test_a_batch_goes_to_torch_and_keeps_values_types_and_rows():
    made = as_numpy(batch())
    tensors = to_tensors(made)
    assert tensors.rows is made.rows
    for modality, each in made.inputs.items():
        np.testing.assert_array_equal(tensors[modality].values.numpy(), each.values)
        np.testing.assert_array_equal(tensors[modality].valid.numpy(), each.valid)
    assert tensors[TEXT].values.dtype == torch.int64
    assert tensors[TEXT].time_s is None


@pytest.mark.parametrize(
    "change",
    [lambda a: a[:, ::-1], lambda a: np.broadcast_to(a, a.shape)],
    ids=["reversed", "read-only"],
)
def test_views_and_read_only_arrays_are_copied_without_a_warning(change):
    values = change(np.arange(8, dtype=np.float32).reshape(2, 4))
    made = Batch({ACTION: ModalityInput(values[..., None], np.ones((2, 4), bool))}, rows(2))
    np.testing.assert_array_equal(to_tensors(made)[ACTION].values[..., 0].numpy(), values)


def test_a_batch_of_tensors_stays_what_it_is():
    made = to_tensors(as_numpy(batch()))
    again = to_tensors(made)
    assert all(
        again[m].values.data_ptr() == each.values.data_ptr() for m, each in made.inputs.items()
    )


def test_tensors_come_back_as_detached_single_precision():
    array = to_numpy(torch.ones(2, 3, dtype=torch.float64, requires_grad=True) * 2)
    assert array.dtype == np.float32
    assert array.tolist() == [[2.0] * 3] * 2
