"""Named commands to velocities, for mobile bases."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Float64

from jointspace.errors import InputError
from jointspace.robot.core.percept import ActionChunk, Percept
from jointspace.robot.core.words import normalised, without_fillers

_VERBS = frozenset(("go", "going", "move", "drive", "run", "head", "roll", "walk", "keep"))
_SAME_WORDS = {
    "forwards": "forward",
    "ahead": "forward",
    "straight": "forward",
    "onward": "forward",
    "back": "backward",
    "backwards": "backward",
    "reverse": "backward",
    "rotate": "turn",
    "spin": "turn",
    "leftwards": "left",
    "rightwards": "right",
}
_NEGATIONS = frozenset(
    ("not", "dont", "never", "no", "without", "cannot", "cant", "avoid", "except", "unless")
)


class VelocityDecoder:
    """Drives at the velocity that the configuration gives the command's name.

    A command is looked up by its words first: "Robot, please drive straight ahead!" is "forward".
    One that is not found is compared with the names in the joint space, and has the velocity of
    the nearest if the cosine of their texts reaches `min_similarity`, as that of no other velocity
    does. Texts that deny ("do not go forward") resemble what they deny, and are not compared.

    Args:
        velocities: name -> one velocity per channel.
        embed_texts: the text tower; None leaves the comparison out.
        min_similarity: cosine that the nearest name must reach.

    Raises:
        InputError: there is no name, or two names mean the same.
    """

    needs_state = False
    moves = True

    def __init__(
        self,
        velocities: Mapping[str, Sequence[float]],
        *,
        embed_texts: Callable[[Sequence[str]], Float32[np.ndarray, "text dim"]] | None = None,
        min_similarity: float = 0.95,
    ) -> None:
        if not velocities:
            raise InputError("velocity decoder: got no named velocities, expected at least one")
        self._by_words: dict[str, Float64[np.ndarray, " channel"]] = {}
        for name, values in velocities.items():
            words = spoken_name(name)
            if words in self._by_words:
                raise InputError(f"velocity decoder: '{name}' means the same as another name")
            self._by_words[words] = np.asarray(values, dtype=np.float64)
        self._velocities = np.stack(list(self._by_words.values()))
        self._min_similarity = min_similarity
        self._rows = None if embed_texts is None else embed_texts(list(velocities))

    def decode(self, percept: Percept) -> ActionChunk | None:
        """Returns the velocity of the command, which goes on while pictures come.

        Args:
            percept: with a command.

        Returns:
            One step; None if the command is no name and near to none, or to two that differ.

        Raises:
            InputError: there is no command.
        """
        if percept.command is None:
            raise InputError("velocity decoder: the percept has no command")
        text = percept.command.text
        velocity = self._by_words.get(spoken_name(text))
        if velocity is None:
            # "Turn right now" turns right; "forward right now" goes forward.
            at_once = normalised(text).replace("right now", "").replace("right away", "")
            velocity = self._by_words.get(spoken_name(at_once))
        if velocity is None and percept.text is not None:
            velocity = self._nearest(text, percept.text)
        if velocity is None:
            return None
        return ActionChunk(values=velocity[None], rate_hz=1.0, start_s=percept.frame_s, hold=True)

    def reset(self) -> None:
        """Has nothing to forget."""

    def _nearest(
        self, text: str, row: Float32[np.ndarray, " dim"]
    ) -> Float64[np.ndarray, " channel"] | None:
        if self._rows is None or not _NEGATIONS.isdisjoint(normalised(text).split()):
            return None
        near = self._velocities[self._rows @ row >= self._min_similarity]
        if not len(near) or (near != near[0]).any():
            return None
        return near[0]


def spoken_name(text: str) -> str:
    """Returns the words of a movement by which it is looked up.

    Example:
        >>> spoken_name("Please drive straight ahead!"), spoken_name("Rotate left")
        ('forward', 'turn left')
    """
    kept: list[str] = []
    for word in normalised(text).split():
        same = _SAME_WORDS.get(word, word)
        # "right" is a direction here, not the filler of "right now".
        filler = word != "right" and not without_fillers(word)
        if not filler and word not in _VERBS and same not in kept:
            kept.append(same)
    return " ".join(kept)
