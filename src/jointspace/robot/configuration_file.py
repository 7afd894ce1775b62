"""Robot configurations from TOML or from ROS parameters: read strictly, with overrides."""

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jointspace.config.toml import read_table
from jointspace.errors import ConfigError, did_you_mean
from jointspace.robot.configuration import Parameter, RobotConfig, parameters
from jointspace.robot.core.decoders.velocity import spoken_name
from jointspace.robot.core.twist import TWIST_CHANNELS


def read_robot_config(path: Path | None, *, overrides: Sequence[str] = ()) -> RobotConfig:
    """Reads a configuration from TOML, strictly.

    Args:
        path: the file; keys that it does not name keep their defaults. None: all of them do.
        overrides: `key=value`, applied in order. The value is TOML; what is not is taken as text.

    Returns:
        The configuration.

    Raises:
        ConfigError: the file cannot be read or is no TOML; a key is unknown; a value has the wrong
            type or lies outside its range; values contradict each other; an override is not
            `key=value`.
    """
    table = {} if path is None else read_table(path)
    source = ", then ".join([*([] if path is None else [str(path)]), *overrides])
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(
                f"override '{override}': expected key=value, as in control_rate_hz=10"
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        table[key.strip()] = value
    return robot_config(table, source=source)


def robot_config(values: Mapping[str, Any], *, source: str = "robot configuration") -> RobotConfig:
    """Checks plain values, as TOML or ROS gives them, and makes a configuration of them.

    Args:
        values: parameter -> bool, int, float, str, or a list of one of them.
        source: what an error names as the place of the mistake.

    Returns:
        The configuration.

    Raises:
        ConfigError: a name is unknown; a value has the wrong type or lies outside its range; or
            values contradict each other.
    """
    known = {parameter.name: parameter for parameter in parameters()}
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{source}: {name}: unknown key.{did_you_mean(name, known)}")
        try:
            checked[name] = _checked(value, known[name])
        except ValueError as error:
            raise ConfigError(f"{source}: {name}: {error}") from error
    config = RobotConfig(**checked)
    for conflict in _conflicts(config):
        raise ConfigError(f"{source}: {conflict}")
    return config


_WANTED = {"bool": "true or false", "int": "an integer", "float": "a number", "str": "text"}


def _checked(value: Any, parameter: Parameter) -> Any:
    kind = parameter.kind.removesuffix("[]")
    if kind != parameter.kind:
        if not isinstance(value, list | tuple):
            raise ValueError(f"got {value!r}, expected a list")
        return tuple(_checked_one(each, kind, parameter) for each in value)
    return _checked_one(value, kind, parameter)


def _checked_one(value: Any, kind: str, parameter: Parameter) -> Any:
    types: dict[str, Any] = {"bool": bool, "int": int, "float": int | float, "str": str}
    # Python counts True as an integer; TOML and ROS do not.
    if isinstance(value, bool) != (kind == "bool") or not isinstance(value, types[kind]):
        raise ValueError(f"got {value!r}, expected {_WANTED[kind]}")
    if parameter.choices and value not in parameter.choices:
        expected = ", ".join(f"'{choice}'" for choice in parameter.choices)
        hint = did_you_mean(value, parameter.choices)
        raise ValueError(f"got {value!r}, expected one of {expected}.{hint}")
    if kind not in ("int", "float"):
        return value
    if not parameter.low <= value <= parameter.high or math.isnan(value):
        raise ValueError(
            f"got {value}, expected a value in [{parameter.low:g}, {parameter.high:g}]"
        )
    return float(value) if kind == "float" else value


def _conflicts(config: RobotConfig) -> Iterator[str]:
    count = len(config.channels)
    if not count or len(set(config.channels)) < count:
        yield f"channels: got {list(config.channels)}, expected distinct names, at least one"
    for name in ("max_speeds", "max_accelerations"):
        values = getattr(config, name)
        if len(values) != count:
            yield f"{name}: got {list(values)}, expected {count} numbers, one a channel"
    for name in ("channel_kinds", "lowest_positions", "highest_positions", "state_indices"):
        values = getattr(config, name)
        if values and len(values) != count:
            yield f"{name}: got {len(values)} values, expected {count}, one a channel, or none"
    yield from _channel_conflicts(config)
    if config.decoder == "velocity":
        yield from _velocity_conflicts(config)
    if config.decoder == "retrieval":
        yield from _retrieval_conflicts(config)
    if config.reject_similarity > config.accept_similarity:
        yield (
            f"reject_similarity: got {config.reject_similarity:g}, expected at most "
            f"accept_similarity = {config.accept_similarity:g}"
        )
    cameras = config.cameras
    if config.visual_input == "image" and cameras and len(cameras) != len(config.image_topics):
        yield f"cameras: got {len(cameras)}, expected {len(config.image_topics)}, one a topic"


def _channel_conflicts(config: RobotConfig) -> Iterator[str]:
    count = len(config.channels)
    if config.output == "twist":
        for name in config.channels:
            if name not in TWIST_CHANNELS:
                yield f"channels: '{name}' is none of a Twist.{did_you_mean(name, TWIST_CHANNELS)}"
        if "position" in config.channel_kinds:
            yield "channel_kinds: got 'position', expected velocities for output = 'twist'"
    for i, kind in enumerate(config.channel_kinds[:count]):
        if kind == "position" and (config.state_indices or (-1,) * count)[i] < 0:
            yield (
                f"state_indices: channel '{config.channels[i]}' is a position, expected the place "
                "of its measured value in the state, from which it starts"
            )
    for low, high in zip(config.lowest_positions, config.highest_positions, strict=False):
        if not low < high:
            yield f"lowest_positions: got {low:g}, expected less than highest_positions = {high:g}"


def _retrieval_conflicts(config: RobotConfig) -> Iterator[str]:
    if not config.policy:
        yield "policy: got '', expected the folder that 'jointspace learn' has made"
    if config.visual_input != "image":
        yield (
            f"visual_input: got '{config.visual_input}', expected 'image': the retrieval decoder "
            "looks at pictures"
        )


def _velocity_conflicts(config: RobotConfig) -> Iterator[str]:
    count = len(config.channels)
    meanings: dict[str, str] = {}
    for name in config.velocity_names:
        same = meanings.setdefault(spoken_name(name), name)
        if same is not name:
            yield f"velocity_names: '{name}' means the same as '{same}'"
    wanted = len(config.velocity_names) * count
    if not config.velocity_names or len(config.velocity_values) != wanted:
        yield (
            f"velocity_values: got {len(config.velocity_values)} numbers, expected {wanted}: "
            f"{count} channels for each of {len(config.velocity_names)} velocity_names"
        )
    if "position" in config.channel_kinds:
        yield "channel_kinds: got 'position', expected velocities for the velocity decoder"
