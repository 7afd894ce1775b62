"""`jointspace save`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointspace.commands.arguments import Save
from jointspace.models.hub import JointSpace, with_license


@dataclass(frozen=True)
class Saved:
    """Where the space lies, and whether its card holds numbers."""

    folder: Path
    measured: bool

    def render(self) -> str:
        """Returns a line or two for a reader."""
        lines = [f"space: {self.folder}"]
        if not self.measured:
            lines.append("its card has no numbers: run `jointspace evaluate` on the run, then save")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {"folder": str(self.folder), "measured": self.measured}


def run(arguments: Save) -> Saved:
    """Takes the space out of a run folder.

    Returns:
        Where it lies.

    Raises:
        RunFolderError: the folder holds no run with weights, or the other one holds a run.
        StorageError: a file could not be written.
    """
    space = with_license(
        JointSpace.of_run(arguments.run),
        license_name=arguments.license,
        datasets=arguments.dataset,
    )
    return Saved(space.save_pretrained(arguments.out), bool(space.metrics))
