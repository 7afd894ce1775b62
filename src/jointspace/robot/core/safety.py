"""The safety gate: from what is known to what the robot does, at any time, whatever happened.

The gate has no clock, no thread and no network. It is told what came and what time it is, and says
what to send. In every state but ACTING the robot stands still, at once and without a ramp: see
`docs/concepts/robot.md` for each condition.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float64

from jointspace.robot.core.limits import Channel, MotionLimiter
from jointspace.robot.core.percept import ActionChunk, Command, Percept

CLOCK_SLACK_S = 0.05
"""Two threads that tick may do so a moment out of order: so much back is no broken clock."""

INPUT_LEAD_S = 0.25
"""On a busy machine an input may overtake a tick that has read the clock already, by so much."""

_NO_COMMAND = "no command yet"


class State(StrEnum):
    """What the robot is doing, and if nothing, why."""

    IDLE = "idle"
    """No command: silent, so that somebody else may drive."""
    WAITING = "waiting"
    """A command, and nothing perceived for it yet."""
    ACTING = "acting"
    """Moving, within limits. The only state that moves."""
    ABSTAINING = "abstaining"
    """The command does not apply to what is seen, or there is no action for it."""
    BLIND = "blind"
    """The newest good picture (or needed state) is older than its timeout."""
    STOPPED = "stopped"
    """Told to stop: silent after its zero, until the next command."""
    FAULT = "fault"
    """An exception, a number that is not finite, or a clock that went back."""
    SHUT_DOWN = "shut down"
    """Over, until `activate`."""


@dataclass(frozen=True)
class Decision:
    """What to send now.

    Attributes:
        values: the control vector; NaN where a position was never known, and then `publish` is
            False.
        state: the gate's state.
        reason: why, in words.
        publish: whether to send it; the robot is silent without a command.
    """

    values: Float64[np.ndarray, " channel"]
    state: State
    reason: str
    publish: bool


class SafetyGate:
    """Lets motion through while every condition for it holds. Not thread-safe.

    Args:
        channels: of the control vector.
        control_rate_hz: how often `tick` is meant to be called; one late tick allows no larger
            step than two of its periods.
        image_timeout_s: greatest age of the picture that a motion rests on.
        command_timeout_s: greatest age of the command.
        state_timeout_s: greatest age of the measured state, where one is needed.
        needs_state: whether motion needs a fresh state.
        needs_match: whether motion needs the threshold's `accept`.
        zero_messages: how often standing still is said before the silence.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        control_rate_hz: float,
        image_timeout_s: float,
        command_timeout_s: float,
        state_timeout_s: float,
        needs_state: bool = False,
        needs_match: bool = True,
        zero_messages: int = 3,
    ) -> None:
        self.channels = tuple(channels)
        self._longest_step_s = 2 / control_rate_hz
        self._image_timeout_s = image_timeout_s
        self._command_timeout_s = command_timeout_s
        self._state_timeout_s = state_timeout_s
        self._needs_state = needs_state or any(c.kind == "position" for c in channels)
        self._needs_match = needs_match
        self._zero_messages = zero_messages
        self._limiter = MotionLimiter(self.channels)
        self._shut_down = False
        self._rest, self._rest_reason = State.IDLE, _NO_COMMAND
        self._zeros_left = 0
        self._num_clock_jumps = 0
        self._command: Command | None = None
        self._percept: Percept | None = None
        self._chunk: ActionChunk | None = None
        self._state_s = -math.inf
        self._measured = np.full(len(self.channels), np.nan)
        self._last_s = -math.inf
        self._fresh_start = True

    @property
    def command(self) -> Command | None:
        """The command that is carried out; None without one."""
        return self._command

    @property
    def num_clock_jumps(self) -> int:
        """How often the clock went back."""
        return self._num_clock_jumps

    def tell(self, command: Command) -> bool:
        """Takes a command, new or said again; False if shut down, or its time is not finite."""
        if self._shut_down or not math.isfinite(command.received_s):
            return False
        if self._command is None:
            self._limiter.stop()
            self._fresh_start = True
        self._command = command
        return True

    def stop(self, reason: str) -> None:
        """Ends the command; standing still is said at the next tick."""
        if not self._shut_down:
            self._rest_at(State.STOPPED, reason)
            self._zeros_left = self._zero_messages

    def see(self, percept: Percept, chunk: ActionChunk | None) -> None:
        """Takes what perception found, and what the decoder wants done."""
        self._percept, self._chunk = percept, chunk

    def measure(self, values: Float64[np.ndarray, " state"], now_s: float) -> None:
        """Takes a measured state, which is finite."""
        self._state_s = now_s
        for i, channel in enumerate(self.channels):
            if channel.kind == "position" and 0 <= channel.state_index < len(values):
                self._measured[i] = values[channel.state_index]

    def tick(self, now_s: float) -> Decision:
        """Decides what to send.

        Args:
            now_s: the steady clock. Not finite, it is a fault of this tick. Gone back by more than
                `CLOCK_SLACK_S`, or behind an input by more than `INPUT_LEAD_S`, it is a fault that
                forgets what was known, since its age cannot be told.

        Returns:
            The decision; this method does not raise.
        """
        if self._shut_down:
            return self._still(State.SHUT_DOWN, "shut down", publish=False)
        if not math.isfinite(now_s):
            reason = f"the clock says {now_s}"
            return self._still(State.FAULT, reason, publish=self._command is not None)
        if now_s < self._last_s - CLOCK_SLACK_S:
            return self._break_time(f"the clock went back by {self._last_s - now_s:.3f} s", now_s)
        told_s = self._latest_input()
        if told_s > now_s + INPUT_LEAD_S:
            return self._break_time(f"an input is {told_s - now_s:.3f} s in the future", now_s)
        # Before the first tick no time has passed that a ramp could use.
        since_s = now_s - self._last_s if math.isfinite(self._last_s) else 0.0
        step_s = min(max(0.0, since_s), self._longest_step_s)
        self._last_s = max(now_s, self._last_s)
        # What overtook this tick says that it is later than the tick knows.
        now_s = max(self._last_s, told_s)
        if self._command is not None:
            age_s = now_s - self._command.received_s
            if age_s > self._command_timeout_s:
                limit = self._command_timeout_s
                self._rest_at(State.IDLE, f"the command was not repeated for {limit:g} s")
        if self._command is None:
            return self._resting()
        target = self._target(now_s, self._command)
        if isinstance(target, tuple):
            state, reason = target
            return self._still(state, reason, publish=True)
        if self._fresh_start:
            # Somebody else may have moved the robot in the meantime.
            self._limiter.start_from(self._measured)
            self._fresh_start = False
        if not self._limiter.knows_positions:
            return self._still(State.WAITING, "a position was not measured yet", publish=True)
        values = self._limiter.follow(target, dt_s=step_s)
        return Decision(values, State.ACTING, f"'{self._command.text}'", publish=True)

    def shut_down_now(self) -> Decision:
        """Ends everything.

        Returns:
            The last message, which stands still.
        """
        self._forget()
        self._shut_down = True
        return self._still(State.SHUT_DOWN, "shut down", publish=True)

    def activate(self) -> None:
        """Starts anew: no command, silent."""
        self._forget()
        self._shut_down = False
        self._rest, self._rest_reason = State.IDLE, _NO_COMMAND
        self._zeros_left = 0

    def _target(
        self, now_s: float, command: Command
    ) -> Float64[np.ndarray, " channel"] | tuple[State, str]:
        """What should be done now, or why nothing is."""
        percept, chunk = self._percept, self._chunk
        if percept is None:
            return State.WAITING, "no picture yet"
        if percept.fault is not None:
            return State.FAULT, percept.fault
        stale = self._stale(now_s, percept)
        if stale is not None:
            return State.BLIND, stale
        if percept.command is None or percept.command.number != command.number:
            return State.WAITING, f"looking for '{command.text}'"
        if self._needs_match and percept.verdict != "accept":
            return State.ABSTAINING, (
                f"'{command.text}' does not clearly apply: similarity {percept.similarity}, "
                f"{percept.verdict}"
            )
        target = None if chunk is None else chunk.at(now_s)
        if target is None:
            what = "the decoder knows no action" if chunk is None else "the actions are over"
            return State.ABSTAINING, f"{what} for '{command.text}'"
        if target.shape != (len(self.channels),) or not np.isfinite(target).all():
            return State.FAULT, f"the decoder's action is {target.tolist()}"
        return target

    def _stale(self, now_s: float, percept: Percept) -> str | None:
        """Which input is too old; one of no time (NaN) is."""
        age_s = now_s - percept.frame_s
        if not age_s <= self._image_timeout_s:
            return f"the newest good picture is {age_s:.2f} s old"
        state_age_s = now_s - self._state_s
        if self._needs_state and state_age_s > self._state_timeout_s:
            return f"the newest state is {state_age_s:.2f} s old"
        return None

    def _latest_input(self) -> float:
        """The latest time that command, picture or state came at; -inf before the first."""
        command_s = -math.inf if self._command is None else self._command.received_s
        frame_s = -math.inf if self._percept is None else self._percept.frame_s
        # A fault has no time; `max` passes over NaN that does not come first.
        return max(-math.inf, command_s, frame_s, self._state_s)

    def _still(self, state: State, reason: str, *, publish: bool) -> Decision:
        values = self._limiter.stop()
        known = bool(np.isfinite(values).all())
        return Decision(values, state, reason, publish=publish and known)

    def _resting(self) -> Decision:
        publish = self._zeros_left > 0
        self._zeros_left -= publish
        return self._still(self._rest, self._rest_reason, publish=publish)

    def _rest_at(self, state: State, reason: str) -> None:
        if self._command is not None or self._zeros_left:
            self._zeros_left = self._zero_messages
        self._command = None
        self._rest, self._rest_reason = state, reason

    def _break_time(self, reason: str, now_s: float) -> Decision:
        self._rest_at(State.FAULT, f"{reason}; give the command again")
        zeros_left = self._zeros_left
        self._forget()
        self._zeros_left = zeros_left
        self._last_s = now_s
        self._num_clock_jumps += 1
        return self._resting()

    def _forget(self) -> None:
        self._command = self._percept = self._chunk = None
        self._state_s = self._last_s = -math.inf
        self._measured[:] = np.nan
        self._fresh_start = True
