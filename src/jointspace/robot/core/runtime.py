"""The robot's mind without its body: messages in, decisions out, in any thread."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

from jointspace.errors import ConfigError
from jointspace.evaluation.decision import GrowthThreshold
from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.decoder import ActionDecoder
from jointspace.robot.core.decoders import build_decoder
from jointspace.robot.core.diagnostics import Diagnostics, Meter
from jointspace.robot.core.images import Picture
from jointspace.robot.core.inbox import Inbox
from jointspace.robot.core.percept import Command, Heard, Percept
from jointspace.robot.core.perception import (
    Band,
    Judge,
    Perception,
    PictureStream,
    RobotEmbedder,
)
from jointspace.robot.core.safety import Decision, SafetyGate, State
from jointspace.robot.core.thinker import Thinker, Thought
from jointspace.robot.core.words import is_stop

_LONGEST_COMMAND = 4096
"""Letters; longer ones are no sentences, and would fill every reason and diagnostic."""


@dataclass(frozen=True)
class Thinking:
    """What perception found, on its way into effect.

    Attributes:
        epoch: of the robot when perception began.
        thought: percept and actions.
    """

    epoch: int
    thought: Thought


class RobotRuntime:
    """Takes messages from any thread, perceives in one thread, decides whenever it is asked.

    Every `now_s` is the same steady clock (`time.monotonic()`, or a bag's time), which no message
    and no simulator can stop. `tick` never waits for perception.

    Args:
        config: everything that can be set.
        embedder: the bundle.
        cameras: cameras of the bundle, each of which must send pictures.
        make_stream: makes an empty stream of pictures.
        judge: the calibrated threshold of pictures and text.
        growth: the one of pictures since the command.
        decoder: what turns percepts into actions; by default what `config.decoder` names.
        state_window_s: how much of the measured states a decoder gets to see.

    Raises:
        ConfigError: a match is needed, and there is no threshold; or the decoder's policy does not
            fit configuration or bundle.
        RunFolderError: the decoder's policy cannot be read.

    Example:
        runtime = open_runtime(config)
        with PerceptionWorker(runtime):
            runtime.on_command("go to the red block", now_s=time.monotonic())
            decision = runtime.tick(time.monotonic())  # twenty times a second
    """

    def __init__(
        self,
        config: RobotConfig,
        embedder: RobotEmbedder,
        *,
        cameras: Sequence[str],
        make_stream: Callable[[], PictureStream],
        judge: Judge | None = None,
        growth: GrowthThreshold | None = None,
        decoder: ActionDecoder | None = None,
        state_window_s: float = 1.0,
    ) -> None:
        self.config = config
        self.cameras = tuple(cameras)
        if decoder is None:
            decoder = build_decoder(config, embedder, cameras=self.cameras)
        self.decoder = decoder
        if not config.use_bundle_threshold:
            judge = Band(accept=config.accept_similarity, reject=config.reject_similarity)
            growth = None
        if judge is None and growth is None and config.match_required and self.decoder.moves:
            raise ConfigError(
                "match_required: got true, but the bundle has no threshold of vision; set "
                "use_bundle_threshold = false with accept_similarity and reject_similarity, or "
                "match_required = false"
            )
        self._gate = SafetyGate(
            config.control_channels if self.decoder.moves else (),
            control_rate_hz=config.control_rate_hz,
            image_timeout_s=config.image_timeout_s,
            command_timeout_s=config.command_timeout_s,
            state_timeout_s=config.state_timeout_s,
            needs_state=self.decoder.needs_state,
            needs_match=config.match_required,
            zero_messages=config.zero_messages,
        )
        perception = Perception(
            embedder,
            make_stream=make_stream,
            cameras=self.cameras,
            judge=judge,
            growth=growth,
            longest_gap_s=config.image_timeout_s,
            instructions=config.instructions,
        )
        self._thinker = Thinker(
            perception, self.decoder, match_required=config.match_required, drop=self._drop
        )
        self._lock = threading.RLock()
        self._perceiving = threading.Lock()
        self._arrived = threading.Event()
        self._meter = Meter()
        self._inbox = Inbox(
            self.cameras,
            meter=self._meter,
            image_timeout_s=config.image_timeout_s,
            stamp_tolerance_s=config.stamp_tolerance_s,
            state_window_s=state_window_s,
        )
        self._num_commands = 0
        self._epoch = 0
        self._decision = Decision(
            np.zeros(len(self.channels)), State.IDLE, "no command yet", publish=False
        )
        self._percept: Percept | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the control vector's numbers; empty where the decoder never moves."""
        return tuple(channel.name for channel in self._gate.channels)

    @property
    def percept(self) -> Percept | None:
        """The newest percept."""
        return self._percept

    def on_image(
        self,
        picture: Picture,
        *,
        now_s: float,
        age_s: float = 0.0,
        camera: str | None = None,
        source: object = None,
    ) -> bool:
        """Takes a picture; cheap, since it is decoded by `perceive`.

        Args:
            picture: its bytes, see `images`.
            now_s: steady clock.
            age_s: the clock that stamps messages, minus the picture's stamp. A picture older than
                the image timeout, or further in the future than `stamp_tolerance_s`, is dropped.
            camera: which camera; may be left out if there is one.
            source: passed along to `Percept.sources`: the header.

        Returns:
            Whether the picture was taken.
        """
        with self._lock:
            taken = self._inbox.put_picture(
                camera, picture, now_s=now_s, age_s=age_s, source=source
            )
        if taken:
            self._arrived.set()
        return taken

    def on_embedding(
        self,
        row: Float32[np.ndarray, " dim"],
        *,
        now_s: float,
        age_s: float = 0.0,
        source: object = None,
    ) -> bool:
        """Takes what another process has made of the pictures: a unit row of the joint space.

        Args:
            row: the row; it is checked by `perceive`.
            now_s: steady clock.
            age_s: as of `on_image`.
            source: as of `on_image`.

        Returns:
            Whether it was taken.
        """
        with self._lock:
            taken = self._inbox.put_row(row, now_s=now_s, age_s=age_s, source=source)
        if taken:
            self._arrived.set()
        return taken

    def on_command(self, text: str, *, now_s: float) -> Heard:
        """Takes a sentence. A stop takes effect at the next `tick`, whatever else goes on.

        Args:
            text: what was said.
            now_s: steady clock.

        Returns:
            What it was taken for.
        """
        with self._lock:
            if is_stop(text, exceptions=self.config.stop_exceptions):
                self._gate.stop(f"told to stop: '{text}'")
                return Heard.STOP
            if len(text) > _LONGEST_COMMAND:
                self._meter.ignored["command"] += 1
                return Heard.IGNORED
            current = self._gate.command
            repeated = current is not None and current.text == text
            number = self._num_commands + (not repeated)
            if not self._gate.tell(Command(number, text, now_s)):
                self._meter.ignored["command"] += 1
                return Heard.IGNORED
            self._num_commands = number
        self._arrived.set()
        return Heard.REPEATED if repeated else Heard.COMMAND

    def on_state(self, values: Float[np.ndarray, " state"], *, now_s: float) -> bool:
        """Takes a measured state.

        Args:
            values: raw units, in the order of the training data.
            now_s: steady clock.

        Returns:
            Whether it was taken: not if a number is not finite, or their number changed.
        """
        state = np.array(values, dtype=np.float64)
        with self._lock:
            taken = self._inbox.put_state(state, now_s=now_s)
            if taken:
                self._gate.measure(state, now_s)
        return taken

    def on_malformed(self, reason: str) -> None:
        """Counts a message that the shell could not read; the robot notices by its absence.

        Args:
            reason: what was wrong with it, for the diagnostics.
        """
        with self._lock:
            self._meter.drop("malformed", reason)

    def on_fault(self, reason: str) -> None:
        """Stands still until the next good percept.

        Args:
            reason: what went wrong in the shell, or in the thread of perception.
        """
        with self._lock:
            self._meter.last_refusal = reason
            self._gate.see(Percept(frame_s=math.nan, fault=reason), None)

    def wait_for_input(self, timeout_s: float) -> bool:
        """Waits until there is something to perceive.

        Args:
            timeout_s: longest wait.

        Returns:
            Whether something came.
        """
        came = self._arrived.wait(timeout_s)
        if came:
            # Not after a wait in vain, which would lose what comes in this very moment. What comes
            # between the two lines above is taken by the `perceive` that follows.
            self._arrived.clear()
        return came

    def perceive(self) -> Percept | None:
        """Encodes what came since the last call, compares it with the command, asks the decoder.

        This is the slow part; `PerceptionWorker` calls it in a thread of its own. Where time is
        simulated, call it after each `on_image`.

        Returns:
            The percept; None if nothing new can be said. It does not raise: see `Percept.fault`.
        """
        with self._perceiving:
            thinking = self.think()
            return None if thinking is None else self.conclude(thinking)

    def think(self) -> Thinking | None:
        """Does the slow half of `perceive`: what comes out is not in effect yet.

        For one thread at a time, with `conclude` before the next call. Where time is simulated, the
        time between the two is what the network takes.

        Returns:
            What to give to `conclude`; None if nothing new can be said.
        """
        with self._lock:
            epoch, command, inputs = self._epoch, self._gate.command, self._inbox.take()
        thought = self._thinker.think(inputs, command, epoch=epoch)
        return None if thought is None else Thinking(epoch, thought)

    def conclude(self, thinking: Thinking) -> Percept | None:
        """Puts what was thought into effect.

        Args:
            thinking: from `think`.

        Returns:
            The percept; None if the robot was started anew in the meantime.
        """
        thought = thinking.thought
        percept = thought.percept
        with self._lock:
            if thinking.epoch != self._epoch:
                return None
            self._percept = percept
            self._gate.see(percept, thought.chunk)
            if percept.fault is not None:
                self._meter.last_refusal = percept.fault
            elif thought.is_new:
                self._meter.encoded(percept.encode_ms, percept.frame_s)
        return percept

    def tick(self, now_s: float) -> Decision:
        """Decides what to send now. Never waits for perception.

        Args:
            now_s: steady clock.

        Returns:
            The decision; send its values if it says `publish`.
        """
        with self._lock:
            jumps = self._gate.num_clock_jumps
            decision = self._gate.tick(now_s)
            if self._gate.num_clock_jumps != jumps:
                self._new_epoch()
            return self._decided(decision)

    def shutdown(self) -> Decision:
        """Ends everything: send this decision last. Later ticks are silent.

        Returns:
            Standing still.
        """
        with self._lock:
            self._new_epoch()
            decision = self._gate.shut_down_now()
            return self._decided(decision)

    def activate(self) -> None:
        """Starts anew after `shutdown`: silent until the next command."""
        with self._lock:
            self._new_epoch()
            self._gate.activate()

    def diagnostics(self, now_s: float) -> Diagnostics:
        """Returns how the robot is doing.

        Args:
            now_s: steady clock.
        """
        with self._lock:
            return self._meter.snapshot(
                now_s,
                decision=self._decision,
                percept=self._percept,
                image_timeout_s=self.config.image_timeout_s,
                clock_jumps=self._gate.num_clock_jumps,
            )

    def _decided(self, decision: Decision) -> Decision:
        if not self.decoder.moves:
            decision = replace(decision, publish=False)
        self._decision = decision
        return decision

    def _drop(self, cause: str, reason: str) -> None:
        with self._lock:
            self._meter.drop(cause, reason)

    def _new_epoch(self) -> None:
        """What came before is no longer true."""
        self._epoch += 1
        self._inbox.clear()
        self._percept = None
