"""The kernel of `majority`: the label that most voxels around have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import tables

Array = npt.NDArray[Any]

_VALUES = 2**22
"""Labels of neighbours that are sorted at once."""
_BOXES = 24
"""Times the voxels of the array that the boxes of labels may hold together, if labels are counted one by one."""


@dataclass(frozen=True)
class Majority:
    """Every voxel gets the most frequent label of the box around it.

    Of labels that are equally frequent that of the voxel itself is taken, if it is one of them, else the smallest.

    Parameters
    ----------
    reach : tuple of int
        Voxels of the box to each side, per axis.
    """

    reach: tuple[int, ...]

    def __call__(self, labels: Array, mask: Array | None = None) -> Array:
        """Smoothed labels of an array; neighbours beyond its edge, and where the mask is 0, do not count."""
        if not labels.size or not any(self.reach):
            return labels.copy()
        ids, _ = tables.counted(labels)
        at = np.searchsorted(ids.view(np.uint8) if ids.dtype.kind == "b" else ids, labels).astype(np.int32) + 1
        if mask is not None:
            at[mask == 0] = 0
        boxes = self._boxes(at)
        compact = sum(math.prod(part.stop - part.start for part in box) for _, box in boxes) <= _BOXES * at.size
        new = self._label_by_label(at, boxes) if compact else self._voxel_by_voxel(at)
        names = np.concatenate([ids[:1], ids])  # 0 is outside of the mask, where nobody looks
        result: Array = names[new].reshape(labels.shape)
        return result

    def _boxes(self, at: Array) -> list[tuple[int, tuple[slice, ...]]]:
        """Numbers of labels, ascending, and the boxes of the voxels around which they are counted."""
        from scipy.ndimage import find_objects

        return [
            (
                number,
                tuple(
                    slice(max(0, part.start - reach), min(size, part.stop + reach))
                    for part, reach, size in zip(box, self.reach, at.shape, strict=True)
                ),
            )
            for number, box in enumerate(find_objects(at), 1)
            if box is not None
        ]

    def _label_by_label(self, at: Array, boxes: Sequence[tuple[int, tuple[slice, ...]]]) -> Array:
        """For objects: the voxels around each label are counted in the box of the label."""
        steps = math.prod(2 * reach + 1 for reach in self.reach)
        best, most = np.zeros_like(at), np.zeros(at.shape, np.min_scalar_type(steps))
        own = np.zeros_like(most)
        for number, box in boxes:
            there = at[box] == number
            counts = self._summed(there.astype(most.dtype))
            np.copyto(own[box], counts, where=there)
            # labels ascend: a later one has to be more frequent
            better = counts > most[box]
            np.copyto(most[box], counts, where=better)
            np.copyto(best[box], np.int32(number), where=better)
        return np.where(own == most, at, best)

    def _summed(self, counts: Array) -> Array:
        """Sums over the box around each voxel, one axis after the other."""
        for axis, reach in enumerate(self.reach):
            total = counts.copy()
            for step in range(1, min(reach, counts.shape[axis] - 1) + 1):
                lower = (slice(None),) * axis + (slice(None, -step),)
                upper = (slice(None),) * axis + (slice(step, None),)
                total[lower] += counts[upper]
                total[upper] += counts[lower]
            counts = total
        return counts

    def _voxel_by_voxel(self, at: Array) -> Array:
        """For labels that are all over the array: those around each voxel are sorted."""
        padded = np.pad(at, [(reach, reach) for reach in self.reach])
        where = np.flatnonzero(self._mixed(at))
        new = at.reshape(-1).copy()
        piece = max(1, _VALUES // math.prod(2 * reach + 1 for reach in self.reach))
        for begin in range(0, len(where), piece):
            part = where[begin : begin + piece]
            new[part] = self._most_frequent(padded, part, at.shape)
        return new.reshape(at.shape)

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
        around = np.stack([padded[tuple(map(np.add, position, offset))] for offset in offsets])
        around.sort(axis=0)
        best, count, length = (np.zeros(len(where), np.int32) for _ in range(3))
        for number, label in enumerate(around):
            length = np.where(label == around[number - 1], length + 1, 1) if number else np.ones_like(length)
            # sorted: a later label has to be more frequent, unless it is the voxel's own
            better = (label != 0) & ((length > count) | ((length == count) & (label == own)))
            best[better], count[better] = label[better], length[better]
        return best
