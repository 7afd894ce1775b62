"""Which topics are cameras, state, action and instruction: as `bags.toml` says, or as found."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jointspace.data.ros_types import COMPRESSED_IMAGE, FLOAT64_ARRAY, IMAGE, JOINT_STATE, STRING
from jointspace.data.rosbag_mapping import MAPPING_FILE, BagMapping, NumbersTopic
from jointspace.data.rosbag_read import BagTopic
from jointspace.data.schema import Finding
from jointspace.errors import DataError, did_you_mean

IMAGE_KINDS = frozenset((IMAGE, COMPRESSED_IMAGE))

_COMMAND_KINDS = frozenset(
    (
        FLOAT64_ARRAY,
        "std_msgs/msg/Float32MultiArray",
        "geometry_msgs/msg/Twist",
        "geometry_msgs/msg/TwistStamped",
        "trajectory_msgs/msg/JointTrajectory",
    )
)
_COMMAND_WORD = re.compile(r"action|command|cmd|target|goal|desired|leader", re.IGNORECASE)
_TOLD_WORD = re.compile(r"instruction|command|language|task|prompt", re.IGNORECASE)
_PICTURE_WORDS = frozenset(
    ("image", "image_raw", "image_rect", "image_color", "image_rect_color", "image_mono", "rgb")
)
_TRANSPORTS = frozenset(("compressed",))
_NO_COLOURS = re.compile(r"depth|disparity|mask|infra|thermal", re.IGNORECASE)
_ROS_OWN = frozenset(("/rosout", "/parameter_events", "/events/write_split", "/clock"))


_MOST_NAMED = 12
"""Topics that a message lists."""


@dataclass(frozen=True)
class Roles:
    """What each topic is used as.

    Attributes:
        cameras: name of the feature -> topic.
        action: the commands.
        state: the measured state; None where there is none.
        sensors: name of the feature -> topic.
        instruction: topic; empty where there is none.
        clock: the topic that steps follow.
        findings: what was not used, or is missing.
    """

    cameras: Mapping[str, str]
    action: NumbersTopic
    state: NumbersTopic | None
    sensors: Mapping[str, NumbersTopic]
    instruction: str
    clock: str
    findings: tuple[Finding, ...]

    @property
    def numbers(self) -> Mapping[str, NumbersTopic]:
        """What is read as numbers, under its role: `action`, `state`, and the sensors' names."""
        state = {} if self.state is None else {"state": self.state}
        return {"action": self.action, **state, **self.sensors}


def find_roles(path: Path, bags: Sequence[Sequence[BagTopic]], mapping: BagMapping) -> Roles:
    """Decides what each topic is used as.

    What the mapping does not name is found among the topics that most bags have, by type and name.

    Args:
        path: of the bags, for the message.
        bags: the topics of each bag.
        mapping: what `bags.toml` says.

    Returns:
        The roles.

    Raises:
        DataError: the mapping names a topic that no bag has, or its clock is no camera; or no topic
            carries commands, or several might.
    """
    seen = Counter((t.name, t.kind) for topics in bags for t in topics if t.count)
    kinds = {name: kind for (name, kind), _ in reversed(seen.most_common())}
    _refuse_unknown(path, mapping, kinds)
    most = max(seen.values(), default=0)
    usual = {name: kind for (name, kind), count in sorted(seen.items()) if 2 * count >= most}
    action = mapping.action if mapping.action.topic else _action(path, usual, mapping)
    state: NumbersTopic | None = mapping.state
    if not mapping.state.topic:
        taken = {action.topic, *(sensor.topic for sensor in mapping.sensors.values())}
        topic = find_state({name: kind for name, kind in usual.items() if name not in taken})
        state = NumbersTopic(topic=topic, fields=mapping.state.fields) if topic else None
    cameras = dict(mapping.cameras) or find_cameras(usual)
    cameras = {_feature(name): topic for name, topic in cameras.items()}
    instruction = mapping.instruction or find_instruction(usual)
    clock = next(iter(cameras.values()), action.topic)
    if mapping.clock:
        named = [topic for name, topic in cameras.items() if mapping.clock in {name, _short(name)}]
        if not named:
            hint = did_you_mean(mapping.clock, map(_short, cameras))
            raise DataError(path, f"{MAPPING_FILE}: clock: no camera '{mapping.clock}'.{hint}")
        clock = named[0]
    used = {
        action.topic,
        instruction,
        *cameras.values(),
        *(s.topic for s in mapping.sensors.values()),
    }
    used |= {state.topic} if state else set()
    unused = [f"{name} ({kind})" for name, kind in usual.items() if name not in used | _ROS_OWN]
    findings = []
    if unused:
        some = ", ".join(unused[:_MOST_NAMED]) + (", ..." if len(unused) > _MOST_NAMED else "")
        message = f"not used: {some}; {MAPPING_FILE} can name them"
        findings.append(Finding("note", "topics", message))
    for role, found in (("cameras", cameras), ("state", state)):
        if not found:
            findings.append(Finding("note", "topics", f"none is taken for the {role}"))
    return Roles(cameras, action, state, mapping.sensors, instruction, clock, tuple(findings))


def _refuse_unknown(path: Path, mapping: BagMapping, kinds: Mapping[str, str]) -> None:
    named = {
        "instruction": mapping.instruction,
        "action": mapping.action.topic,
        "state": mapping.state.topic,
        **{f"cameras.{name}": topic for name, topic in mapping.cameras.items()},
        **{f"sensors.{name}": sensor.topic for name, sensor in mapping.sensors.items()},
    }
    for key, topic in named.items():
        if topic and topic not in kinds:
            raise DataError(
                path,
                f"{MAPPING_FILE}: {key}: no bag has messages on '{topic}'."
                f"{did_you_mean(topic, kinds)}",
            )
    for name, topic in mapping.cameras.items():
        if kinds[topic] not in IMAGE_KINDS:
            raise DataError(
                path, f"{MAPPING_FILE}: cameras.{name}: '{topic}' has {kinds[topic]}, no pictures"
            )
    if mapping.instruction and kinds[mapping.instruction] != STRING:
        kind = kinds[mapping.instruction]
        raise DataError(path, f"{MAPPING_FILE}: instruction: got {kind}, expected {STRING}")


def _action(path: Path, usual: Mapping[str, str], mapping: BagMapping) -> NumbersTopic:
    taken = {mapping.state.topic, *(sensor.topic for sensor in mapping.sensors.values())}
    candidates = [
        name
        for name, kind in usual.items()
        if name not in taken
        and (kind in _COMMAND_KINDS or (kind == JOINT_STATE and _COMMAND_WORD.search(name)))
    ]
    telling = [name for name in candidates if _COMMAND_WORD.search(name)]
    found = telling if len(candidates) > 1 else candidates
    if len(found) != 1:
        what = (
            f"could be {' or '.join(candidates)}" if candidates else "is on no topic that is known"
        )
        known = [f"{name} ({kind})" for name, kind in usual.items() if name not in _ROS_OWN]
        topics = ", ".join(known[:_MOST_NAMED]) + (", ..." if len(known) > _MOST_NAMED else "")
        raise DataError(
            path,
            f"the action {what}; name its topic in {MAPPING_FILE} (action.topic). Topics: "
            f"{topics or 'none has messages'}",
        )
    return NumbersTopic(topic=found[0], fields=mapping.action.fields)


def find_state(usual: Mapping[str, str]) -> str:
    """Finds the topic of the measured state, among topics with their types; empty if none."""
    found = [name for name, kind in usual.items() if kind == JOINT_STATE]
    plain = [name for name in found if name.rsplit("/", 1)[-1] == "joint_states"]
    found = plain if len(found) > 1 else found
    return found[0] if len(found) == 1 else ""


def find_cameras(usual: Mapping[str, str]) -> dict[str, str]:
    """Finds the cameras among topics with their types.

    Args:
        usual: topic -> type.

    Returns:
        Name -> topic; of a camera's raw and compressed pictures the raw ones.
    """
    cameras: dict[str, str] = {}
    for topic, kind in sorted(usual.items(), key=lambda each: (each[1] != IMAGE, each[0])):
        if kind in IMAGE_KINDS and not _NO_COLOURS.search(topic):
            cameras.setdefault(camera_name(topic), topic)
    return dict(sorted(cameras.items()))


def camera_name(topic: str) -> str:
    """Returns what a camera is called after its topic: `/wrist/image_raw/compressed`: `wrist`."""
    parts = [part for part in topic.split("/") if part and part not in _TRANSPORTS]
    named = [part for part in parts if part not in _PICTURE_WORDS]
    return "_".join(named or parts)


def find_instruction(usual: Mapping[str, str]) -> str:
    """Finds the topic of what the robot is told, among topics with their types; empty if none."""
    found = [name for name, kind in usual.items() if kind == STRING]
    telling = [name for name in found if _TOLD_WORD.search(name)]
    found = telling if len(found) > 1 else found
    return found[0] if len(found) == 1 else ""


def _feature(camera: str) -> str:
    """The name that LeRobot's data sets give a camera, so that both formats read alike."""
    return camera if "." in camera else f"observation.images.{camera}"


def _short(feature: str) -> str:
    return feature.rsplit(".", 1)[-1]
