"""The overrides that give every run of a benchmark its steps and threads."""

from collections.abc import Sequence
from pathlib import Path

from jointspace.config import read_config


def with_budget(
    config: Path, overrides: Sequence[str], *, num_steps: int | None, num_threads: int
) -> list[str]:
    """Returns overrides with the steps and threads of every run added.

    A configuration that validates once, at its end, goes on doing so.

    Args:
        config: the configuration's file.
        overrides: `key=value`, applied first.
        num_steps: None keeps the configuration's.
        num_threads: 0 keeps the configuration's.

    Raises:
        ConfigError: the configuration or an override is wrong.
    """
    found = list(overrides)
    if num_steps:
        train = read_config(config, overrides=found).train
        found.append(f"train.num_steps={num_steps}")
        if train.evaluate_every == train.num_steps:
            found.append(f"train.evaluate_every={num_steps}")
    if num_threads:
        found.append(f"train.num_threads={num_threads}")
    return found
