"""An arm, a rover, and a run of both: made once."""

import pytest


@pytest.fixture(scope="session")
def robots(tmp_path_factory):
    from tests.factories import write_robots  # noqa: PLC0415 - after the shape checks are installed

    arm, rover = write_robots(tmp_path_factory.mktemp("robots"))
    return arm.path, rover.path


@pytest.fixture(scope="session")
def both(tmp_path_factory, robots):
    from tests.train.robots import BOTH, trained  # noqa: PLC0415 - as above

    return trained(BOTH, *robots, out=tmp_path_factory.mktemp("runs") / "both")
