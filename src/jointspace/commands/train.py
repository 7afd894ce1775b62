"""`jointspace train`."""

from dataclasses import asdict, dataclass
from typing import Any

from jointspace.commands.arguments import Train
from jointspace.config import read_config
from jointspace.data.embodiments import DataSource
from jointspace.train.loop import TrainResult, train


@dataclass(frozen=True)
class Trained:
    """What a training came to, and what to do next."""

    result: TrainResult
    arguments: Train

    def render(self) -> str:
        """Returns a few lines for a reader."""
        result = self.result
        lines = [f"{each.severity}: {each.where}: {each.message}" for each in result.findings]
        early = " (stopped early)" if result.stopped_early else ""
        lines.append(f"{result.num_steps} steps{early}; weights of step {result.best_step} kept")
        if result.best_worst is not None:
            lines.append(
                f"validation: worst direction {result.best_worst:.3f}, mean {result.best_mean:.3f}"
            )
        lines.append(f"run folder: {result.folder}")
        lines += [
            f"next: jointspace evaluate {result.folder} --data {each}"
            for each in self.arguments.data
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return asdict(self.result) | {"folder": str(self.result.folder)}


def run(arguments: Train) -> Trained:
    """Trains a joint space.

    Returns:
        What the training came to; the rest is in the run folder.

    Raises:
        ConfigError: the configuration or an override is wrong, or no data set is named.
        DataError: the data set cannot be used.
        InputError: the data set is too small for the splits or the windows.
        RunFolderError: the run folder already holds something.
        StorageError: the disk is full; the last checkpoint is untouched.
    """
    config = read_config(arguments.config, overrides=arguments.overrides)
    sources = [DataSource.parse(each) for each in arguments.data]
    result = train(config, data=sources, out=arguments.out, resume=arguments.resume)
    return Trained(result, arguments)
