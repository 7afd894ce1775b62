"""`jointspace push`."""

from dataclasses import dataclass
from typing import Any

from jointspace.commands.arguments import Push
from jointspace.errors import RunFolderError
from jointspace.models.hub import JointSpace, with_license


@dataclass(frozen=True)
class Pushed:
    """Where the space is now, and whether its card holds numbers."""

    id: str
    commit_url: str
    measured: bool

    def render(self) -> str:
        """Returns a few lines for a reader."""
        lines = [f"uploaded: {self.commit_url}"]
        if not self.measured:
            lines.append("its card has no numbers: run `jointspace evaluate` on the run, then push")
        lines.append(f'next: JointSpace.from_pretrained("{self.id}")')
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {"id": self.id, "commit_url": self.commit_url, "measured": self.measured}


def run(arguments: Push) -> Pushed:
    """Uploads the space of a run folder.

    Returns:
        Where it is now.

    Raises:
        RunFolderError: the folder holds no run with weights, and no space.
        InputError: the hub refuses, or is out of reach.
        MissingExtraError: `huggingface_hub` is not installed.
    """
    if not arguments.run.is_dir():
        raise RunFolderError(f"{arguments.run}: no such folder; wanted a run or a saved space")
    space = with_license(
        JointSpace.from_pretrained(arguments.run),
        license_name=arguments.license,
        datasets=arguments.dataset,
    )
    address = space.push_to_hub(
        arguments.id, private=arguments.private, revision=arguments.revision
    )
    return Pushed(arguments.id, address, bool(space.metrics))
