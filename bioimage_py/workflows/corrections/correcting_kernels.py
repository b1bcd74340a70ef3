"""What `correct` does with one block, as functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Foreign:
    """Counts voxels whose label is that of their superpixel in none of some partitions.

    Parameters
    ----------
    ids : ndarray of uint64, (regions,)
        Ascending.
    partitions : tuple of ndarray of uint64, (regions,)
    """

    ids: npt.NDArray[np.uint64]
    partitions: tuple[npt.NDArray[np.uint64], ...]

    def __call__(self, pieces: Array, labels: Array, mask: Array | None = None) -> int:
        """Number of such voxels in one block."""
        known, found = pieces != 0, labels.astype(np.uint64)
        row = np.searchsorted(self.ids, pieces)
        row[row == len(self.ids)] = 0
        same = np.where(known, self.ids[row] == pieces, found == 0)
        listed = np.zeros(pieces.shape, np.bool_)
        for parts in self.partitions:
            listed |= parts[row] == found
        return int(np.count_nonzero(~(same & (listed | ~known))))


def add(left: int, right: int) -> int:
    """Merge two counts."""
    return left + right
