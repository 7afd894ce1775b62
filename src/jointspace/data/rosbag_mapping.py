"""Which topics of a bag are what: `bags.toml`, beside the bags."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jointspace.config.toml import read_table, structure
from jointspace.errors import ConfigError

MAPPING_FILE = "bags.toml"


@dataclass(frozen=True, kw_only=True)
class NumbersTopic:
    """A topic that carries numbers.

    Attributes:
        topic: its name; empty means that it is found by its type and name.
        fields: which numbers of the message, in this order, as `twist.twist.linear`; a field that
            holds further fields gives all of their numbers. Empty means those of the type.
    """

    topic: str = ""
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BagMapping:
    """What `bags.toml` may say; every key has a default.

    Attributes:
        rate_hz: steps per second; 0 means the rate of the clock's messages.
        clock: the camera whose pictures the steps follow; empty means the first one.
        max_gap_s: an episode with a longer pause between the messages of a topic is left out.
        robot_type: name of the robot; empty means what the bags say.
        instruction: topic of what the robot is told; empty means that it is found.
        cameras: name -> topic of its pictures; none means that they are found.
        action: the commands.
        state: the measured state.
        sensors: name -> further observations.
    """

    rate_hz: float = 0.0
    clock: str = ""
    max_gap_s: float = 0.5
    robot_type: str = ""
    instruction: str = ""
    cameras: Mapping[str, str] = field(default_factory=dict)
    action: NumbersTopic = field(default_factory=NumbersTopic)
    state: NumbersTopic = field(default_factory=NumbersTopic)
    sensors: Mapping[str, NumbersTopic] = field(default_factory=dict)


def read_mapping(path: Path) -> BagMapping:
    """Reads the mapping that lies in a folder of bags, in a bag's folder, or beside a bag.

    Args:
        path: a bag, or a folder of bags.

    Returns:
        The mapping; all defaults where there is no `bags.toml`.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value has the wrong type or
            lies outside its range.
    """
    file = next((p for p in (path / MAPPING_FILE, path.parent / MAPPING_FILE) if p.is_file()), None)
    if file is None:
        return BagMapping()
    mapping = structure(read_table(file), BagMapping, source=str(file))
    if mapping.rate_hz and not 0.01 <= mapping.rate_hz <= 1000:
        raise ConfigError(f"{file}: rate_hz: got {mapping.rate_hz:g}, expected 0.01 to 1000, or 0")
    if not mapping.max_gap_s > 0:
        raise ConfigError(f"{file}: max_gap_s: got {mapping.max_gap_s:g}, expected more than 0")
    for name, sensor in mapping.sensors.items():
        if not sensor.topic:
            raise ConfigError(
                f"{file}: sensors.{name}: no topic; a sensor is never found by itself"
            )
    return mapping
