"""The file of parameters, made of what `RobotConfig` says; run as a module, it prints it."""

import json
import sys

from jointspace.robot.configuration import Parameter, parameters


def params_yaml() -> str:
    """Returns `config/params.yaml`: every parameter with its default, and what it means.

    ROS reads no empty list from a file: such parameters stand in comments.
    """
    lines = [
        "# Parameters of jointspace_ros, each with its default. Made by",
        "# `python -m jointspace_ros.params_file > config/params.yaml`; see the README.",
        "/**:",
        "  ros__parameters:",
    ]
    for parameter in parameters():
        lines.append(f"    # {parameter.description}{_limits(parameter)}")
        empty = parameter.kind.endswith("[]") and not parameter.default
        lines.append(f"    {'# ' if empty else ''}{parameter.name}: {_value(parameter)}")
    return "\n".join(lines) + "\n"


def _limits(parameter: Parameter) -> str:
    if parameter.choices:
        return f" One of: {', '.join(parameter.choices)}."
    low, high = parameter.low, parameter.high
    if low == -float("inf") and high == float("inf"):
        return ""
    return f" From {low:g} to {high:g}."


def _value(parameter: Parameter) -> str:
    """The default as YAML, which takes what JSON has; lists of numbers stay lists of floats."""
    return json.dumps(parameter.default, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(params_yaml())
