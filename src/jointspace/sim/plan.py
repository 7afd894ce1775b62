"""What a simulated data set is to hold: how many episodes of which split, and what each may ask."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jointspace.errors import InputError
from jointspace.sim.goals import SKILLS, Goal
from jointspace.sim.layout import COLOURS, OBJECT_KINDS

TRAIN = "train"
UNSEEN_PARAPHRASES = "unseen_paraphrases"
UNSEEN_COMBINATIONS = "unseen_combinations"

_HELD_OUT_SHARES: Mapping[str, float] = {
    "validation": 0.03,
    "test": 0.16,
    UNSEEN_PARAPHRASES: 0.04,
    UNSEEN_COMBINATIONS: 0.04,
}
"""Share of the episodes in each split, in the order of their numbers after those of `train`."""

MIN_EPISODES = 20
"""Fewer cannot fill every split with two episodes."""

_COMBINATION_PERIOD = 8
"""One in so many (skill, colour, shape) combinations is never trained on."""


@dataclass(frozen=True, kw_only=True)
class SimulationPlan:
    """Everything that decides the content of a simulated data set.

    Attributes:
        num_episodes: of all splits together.
        seed: episode i depends on the seed and on i alone.
        cameras: of the scene: `front`, `wrist`.
        image_px: side of the square pictures, an even number.
        renderer: `ray` needs nothing but a processor; `gl` an OpenGL library.
        samples: rays along each side of a pixel at edges (ray renderer): 1 is fast, 2 smooth.
        noisy_fraction: share of the episodes whose expert's hand shakes, so that some fail.
        noise_std_m: how much it shakes: standard deviation of each step's displacement.
        block_episodes: episodes per file.
    """

    num_episodes: int
    seed: int = 0
    cameras: tuple[str, ...] = ("front",)
    image_px: int = 96
    renderer: Literal["ray", "gl"] = "ray"
    samples: int = 2
    noisy_fraction: float = 0.1
    noise_std_m: float = 0.015
    block_episodes: int = 25

    def __post_init__(self) -> None:
        if self.num_episodes < MIN_EPISODES:
            raise InputError(
                f"episodes: got {self.num_episodes}, expected at least {MIN_EPISODES}, so that "
                "each of the five splits has some"
            )
        if self.seed < 0:
            raise InputError(f"seed: got {self.seed}, expected 0 or more")
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise InputError(f"cameras: got {list(self.cameras)}, expected distinct names")
        if self.image_px % 2 or not 32 <= self.image_px <= 1024:
            raise InputError(
                f"image_px: got {self.image_px}, expected an even number in [32, 1024]; "
                "h264 stores colour at half the resolution"
            )
        if not 1 <= self.samples <= 4:
            raise InputError(f"samples: got {self.samples}, expected 1, 2, 3 or 4 rays a side")
        if not 0 <= self.noisy_fraction <= 1:
            raise InputError(f"noisy_fraction: got {self.noisy_fraction}, expected [0, 1]")
        if not 0 <= self.noise_std_m <= 0.05:
            raise InputError(f"noise_std_m: got {self.noise_std_m}, expected [0, 0.05] metres")
        if self.block_episodes < 1:
            raise InputError(f"block_episodes: got {self.block_episodes}, expected 1 or more")

    @property
    def num_blocks(self) -> int:
        """Number of files per camera."""
        return -(-self.num_episodes // self.block_episodes)

    def episodes_of(self, block: int) -> range:
        """Numbers of the episodes in a block."""
        first = block * self.block_episodes
        return range(first, min(first + self.block_episodes, self.num_episodes))

    @property
    def split_ranges(self) -> Mapping[str, range]:
        """Numbers of the episodes of every split; together they are all episodes."""
        held_out = {
            name: max(2, round(share * self.num_episodes))
            for name, share in _HELD_OUT_SHARES.items()
        }
        first = self.num_episodes - sum(held_out.values())
        ranges = {TRAIN: range(first)}
        for name, count in held_out.items():
            ranges[name] = range(first, first + count)
            first += count
        return ranges

    def split_of(self, episode: int) -> str:
        """Returns the split of an episode."""
        return next(name for name, numbers in self.split_ranges.items() if episode in numbers)

    def to_json(self) -> dict[str, Any]:
        """Returns the plan for the manifest."""
        return asdict(self) | {"cameras": list(self.cameras)}


def is_unseen_combination(goal: Goal) -> bool:
    """Tells whether a goal's (skill, colour, shape) is kept out of training.

    The held-out combinations lie on a diagonal of the (skill, colour, shape) table, so that every
    skill, every colour and every shape is seen in training with most of the others.
    """
    skill = SKILLS.index(goal.skill)
    colour = tuple(COLOURS).index(goal.item.colour)
    kind = goal.item.kind
    shape = OBJECT_KINDS.index(kind) if kind in OBJECT_KINDS else len(OBJECT_KINDS)
    return (skill + 3 * colour + 5 * shape) % _COMBINATION_PERIOD == 0
