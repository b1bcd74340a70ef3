"""Places on one axis of an array, and the values there: what scaling, moving and resizing need of each axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .boundary import settled
from .lookup import nearest_index
from .splines import first_tap, tap_weights


@dataclass(frozen=True)
class Line:
    """Index ``o`` of the result lies at ``factor * o + offset``."""

    factor: float
    offset: float

    def nearest(self, begin: int, end: int) -> np.ndarray:
        """The nearest voxels, half-way up."""
        return nearest_index(self._at(begin, end))

    def places(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Whole and rest of each place."""
        at = self._at(begin, end)
        whole = np.floor(at)
        return whole.astype(np.int64), at - whole

    def _at(self, begin: int, end: int) -> np.ndarray:
        steps = settled(self.factor * np.arange(begin, end, dtype=np.float64))
        return np.asarray(steps + settled(np.asarray(self.offset)))


@dataclass(frozen=True)
class Stretch:
    """`new` voxels of the result cover the `size` voxels of the array, in whole numbers.

    Index ``o`` of the result lies at ``(o + 1/2) * size / new - 1/2``.
    """

    size: int
    new: int

    @property
    def factor(self) -> float:
        """Voxels of the array that one step of the result passes."""
        return self.size / self.new

    @property
    def offset(self) -> float:
        """Where index 0 lies."""
        return (self.size / self.new - 1) / 2

    def nearest(self, begin: int, end: int) -> np.ndarray:
        """The nearest voxels, half-way up."""
        return (2 * np.arange(begin, end) + 1) * self.size // (2 * self.new)

    def places(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Whole and rest of each place."""
        whole, rest = np.divmod((2 * np.arange(begin, end) + 1) * self.size - self.new, 2 * self.new)
        return whole, rest / (2 * self.new)


def values_on(block: np.ndarray, axis: int, order: int, whole: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Values at ``whole + rest`` along an axis of spline coefficients, in float64.

    Parameters
    ----------
    block : numpy.ndarray
        Coefficients (for order 1 these are the values); index 0 of the axis is that of `whole`.
    axis : int
    order : int
        1 to 5.
    whole, rest : numpy.ndarray
        Places, as integers and what is beyond them (0 to 1).
    """
    first, inside = first_tap(order, whole, rest)
    shape = [-1 if one == axis else 1 for one in range(block.ndim)]
    result: np.ndarray | None = None
    for tap, weight in enumerate(tap_weights(order, inside)):
        # the last neighbour of a place at the very end has no weight, and need not be there
        part = block.take(np.minimum(first + tap, block.shape[axis] - 1), axis)
        with np.errstate(invalid="ignore"):  # infinity without weight, or of both signs
            product = np.multiply(part, weight.reshape(shape), dtype=np.float64)
            result = product if result is None else np.add(result, product, out=result)
    assert result is not None
    if order == 1 and not rest.all():
        # a voxel itself, also beside one that is NaN or infinite
        exact = (slice(None),) * axis + (rest == 0,)
        result[exact] = block.take(whole[rest == 0], axis)
    return result
