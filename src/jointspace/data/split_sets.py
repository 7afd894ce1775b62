"""The sets of episodes that train, that stop the training early, and that are kept to measure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jointspace.errors import InputError, did_you_mean

CORE_SPLITS = ("train", "validation", "test")
"""The splits that every data set has, if empty."""


@dataclass(frozen=True)
class Splits:
    """Positions of episodes in their data set, in increasing order; no episode is in two splits.

    Attributes:
        train: the weights and the preprocessing are fitted on these.
        validation: decide which weights are kept, and when training stops early.
        test: kept to measure on.
        others: further test splits by name, such as `unseen_paraphrases`.

    Raises:
        InputError: an episode is in two splits, or one of `others` has the name of a core split.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    others: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = sorted(self.others.keys() & set(CORE_SPLITS))
        if taken:
            raise InputError(f"splits: others holds '{taken[0]}', which has a place of its own")
        count = Counter(position for name in self.names for position in self.positions(name))
        leaked = sorted(position for position, number in count.items() if number > 1)
        if leaked:
            raise InputError(
                f"splits: episodes {leaked} occur more than once; an episode that is trained on "
                "cannot also be held out"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Every split: the core ones, even if they are empty, then the others, sorted."""
        return (*CORE_SPLITS, *sorted(self.others))

    def positions(self, name: str) -> tuple[int, ...]:
        """Returns the episodes of a split.

        Args:
            name: one of `names`.

        Returns:
            Their positions, in increasing order; none where a core split is empty.

        Raises:
            InputError: there is no such split.
        """
        core = dict(zip(CORE_SPLITS, (self.train, self.validation, self.test), strict=True))
        found = core.get(name, self.others.get(name))
        if found is None:
            raise InputError(f"there is no split '{name}'.{did_you_mean(name, self.names)}")
        return found


def make_splits(episodes: Iterable[tuple[str, int]]) -> Splits:
    """Gathers episodes by the names of their splits.

    Args:
        episodes: the name of the split, and the position, of every episode.

    Returns:
        The splits.

    Raises:
        InputError: an episode is in two splits.
    """
    found: dict[str, list[int]] = {name: [] for name in CORE_SPLITS}
    for name, position in episodes:
        found.setdefault(name, []).append(position)
    in_order = {name: tuple(sorted(positions)) for name, positions in found.items()}
    core = {name: in_order.pop(name) for name in CORE_SPLITS}
    return Splits(**core, others=in_order)
