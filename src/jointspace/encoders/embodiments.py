"""Layers that every embodiment has its own of, inside a tower that all of them share."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from jointspace.batch import ModalityInput
from jointspace.errors import InputError

Sizes = int | Sequence[int]
"""One size, or one for every embodiment; 0 where an embodiment lacks the modality."""


class PerEmbodiment(nn.ModuleList):
    """One module for each embodiment, in the order of their numbers."""


def per_embodiment(build: Callable[[int], nn.Module], sizes: Sizes) -> nn.Module:
    """Builds one module, or one for every embodiment.

    Args:
        build: from a size to a module.
        sizes: one size gives the module itself, whose weights then have the names that they have
            without embodiments.

    Returns:
        The module, or a `PerEmbodiment` with nothing to learn for an embodiment of size 0.
    """
    if isinstance(sizes, int):
        return build(sizes)
    return PerEmbodiment(build(size) if size else nn.Identity() for size in sizes)


def own_module(module: nn.Module, inputs: ModalityInput) -> Any:
    """Returns the module that reads an input: that of its embodiment, or the only one."""
    return module[inputs.embodiment] if isinstance(module, PerEmbodiment) else module


def own_size(sizes: Sizes, inputs: ModalityInput, *, tower: str) -> int:
    """Returns the size that holds for an input.

    Args:
        sizes: of the tower.
        inputs: says which embodiment it is from.
        tower: name for the error.

    Returns:
        The size of its embodiment, or the only one.

    Raises:
        InputError: the tower does not know the embodiment, or it lacks the modality.
    """
    if isinstance(sizes, int):
        return sizes
    number = inputs.embodiment
    if not (0 <= number < len(sizes) and sizes[number]):
        known = [str(place) for place, size in enumerate(sizes) if size]
        raise InputError(
            f"{tower}: the input is from embodiment {number}; wanted one of those that the tower "
            f"was built for: {', '.join(known)}"
        )
    return sizes[number]


def kept_sizes(sizes: Sizes) -> Sizes:
    """Returns the sizes as a tower keeps them: nobody else's list."""
    return sizes if isinstance(sizes, int) else tuple(sizes)
