"""Gradient caching: the exact gradient of a loss over many rows, with the memory of few."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Vectors = Float[Tensor, "row ..."]
T = TypeVar("T")


def backward_in_chunks(
    chunks: Sequence[Callable[[], Vectors]],
    *,
    finish: Callable[[Vectors], tuple[Tensor, T]],
    device: torch.device,
) -> T:
    """Computes the gradient of a loss that compares all rows, while the graph holds only a chunk.

    Every chunk is encoded without a graph; the loss of all vectors gives their gradient; and every
    chunk is encoded again, now with its graph, and handed its part of that gradient. The second
    time it draws the same random numbers, so that dropout drops the same.

    Args:
        chunks: each encodes some rows, equally whenever it is called with equal random numbers.
            It must enter autocast by itself: what some versions of torch keep there of a pass
            without a graph would cut the parameters off the second one.
        finish: takes the vectors of all chunks, in order, and returns their loss, whose graph may
            reach parameters of its own, and anything else to return.
        device: where the chunks draw random numbers, beside the processor.

    Returns:
        What `finish` returned beside the loss. Gradients are added to those of the parameters, as
        by `backward`. Memory: the vectors, their gradient, and the activations of the largest
        chunk. Time: one forward pass more.

    Source:
        Gao, Zhang, Han & Callan 2021 (GradCache), algorithm of section 3.2.
    """
    states, parts = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_random_state(device))
            parts.append(chunk())
    vectors = torch.cat(parts).requires_grad_()
    loss, result = finish(vectors)
    torch.autograd.backward(loss)
    gradients = torch.zeros_like(vectors) if vectors.grad is None else vectors.grad
    stop = 0
    for chunk, state, part in zip(chunks, states, parts, strict=True):
        start, stop = stop, stop + len(part)
        _set_random_state(state, device)
        encoded = chunk()
        if encoded.requires_grad:
            torch.autograd.backward(encoded, gradients[start:stop])
    return result


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    on_cuda = device.type == "cuda"
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_cuda else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    processor, accelerator = state
    torch.set_rng_state(processor)
    if accelerator is not None:
        torch.cuda.set_rng_state(accelerator, device)
