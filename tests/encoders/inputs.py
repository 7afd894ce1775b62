"""Small inputs of every modality for the tests of encoders, fusion and models."""

import torch
from torch import Tensor

from jointspace.batch import ModalityInput
from jointspace.encoders.layers import TowerFeatures

IMAGE_PX = 16
NUM_ACTIONS = 5
VOCAB_SIZE = 12


def valid_steps(lengths: list[int], time: int) -> Tensor:
    """True for the first `lengths[row]` steps of each row."""
    return torch.arange(time)[None] < torch.tensor(lengths)[:, None]


def steps(
    lengths=(5, 3, 0), *, channels=4, time=5, rate_hz=10.0, seed=0, valid=None
) -> ModalityInput:
    generator = torch.Generator().manual_seed(seed)
    valid = valid_steps(list(lengths), time) if valid is None else valid
    values = torch.randn(len(valid), valid.shape[1], channels, generator=generator)
    time_s = torch.arange(valid.shape[1]).expand(valid.shape) / rate_hz
    return ModalityInput(
        values.masked_fill(~valid[..., None], 0), valid, time_s.masked_fill(~valid, 0)
    )


def pictures(lengths=(3, 2, 0), *, cameras=2, time=3, px=IMAGE_PX, seed=0) -> ModalityInput:
    generator = torch.Generator().manual_seed(seed)
    valid = valid_steps(list(lengths), time)[:, :, None].repeat(1, 1, cameras)
    shape = (*valid.shape, px, px, 3)
    values = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    values = values * valid[..., None, None, None]
    time_s = torch.arange(time).expand(len(lengths), time) * 0.25
    return ModalityInput(values, valid, time_s.masked_fill(~valid.any(2), 0))


def ids(lengths=(5, 3, 0), *, known=NUM_ACTIONS, time=5, seed=0) -> ModalityInput:
    generator = torch.Generator().manual_seed(seed)
    valid = valid_steps(list(lengths), time)
    values = torch.randint(0, known, valid.shape, generator=generator).masked_fill(~valid, 0)
    time_s = (torch.arange(time).expand(valid.shape) / 10).masked_fill(~valid, 0)
    return ModalityInput(values, valid, time_s)


def words(lengths=(5, 3, 0), *, time=5, seed=0) -> ModalityInput:
    made = ids(lengths, known=VOCAB_SIZE, time=time, seed=seed)
    return ModalityInput(made.values, made.valid)


def with_other_padding(inputs: ModalityInput) -> ModalityInput:
    """The same rows with something else, NaN where that exists, wherever nothing is real."""
    valid, values, time_s = inputs.valid, inputs.values, inputs.time_s
    hidden = ~valid.reshape(*valid.shape, *(1,) * (values.ndim - valid.ndim))
    rubbish = float("nan") if values.is_floating_point() else 3
    if time_s is not None:
        time_s = time_s.masked_fill(~valid.reshape(*time_s.shape, -1).any(2), 99.0)
    return ModalityInput(values.masked_fill(hidden, rubbish), valid, time_s)


def with_longer_padding(inputs: ModalityInput, *, extra: int) -> ModalityInput:
    """The same rows with `extra` more entries that are not real."""

    def pad(array: Tensor) -> Tensor:
        return torch.cat([array, array.new_zeros(len(array), extra, *array.shape[2:])], dim=1)

    return inputs.map(pad)


def reversed_in_time(inputs: ModalityInput) -> ModalityInput:
    """The values of full rows backwards; times stay."""
    return ModalityInput(inputs.values.flip(1), inputs.valid, inputs.time_s)


def row(inputs: ModalityInput, index: int) -> ModalityInput:
    return inputs.map(lambda array: array[index : index + 1])


def features(lengths=(3, 2, 0), *, width=8, time=3, seed=0, dtype=torch.float32) -> TowerFeatures:
    """What a tower might return."""
    generator = torch.Generator().manual_seed(seed)
    valid = valid_steps(list(lengths), time)
    tokens = torch.randn(len(lengths), time, width, generator=generator, dtype=dtype)
    pooled = torch.randn(len(lengths), width, generator=generator, dtype=dtype)
    return TowerFeatures(
        tokens.masked_fill(~valid[..., None], 0),
        valid,
        pooled.masked_fill(~valid.any(1)[:, None], 0),
    )


def cosine(first: Tensor, second: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(first, second, dim=-1).mean().detach())


def change(before: Tensor, after: Tensor) -> float:
    """How far a vector moved, as a share of its length."""
    return float((after - before).detach().norm() / before.detach().norm())
