"""The command line: parses first, imports the command's module after; `--help` needs no torch.

A command's module is found by name (`jointspace.commands.<name>`; of two words, joined by `_`) and
has one function `run`, which takes the parsed arguments and returns an `Outcome`. Nothing but the
outcome is printed on standard output.
"""

import contextlib
import importlib
import io
import json
import math
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

import tyro
from tyro.conf import subcommand

from jointspace import __version__
from jointspace.commands import arguments
from jointspace.errors import (
    ConfigError,
    JointspaceError,
    MissingExtraError,
    WorkerError,
    did_you_mean,
)
from jointspace.train.launch import let_threads_sleep, speaks_for_all

COMMANDS = {
    "inspect": arguments.Inspect,
    "train": arguments.Train,
    "evaluate": arguments.Evaluate,
    "embed": arguments.Embed,
    "export": arguments.Export,
    "bench": arguments.Bench,
    "save": arguments.Save,
    "push": arguments.Push,
    "simulate": arguments.Simulate,
    "rollout": arguments.Rollout,
    "learn": arguments.Learn,
    "demo": arguments.Demo,
    "robot run": arguments.RobotRun,
    "robot replay": arguments.RobotReplay,
    "robot rollout": arguments.RobotRollout,
}

_Command = (
    Annotated[arguments.Inspect, subcommand("inspect")]
    | Annotated[arguments.Train, subcommand("train")]
    | Annotated[arguments.Evaluate, subcommand("evaluate")]
    | Annotated[arguments.Embed, subcommand("embed")]
    | Annotated[arguments.Export, subcommand("export")]
    | Annotated[arguments.Bench, subcommand("bench")]
    | Annotated[arguments.Save, subcommand("save")]
    | Annotated[arguments.Push, subcommand("push")]
    | Annotated[arguments.Simulate, subcommand("simulate")]
    | Annotated[arguments.Rollout, subcommand("rollout")]
    | Annotated[arguments.Learn, subcommand("learn")]
    | Annotated[arguments.Demo, subcommand("demo")]
    | Annotated[arguments.RobotRun, subcommand("robot run")]
    | Annotated[arguments.RobotReplay, subcommand("robot replay")]
    | Annotated[arguments.RobotRollout, subcommand("robot rollout")]
)

_DESCRIPTION = "One embedding space for what a robot sees, what it is told and what it does."

_PIPED_WIDTH = 200

# Packages that commands import at once, and the extra that installs them.
_EXTRA_OF = {
    "torch": "train",
    "safetensors": "train",
    "mujoco": "sim",
    "av": "video",
    "onnx": "export",
    "onnxruntime": "deploy",
    "cyclonedds": "robot",
    "rosbags": "robot",
}

EXIT_USER_MISTAKE = 2


@runtime_checkable
class Outcome(Protocol):
    """What a command has to say, for a reader and for a program."""

    def render(self) -> Any:
        """Returns the text, or anything else that rich prints."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Returns the same as one JSON object."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit code: 0 on success, 2 on a mistake that the user can cure or an interruption.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"jointspace {__version__}")  # noqa: T201 - printing is what it is asked for
        return 0
    try:
        parsed = _parse(words)
        outcome = _run(parsed)
        if speaks_for_all():
            _print(outcome, as_json=parsed.json)
    except KeyboardInterrupt:
        return _complain("interrupted")
    except WorkerError as error:
        # Of several processes the one that knows speaks, whichever it is.
        return _complain(f"error: {error}", everywhere=True)
    except BrokenPipeError:
        # The reader of a pipe has left (`jointspace inspect ... | head`): let the interpreter flush
        # what is left to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (JointspaceError, OSError) as error:
        return _complain(f"error: {error}")
    return 0


def _parse(words: Sequence[str]) -> arguments.Arguments:
    """Turns words into the arguments of a command; help ends the process with exit code 0."""
    words = _join_group(words)
    if not words:
        raise ConfigError(f"which command?{did_you_mean('', COMMANDS)} See jointspace --help")
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        raise ConfigError(f"unknown command '{words[0]}'.{did_you_mean(words[0], COMMANDS)}")
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(_Command, prog="jointspace", description=_DESCRIPTION, args=words)
    except SystemExit as end:
        if not end.code:
            raise
        command = f"jointspace {words[0]}" if words[0] in COMMANDS else "jointspace"
        raise ConfigError(f"{_unbox(printed.getvalue())}. See {command} --help") from None


def _join_group(words: Sequence[str]) -> list[str]:
    """Makes one word of the two that name a command of a group: `robot run`."""
    group = [name for name in COMMANDS if words and name.startswith(f"{words[0]} ")]
    if not group:
        return list(words)
    if len(words) == 1:
        raise ConfigError(f"which command?{did_you_mean('', group)} See jointspace --help")
    if words[1].startswith("-"):
        return list(words[1:])
    name = f"{words[0]} {words[1]}"
    if name not in group:
        raise ConfigError(f"unknown command '{name}'.{did_you_mean(name, group)}")
    return [name, *words[2:]]


# Frames are Unicode where standard output can show it, and blanks elsewhere.
_WITHOUT_FRAME = str.maketrans("╭╮╰╯│─", "     -")


def _unbox(message: str) -> str:
    """Makes one line of a boxed message of tyro's: no title, no explanations, no help pointer."""
    parts: list[list[str]] = [[]]
    for line in message.translate(_WITHOUT_FRAME).splitlines()[1:]:
        text = line.strip()
        if set(text) <= {"-"}:
            parts.append([])
        elif not line.startswith(" " * 10):
            parts[-1].append(text)
    joined = [" ".join(part) for part in parts if part]
    kept = [part.rstrip(".: ") for part in joined if not part.startswith("For full helptext")]
    return "; ".join(kept) or " ".join(message.split())


def _run(parsed: arguments.Arguments) -> Outcome:
    """Imports the command's module and runs it; what it prints goes to standard error."""
    let_threads_sleep()
    name = next(name for name, kind in COMMANDS.items() if kind is type(parsed))
    with contextlib.redirect_stdout(sys.stderr):
        try:
            module = importlib.import_module(f"jointspace.commands.{name.replace(' ', '_')}")
        except ModuleNotFoundError as error:
            if error.name in _EXTRA_OF:
                raise MissingExtraError(error.name, _EXTRA_OF[error.name]) from error
            raise
        outcome: Outcome = module.run(parsed)
    return outcome


def _print(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_finite(outcome.to_json()), allow_nan=False))  # noqa: T201 - the one object promised
    else:
        from rich.console import Console  # noqa: PLC0415 - `--help` has no use for it

        # Text of a data set is no markup; a table that is piped is not cut to a terminal's width.
        console = Console(highlight=False, markup=False, emoji=False)
        if not console.is_terminal:
            console.width = _PIPED_WIDTH
        rendered = outcome.render()
        console.print(rendered, soft_wrap=isinstance(rendered, str))
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    """Replaces NaN and infinities, which JSON cannot hold, by null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _complain(message: str, *, everywhere: bool = False) -> int:
    if os.environ.get("JOINTSPACE_DEBUG") == "1":
        traceback.print_exc()
    if everywhere or speaks_for_all():
        print(f"jointspace: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - the one line promised
    return EXIT_USER_MISTAKE
