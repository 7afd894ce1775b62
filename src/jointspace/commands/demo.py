"""`jointspace demo`: simulate, train, evaluate and report."""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console, Group

from jointspace.commands import evaluate, simulate, train
from jointspace.commands.arguments import Demo, Evaluate, Simulate, Train
from jointspace.commands.evaluate import Evaluated
from jointspace.commands.simulate import Simulated
from jointspace.commands.train import Trained

NUM_EPISODES = 1300
NUM_EPISODES_FAST = 40
NUM_CANDIDATES = 400


@dataclass(frozen=True)
class Demonstrated:
    """What the demo came to, part by part.

    Attributes:
        simulated: the data set; None where the user gave one.
        trained: the run.
        evaluated: the report.
    """

    simulated: Simulated | None
    trained: Trained
    evaluated: Evaluated

    def render(self) -> Group:
        """Returns what the evaluation shows; the report's path comes last."""
        return self.evaluated.render()

    def to_json(self) -> dict[str, Any]:
        """Returns the results of all parts."""
        return {
            "simulate": None if self.simulated is None else self.simulated.to_json(),
            "train": self.trained.to_json(),
            "evaluate": self.evaluated.to_json(),
        }


def run(arguments: Demo) -> Demonstrated:
    """Makes a data set, trains on it, measures the space and writes the report.

    What an interrupted demo has made is found again and continued.

    Returns:
        What it came to.

    Raises:
        InputError: the folder holds another demo, or something else.
        MissingExtraError: a package is not installed.
        DataError: the user's data set cannot be used, or the folder's run is of another one.
        StorageError: a file could not be written.
        WorkerError: a process that simulated died; what is finished is kept.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    simulated = None
    data = arguments.data
    if data is None:
        data = arguments.out / "data"
        console.print("1/3  simulate: experts on a tabletop, told what to do in words")
        simulated = simulate.run(_simulate(arguments, out=data))
        console.print(simulated.render())
    console.print("2/3  train: one space for pictures, words and motions")
    folder = arguments.out / "run"
    name = "debug.toml" if arguments.fast else "demo.toml"
    if arguments.data is not None and not arguments.fast:
        name = "lerobot.toml"
    with as_file(files("jointspace") / "configs" / name) as config:
        trained = train.run(
            Train(
                config=config,
                data=(data,),
                out=folder,
                resume=folder.is_dir(),
                set=((f"seed={arguments.seed}",),),
            )
        )
    console.print("3/3  evaluate: on episodes, wordings and combinations never seen")
    evaluated = evaluate.run(
        Evaluate(run=folder, data=data, split="all", candidates=NUM_CANDIDATES)
    )
    return Demonstrated(simulated, trained, evaluated)


def _simulate(arguments: Demo, *, out: Path) -> Simulate:
    return Simulate(
        out=out,
        episodes=NUM_EPISODES_FAST if arguments.fast else NUM_EPISODES,
        seed=arguments.seed,
        cameras="front,wrist",
        px=64,
        samples=1,
        workers=arguments.workers,
    )
