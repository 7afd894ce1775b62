"""What an instruction says, in the words of demonstrations: of one worded otherwise than any."""

import numpy as np
from jaxtyping import Float, Float32, Int

from jointspace.errors import InputError

_NUM_NEAREST = 50
_RIDGE = 0.1
_DECIMALS = 4


def distinct_rows(
    rows: Float32[np.ndarray, "episode dim"],
) -> tuple[Float32[np.ndarray, "text dim"], Int[np.ndarray, " episode"]]:
    """Returns the row of each instruction once, and which of these every episode has.

    A text's row differs in its last digits with the texts that it was embedded beside.
    """
    _, first, place = np.unique(
        rows.round(_DECIMALS), axis=0, return_index=True, return_inverse=True
    )
    return rows[first], place.reshape(-1)


class KnownWordings:
    """The instructions of the demonstrations, as rows of the joint space.

    A row of a wording that was never demonstrated has parts that a network trained on the others
    has not met, and answers to at random. So it reads the nearest row that is made of known ones:
    that in the plane through the fifty nearest. A sentence of a known wording stays what it is,
    though its things never came together; what no known row has is left out.

    Args:
        rows: unit rows of instructions, each once; see `distinct_rows`.

    Raises:
        InputError: there are none.
    """

    def __init__(self, rows: Float32[np.ndarray, "text dim"]) -> None:
        if not len(rows):
            raise InputError("retrieval policy: there are no instructions; expected at least one")
        self.rows = rows

    def nearest(self, row: Float[np.ndarray, " dim"]) -> Float32[np.ndarray, " dim"]:
        """Returns the nearest row in the plane through the nearest known rows, of length 1.

        Args:
            row: of whatever was said.

        Source:
            Local reconstruction as in locally linear embedding (S. T. Roweis, L. K. Saul, 2000),
            with a ridge in the place of its constraint.
        """
        similarity = self.rows @ row.astype(np.float32)
        count = min(_NUM_NEAREST, len(self.rows))
        found = self.rows[np.argpartition(-similarity, count - 1)[:count]].astype(np.float64)
        centre = found.mean(0)
        away = found - centre
        gram = away @ away.T + _RIDGE * np.eye(count)
        made = centre + np.linalg.solve(gram, away @ (row - centre)) @ away
        return (made / np.linalg.norm(made)).astype(np.float32)
