"""Where the voxels of a WebKnossos source lie in the array that is stored: arithmetic.

WebKnossos counts in x, y, z from the origin of the dataset, in voxels of the finest magnification, Mag(1). The array
of a magnification has its own voxels: voxel ``i`` covers the Mag(1) voxels ``mag * i`` to ``mag * (i + 1)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ...errors import ParameterError, RegionError
from ..axes import Axis
from ..chunked.attributes import kind_of
from ..indexing import Roi, normalize_index

SPACE = ("x", "y", "z")
UNIT = "nanometer"

T = TypeVar("T")


@dataclass(frozen=True)
class Placement:
    """A box of a stored array, and the order in which a source shows its axes.

    Parameters
    ----------
    stored : tuple of str
        Names of the axes of the stored array, such as ("c", "x", "y", "z").
    shown : tuple of str
        Names of the axes of the source, such as ("z", "y", "x"); an axis that is not shown has one voxel.
    start : tuple of int
        First voxel of the box along every stored axis.
    sizes : tuple of int
        Voxels of the box along every stored axis.
    """

    stored: tuple[str, ...]
    shown: tuple[str, ...]
    start: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """For every axis of the source the stored axis."""
        return tuple(self.stored.index(name) for name in self.shown)

    def pick(self, values: Sequence[T]) -> tuple[T, ...]:
        """Return the values of the stored axes in the order of the source."""
        return tuple(values[axis] for axis in self.order)

    @property
    def box(self) -> Roi:
        """The box in the stored array."""
        return tuple(slice(b, b + size) for b, size in zip(self.start, self.sizes, strict=True))

    def to_stored(self, roi: Roi) -> Roi:
        """Return a region of the source as one of the stored array."""
        region = list(self.box)
        for axis, part in zip(self.order, roi, strict=True):
            region[axis] = slice(self.start[axis] + part.start, self.start[axis] + part.stop)
        return tuple(region)

    def show(self, region: np.ndarray) -> np.ndarray:
        """Return stored voxels as the source shows them."""
        hidden = [axis for axis in range(len(self.stored)) if axis not in self.order]
        shown = region.transpose(self.order + tuple(hidden))
        return shown.reshape(shown.shape[: len(self.order)])

    def hide(self, value: np.ndarray) -> np.ndarray:
        """Return voxels of the source with the axes of the stored array: the inverse of `show`."""
        hidden = [axis for axis in range(len(self.stored)) if axis not in self.order]
        order = self.order + tuple(hidden)
        whole = value.reshape(value.shape + (1,) * len(hidden))
        return whole.transpose([order.index(axis) for axis in range(len(order))])

    def cut(self, roi: Roi) -> Placement:
        """Return the placement of a region of the source."""
        box = self.to_stored(roi)
        return replace(
            self, start=tuple(part.start for part in box), sizes=tuple(part.stop - part.start for part in box)
        )

    def in_mag1(self, mag: Mapping[str, int]) -> tuple[list[int], list[int]]:
        """Return offset and size of the box in Mag(1), x, y, z."""
        spans = [(self.box[self.stored.index(name)], mag[name]) for name in SPACE]
        return [part.start * step for part, step in spans], [(part.stop - part.start) * step for part, step in spans]

    def axes(self, mag: Mapping[str, int], voxel_size: Mapping[str, float]) -> tuple[Axis, ...]:
        """Return the axes of the source in nanometers; the centre of the first Mag(1) voxel of the dataset is 0.

        Parameters
        ----------
        mag : mapping of str to int
            Mag(1) voxels per voxel along x, y and z.
        voxel_size : mapping of str to float
            Size of a Mag(1) voxel in nanometers.
        """
        found = []
        for name, start in zip(self.shown, self.pick(self.start), strict=True):
            if name in SPACE:
                first = start * mag[name] + (mag[name] - 1) / 2
                found.append(Axis(name, "space", UNIT, voxel_size[name] * mag[name], voxel_size[name] * first))
            else:
                found.append(Axis(name, kind_of(name)))
        return tuple(found)


def place(
    stored: tuple[str, ...],
    extent: Mapping[str, tuple[int, int]],
    mag: Mapping[str, int],
    offset: Sequence[int] | None,
    size: Sequence[int] | None,
    channel: int | None,
) -> Placement:
    """Return where a source lies, from what WebKnossos says.

    Parameters
    ----------
    stored : tuple of str
        Names of the axes of the stored array.
    extent : mapping of str to (int, int)
        First position and size of the layer along every axis, x, y and z in Mag(1).
    mag : mapping of str to int
        Mag(1) voxels per voxel along x, y and z.
    offset, size : sequence of int, optional
        Box in Mag(1), x, y, z; rounded outwards to whole voxels of the magnification. None: that of the layer.
    channel : int, optional
        The only channel to show. None: all, without an axis if there is one.

    Raises
    ------
    RegionError
        If the box is empty or reaches below 0.
    ParameterError
        If there is no such channel.
    """
    begin = _three(offset, "offset") or {name: extent[name][0] for name in SPACE}
    count = _three(size, "size") or {name: extent[name][1] for name in SPACE}
    if min(begin.values()) < 0 or min(count.values()) < 1:
        raise RegionError(
            f"offset {tuple(begin.values())}, size {tuple(count.values())} (x, y, z in Mag(1)) is empty or below 0.",
            remedy="offsets count from the origin of the dataset; the box of the layer is the default",
        )
    boxes = {**extent}
    for name, step in mag.items():
        first = begin[name] // step
        boxes[name] = (first, -(-(begin[name] + count[name]) // step) - first)
    shown = [name for name in stored if name not in (*SPACE, "c")]
    channels = extent.get("c", (0, 1))
    if channel is None:
        shown += ["c"] if channels[1] > 1 else []
    elif not 0 <= channel < channels[1]:
        raise ParameterError(
            f"There is no channel {channel}: the layer has {channels[1]}.", remedy=f"use 0 to {channels[1] - 1}"
        )
    else:
        boxes["c"] = (channels[0] + channel, 1)
    shown += [name for name in reversed(SPACE) if name in stored]
    return Placement(
        stored, tuple(shown), tuple(boxes[name][0] for name in stored), tuple(boxes[name][1] for name in stored)
    )


def region_of(roi: Any, shape: tuple[int, ...]) -> Roi:
    """Return a region of a shape as slices; axes that are not mentioned are taken whole, an integer takes one voxel.

    Raises
    ------
    RegionError
        For steps, and what is empty or reaches beyond the shape.
    IndexingError
        For what is neither integer nor slice.
    """
    parts = tuple(roi) if isinstance(roi, tuple | list) else (roi,)
    found = normalize_index(parts, shape)
    plain = all(
        not isinstance(part, slice) or max(abs(part.start or 0), abs(part.stop or 0)) <= size
        for part, size in zip(parts, shape, strict=False)
    )
    if not plain or found.strided or None in parts or ... in parts or not math.prod(found.roi_shape):
        raise RegionError(
            f"roi {roi!r} does not fit the shape {shape}.",
            remedy="use integers and slices inside the shape, in its axis order, without steps",
        )
    return found.roi


def _three(values: Sequence[int] | None, name: str) -> dict[str, int] | None:
    if values is None:
        return None
    if len(values) != len(SPACE):
        raise ParameterError(f"{name} is {values!r}.", remedy=f"{name}=(x, y, z), in voxels of Mag(1)")
    return {axis: int(value) for axis, value in zip(SPACE, values, strict=True)}
