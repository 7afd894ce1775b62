"""From what came in to what should be done, in the thread of perception: no lock, no clock."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jointspace.robot.core.decoder import ActionDecoder
from jointspace.robot.core.inbox import Inputs
from jointspace.robot.core.percept import ActionChunk, Command, Percept
from jointspace.robot.core.perception import Frame, Perception


@dataclass(frozen=True)
class Thought:
    """A percept, and what to do about it.

    Attributes:
        percept: what was seen.
        chunk: what the decoder wants done; None to stand still.
        is_new: whether there were new pictures, not only a new command.
    """

    percept: Percept
    chunk: ActionChunk | None
    is_new: bool


class Thinker:
    """Perceives, and asks the decoder where the command applies. For one thread at a time.

    Args:
        perception: encodes and compares.
        decoder: decides what to do.
        match_required: whether the decoder is asked only where the threshold accepts.
        drop: is told cause and reason of each picture that is not used.
    """

    def __init__(
        self,
        perception: Perception,
        decoder: ActionDecoder,
        *,
        match_required: bool,
        drop: Callable[[str, str], object],
    ) -> None:
        self._perception = perception
        self._decoder = decoder
        self._match_required = match_required
        self._drop = drop
        self._epoch = 0
        self._judged = 0

    def think(self, inputs: Inputs, command: Command | None, *, epoch: int) -> Thought | None:
        """Encodes what is new, compares it with the command, asks the decoder.

        Args:
            inputs: what came since the last call.
            command: what the robot was told; None if nothing.
            epoch: when it changes, what was seen before is forgotten.

        Returns:
            The thought; None if nothing new can be said. Whatever network or decoder raise becomes
            the percept's `fault`.
        """
        try:
            return self._think(inputs, command, epoch)
        except Exception as error:  # noqa: BLE001 - whatever a network raises, the robot stands still
            self._perception.doubt()
            fault = f"{type(error).__name__}: {error}"
            percept = Percept(frame_s=math.nan, command=command, fault=fault)
            return Thought(percept, None, is_new=False)

    def _think(self, inputs: Inputs, command: Command | None, epoch: int) -> Thought | None:
        number = 0 if command is None else command.number
        told = number != self._judged
        self._judged = number
        if epoch != self._epoch:
            self._epoch = epoch
            self._perception.reset()
            self._decoder.reset()
        elif told:
            self._decoder.reset()
        frames = self._decode(inputs)
        is_new = bool(frames) or inputs.row is not None
        if not is_new and not told:
            return None
        if frames:
            self._perception.look(frames)
        if inputs.row is not None:
            row = inputs.row
            self._perception.look_at_row(row.row, frame_s=row.frame_s, source=row.source)
        percept = self._perception.judge(command, inputs.states)
        if percept is None:
            return None
        asked = command is not None and (percept.verdict == "accept" or not self._match_required)
        return Thought(percept, self._decoder.decode(percept) if asked else None, is_new)

    def _decode(self, inputs: Inputs) -> dict[str, Frame]:
        frames = {}
        for camera, arrival in inputs.arrivals.items():
            if not self._perception.is_newer(camera, arrival.frame_s):
                self._drop("out of order", f"a picture of '{camera}' came out of order")
                continue
            try:
                pixels = arrival.picture.rgb()
            except Exception as error:  # noqa: BLE001 - bytes from a network can break any decoder
                self._drop("malformed", str(error) or type(error).__name__)
                continue
            frames[camera] = Frame(pixels, arrival.frame_s, arrival.source)
        return frames
