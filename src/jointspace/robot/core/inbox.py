"""What came in and was not perceived yet: the newest picture of each camera, the newest states."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from jointspace.errors import did_you_mean
from jointspace.robot.core.diagnostics import Meter
from jointspace.robot.core.images import Picture
from jointspace.robot.core.mailbox import Mailbox
from jointspace.robot.core.percept import StateWindow

_MOST_STATES = 4096


@dataclass(frozen=True)
class Arrival:
    """A picture that is not decoded yet.

    Attributes:
        picture: its bytes.
        frame_s: when it was taken, on the steady clock.
        source: what the shell passed along.
    """

    picture: Picture
    frame_s: float
    source: object


@dataclass(frozen=True)
class ArrivedRow:
    """A row that another process has made of pictures.

    Attributes:
        row: of the joint space, not checked yet.
        frame_s: when the pictures were taken, on the steady clock.
        source: what the shell passed along.
    """

    row: Float32[np.ndarray, " dim"]
    frame_s: float
    source: object


@dataclass(frozen=True)
class Inputs:
    """What came since the last look.

    Attributes:
        arrivals: camera -> its newest picture; cameras without a new one are left out.
        row: the newest row; None without a new one.
        states: those of the last window; None if none came.
    """

    arrivals: dict[str, Arrival]
    row: ArrivedRow | None
    states: StateWindow | None


class Inbox:
    """Refuses what is too old, from the future or not finite; keeps the newest of the rest.

    Args:
        cameras: whose pictures are taken.
        meter: counts what is refused or replaced.
        image_timeout_s: greatest age of a picture's stamp.
        stamp_tolerance_s: how far in the future a stamp may lie.
        state_window_s: length of the window of states.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        *,
        meter: Meter,
        image_timeout_s: float,
        stamp_tolerance_s: float,
        state_window_s: float,
    ) -> None:
        self._cameras = tuple(cameras)
        self._meter = meter
        self._image_timeout_s = image_timeout_s
        self._stamp_tolerance_s = stamp_tolerance_s
        self._state_window_s = state_window_s
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self._boxes: dict[str, Mailbox[Arrival]] = {name: Mailbox() for name in self._cameras}
        self._row_box: Mailbox[ArrivedRow] = Mailbox()
        self._states: deque[tuple[float, Float64[np.ndarray, " state"]]]
        self._states = deque(maxlen=_MOST_STATES)

    def put_picture(
        self, camera: str | None, picture: Picture, *, now_s: float, age_s: float, source: object
    ) -> bool:
        """Takes a picture; False if it is refused. Without a name it is the only camera's."""
        name = self._cameras[0] if camera is None and len(self._cameras) == 1 else str(camera)
        box = self._boxes.get(name)
        if box is None:
            reason = f"no camera '{name}'.{did_you_mean(name, self._cameras)}"
            return self._meter.drop("unknown camera", reason)
        frame_s = self._frame_time(now_s, age_s)
        if frame_s is None:
            return False
        self._count_replaced(box.put(Arrival(picture, frame_s, source)))
        return True

    def put_row(
        self, row: Float32[np.ndarray, " dim"], *, now_s: float, age_s: float, source: object
    ) -> bool:
        """Takes a row; False if it is refused."""
        frame_s = self._frame_time(now_s, age_s)
        if frame_s is None:
            return False
        self._count_replaced(self._row_box.put(ArrivedRow(row, frame_s, source)))
        return True

    def put_state(self, state: Float64[np.ndarray, " state"], *, now_s: float) -> bool:
        """Takes a state; False if a number is not finite, or their number changed."""
        changed = bool(self._states) and len(self._states[-1][1]) != len(state)
        if changed or not (np.isfinite(state).all() and math.isfinite(now_s)):
            self._meter.ignored["state"] += 1
            return False
        self._states.append((now_s, state))
        return True

    def take(self) -> Inputs:
        """Takes out what came since the last call."""
        arrivals = {camera: box.take() for camera, box in self._boxes.items()}
        return Inputs(
            {camera: arrival for camera, arrival in arrivals.items() if arrival is not None},
            self._row_box.take(),
            self._state_window(),
        )

    def _frame_time(self, now_s: float, age_s: float) -> float | None:
        if not (math.isfinite(now_s) and math.isfinite(age_s)):
            self._meter.drop("malformed", f"a picture's age is {age_s} s at {now_s} s")
        elif age_s > self._image_timeout_s:
            self._meter.drop("too old", f"a picture's stamp is {age_s:.2f} s old")
        elif age_s < -self._stamp_tolerance_s:
            self._meter.drop("future", f"a picture's stamp is {-age_s:.2f} s in the future")
        else:
            return now_s - max(0.0, age_s)
        return None

    def _count_replaced(self, replaced: bool) -> None:  # noqa: FBT001 - what Mailbox.put returns
        if replaced:
            self._meter.drops["replaced"] += 1

    def _state_window(self) -> StateWindow | None:
        if not self._states:
            return None
        newest_s = self._states[-1][0]
        recent = [(t, v) for t, v in self._states if 0 <= newest_s - t <= self._state_window_s]
        return StateWindow(
            np.stack([values for _, values in recent]), np.array([time_s for time_s, _ in recent])
        )
