"""The kernel of `majority`: the label that most voxels around have."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import tables

Array = npt.NDArray[Any]

_VALUES = 2**22
"""Labels of neighbours that are sorted at once."""


@dataclass(frozen=True)
class Majority:
    """Every voxel gets the most frequent label of the box around it.

    Parameters
    ----------
    reach : tuple of int
        Voxels of the box to each side, per axis.
    """

    reach: tuple[int, ...]

    def __call__(self, labels: Array, mask: Array | None = None) -> Array:
        """Smoothed labels of an array; neighbours beyond its edge, and where the mask is 0, do not count.

        Of labels that are equally frequent that of the voxel itself is taken, if it is one of them, else the smallest.
        """
        if not labels.size or not any(self.reach):
            return labels.copy()
        ids, _ = tables.counted(labels)
        at = np.searchsorted(ids.view(np.uint8) if ids.dtype.kind == "b" else ids, labels).astype(np.int32) + 1
        if mask is not None:
            at[mask == 0] = 0
        padded = np.pad(at, [(reach, reach) for reach in self.reach])
        where = np.flatnonzero(self._mixed(at))
        new = at.reshape(-1).copy()
        steps = math.prod(2 * reach + 1 for reach in self.reach)
        piece = max(1, _VALUES // steps)
        for begin in range(0, len(where), piece):
            part = where[begin : begin + piece]
            new[part] = self._most_frequent(padded, part, at.shape)
        names = np.concatenate([ids[:1], ids])  # 0 is outside of the mask, where nobody looks
        result: Array = names[new].reshape(labels.shape)
        return result

    def _mixed(self, at: Array) -> Array:
        """Voxels in the mask with a label around them that is not theirs."""
        from scipy.ndimage import maximum_filter, minimum_filter

        size = [2 * reach + 1 for reach in self.reach]
        low, high = minimum_filter(at, size, mode="nearest"), maximum_filter(at, size, mode="nearest")
        mixed: Array = (low != high) & (at != 0)
        return mixed

    def _most_frequent(self, padded: Array, where: Array, shape: tuple[int, ...]) -> Array:
        position = np.unravel_index(where, shape)
        own = padded[tuple(one + reach for one, reach in zip(position, self.reach, strict=True))]
        offsets = itertools.product(*(range(2 * reach + 1) for reach in self.reach))
        around = np.stack(
            [padded[tuple(one + step for one, step in zip(position, offset, strict=True))] for offset in offsets],
            axis=1,
        )
        around.sort(axis=1)
        best, count = np.zeros(len(where), np.int32), np.zeros(len(where), np.int32)
        length = np.zeros(len(where), np.int32)
        for column in range(around.shape[1]):
            label = around[:, column]
            length = np.where(label == around[:, column - 1], length + 1, 1) if column else np.ones_like(length)
            # sorted: a later label has to be more frequent, unless it is the voxel's own
            better = (label != 0) & ((length > count) | ((length == count) & (label == own)))
            best[better], count[better] = label[better], length[better]
        return best
