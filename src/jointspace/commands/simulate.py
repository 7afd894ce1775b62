"""`jointspace simulate`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointspace.commands.arguments import Simulate
from jointspace.data.open import open_dataset
from jointspace.data.ros_types import import_rosbags
from jointspace.data.schema import RobotDataset
from jointspace.errors import InputError
from jointspace.progress import progress_bar
from jointspace.sim.bags import SimulatedBags, simulate_bags
from jointspace.sim.dataset import SimulatedDataset, simulate_dataset
from jointspace.sim.plan import SimulationPlan


@dataclass(frozen=True)
class Simulated:
    """What was made, read back with the reader that everybody uses.

    Attributes:
        made: the folder and its manifest.
        dataset: what the reader finds there.
        bags: the episodes as bags; None where none were asked for.
    """

    made: SimulatedDataset
    dataset: RobotDataset
    bags: SimulatedBags | None = None

    @property
    def num_frames(self) -> int:
        """Steps of all episodes."""
        return sum(episode.num_frames for episode in self.dataset.episodes)

    @property
    def num_failures(self) -> int:
        """Episodes that did not reach their goal."""
        return sum(episode.success is False for episode in self.dataset.episodes)

    @property
    def skills(self) -> Mapping[str, int]:
        """Skill -> number of episodes."""
        return Counter(episode.factors.get("skill", "") for episode in self.dataset.episodes)

    def render(self) -> str:
        """Returns a few lines for a reader."""
        episodes = self.dataset.episodes
        skills = ", ".join(f"{name} {count}" for name, count in sorted(self.skills.items()))
        splits = ", ".join(f"{name} {span}" for name, span in self.made.manifest["splits"].items())
        return "\n".join(
            [
                *(str(finding) for finding in self.dataset.findings),
                f"{len(episodes)} episodes of {self.num_frames:,} steps",
                f"{self.num_failures} failures, labelled as such",
                f"{len(self.dataset.goals)} goals, {len(self.dataset.instructions)} instructions",
                f"skills: {skills}",
                f"splits: {splits}",
                f"data set: {self.made.path}",
                *([f"bags: {self.bags.path}"] if self.bags else []),
                f"next: jointspace train configs/demo.toml --data {self.made.path} --out RUN",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {
            "path": str(self.made.path),
            "num_episodes": len(self.dataset.episodes),
            "num_frames": self.num_frames,
            "num_failures": self.num_failures,
            "num_goals": len(self.dataset.goals),
            "num_instructions": len(self.dataset.instructions),
            "num_reused_blocks": self.made.num_reused_blocks,
            "skills": dict(self.skills),
            "findings": [str(finding) for finding in self.dataset.findings],
            "manifest": dict(self.made.manifest),
            "bags": None if self.bags is None else str(self.bags.path),
        }


def run(arguments: Simulate) -> Simulated:
    """Makes a simulated data set.

    Returns:
        What was made.

    Raises:
        InputError: an argument is out of range, or the folder holds something else.
        MissingExtraError: MuJoCo, PyAV or, for bags, rosbags is not installed.
        StorageError: a file could not be written.
        WorkerError: a process died; what is finished is kept.
    """
    plan = SimulationPlan(
        num_episodes=arguments.episodes,
        seed=arguments.seed,
        cameras=camera_names(arguments.cameras),
        image_px=arguments.px,
        renderer=arguments.renderer,
        samples=arguments.samples,
        noisy_fraction=arguments.noisy,
    )
    bags_folder = _bags_folder(arguments)
    with progress_bar("simulating") as report:
        made = simulate_dataset(arguments.out, plan, num_workers=arguments.workers, progress=report)
    bags = None
    if bags_folder is not None:
        with progress_bar("writing bags") as report:
            bags = simulate_bags(bags_folder, plan, num_workers=arguments.workers, progress=report)
    return Simulated(made, open_dataset(made.path), bags)


def _bags_folder(arguments: Simulate) -> Path | None:
    """Returns where the bags go; checked before hours of simulation, not after."""
    if arguments.bag is None:
        return None
    if len(arguments.bag) > 1:
        raise InputError(
            f"--bag: got {len(arguments.bag)} folders, expected one, or none for OUT/bags"
        )
    import_rosbags()
    return arguments.bag[0] if arguments.bag else arguments.out / "bags"


def camera_names(text: str) -> tuple[str, ...]:
    """Returns the names in a list with commas: `front,wrist`.

    Raises:
        InputError: a name is not that of a camera of the scene.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in {"front", "wrist"}]
    if unknown:
        raise InputError(f"--cameras: got '{unknown[0]}', expected front, wrist or front,wrist")
    return names
