"""Reads bags of ROS 2 as a data set: every bag an episode, its steps on the clock of a camera.

What makes a bag unusable leaves it out with a finding; what makes all of them unusable is an error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from jointspace.data.lerobot import MIN_FRAMES
from jointspace.data.lerobot_text import is_flag, unusual_texts
from jointspace.data.rosbag_align import Steps, align, usual_rate_hz
from jointspace.data.rosbag_labels import BagLabels, read_labels
from jointspace.data.rosbag_mapping import MAPPING_FILE, BagMapping, read_mapping
from jointspace.data.rosbag_read import BagTopic, find_bags, open_bag
from jointspace.data.rosbag_roles import Roles, find_roles
from jointspace.data.rosbag_series import BagSeries, read_series
from jointspace.data.schema import DatasetInfo, Episode, Finding, MessageSpan, RobotDataset
from jointspace.errors import DataError

_REPEATED = 0.05
"""Share of steps without a picture of their own from which it is worth a warning."""


def read_rosbags(path: Path) -> RobotDataset:
    """Reads bags of ROS 2; pictures are located, not decoded.

    Topics are found by type and name, or named in `bags.toml`. Left out with a finding: bags that
    are damaged, lack a topic, have fewer than two steps or too long a pause, or in which a value is
    NaN or infinite.

    Args:
        path: a bag (folder, `.mcap` or `.db3`), or a folder that holds bags at any depth.

    Returns:
        One episode per bag. Its number is the one in the bag's labels where all bags have
        different ones, else its place in the order of the paths.

    Raises:
        ConfigError: `bags.toml` is not understood.
        DataError: there is no bag, no usable one, or no topic that is the action; or the usable
            ones differ in their channels.
        MissingExtraError: rosbags is not installed.
    """
    bags = find_bags(path)
    if not bags:
        raise DataError(path, "holds no bag: no metadata.yaml, .mcap or .db3 file")
    mapping = read_mapping(path)
    findings: list[Finding] = []
    topics = _topics(bags, findings)
    if not topics:
        raise DataError(path, _nothing_usable(findings))
    roles = find_roles(path, list(topics.values()), mapping)
    findings.extend(roles.findings)
    series = _read_all(path, list(topics), roles, findings)
    rate_hz = mapping.rate_hz or usual_rate_hz([each.times_ns[roles.clock] for each in series])
    if series and not rate_hz:
        raise DataError(path, f"{roles.clock} has no two messages in any bag: there is no rate")
    named = {_where(path, each.path): each for each in series}
    aligned = _align_all(named, roles, mapping, rate_hz, findings)
    if not aligned:
        raise DataError(path, _nothing_usable(findings))
    _refuse_other_channels(aligned)
    episodes = _episodes(aligned, roles, rate_hz, findings)
    robot_types = Counter(each.labels.robot_type for each in aligned)
    first = aligned[0].series
    info = DatasetInfo(
        path=path,
        format="rosbag2",
        robot_type=mapping.robot_type or robot_types.most_common(1)[0][0],
        fps=rate_hz,
        cameras=tuple(roles.cameras),
        action_names=first.names["action"],
        state_names=first.names.get("state", ()),
        sensors={name: len(first.names[name]) for name in roles.sensors},
    )
    return RobotDataset(info, episodes, tuple(findings))


@dataclass(frozen=True)
class _Recording:
    """A bag that is used: what it says, its steps, and its labels."""

    where: str
    series: BagSeries
    steps: Steps
    labels: BagLabels


def _topics(bags: Sequence[Path], findings: list[Finding]) -> dict[Path, tuple[BagTopic, ...]]:
    found = {}
    for bag in bags:
        try:
            with open_bag(bag) as opened:
                found[bag] = opened.topics
        except DataError as error:
            findings.append(Finding("skipped", bag.name, error.cause))
    return found


def _read_all(
    path: Path, bags: Sequence[Path], roles: Roles, findings: list[Finding]
) -> list[BagSeries]:
    read = []
    for bag in bags:
        try:
            read.append(read_series(bag, roles))
        except DataError as error:
            findings.append(Finding("skipped", _where(path, bag), error.cause))
    clocks = {topic: apart for each in read for topic, apart in each.other_clocks.items()}
    for topic, apart_s in sorted(clocks.items()):
        message = (
            f"its stamps are {apart_s:,.1f} s from when the bag received it: another clock; the "
            "bag's times are used"
        )
        findings.append(Finding("warning", topic, message))
    return read


def _align_all(
    series: Mapping[str, BagSeries],
    roles: Roles,
    mapping: BagMapping,
    rate_hz: float,
    findings: list[Finding],
) -> list[_Recording]:
    kept: list[_Recording] = []
    cut_s: dict[str, float] = {}
    repeated: dict[str, float] = {}
    for where, read in series.items():
        steps = align(read.times_ns, clock=roles.clock, rate_hz=rate_hz)
        reason = _unusable(read, steps, roles, mapping)
        if reason or steps is None:
            findings.append(Finding("skipped", where, reason))
            continue
        kept.append(_Recording(where, read, steps, read_labels(read.custom_data)))
        if steps.cut_s > 1 / rate_hz:
            cut_s[where] = steps.cut_s
        share = float(np.mean(np.diff(steps.messages[roles.clock]) == 0))
        if share > _REPEATED:
            repeated[where] = share
    if cut_s:
        worst = max(cut_s, key=lambda where: cut_s[where])
        message = (
            f"{len(cut_s)} of {len(kept)} bags are cut to the time in which all topics have "
            f"messages, by up to {cut_s[worst]:.1f} s in {worst}"
        )
        findings.append(Finding("note", "time", message))
    if repeated:
        worst = max(repeated, key=lambda where: repeated[where])
        message = (
            f"messages are missing in {len(repeated)} of {len(kept)} bags: {repeated[worst]:.0%} "
            f"of the steps of {worst} repeat the one before"
        )
        findings.append(Finding("warning", roles.clock, message))
    for each in kept:
        for key in each.labels.odd:
            message = f"custom_data '{key}' is not understood, and not used"
            findings.append(Finding("warning", each.where, message))
    return kept


def _unusable(series: BagSeries, steps: Steps | None, roles: Roles, mapping: BagMapping) -> str:
    if steps is None:
        return "no time at which all topics have messages"
    count = len(steps.times_ns)
    if count < MIN_FRAMES:
        return f"{count} step{'' if count == 1 else 's'}, at least {MIN_FRAMES} are needed"
    for topic, gap_s in steps.gap_s.items():
        if gap_s > mapping.max_gap_s:
            return (
                f"{topic} pauses: its nearest message is {gap_s:.2f} s away from a step, allowed "
                f"are {mapping.max_gap_s:g} s (max_gap_s in {MAPPING_FILE})"
            )
    for role, numbers in roles.numbers.items():
        rows = series.numbers[role][steps.messages[numbers.topic]]
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            return f"{role} is NaN or infinite in {len(bad)} of {count} steps, as in step {bad[0]}"
    return ""


def _refuse_other_channels(recordings: Sequence[_Recording]) -> None:
    for role in recordings[0].series.names:
        names = [each.series.names[role] for each in recordings]
        usual = Counter(names).most_common(1)[0][0]
        for each, found in zip(recordings, names, strict=True):
            if found != usual:
                raise DataError(
                    each.series.path,
                    f"{role} has {len(found)} channels ({', '.join(found[:6])}); the other bags "
                    f"have {len(usual)} ({', '.join(usual[:6])})",
                )


def _episodes(
    recordings: Sequence[_Recording], roles: Roles, rate_hz: float, findings: list[Finding]
) -> tuple[Episode, ...]:
    numbers = [each.labels.episode for each in recordings]
    numbered = None not in numbers and len({*numbers}) == len(numbers)
    texts = [_instruction(each, findings) for each in recordings]
    silent = [each.where for each, text in zip(recordings, texts, strict=True) if not text]
    if silent:
        message = f"{len(silent)} of {len(texts)} bags have no instruction, as {silent[0]}"
        findings.append(Finding("warning", "instructions", message))
    findings.extend(unusual_texts(texts))
    episodes = [
        _episode(
            each,
            text,
            index=number if numbered and number is not None else place,
            roles=roles,
            rate_hz=rate_hz,
        )
        for place, (each, text, number) in enumerate(zip(recordings, texts, numbers, strict=True))
    ]
    return tuple(sorted(episodes, key=lambda episode: episode.index))


def _instruction(recording: _Recording, findings: list[Finding]) -> str:
    said = [text.strip() for text in (*recording.series.texts, recording.labels.instruction)]
    told = list(dict.fromkeys(text for text in said if text and not is_flag(text)))
    if len(told) > 1:
        message = f"the instruction changes within it ({len(told)} texts); its first is used"
        findings.append(Finding("warning", recording.where, message))
    return told[0] if told else ""


def _episode(
    recording: _Recording, instruction: str, *, index: int, roles: Roles, rate_hz: float
) -> Episode:
    series, steps, labels = recording.series, recording.steps, recording.labels
    rows: Mapping[str, Float32[np.ndarray, "time _"]] = {
        role: series.numbers[role][steps.messages[numbers.topic]].astype(np.float32)
        for role, numbers in roles.numbers.items()
    }
    return Episode(
        index=index,
        instruction=instruction,
        action=rows["action"],
        state=rows.get("state"),
        sensors={name: rows[name] for name in roles.sensors},
        time_s=np.arange(len(steps.times_ns)) / rate_hz,
        videos={
            camera: MessageSpan(
                series.path,
                topic,
                tuple(series.kept[topic][steps.messages[topic]].tolist()),
            )
            for camera, topic in roles.cameras.items()
        },
        goal=labels.goal,
        success=labels.success,
        split=labels.split,
        factors=labels.factors,
        other_instructions=tuple(labels.other_instructions),
    )


def _nothing_usable(findings: Sequence[Finding]) -> str:
    skipped = [f for f in findings if f.severity == "skipped"]
    reasons = f": {skipped[0].where}: {skipped[0].message}" if skipped else ""
    more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
    return f"no usable bag{reasons}{more}"


def _where(path: Path, bag: Path) -> str:
    return bag.name if bag == path else str(bag.relative_to(path))
