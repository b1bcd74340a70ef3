"""What a worker does for `morphology` and `regionprops`: the objects of a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Block, BlockWithHalo, to_roi
from ...sources import Source
from .objects import Objects, grouped, intensity_of, merged, native, runs_of
from .surface import add_surface

Array = npt.NDArray[Any]

_SLAB_VOXELS = 2**18
"""Of a block that are looked at at once."""


@dataclass(frozen=True)
class MeasureBlock:
    """The block function: a table of the objects in a block, None where there is none.

    Parameters
    ----------
    along : tuple of int
        Axes that objects extend along; indices of the others are places.
    shape : tuple of int
        Of the volume.
    region : tuple of (int, int)
        What is looked at of it.
    moments : bool
        Second moments.
    spacing : tuple of float, optional
        Size of a voxel, where the surface is measured; the block then has a halo of 1.
    percentiles : bool
        Keep how often each value occurs.
    """

    along: tuple[int, ...]
    shape: tuple[int, ...]
    region: tuple[tuple[int, int], ...]
    moments: bool = False
    spacing: tuple[float, float, float] | None = None
    percentiles: bool = False

    def __call__(
        self, block: Block | BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Objects | None:
        """Measure one block."""
        own = block.inner_block if isinstance(block, BlockWithHalo) else block
        inner = to_roi(own)
        inside = None if mask is None else mask[inner].astype(np.bool_, copy=False)
        if inside is not None and not inside.any():
            return None
        order = (*(axis for axis in range(len(self.shape)) if axis not in self.along), *self.along)
        labels = _labels(inputs[0], inner, mask).transpose(order)
        if not labels.any():
            return None
        labels = np.ascontiguousarray(labels)
        begin = [own.begin[axis] for axis in order]
        shape = [self.shape[axis] for axis in order]
        channels = [source.view(inner).transpose(order) for source in inputs[1:]]
        found = self._rows(labels, channels, begin, shape)
        assert found is not None
        if self.spacing is None:
            return found
        return Objects(**{**vars(found), "surface": self._surface(found, own, inputs[0], mask, order, begin, shape)})

    def _rows(
        self, labels: Array, channels: Sequence[Array], begin: Sequence[int], shape: Sequence[int]
    ) -> Objects | None:
        """The objects of a block, without surface; of thin slabs at a time, for where ids change the rows are many."""
        found: Objects | None = None
        thick = max(1, _SLAB_VOXELS * len(labels) // labels.size)
        for low in range(0, len(labels), thick):
            slab = labels[low : low + thick]
            at = [begin[0] + low, *begin[1:]]
            rows, starts, stops = runs_of(slab, self.along, at, shape, moments=self.moments)
            if not len(rows):
                continue
            values = (one[low : low + thick] for one in channels)
            intensities = tuple(intensity_of(one, starts, stops, keep=self.percentiles) for one in values)
            found = merged(found, grouped(Objects(**{**vars(rows), "intensities": intensities})))
        return found

    def _surface(
        self,
        found: Objects,
        own: Block,
        source: Source,
        mask: Source | None,
        order: Sequence[int],
        begin: Sequence[int],
        shape: Sequence[int],
    ) -> Array:
        """The area of each object that belongs to voxels of the block."""
        outer, pad, inner = [], [], []
        for axis, (first, last, (low, high)) in enumerate(zip(own.begin, own.end, self.region, strict=True)):
            margin = 1 if axis in self.along else 0
            start, stop = max(low, first - margin), min(high, last + margin)
            outer.append(slice(start, stop))
            pad.append((margin - (first - start), margin - (stop - last)))
            inner.append((margin, margin + last - first))
        labels = np.pad(_labels(source, tuple(outer), mask), pad).transpose(order)
        lead = labels.ndim - 3
        boxes = [inner[axis] for axis in order[lead:]]
        areas = np.zeros(len(found))
        assert self.spacing is not None
        for index in np.ndindex(labels.shape[:lead]):
            at = [first + one for first, one in zip(begin, index, strict=False)]
            place = int(np.ravel_multi_index(at, tuple(shape[:lead]))) if lead else 0
            low, high = np.searchsorted(found.place, [place, place + 1])
            ids, area = add_surface(labels[index], boxes, self.spacing)
            rows = low + np.searchsorted(found.ids[low:high], ids)
            areas += np.bincount(rows, area, len(found))
        return areas


def _labels(source: Source, roi: tuple[slice, ...], mask: Source | None) -> Array:
    """Labels in the machine's byte order, integers; 0 outside the mask."""
    labels = native(source.view(roi))
    if mask is None:
        return labels
    return np.where(mask[roi].astype(np.bool_, copy=False), labels, np.zeros(1, labels.dtype))
