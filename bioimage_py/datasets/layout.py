"""Axes of items: where channel, plane or frame, row and column of an item lie in a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import DatasetError
from ..sources import Axis, Source
from ..sources.chunked.attributes import kind_of

Region = tuple[slice, ...]
Frames = Literal["z", "t"]


@dataclass(frozen=True)
class Layout:
    """Which axes of a source are channel, plane or frame, row and column.

    Parameters
    ----------
    order : tuple of int or None
        Axis of the source for each axis of an item (C, N, H, W); None where the source has none of it.
    shape : tuple of int
        Of an item, (C, N, H, W).
    ndim : int
        Number of axes of the source; those that are not in `order` have the size 1.
    """

    order: tuple[int | None, ...]
    shape: tuple[int, ...]
    ndim: int

    @classmethod
    def of(cls, axes: Sequence[Axis], shape: Sequence[int], frames: Frames, name: str) -> Layout:
        """Return the layout of an image.

        Parameters
        ----------
        axes : sequence of Axis
        shape : sequence of int
        frames : {"z", "t"}
            What N is: planes, or times (planes where there are no times).
        name : str
            Of the resource, for messages.

        Raises
        ------
        DatasetError
            It has no x and y, or another axis with more than one index.
        """
        found: dict[str, int] = {}
        for index, axis in enumerate(axes):
            kind = axis.name.lower() if axis.kind == "space" else axis.kind
            found.setdefault({"channel": "c", "time": "t"}.get(kind, kind), index)
        if "y" not in found or "x" not in found:
            raise DatasetError(
                f"{name!r} of the shape {tuple(shape)} has the axes {[axis.name for axis in axes]}, without y and x.",
                remedy='name its axes: Resource(image, axes="cyx")',
            )
        plane = "z" if frames == "z" or shape[found.get("t", 0)] == 1 or "t" not in found else "t"
        order = tuple(found.get(key) for key in ("c", plane, "y", "x"))
        other = [i for i in range(len(shape)) if i not in order and shape[i] != 1]
        if other:
            left = ", ".join(f"{axes[i].name} of {shape[i]}" for i in other)
            raise DatasetError(
                f"{name!r} of the shape {tuple(shape)} has axes that an item does not have: {left}.",
                remedy='name its axes, Resource(image, axes="tyx"); or take a VideoDataset, or one time of it',
            )
        return cls(order, tuple(1 if i is None else int(shape[i]) for i in order), len(shape))

    @property
    def units(self) -> tuple[int | None, ...]:
        """Axes of the source for (N, H, W)."""
        return self.order[1:]

    def read(self, source: Source, region: Region) -> npt.NDArray[Any]:
        """Read a box (C, N, H, W) of in-bounds slices; only the chunks that it touches are read."""
        return read_ordered(source, self.order, region)

    def over_space(self, axes: Sequence[Axis]) -> tuple[int | None, ...]:
        """Axes of a label map, which has only those of space, for (N, H, W)."""
        space = [i for i, axis in enumerate(axes) if axis.kind == "space"]
        return tuple(space.index(i) if i in space else None for i in self.units)


def read_ordered(source: Source, order: Sequence[int | None], region: Region) -> npt.NDArray[Any]:
    """Read a box of a source whose axes are those of `order`; axes that it lacks have the size 1."""
    index: list[Any] = [0] * source.ndim
    for axis, part in zip(order, region, strict=True):
        if axis is not None:
            index[axis] = part
    there = [axis for axis in order if axis is not None]
    array = source.read(tuple(index)).transpose([sorted(there).index(axis) for axis in there])
    return array.reshape(
        [1 if axis is None else part.stop - part.start for axis, part in zip(order, region, strict=True)]
    )


def named_axes(axes: Sequence[Axis | str], own: Sequence[Axis]) -> tuple[Axis, ...]:
    """Return axes of which some are given by name only; these take the scale that the source knows."""
    return tuple(
        Axis(axis, kind_of(axis), old.unit, old.scale, old.offset) if isinstance(axis, str) else axis
        for axis, old in zip(axes, own, strict=True)
    )


def affine_of(layout: Layout, axes: Sequence[Axis]) -> npt.NDArray[np.float64]:
    """Return the affine (4, 4) from the voxel (N, H, W, 1) to the world (x, y, z, 1); centres of voxels count."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, (axis, row) in enumerate(zip(layout.units, (2, 1, 0), strict=True)):
        known = axis is not None and axes[axis].kind == "space"
        affine[row, column] = axes[axis].scale if axis is not None and known else 1.0
        affine[row, 3] = axes[axis].offset if axis is not None and known else 0.0
    return affine


def told_for(layout: Layout, told: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the affine for (N, H, W) of one (4, axes + 1) in the order of the axes; times lie across them, 1 apart."""
    space = np.zeros((3, 3))
    for column, axis in enumerate(layout.units):
        if axis is not None:
            space[:, column] = told[:3, axis]
    for column in np.flatnonzero(~space.any(axis=0)).tolist():  # times
        space[:, column] = np.linalg.svd(space.T)[2][-1]
    return np.block([[space, told[:3, -1:]], [np.zeros(3), 1.0]])


def spacing_of(affine: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Return the distances of neighbouring voxels along (N, H, W)."""
    return tuple(float(x) for x in np.linalg.norm(affine[:3, :3], axis=0))


def moved(affine: npt.NDArray[np.float64], origin: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the affine of a part that begins at a voxel."""
    result = affine.copy()
    result[:3, 3] = affine[:3, :3] @ np.asarray(origin, np.float64) + affine[:3, 3]
    return result
