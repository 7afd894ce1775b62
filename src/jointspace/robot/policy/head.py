"""The small network in whose last layer demonstrations are compared; NumPy alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

TEXT_SCALE = 6.0
"""Brings the entries of a unit row to about one half."""


@dataclass(frozen=True)
class ControlHead:
    """From what is seen, felt and told to a row, and from the row to the next actions.

    Its rows lie near each other where the same should be done: it is trained to predict the
    demonstrations' actions. What it predicts by itself is behaviour cloning.

    Attributes:
        arrays: `<layer>.weight` and `<layer>.bias` of text, first, second, row and chunk.
    """

    arrays: Mapping[str, Float32[np.ndarray, "..."]]

    def rows(
        self, seen: Float32[np.ndarray, "batch feature"], text: Float32[np.ndarray, "batch dim"]
    ) -> Float32[np.ndarray, "batch row"]:
        """Returns the rows in which demonstrations are looked up."""
        told = _gelu(self._layer("text", text * TEXT_SCALE))
        hidden = _gelu(self._layer("first", np.concatenate([seen, told], axis=1)))
        hidden = hidden + _gelu(self._layer("second", hidden))
        return _gelu(self._layer("row", hidden))

    def chunks(self, rows: Float32[np.ndarray, "batch row"]) -> Float32[np.ndarray, "batch target"]:
        """Returns the scaled actions that follow, as the network itself predicts them."""
        return self._layer("chunk", rows)

    def _layer(self, name: str, values: np.ndarray) -> np.ndarray:
        return values @ self.arrays[f"{name}.weight"].T + self.arrays[f"{name}.bias"]


def _gelu(values: np.ndarray) -> np.ndarray:
    """The smooth rectifier, in its tanh form."""
    return 0.5 * values * (1 + np.tanh(0.7978845608 * (values + 0.044715 * values**3)))
