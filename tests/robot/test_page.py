"""The page on the robot says what the code does."""

import math
import re
from pathlib import Path

import pytest

from jointspace.robot.configuration import parameters
from jointspace.robot.configuration_file import read_robot_config
from jointspace.robot.core.safety import State
from jointspace.sim.scene import ACTION_NAMES, CONTROL_HZ

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "concepts" / "robot.md").read_text(encoding="utf-8")
ARM = ROOT / "configs" / "robot" / "arm.toml"


def shown(value):
    if isinstance(value, tuple):
        return f"[{', '.join(shown(each) for each in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def row(parameter):
    spans = parameter.choices or (
        () if math.isinf(parameter.low) else (f"{parameter.low:g} to {parameter.high:g}",)
    )
    cells = (f"`{parameter.name}`", f"`{shown(parameter.default)}`", ", ".join(spans))
    return f"| {' | '.join(cells)} | {parameter.description} |"


@pytest.mark.parametrize("parameter", parameters(), ids=lambda parameter: parameter.name)
def test_the_page_has_every_parameter_with_default_range_and_description(parameter):
    assert row(parameter) in PAGE.splitlines()


def test_the_page_has_no_parameter_that_does_not_exist():
    table = PAGE.split("## Parameters")[1]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [p.name for p in parameters()]


@pytest.mark.parametrize("state", State)
def test_the_page_has_every_state(state):
    assert f"| `{state}` |" in PAGE


def test_the_arm_that_ships_fits_the_tabletop_and_stands_on_the_page():
    config = read_robot_config(ARM)
    assert config.channels == ACTION_NAMES
    assert config.control_rate_hz == CONTROL_HZ
    page = (ROOT / "docs" / "concepts" / "closed-loop.md").read_text(encoding="utf-8")
    shown = re.findall(r"```toml\n# arm\.toml\n(.*?)```", page, re.DOTALL)
    assert shown == ["".join(ARM.read_text(encoding="utf-8").splitlines(keepends=True)[1:])]
