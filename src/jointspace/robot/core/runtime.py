"""The robot's mind without its body: messages in, decisions out, in any thread."""

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Float32

from jointspace.errors import ConfigError, InputError, did_you_mean
from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.decoder import ActionDecoder
from jointspace.robot.core.decoders import build_decoder
from jointspace.robot.core.diagnostics import Diagnostics, Level, Meter
from jointspace.robot.core.images import Picture
from jointspace.robot.core.mailbox import Mailbox
from jointspace.robot.core.percept import ActionChunk, Command, Percept, StateWindow
from jointspace.robot.core.perception import (
    Band,
    Frame,
    Judge,
    Perception,
    PictureStream,
    RobotEmbedder,
)
from jointspace.robot.core.safety import Decision, SafetyGate, State
from jointspace.robot.core.words import is_stop

_MOST_STATES = 4096


class Heard(StrEnum):
    """What became of a command."""

    STOP = "stop"
    """The robot stops: the shell should `tick` and publish at once, not wait for its timer."""
    COMMAND = "command"
    """It is carried out as soon as pictures were compared with it."""
    REPEATED = "repeated"
    """The same as before; its timeout starts again."""
    IGNORED = "ignored"
    """The robot is shut down, or the clock is broken."""


@dataclass(frozen=True)
class _Arrival:
    picture: Picture
    frame_s: float
    source: object


@dataclass(frozen=True)
class _Row:
    row: Float32[np.ndarray, " dim"]
    frame_s: float
    source: object


class RobotRuntime:
    """Takes messages from any thread, perceives in one thread, decides whenever it is asked.

    Every `now_s` is the same steady clock (`time.monotonic()`, or a bag's time), which no message
    and no simulator can stop. `tick` never waits for perception.

    Args:
        config: everything that can be set.
        embedder: the bundle.
        cameras: cameras of the bundle, each of which must send pictures.
        make_stream: makes an empty stream of pictures; `deploy.stream.VisionStream` of the embedder
            by default.
        judge: the calibrated threshold of pictures and text.
        decoder: what turns percepts into actions; by default what `config.decoder` names.
        state_window_s: how much of the measured states a decoder gets to see.

    Raises:
        ConfigError: a match is needed, and there is no threshold.

    Example:
        runtime = RobotRuntime.of_bundle(config, BundleEmbedder.load(folder))
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
        decoder: ActionDecoder | None = None,
        state_window_s: float = 1.0,
    ) -> None:
        self.config = config
        self.cameras = tuple(cameras)
        self.decoder = build_decoder(config, embedder) if decoder is None else decoder
        if not config.use_bundle_threshold:
            judge = Band(accept=config.accept_similarity, reject=config.reject_similarity)
        if judge is None and config.match_required and self.decoder.moves:
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
        self._perception = Perception(
            embedder,
            make_stream=make_stream,
            cameras=self.cameras,
            judge=judge,
            instructions=config.instructions,
        )
        self._state_window_s = state_window_s
        self._lock = threading.RLock()
        self._perceiving = threading.Lock()
        self._arrived = threading.Event()
        self._meter = Meter()
        self._boxes: dict[str, Mailbox[_Arrival]] = {c: Mailbox() for c in self.cameras}
        self._row_box: Mailbox[_Row] = Mailbox()
        self._states: deque[tuple[float, Float[np.ndarray, " state"]]] = deque(maxlen=_MOST_STATES)
        self._num_commands = 0
        self._judged = 0
        self._epoch = 0
        self._perception_epoch = 0
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
        name = self.cameras[0] if camera is None and len(self.cameras) == 1 else camera
        with self._lock:
            frame_s = self._frame_time(now_s, age_s)
            if frame_s is None:
                return False
            box = self._boxes.get(name or "")
            if box is None:
                known = did_you_mean(str(name), self.cameras)
                return self._drop("unknown camera", f"no camera '{name}'.{known}")
            if box.put(_Arrival(picture, frame_s, source)):
                self._meter.drops["replaced"] += 1
        self._arrived.set()
        return True

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
            frame_s = self._frame_time(now_s, age_s)
            if frame_s is None:
                return False
            if self._row_box.put(_Row(row, frame_s, source)):
                self._meter.drops["replaced"] += 1
        self._arrived.set()
        return True

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
            if self._gate.shut_down or not math.isfinite(now_s):
                self._meter.ignored["command"] += 1
                return Heard.IGNORED
            current = self._gate.command
            repeated = current is not None and current.text == text
            if not repeated:
                self._num_commands += 1
            self._gate.tell(Command(self._num_commands, text, now_s))
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
            changed = bool(self._states) and len(self._states[-1][1]) != len(state)
            if changed or not (np.isfinite(state).all() and math.isfinite(now_s)):
                self._meter.ignored["state"] += 1
                return False
            self._states.append((now_s, state))
            self._gate.measure(state, now_s)
        return True

    def wait_for_input(self, timeout_s: float) -> bool:
        """Waits until there is something to perceive.

        Args:
            timeout_s: longest wait.

        Returns:
            Whether something came.
        """
        came = self._arrived.wait(timeout_s)
        self._arrived.clear()
        return came

    def perceive(self) -> Percept | None:
        """Encodes what came since the last call, compares it with the command, asks the decoder.

        This is the slow part; `PerceptionWorker` calls it in a thread of its own. Where time is
        simulated, call it after each `on_image`.

        Returns:
            The percept; None if nothing new can be said. An exception of the network, of the
            decoder or of a picture's numbers becomes the percept's `fault`.
        """
        with self._perceiving:
            with self._lock:
                epoch, command = self._epoch, self._gate.command
                states = self._state_window()
                arrivals = {camera: box.take() for camera, box in self._boxes.items()}
                row = self._row_box.take()
            if self._perception_epoch != epoch:
                self._perception.reset()
                self.decoder.reset()
                self._perception_epoch = epoch
            frames = self._decode(arrivals)
            number = 0 if command is None else command.number
            if not frames and row is None and number == self._judged:
                return None
            if number != self._judged:
                self.decoder.reset()
                self._judged = number
            percept, chunk = self._think(frames, row, command, states)
            if percept is None:
                return None
            with self._lock:
                if epoch != self._epoch:
                    return None
                self._percept = percept
                self._gate.see(percept, chunk)
                if frames and percept.fault is None:
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
            if not self.decoder.moves:
                decision = Decision(decision.values, decision.state, decision.reason, publish=False)
            self._decision = decision
            return decision

    def shutdown(self) -> Decision:
        """Ends everything: send this decision last. Later ticks are silent.

        Returns:
            Standing still.
        """
        with self._lock:
            self._new_epoch()
            decision = self._gate.shut_down_now()
            if not self.decoder.moves:
                decision = Decision(decision.values, decision.state, decision.reason, publish=False)
            self._decision = decision
            return decision

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
            meter, percept, decision = self._meter, self._percept, self._decision
            slow_ms = meter.encode_ms(95)
            too_slow = slow_ms is not None and 2e-3 * slow_ms > self.config.image_timeout_s
            level = Level.OK
            if decision.state is State.BLIND or too_slow:
                level = Level.WARN
            if decision.state is State.FAULT:
                level = Level.ERROR
            return Diagnostics(
                state=decision.state,
                reason=decision.reason,
                level=level,
                fps=meter.fps(now_s),
                encode_p50_ms=meter.encode_ms(50),
                encode_p95_ms=slow_ms,
                drops=dict(meter.drops),
                ignored=dict(meter.ignored),
                similarity=None if percept is None else percept.similarity,
                best_instruction=None if percept is None else percept.best_instruction,
                last_refusal=meter.last_refusal,
                clock_jumps=self._gate.num_clock_jumps,
            )

    def _think(
        self,
        frames: dict[str, Frame],
        row: _Row | None,
        command: Command | None,
        states: StateWindow | None,
    ) -> tuple[Percept | None, ActionChunk | None]:
        newest_s = max((frame.frame_s for frame in frames.values()), default=math.nan)
        try:
            if frames:
                self._perception.look(frames)
            if row is not None:
                self._perception.look_at_row(row.row, frame_s=row.frame_s, source=row.source)
            percept = self._perception.judge(command, states)
            applies = percept is not None and command is not None
            if percept is None or not applies:
                return percept, None
            if self.config.match_required and percept.verdict != "accept":
                return percept, None
            return percept, self.decoder.decode(percept)
        except Exception as error:  # noqa: BLE001 - whatever a network raises, the robot stands still
            fault = f"{type(error).__name__}: {error}"
            with self._lock:
                self._meter.last_refusal = fault
            return Percept(frame_s=newest_s, command=command, fault=fault), None

    def _decode(self, arrivals: dict[str, _Arrival | None]) -> dict[str, Frame]:
        frames = {}
        for camera, arrival in arrivals.items():
            if arrival is None:
                continue
            if not self._perception.is_newer(camera, arrival.frame_s):
                with self._lock:
                    self._drop("out of order", f"a picture of '{camera}' came out of order")
                continue
            try:
                pixels = arrival.picture.rgb()
            except InputError as error:
                with self._lock:
                    self._drop("malformed", str(error))
                continue
            frames[camera] = Frame(pixels, arrival.frame_s, arrival.source)
        return frames

    def _frame_time(self, now_s: float, age_s: float) -> float | None:
        if not (math.isfinite(now_s) and math.isfinite(age_s)):
            self._drop("malformed", f"a picture's age is {age_s} s at {now_s} s")
        elif age_s > self.config.image_timeout_s:
            self._drop("too old", f"a picture's stamp is {age_s:.2f} s old")
        elif age_s < -self.config.stamp_tolerance_s:
            self._drop("future", f"a picture's stamp is {-age_s:.2f} s in the future")
        else:
            return now_s - max(0.0, age_s)
        return None

    def _drop(self, cause: str, reason: str) -> bool:
        self._meter.drops[cause] += 1
        self._meter.last_refusal = reason
        return False

    def _state_window(self) -> StateWindow | None:
        if not self._states:
            return None
        newest_s = self._states[-1][0]
        recent = [(t, v) for t, v in self._states if 0 <= newest_s - t <= self._state_window_s]
        return StateWindow(
            np.stack([values for _, values in recent]), np.array([time_s for time_s, _ in recent])
        )

    def _new_epoch(self) -> None:
        """What came before is no longer true."""
        self._epoch += 1
        self._states.clear()
        for box in self._boxes.values():
            box.take()
        self._row_box.take()
        self._percept = None
