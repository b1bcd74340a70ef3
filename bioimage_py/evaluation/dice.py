"""The sums behind the Dice coefficient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Sums = tuple[float, float]


@dataclass(frozen=True)
class DiceSums:
    """Kernel: (sum of the products, sum of both) of two blocks, exact for two foregrounds.

    Parameters
    ----------
    threshold_a, threshold_b : float, optional
        Values above it count 1, others 0; None takes the values themselves.
    """

    threshold_a: float | None = 0
    threshold_b: float | None = 0

    def __call__(self, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> Sums:
        """The two sums of the voxels inside the mask."""
        if mask is not None:
            inside = mask.astype(bool, copy=False)
            a, b = a[inside], b[inside]
        if self.threshold_a is not None and self.threshold_b is not None:
            first, second = a > self.threshold_a, b > self.threshold_b
            return int(np.count_nonzero(first & second)), int(np.count_nonzero(first)) + int(np.count_nonzero(second))
        x, y = _values(a, self.threshold_a), _values(b, self.threshold_b)
        return float(np.sum(x * y)), float(np.sum(x) + np.sum(y))


def merge_dice(a: Sums, b: Sums) -> Sums:
    """Join two results of `DiceSums`."""
    return a[0] + b[0], a[1] + b[1]


def dice_of(sums: Sums | None) -> float:
    """The coefficient; 0 where there is nothing to compare."""
    return 2 * sums[0] / sums[1] if sums is not None and sums[1] else 0.0


def _values(array: np.ndarray, threshold: float | None) -> np.ndarray:
    return array.astype(np.float64) if threshold is None else (array > threshold).astype(np.float64)
