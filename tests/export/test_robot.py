import dataclasses
from pathlib import Path

import pytest

from jointspace.data.embodiments import Embodiment
from jointspace.errors import InputError
from jointspace.export.robot import choose_robot
from jointspace.models.run_data import RunData
from tests.export.robots import preprocessor


def data(name, *, number):
    robot = dataclasses.replace(preprocessor(), embodiment=number)
    shown = Embodiment(name, "", 5.0, ("",) * 4, (), {}, robot.cameras)
    return RunData(name, Path(name), shown, robot, Path("splits.json"))


ARM, ROVER = data("arm", number=0), data("rover", number=1)


def test_the_only_robot_need_not_be_named():
    assert choose_robot([ARM, ARM]) is ARM.preprocessor


def test_a_robot_is_found_by_name_and_by_number():
    assert choose_robot([ARM, ROVER], embodiment="rover") is ROVER.preprocessor
    assert choose_robot([ARM, ROVER], embodiment="1") is ROVER.preprocessor


def test_one_of_several_robots_must_be_named():
    with pytest.raises(InputError, match=r"is of 2 robots, .* name it: arm, rover"):
        choose_robot([ARM, ROVER])


def test_an_unknown_robot_is_refused():
    with pytest.raises(InputError, match=r"no robot 'rovr'\. Did you mean 'rover'"):
        choose_robot([ARM, ROVER], embodiment="rovr")
