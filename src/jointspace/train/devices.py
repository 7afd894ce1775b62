"""Where training runs, in which precision, and with repeatable arithmetic."""

import contextlib
import os
from collections.abc import Iterator
from typing import Literal

import torch

from jointspace.errors import ConfigError
from jointspace.train.launch import ALONE, Place

Precision = Literal["auto", "fp32", "bf16"]


def choose_device(name: str, *, place: Place = ALONE) -> torch.device:
    """Returns the device that `train.device` names.

    Args:
        name: as torch names it, or `auto`: a graphics processor, else the processor. Several
            processes take a graphics processor each.
        place: of this process.

    Returns:
        The device.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        cause = str(error).partition("\n")[0]
        raise ConfigError(
            f"train.device: '{name}' cannot be used: {cause}; wanted 'auto', 'cpu' or 'cuda'"
        ) from error
    return device if place.size == 1 or device.type == "cpu" else _own_device(name, place)


def _own_device(name: str, place: Place) -> torch.device:
    """Returns the graphics processor of one of several processes, and makes it torch's own."""
    if name != "cuda":
        raise ConfigError(
            f"train.device: {place.size} processes cannot share '{name}'; wanted 'cuda', of which "
            "each takes one, or 'cpu'"
        )
    if place.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"train.device: {place.local_size} processes on a machine with "
            f"{torch.cuda.device_count()} graphics processors; start as many, or set 'cpu'"
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Returns the context in which the towers run.

    Args:
        precision: `auto` takes bf16 where it was measured to pay.
        device: where they run.

    Returns:
        A new context; losses leave it by themselves.
    """
    enabled = precision == "bf16" or (precision == "auto" and _bf16_pays(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _bf16_pays(device: torch.device) -> bool:
    """True where the processor multiplies bf16 itself: there a step took .6 to .7 of the time."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of torch do not tell what the processor can.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(bool(capabilities.get(name)) for name in ("amx_bf16", "avx512_bf16"))


@contextlib.contextmanager
def repeatable(device: torch.device, *, num_threads: int = 0) -> Iterator[None]:
    """Makes equal steps give equal bits within a `with` block, and leaves torch as it was.

    Args:
        device: where the steps run; its random numbers are restored too.
        num_threads: of torch within an operation, which decide the order of sums; 0 leaves them.

    Yields:
        Nothing.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    on_cuda = device.type == "cuda"
    if on_cuda:
        # Read when cuBLAS starts: without it, its sums depend on which stream is free.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    if num_threads:
        torch.set_num_threads(num_threads)
    try:
        with torch.random.fork_rng(devices=[device] if on_cuda else []):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
