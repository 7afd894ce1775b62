"""The decoder that never moves: embeddings, similarity and the best instruction alone."""

from jointspace.robot.core.percept import ActionChunk, Percept


class NoneDecoder:
    """Watches and compares; the robot publishes no control messages."""

    needs_state = False
    moves = False

    def decode(self, percept: Percept) -> ActionChunk | None:  # noqa: ARG002
        """Returns None."""
        return None

    def reset(self) -> None:
        """Has nothing to forget."""
