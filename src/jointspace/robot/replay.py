"""The robot on a recording: the same mind, its clock the bag's, and the same result each time.

Perception runs in line: what it finds takes effect a settable time after it began, and what comes
meanwhile waits, as it would for a network of that speed. Control ticks at its rate in the bag's
time.
"""

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jointspace.data.ros_types import NS_PER_S, STRING, ros_types
from jointspace.data.rosbag_messages import text_message
from jointspace.data.rosbag_read import open_bag
from jointspace.data.rosbag_write import write_bag
from jointspace.errors import DataError, InputError
from jointspace.robot.core.percept import Percept
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.core.safety import Decision, State
from jointspace.robot.late_perception import LatePerception
from jointspace.robot.replay_summary import ReplaySummary, Sight
from jointspace.robot.replay_wire import ReplayWire, full_topic
from jointspace.robot.shell import RobotShell
from jointspace.storage import write_whole

_SAY_EVERY_S = 1.0


def replay(
    bag: Path,
    runtime: RobotRuntime,
    *,
    model_id: str,
    latency_s: float = 0.0,
    say: str = "",
    out: Path | None = None,
) -> ReplaySummary:
    """Runs a robot on a bag.

    Args:
        bag: folder of rosbag2, or a `.mcap` or `.db3` file.
        runtime: the robot's mind; its topics are in the bag, see `config_for_bag`.
        model_id: of the bundle, told with each embedding.
        latency_s: how long perception takes.
        say: a command that is said at the start and every second, instead of those in the bag.
        out: where to write what the robot said and decided: a `.jsonl` file with a line for every
            decision and percept, else a bag of its messages; None for nowhere.

    Returns:
        What it did.

    Raises:
        ConfigError: topics or cameras do not fit.
        DataError: the bag cannot be read, or is empty.
        InputError: the latency is negative, or `out` is there already.
        StorageError: `out` could not be written.
    """
    if not 0 <= latency_s < 60:
        raise InputError(f"latency: got {latency_s:g} s, expected 0 to 60")
    if out is not None and out.exists():
        raise InputError(f"{out}: is there already; remove it, or choose another")
    with open_bag(bag) as opened:
        times = [time_ns for _, time_ns, _ in opened.messages([t.name for t in opened.topics])]
        if not times:
            raise DataError(bag, "holds no message")
        topics = {topic.name for topic in opened.topics if topic.count}
        if say:
            topics.add(full_topic(runtime.config.command_topic))
        wire = ReplayWire(topics, start_ns=min(times))
        performance = _Performance(wire, runtime, model_id=model_id, latency_s=latency_s, say=say)
        performance.play(opened.messages(wire.topics), end_ns=max(times))
    if out is not None and out.suffix == ".jsonl":
        write_whole(out, "".join(f"{json.dumps(line)}\n" for line in performance.lines))
    elif out is not None:
        custom = {"model": model_id, "source": bag.name, "latency_s": f"{latency_s:g}"}
        write_bag(out, wire.said, custom_data=custom)
    return performance.summary(bag, out)


@dataclass(frozen=True, order=True)
class _Event:
    """What happens at a time: a message of the bag comes in, or (with no topic) control ticks."""

    time_ns: int
    order: int
    topic: str = field(compare=False)
    data: bytes = field(compare=False)


class _Performance:
    """One run of a robot through a bag."""

    def __init__(
        self,
        wire: ReplayWire,
        runtime: RobotRuntime,
        *,
        model_id: str,
        latency_s: float,
        say: str,
    ) -> None:
        self.lines: list[dict[str, Any]] = []
        self._wire = wire
        self._runtime = runtime
        self._perception = LatePerception(
            runtime, latency_ns=round(latency_s * NS_PER_S), on_percept=self._see
        )
        self._say = say
        self._states: Counter[State] = Counter()
        self._sights: list[Sight] = []
        self._command_s: float | None = None
        self._motion_s: float | None = None
        self._shell = RobotShell(wire, runtime, model_id=model_id, on_decision=self._decide)
        self._command_topic = self._shell.senses.subscriptions["command_qos"].topic

    def play(self, messages: Iterator[tuple[str, int, bytes]], *, end_ns: int) -> None:
        """Runs from the wire's time to the end."""
        start_ns = self._wire.now_ns
        for event in heapq.merge(
            self._messages(messages), self._said(start_ns, end_ns), self._ticks(start_ns, end_ns)
        ):
            self._perception.conclude(until_ns=event.time_ns)
            self._wire.now_ns = event.time_ns
            if not event.topic:
                self._shell.step(self._wire.steady_s())
                continue
            if event.topic == self._command_topic and self._command_s is None:
                self._command_s = self._wire.steady_s()
            self._wire.deliver(event.topic, event.data)
            self._perception.begin(event.time_ns)
        self._perception.conclude(until_ns=end_ns)
        self._wire.now_ns = end_ns
        self._shell.end()

    def summary(self, bag: Path, out: Path | None) -> ReplaySummary:
        """Returns what was done."""
        first_motion_s = None
        if self._motion_s is not None and self._command_s is not None:
            first_motion_s = self._motion_s - self._command_s
        diagnostics = self._runtime.diagnostics(self._wire.steady_s())
        return ReplaySummary(
            bag=bag,
            out=out,
            duration_s=self._wire.steady_s(),
            num_sent=self._shell.num_sent,
            states={str(state): count for state, count in self._states.items()},
            first_motion_s=first_motion_s,
            sights=tuple(self._sights),
            drops={**diagnostics.drops, **diagnostics.ignored},
            last_refusal=diagnostics.last_refusal,
        )

    def _messages(self, messages: Iterator[tuple[str, int, bytes]]) -> Iterator[_Event]:
        newest_ns = 0
        for topic, time_ns, data in messages:
            newest_ns = max(newest_ns, time_ns)
            if not (self._say and topic == self._command_topic):
                yield _Event(newest_ns, 0, topic, data)

    def _said(self, start_ns: int, end_ns: int) -> Iterator[_Event]:
        """Before the messages of its moment, so that the first picture meets the command."""
        if self._say:
            message = text_message("", self._say, time_ns=0).message
            data = bytes(ros_types().serialize_cdr(message, STRING))
            for time_ns in range(start_ns, end_ns + 1, round(_SAY_EVERY_S * NS_PER_S)):
                yield _Event(time_ns, -1, self._command_topic, data)

    def _ticks(self, start_ns: int, end_ns: int) -> Iterator[_Event]:
        """Control comes after the messages of its moment."""
        rate_hz = self._runtime.config.control_rate_hz
        count = int((end_ns - start_ns) / NS_PER_S * rate_hz) + 1
        for i in range(count):
            yield _Event(start_ns + round(i * NS_PER_S / rate_hz), 1, "", b"")

    def _see(self, now_ns: int, percept: Percept) -> None:
        self._wire.now_ns = now_ns
        now_s = self._wire.steady_s()
        self._shell.tell_percept(percept)
        verdict = None if percept.verdict is None else str(percept.verdict)
        self._sights.append(Sight(now_s, percept.similarity, verdict, percept.best_instruction))
        self.lines.append(
            {
                "time_s": now_s,
                "percept": {
                    "frame_s": None if percept.fault else percept.frame_s,
                    "command": None if percept.command is None else percept.command.text,
                    "similarity": percept.similarity,
                    "verdict": verdict,
                    "best_instruction": percept.best_instruction,
                    "best_similarity": percept.best_similarity,
                    "fault": percept.fault,
                },
            }
        )

    def _decide(self, now_s: float, decision: Decision) -> None:
        self._states[decision.state] += 1
        moves = decision.state is State.ACTING and bool(np.any(decision.values != 0))
        if moves and self._motion_s is None:
            self._motion_s = now_s
        values = [value if np.isfinite(value) else None for value in decision.values.tolist()]
        self.lines.append(
            {
                "time_s": now_s,
                "decision": {
                    "state": str(decision.state),
                    "reason": decision.reason,
                    "values": values,
                    "sent": decision.publish,
                },
            }
        )
