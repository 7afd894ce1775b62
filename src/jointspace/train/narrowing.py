"""The configuration of a run of several data sets as it reads for one of them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from jointspace.batch import STATE
from jointspace.config import RunConfig
from jointspace.data.schema import DatasetInfo, Finding, RobotDataset
from jointspace.errors import InputError, did_you_mean


def narrowed(config: RunConfig, info: DatasetInfo, *, sensors: Collection[str]) -> RunConfig:
    """Returns the configuration as it reads for one data set.

    Args:
        config: of the run.
        info: of the data set.
        sensors: that the model has; others are left out.

    Returns:
        The same with those cameras and sensors alone that the data set records.

    Raises:
        InputError: the data set has none of the cameras that are asked for.
    """
    cameras = tuple(name for name in config.data.cameras if _has_camera(info, name))
    if config.data.cameras and not cameras:
        raise InputError(
            f"{info.path}: has none of the cameras of data.cameras: "
            f"{', '.join(config.data.cameras)}.{did_you_mean(config.data.cameras[0], info.cameras)}"
        )
    recorded = tuple(
        name for name in config.model.sensors if name in sensors and _has_sensor(info, name)
    )
    return replace(
        config,
        data=replace(config.data, cameras=cameras),
        model=replace(config.model, sensors=recorded),
    )


def check_cameras(config: RunConfig, datasets: Sequence[RobotDataset]) -> None:
    """Refuses a camera that is asked for and that no data set has.

    Raises:
        InputError: there is one.
    """
    infos = [dataset.info for dataset in datasets]
    for name in config.data.cameras:
        if not any(_has_camera(info, name) for info in infos):
            known = {camera for info in infos for camera in info.cameras}
            raise InputError(f"data.cameras: no data set has '{name}'.{did_you_mean(name, known)}")


def check_sensors(config: RunConfig, datasets: Sequence[RobotDataset]) -> None:
    """Refuses a sensor, other than the state, that is asked for and that no data set has.

    Raises:
        InputError: there is one.
    """
    infos = [dataset.info for dataset in datasets]
    for name in config.model.sensors:
        if name != STATE and not any(_has_sensor(info, name) for info in infos):
            known = {sensor for info in infos for sensor in info.sensors}
            raise InputError(f"model.sensors: no data set has '{name}'.{did_you_mean(name, known)}")


def unrecorded(config: RunConfig, own: RunConfig) -> Iterator[Finding]:
    """Tells which sensors a data set trains without.

    Args:
        config: of the run.
        own: the same, narrowed to the data set.

    Yields:
        One finding, if there are any.
    """
    missing = [name for name in config.model.sensors if name not in own.model.sensors]
    if missing:
        yield Finding(
            "note",
            "model.sensors",
            f"{', '.join(missing)}: not recorded here, or not in the run to start from; this data "
            "set trains without",
        )


def _has_camera(info: DatasetInfo, name: str) -> bool:
    return any(camera == name or camera.endswith(f".{name}") for camera in info.cameras)


def _has_sensor(info: DatasetInfo, name: str) -> bool:
    return bool(info.state_names) if name == STATE else name in info.sensors
