"""The protocol of action decoders: from a percept to what should be done."""

from typing import Protocol, runtime_checkable

from jointspace.robot.core.percept import ActionChunk, Percept


@runtime_checkable
class ActionDecoder(Protocol):
    """Turns what the robot sees and was told into actions, in the order of the channels.

    A decoder runs in the thread of perception, once for each percept whose command applies. What
    it returns is clamped and ramped by the safety gate; what it raises stops the robot.
    """

    @property
    def needs_state(self) -> bool:
        """Whether it reads `Percept.states`; the robot then stands still while none is fresh."""
        ...

    @property
    def moves(self) -> bool:
        """Whether it ever returns a chunk; if not, no control messages are published at all."""
        ...

    def decode(self, percept: Percept) -> ActionChunk | None:
        """Decides what to do.

        Args:
            percept: without a fault, with a command.

        Returns:
            The actions; None to stand still, where the decoder does not know better.

        Raises:
            InputError: the percept lacks what the decoder reads.
        """
        ...

    def reset(self) -> None:
        """Forgets what it remembers of earlier percepts: the command changed, or time broke."""
        ...
