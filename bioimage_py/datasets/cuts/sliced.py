"""Data sets whose items are planes of volumes, or frames of video; only the chunks of a plane are read."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...arguments import number as checked_number
from ...errors import ParameterError
from ..base import BaseDataset
from ..items import RawItem
from ..layout import Frames, Layout
from ..resources.resource import Resource
from ..selection import Rows

_ANATOMY = {"axial": 2, "coronal": 1, "sagittal": 0}
"""World axis (x, y, z) that planes of this name are perpendicular to."""
_WORLD = "RAS"


class _Sliced(BaseDataset):
    """Planes, resource after resource; rows are (resource, axis of (N, H, W), index)."""

    _axes: ClassVar[str] = "chw"
    _axis: Any = 0
    _step: int = 1
    _orientation: str | None = None

    def _rows_of(self, numbers: Rows) -> Rows:
        parts = []
        for number in numbers.tolist():
            resource = self._store.resource(number)
            layout = self._layout(resource)
            axis = self._axis_of(resource, layout)
            at = np.arange(0, layout.shape[1 + axis], self._step, dtype=np.int32)
            affine = resource.affine(layout)
            if self._orientation is not None and affine[world_axes(affine)[axis], axis] < 0:
                at = at[::-1]
            parts.append(np.stack([np.full_like(at, number), np.full_like(at, axis), at], axis=1))
        return np.concatenate(parts) if parts else np.zeros((0, 3), np.int32)

    def _axis_of(self, resource: Resource, layout: Layout) -> int:
        return 0

    def _expanded(self, parent: BaseDataset) -> Self:
        """Take over what a data set of whole resources is, in its order."""
        for name, value in parent.__dict__.items():
            self.__dict__.setdefault(name, value)
        self._rows = self._rows_of(parent._rows[:, 0])
        return self

    def _get_raw_item(self, index: int, rng: np.random.Generator) -> RawItem:
        number, axis, at = self._rows[index].tolist()
        resource = self._store.resource(number)
        layout = self._layout(resource)
        region = [slice(0, size) for size in layout.shape]
        region[1 + axis] = slice(at, at + 1)
        affine = resource.affine(layout)
        swapped, flipped, told = self._turned(axis, affine, resource)
        return RawItem(
            image=resource.read(layout, tuple(region)),
            resource=resource,
            annotations=self.annotations_of(number, exact=False),
            region=tuple(region[1:]),
            frames=layout.shape[1],
            affine=affine,
            whole=False,
            flat=axis,
            swapped=swapped,
            flipped=flipped,
            about={"index": at, "axis": axis, "orientation": told},
        )

    def _turned(self, axis: int, affine: Any, resource: Resource) -> tuple[bool, tuple[bool, bool], str]:
        return False, (False, False), "as stored"


class SlicedVolumeDataset(_Sliced):
    """Planes of volumes: items have images (C, H, W).

    Parameters
    ----------
    slice_axis : str or int
        "axial", "coronal", "sagittal", or 0, 1, 2. Of a volume with an affine the names mean anatomy: planes
        perpendicular to the axis that runs closest to up, front or right. Otherwise, and for numbers, they are the
        axes (D, H, W).
    parent_dataset : BaseDataset, optional
        Data set of volumes; without one all parameters of it are given by keyword.
    step : int, default 1
        Every which plane.
    empty : {"keep", "drop"}
        "drop" leaves out planes without a mask, which reads all masks once.
    orientation : "RAS", optional
        Turns planes so that those of all volumes look alike: rows run along the higher one of z, y, x, and all axes
        towards right, front and up.

    Raises
    ------
    ParameterError
        An axis, step, way or orientation that is none.
    """

    def __init__(
        self,
        *,
        slice_axis: Any = "axial",
        parent_dataset: BaseDataset | None = None,
        step: int = 1,
        empty: str = "keep",
        orientation: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._axis = checked_axis(slice_axis)
        if checked_number("step", step, least=1, example=2) != int(step):
            raise ParameterError(f"step is {step!r}.", remedy="use a whole number")
        if empty not in ("keep", "drop"):
            raise ParameterError(f"empty is {empty!r}.", remedy='use "keep" or "drop"')
        if orientation not in (None, _WORLD):
            raise ParameterError(f"orientation is {orientation!r}.", remedy='use "RAS" or None')
        self._step, self._orientation = int(step), orientation
        if parent_dataset is None:
            super().__init__(**kwargs)
        elif kwargs:
            raise ParameterError(f"parent_dataset and {sorted(kwargs)} are both given.", remedy="give one of them")
        else:
            self._expanded(parent_dataset)
        if empty == "drop":
            self._rows = self._rows[self._marked()]

    @classmethod
    def from_dataset(
        cls, parent_dataset: BaseDataset, slice_axis: Any = "axial", **options: Any
    ) -> SlicedVolumeDataset:
        """Return the planes of the volumes of a data set, under its filters, labels and split."""
        return cls(slice_axis=slice_axis, parent_dataset=parent_dataset, **options)

    def _axis_of(self, resource: Resource, layout: Layout) -> int:
        if isinstance(self._axis, int):
            return self._axis
        if not resource.has_affine:
            return list(_ANATOMY).index(self._axis)
        return world_axes(resource.affine(layout)).index(_ANATOMY[self._axis])

    def _marked(self) -> npt.NDArray[np.bool_]:
        """Which planes have a voxel of any mask."""
        marked = np.zeros(len(self._rows), bool)
        for number in np.unique(self._rows[:, 0]).tolist():
            mine = np.flatnonzero(self._rows[:, 0] == number)
            resource = self._store.resource(number)
            space = self._layout(resource).shape[1:]
            axis = int(self._rows[mine[0], 1])
            found = np.zeros(space[axis], bool)
            for ann in self.annotations_of(number):
                if ann.mask is None or ann.mask.box is None:
                    continue
                box = [slice(0, space[0]) if ann.mask.shape[0] == 1 else ann.mask.box[0], *ann.mask.box[1:]]
                for begin in range(box[axis].start, box[axis].stop, 64):  # a mask may be larger than memory
                    slab = list(box)
                    slab[axis] = slice(begin, min(box[axis].stop, begin + 64))
                    read = ann.mask.read(tuple(slab))
                    found[slab[axis]] |= read.any(axis=tuple({0, 1, 2} - {axis}))
            marked[mine] = found[self._rows[mine, 2]]
        return marked

    def _turned(self, axis: int, affine: Any, resource: Resource) -> tuple[bool, tuple[bool, bool], str]:
        if self._orientation is None:
            anatomical = isinstance(self._axis, str) and resource.has_affine
            return False, (False, False), "anatomy" if anatomical else "array"
        world = world_axes(affine)
        rows, columns = (other for other in range(3) if other != axis)
        swapped = world[rows] < world[columns]
        if swapped:
            rows, columns = columns, rows
        flips = [bool(affine[world[one], one] < 0) for one in (rows, columns)]
        return swapped, (flips[0], flips[1]), _WORLD


class SlicedVideoDataset(_Sliced):
    """Frames of video: items have images (C, H, W).

    Parameters
    ----------
    *args, **kwargs
        Those of `VideoDataset`.
    """

    _frames: ClassVar[Frames] = "t"

    @classmethod
    def from_dataset(cls, parent_dataset: BaseDataset) -> SlicedVideoDataset:
        """Return the frames of a data set of video, under its filters, labels and split."""
        return cls.__new__(cls)._expanded(parent_dataset)


def checked_axis(axis: Any) -> str | int:
    """Return an axis: one of three names, or 0 to 2.

    Raises
    ------
    ParameterError
        It is none.
    """
    if isinstance(axis, str) and axis in _ANATOMY:
        return axis
    if isinstance(axis, int | np.integer) and not isinstance(axis, bool) and 0 <= axis <= 2:
        return int(axis)
    raise ParameterError(f"There is no axis {axis!r}.", remedy=f"use one of {[*_ANATOMY, 0, 1, 2]}")


def world_axes(affine: npt.NDArray[np.float64]) -> list[int]:
    """Return the world axis (0 x, 1 y, 2 z) that each axis of an array runs closest to, each once."""
    directions = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    found = [-1, -1, -1]
    for _ in range(3):
        world, axis = np.unravel_index(int(np.argmax(directions)), (3, 3))
        found[axis] = int(world)
        directions[world, :] = -1
        directions[:, axis] = -1
    return found
