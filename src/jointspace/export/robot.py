"""Which robot of a run is exported: a bundle is for one."""

from collections.abc import Sequence

from jointspace.data.preprocess import Preprocessor
from jointspace.errors import InputError, did_you_mean
from jointspace.models.run_data import RunData


def choose_robot(data: Sequence[RunData], *, embodiment: str = "") -> Preprocessor:
    """Finds the preprocessing of one robot of a run.

    Args:
        data: of the run.
        embodiment: name of the robot, or its number in the run; empty takes the only one.

    Returns:
        What turns its raw rows into model input; it knows the robot's number.

    Raises:
        InputError: the run has no such robot, or several and none is named.
    """
    robots = {each.embodiment.name: each.preprocessor for each in reversed(data)}
    if not embodiment and len(robots) == 1:
        return next(iter(robots.values()))
    for name, preprocessor in robots.items():
        if embodiment in (name, str(preprocessor.embodiment)):
            return preprocessor
    if not embodiment:
        raise InputError(
            f"the run is of {len(robots)} robots, and a bundle is for one; "
            f"name it: {', '.join(sorted(robots))}"
        )
    raise InputError(f"the run has no robot '{embodiment}'.{did_you_mean(embodiment, robots)}")
