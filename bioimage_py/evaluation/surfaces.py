"""Distances between the surfaces of two objects, read from their boxes piece by piece."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..blocks import Block, to_roi
from ..blocks.boxes import within
from ..runner.ledger.stage_record import Results
from ..segmentation.objects.pairs import OverlapCounts, Overlaps, merge_overlaps
from ..sources import Source
from ..sources.indexing import Roi
from .geometry import Geometry, GeometryBlock, merge_geometries
from .objects import background_of, overlaps
from .table import ContingencyTable

Array = npt.NDArray[Any]
Points = npt.NDArray[np.float64]

_VOXELS = 2**22
"""Voxels of a box that are looked at at once."""


@dataclass(frozen=True)
class Meeting:
    """First pass: overlaps of the objects of two volumes, and where they are."""

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> tuple[Overlaps, tuple[Geometry, ...]] | None:
        """Look at one block."""
        where = GeometryBlock()(block, inputs, outputs, mask)
        if where is None:
            return None
        roi = to_roi(block)
        pairs = OverlapCounts()(inputs[0].view(roi), inputs[1].view(roi), None if mask is None else mask[roi])
        return None if pairs is None else (pairs, where)


def merge_meetings(
    a: tuple[Overlaps, tuple[Geometry, ...]], b: tuple[Overlaps, tuple[Geometry, ...]]
) -> tuple[Overlaps, tuple[Geometry, ...]]:
    """Join what two blocks say."""
    return merge_overlaps(a[0], b[0]), merge_geometries(a[1], b[1])


class Compared(NamedTuple):
    """Pairs of objects: their labels, their overlap over union, and their boxes (n, axes; begin and end)."""

    labels: Array
    iou: Array
    boxes: tuple[tuple[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class ChoosePairs:
    """Between the passes: the segment that each object overlaps most, or the pairs that are given."""

    ignore_label: int | None
    given: Array | None = None

    def __call__(self, earlier: Results) -> Compared | None:
        """Pairs, sorted by object."""
        found = earlier["objects"]
        if found is None:
            return None
        (pairs, counts), (of_seg, of_gt) = found
        table = ContingencyTable.from_overlaps(pairs, counts)
        _, _, (in_seg, in_gt, iou) = overlaps(table, "iou", self.ignore_label)
        if self.given is not None:
            labels, shares = self.given, self._of_given(table, in_seg, in_gt, iou)
        else:
            objects = table.labels_b[table.labels_b != background_of(self.ignore_label)]
            best = np.lexsort((in_seg, -iou, in_gt))
            best = best[np.concatenate([[True], np.diff(in_gt[best]) > 0])] if len(best) else best
            labels = np.stack([np.zeros_like(objects), objects], axis=1)
            shares = np.zeros(len(objects))
            at = np.searchsorted(objects, table.labels_b[in_gt[best]])
            labels[at, 0], shares[at] = table.labels_a[in_seg[best]], iou[best]
        alone = shares == 0 if self.given is None else np.zeros(len(labels), np.bool_)
        boxes = (_boxes(of_seg, labels[:, 0], alone), _boxes(of_gt, labels[:, 1], None))
        return Compared(labels, shares, boxes)

    def _of_given(self, table: ContingencyTable, in_seg: Array, in_gt: Array, iou: Array) -> Array:
        assert self.given is not None
        known = {
            (int(a), int(b)): share
            for a, b, share in zip(table.labels_a[in_seg], table.labels_b[in_gt], iou, strict=True)
        }
        return np.array([known.get((int(a), int(b)), 0.0) for a, b in self.given.tolist()], np.float64)


def _boxes(where: Geometry, labels: Array, nothing: Array | None) -> tuple[Array, Array]:
    """Boxes of labels; empty ones for labels that are nowhere."""
    ids = where.ids.astype(np.uint64)
    if not len(ids):
        empty = np.zeros((len(labels), where.begins.shape[1]), np.int64)
        return empty, empty
    at = np.minimum(np.searchsorted(ids, labels), len(ids) - 1)
    there = ids[at] == labels
    if nothing is not None:
        there &= ~nothing
    return where.begins[at] * there[:, np.newaxis], where.ends[at] * there[:, np.newaxis]


def chosen_pairs(earlier: Results) -> Compared | None:
    """What `ChoosePairs` has made."""
    found: Compared | None = earlier["pairs"]
    return found


Measured = tuple[Array, Array]
"""Numbers of the pairs, and for each (n, 3): Hausdorff distance, its 95th percentile, mean distance of surfaces."""


@dataclass(frozen=True)
class MeasureBlock:
    """Second pass: the distances of the pairs whose object begins in a block.

    Parameters
    ----------
    sampling : tuple of float
        Distance between neighbouring voxels along each axis.
    region : tuple of (int, int)
        Begin and end of what is looked at; beyond it is nothing.
    """

    sampling: tuple[float, ...]
    region: tuple[tuple[int, int], ...]

    def __call__(
        self,
        block: Block,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        *,
        context: Compared | None,
    ) -> Measured | None:
        """Measure the pairs of one block."""
        if context is None:
            return None
        begins, _ = context.boxes[1]
        # an object that is given, but is nowhere, begins with the volume
        mine = np.flatnonzero(((begins >= block.begin) & (begins < block.end)).all(axis=1))
        if not len(mine):
            return None
        rows = np.empty((len(mine), 3))
        for row, number in enumerate(mine.tolist()):
            surfaces = [
                self._surface(source, mask, context.labels[number, side], *(edge[number] for edge in boxes))
                for side, (source, boxes) in enumerate(zip(inputs, context.boxes, strict=True))
            ]
            rows[row] = distances(surfaces[0], surfaces[1])
        return mine, rows

    def _surface(self, source: Source, mask: Source | None, label: Any, begin: Array, end: Array) -> Points:
        found = [np.empty((0, source.ndim))]
        for part in _pieces(begin.tolist(), end.tolist()):
            wide = tuple(
                slice(max(low, one.start - 1), min(high, one.stop + 1))
                for one, (low, high) in zip(part, self.region, strict=True)
            )
            there = _equal(source.view(wide), int(label))
            if mask is not None:
                there &= mask[wide] != 0
            inside = within(part, wide)
            at = np.argwhere(surface(there)[inside])
            found.append((at + [one.start for one in part]) * np.array(self.sampling))
        return np.concatenate(found)


def merge_measured(a: Measured, b: Measured) -> Measured:
    """Join what was measured in two blocks."""
    return np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])


def _equal(labels: Array, label: int) -> npt.NDArray[np.bool_]:
    if labels.dtype.kind != "b" and label > np.iinfo(labels.dtype).max:
        return np.zeros(labels.shape, np.bool_)
    return np.asarray(labels == (bool(label) if labels.dtype.kind == "b" else labels.dtype.type(label)))


def _pieces(begin: list[int], end: list[int]) -> Iterator[Roi]:
    """A box in pieces of about as many voxels as are looked at at once."""
    if any(high <= low for low, high in zip(begin, end, strict=True)):
        return
    side = max(1, round(_VOXELS ** (1 / max(1, len(begin)))))
    cuts = [range(low, high, side) for low, high in zip(begin, end, strict=True)]
    for at in itertools.product(*cuts):
        yield tuple(slice(one, min(one + side, high)) for one, high in zip(at, end, strict=True))


def surface(there: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Voxels of an object with a neighbour across a face that is not of it; beyond the array is nothing of it."""
    core = there.copy()
    for axis in range(there.ndim):
        inner = np.zeros_like(there)
        middle = (slice(None),) * axis + (slice(1, -1),)
        before, after = (slice(None),) * axis + (slice(None, -2),), (slice(None),) * axis + (slice(2, None),)
        inner[middle] = there[before] & there[after]
        core &= inner
    return there & ~core


def distances(a: Points, b: Points) -> tuple[float, float, float]:
    """Hausdorff distance of two sets of points, its 95th percentile, and the mean distance; inf where one is empty."""
    if not len(a) or not len(b):
        return np.inf, np.inf, np.inf
    from scipy.spatial import cKDTree

    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    tail = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    mean = (there.sum() + back.sum()) / (len(there) + len(back))
    return max(float(there.max()), float(back.max())), tail, float(mean)
