"""Per-dimension normalisation of actions, states and sensors, from the training split alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float32

from jointspace.errors import InputError, RunFolderError

CLIP_SIGMA = 5.0
"""Normalised values end here, on both sides: one broken reading must not outweigh all others."""

_QUANTILES = (0.001, 0.01, 0.99, 0.999)
_MAX_QUANTILE_ROWS = 1_000_000
_CONSTANT_RANGE = 1e-6  # of the values' size: what is left of a constant after float32
_SMALLEST_RANGE = 1e-30  # in raw units: smaller ones would divide by a denormal number
_CLEAR_SWITCH = 0.5  # in raw units: a two-valued dimension this wide needs no scaling
_SMALLEST_SPREAD = 1e-4  # of the values' size


@dataclass(frozen=True)
class Normaliser:
    """An affine map per dimension, `(value - centre) / scale`, clipped to `low` and `high`.

    Attributes:
        centre: what becomes 0, in raw units.
        scale: what becomes a step of 1, in raw units; positive.
        low: smallest normalised value.
        high: largest normalised value; equal to `low` (0) where the dimension never changed in
            training.
    """

    centre: Float32[np.ndarray, " dim"]
    scale: Float32[np.ndarray, " dim"]
    low: Float32[np.ndarray, " dim"]
    high: Float32[np.ndarray, " dim"]

    @staticmethod
    def fit(sequences: Sequence[Float32[np.ndarray, "_ dim"]], *, name: str) -> "Normaliser":
        """Computes the map of every dimension from values clipped to their 1 % and 99 % quantiles.

        Three kinds of dimensions are told apart. Constant: always 0 after normalisation, also where
        it moves later. Two values only (a gripper, a switch): kept as it is if both lie in [-1, 1]
        and well apart, else mapped to 0 and 1. All others: the clipped values' mean becomes 0 and
        their standard deviation 1, but for two cases. The deviation is at least a fifth of the
        distance to the 0.1 % and 99.9 % quantiles (to the extremes, where even those agree), so
        that a joint that rests nearly always does not have its noise blown up and its motion
        clipped off; and at least 1e-4 of the values' size.

        Args:
            sequences: the training episodes, "time dim" each, in raw units.
            name: what is normalised, for the error.

        Returns:
            The normaliser.

        Raises:
            InputError: there are no steps, the dimensions differ, or a value is not finite.

        Source:
            Quantile clipping as in LeRobot's and Octo's statistics, which are stored with the data;
            ours are computed from the data, since stored ones have been found wrong.
        """
        dims = {each.shape[1] for each in sequences}
        if len(dims) != 1 or not sum(len(each) for each in sequences):
            raise InputError(
                f"{name}: cannot be normalised, the training episodes hold no steps"
                if len(dims) <= 1
                else f"{name}: training episodes differ in their dimension: {sorted(dims)}"
            )
        rows = np.concatenate(sequences)
        if not np.isfinite(rows).all():
            dim = int(np.flatnonzero(~np.isfinite(rows).all(axis=0))[0])
            raise InputError(f"{name}: dimension {dim} holds values that are not finite")
        columns = [_fit_dimension(rows[:, dim]) for dim in range(rows.shape[1])]
        table = np.asarray(columns, dtype=np.float32).reshape(-1, 4)
        return Normaliser(*(np.ascontiguousarray(column) for column in table.T))

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.centre)

    @property
    def constant(self) -> tuple[int, ...]:
        """The dimensions that never changed in training."""
        return tuple(np.flatnonzero(self.low == self.high).tolist())

    def apply(self, values: Float32[np.ndarray, "*row dim"]) -> Float32[np.ndarray, "*row dim"]:
        """Normalises values in raw units.

        Args:
            values: any number of rows; a value that is not a number stays one.

        Returns:
            Normalised values.

        Raises:
            InputError: the last axis has another length than the normaliser.
        """
        self._check(values)
        out = values - self.centre
        out /= self.scale
        return np.clip(out, self.low, self.high, out=out)

    def inverse(self, values: Float32[np.ndarray, "*row dim"]) -> Float32[np.ndarray, "*row dim"]:
        """Maps normalised values back to raw units; what `apply` clipped stays clipped.

        Args:
            values: normalised rows.

        Returns:
            Values in raw units.

        Raises:
            InputError: the last axis has another length than the normaliser.
        """
        self._check(values)
        return values * self.scale + self.centre

    def to_json(self) -> dict[str, list[float]]:
        """Returns lists of numbers that `from_json` reads back bit by bit."""
        return {f.name: getattr(self, f.name).tolist() for f in fields(self)}

    @staticmethod
    def from_json(payload: Mapping[str, Any]) -> "Normaliser":
        """Reads what `to_json` returned.

        Args:
            payload: the four lists.

        Returns:
            The normaliser.

        Raises:
            RunFolderError: a list is missing, or they differ in length.
        """
        names = [f.name for f in fields(Normaliser)]
        if set(payload) != set(names) or len({len(payload[n]) for n in names}) != 1:
            raise RunFolderError(f"normaliser: expected {names} of one length, got {list(payload)}")
        return Normaliser(**{n: np.asarray(payload[n], dtype=np.float32) for n in names})

    def _check(self, values: np.ndarray) -> None:
        if values.shape[-1] != self.dim:
            raise InputError(
                f"got values of dimension {values.shape[-1]}, expected {self.dim} as in training"
            )


def _fit_dimension(values: Float32[np.ndarray, " time"]) -> tuple[float, float, float, float]:
    """Returns centre, scale, low and high of one dimension."""
    smallest, largest = float(values.min()), float(values.max())
    size = max(abs(smallest), abs(largest))
    if largest - smallest <= max(_CONSTANT_RANGE * size, _SMALLEST_RANGE):
        return (smallest + largest) / 2, 1.0, 0.0, 0.0
    if bool(((values == smallest) | (values == largest)).all()):
        if size <= 1 and largest - smallest >= _CLEAR_SWITCH:
            return 0.0, 1.0, -CLIP_SIGMA, CLIP_SIGMA
        return smallest, largest - smallest, -CLIP_SIGMA, CLIP_SIGMA
    step = -(-len(values) // _MAX_QUANTILE_ROWS)
    quantiles = np.quantile(values[::step].astype(np.float64), _QUANTILES).tolist()
    lowest, low, high, highest = quantiles
    clipped = np.clip(values.astype(np.float64), low, high)
    centre = float(clipped.mean())
    size_of_most = max(abs(lowest), abs(highest))
    if highest - lowest <= _CONSTANT_RANGE * size_of_most:
        lowest, highest = smallest, largest
    reach = max(highest - centre, centre - lowest) / CLIP_SIGMA
    scale = max(float(clipped.std()), reach, _SMALLEST_SPREAD * size_of_most)
    return centre, scale, -CLIP_SIGMA, CLIP_SIGMA
