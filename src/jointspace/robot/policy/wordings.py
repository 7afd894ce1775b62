"""What an instruction says, in the words of demonstrations: of one worded otherwise than any."""

import numpy as np
from jaxtyping import Float, Float32

from jointspace.errors import InputError

_NUM_NEAREST = 5
_TEMPERATURE = 0.05
_DECIMALS = 4


class KnownWordings:
    """The instructions of the demonstrations, as rows of the joint space.

    A row of a wording that was never demonstrated has parts that a network trained on the others
    has not met, and answers to at random. So it reads a mean of the nearest rows that it has met.
    What those do not share, such as two colours that never came together, is lost in the mean;
    whatever can read a row in closed form (`grounding`) is to read it as it is.

    Args:
        rows: unit rows of instructions, each once.

    Raises:
        InputError: there are none.
    """

    def __init__(self, rows: Float32[np.ndarray, "text dim"]) -> None:
        if not len(rows):
            raise InputError("retrieval policy: there are no instructions; expected at least one")
        self.rows = rows

    @staticmethod
    def of(rows: Float32[np.ndarray, "episode dim"]) -> "KnownWordings":
        """Takes the instruction of every demonstration; those that are told again count once."""
        # A text's row differs in its last digits with the texts that it was embedded beside.
        _, first = np.unique(rows.round(_DECIMALS), axis=0, return_index=True)
        return KnownWordings(rows[first])

    def nearest(self, row: Float[np.ndarray, " dim"]) -> Float32[np.ndarray, " dim"]:
        """Returns the mean of the known rows that are nearest to one, of length 1.

        Args:
            row: of whatever was said.
        """
        similarity = self.rows @ row.astype(np.float32)
        count = min(_NUM_NEAREST, len(self.rows))
        found = np.argpartition(-similarity, count - 1)[:count]
        weights = np.exp((similarity[found] - similarity[found].max()) / _TEMPERATURE)
        mean = weights @ self.rows[found]
        return (mean / np.linalg.norm(mean)).astype(np.float32)
