"""How this process was started: alone, or by `torchrun` as one of several. Imports no torch."""

import os
from dataclasses import dataclass

from jointspace.errors import ConfigError

_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """The place of a process among those that train together.

    Attributes:
        rank: its number, from 0; rank 0 writes and speaks for all.
        size: how many there are.
        local_rank: its number among those of this machine.
        local_size: how many of them run on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """True for the one that writes the run folder and speaks."""
        return self.rank == 0


ALONE = Place()
"""Of a process that trains by itself."""


def read_place() -> Place:
    """Reads from the environment, as `torchrun` sets it, which process this is.

    Returns:
        The place; that of a process which is alone where no `WORLD_SIZE` above 1 is set.

    Raises:
        ConfigError: the environment names several processes, but not all that they need to meet.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        return ALONE
    missing = [name for name in ("RANK", *_ADDRESS) if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"environment: WORLD_SIZE is {size}, but {', '.join(missing)} is not set; start with "
            "torchrun, or unset WORLD_SIZE to train in one process"
        )
    rank = _number("RANK", 0)
    local_rank = _number("LOCAL_RANK", rank)
    place = Place(rank, size, local_rank, _number("LOCAL_WORLD_SIZE", size))
    if not (0 <= rank < size and 0 <= local_rank < place.local_size):
        raise ConfigError(
            f"environment: RANK is {rank} of WORLD_SIZE {size}, LOCAL_RANK {local_rank} of "
            f"LOCAL_WORLD_SIZE {place.local_size}; wanted ranks from 0 up to the sizes"
        )
    return place


def speaks_for_all() -> bool:
    """True unless the environment says that another process prints what all have to say."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def threads_per_process(place: Place, *, configured: int) -> int:
    """Returns how many threads torch may use within an operation.

    Args:
        place: processes of one machine share its cores evenly.
        configured: `train.num_threads`, which decides where it is not 0.

    Returns:
        The number; 0 leaves torch's own default, which is right for a process that is alone.
    """
    if configured or place.size == 1:
        return configured
    return max(1, _num_cores() // place.local_size)


def let_threads_sleep() -> None:
    """Makes waiting threads of torch sleep instead of spin, unless the user decided otherwise.

    OpenMP's threads spin while they wait for each other: on cores that others use too, that takes
    several times the processor time of the work itself. It is read once, when torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _num_cores() -> int:
    """Cores that this process may run on, which containers make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise ConfigError(f"environment: {name} is '{text}'; wanted a whole number")
    return int(text)
