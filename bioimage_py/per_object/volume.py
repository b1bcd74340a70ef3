"""Labels as a volume of three axes of space, and where its voxels lie in the world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine.job import Job
from ..errors import DtypeError, ParameterError, ShapeError
from ..sources import Axis, Source, as_source
from ..sources.along import steps_of
from ..sources.axes import unit_name
from ..wrapper import RoiSource
from ..wrapper.pad import PadSource

Array = npt.NDArray[Any]

_NANOMETERS = {
    "angstrom": 0.1,
    "picometer": 1e-3,
    "nanometer": 1.0,
    "micrometer": 1e3,
    "millimeter": 1e6,
    "centimeter": 1e7,
    "meter": 1e9,
    "inch": 2.54e7,
}


@dataclass(frozen=True)
class Place:
    """From positions in voxels (in the order of the array's axes) to positions x, y, z in the world.

    Parameters
    ----------
    order : tuple of int
        Which axes of the array are x, y and z.
    scale, offset : tuple of float
        Of x, y, z.
    unit : str, optional
    """

    order: tuple[int, int, int]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    unit: str | None

    def world(self, positions: Array) -> Array:
        """Positions in the world, float64 of shape (n, 3): x, y, z."""
        moved: Array = positions[:, list(self.order)] * np.array(self.scale) + np.array(self.offset)
        return moved

    @property
    def mirrored(self) -> bool:
        """Whether a surface is seen from its other side when its axes are put into the order x, y, z."""
        turns = sum(a > b for n, a in enumerate(self.order) for b in self.order[n + 1 :]) % 2
        return bool(turns) != (math.prod(self.scale) < 0)

    @property
    def steps(self) -> tuple[float, float, float]:
        """Sizes of a voxel in the order of the array's axes."""
        found = [1.0, 1.0, 1.0]
        for axis, scale in zip(self.order, self.scale, strict=True):
            found[axis] = abs(scale)
        return (found[0], found[1], found[2])

    def as_neuroglancer(self) -> Place:
        """As Neuroglancer counts: in nanometers where the unit is a length, and from the corner of the first voxel."""
        factor = _NANOMETERS.get(unit_name(self.unit) or "", 1.0)
        scale = tuple(one * factor for one in self.scale)
        offset = tuple(one * factor + abs(step) / 2 for one, step in zip(self.offset, scale, strict=True))
        return Place(self.order, scale, offset, "nanometer")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Volume:
    """Labels of three axes and their place."""

    source: Source
    place: Place


def volume_of(labels: Any, job: Job, sampling: Any, what: str, *, padded: bool = False) -> Volume:
    """The volume of labels, in the region of a job; ``padded`` adds a plane of background behind each end.

    Raises
    ------
    DtypeError, ShapeError, ParameterError
        No integers; no three axes of space beside axes of one index; a sampling that is none.
    """
    source = as_source(labels)
    if source.dtype.kind not in "bui":
        raise DtypeError(f"{what} takes labels, integers, got {source.dtype}", remedy="labels.astype(np.uint64)")
    if job.roi is not None:
        source = RoiSource(source, job.roi)
    begin = _begins(source)
    along = job.along(source)
    apart = [axis for axis in range(source.ndim) if axis not in along]
    if len(along) != 3 or any(source.shape[axis] != 1 for axis in apart):
        names = [axis.name for axis in source.axes]
        raise ShapeError(
            f"{what} takes a volume of 3 axes of space, got the shape {source.shape} with the axes {names}",
            remedy="RoiSource(labels, (0, ...), squeeze=True) is the volume at one index; axes='zyx' names the three",
        )
    if 0 in source.shape:
        raise ShapeError(f"{what}: labels of shape {source.shape} have no voxel", remedy="a region that is not empty")
    if apart:
        source = RoiSource(source, tuple(0 if axis in apart else slice(None) for axis in range(source.ndim)), True)
    place = place_of(source.axes, sampling, [begin[axis] for axis in along])
    return Volume(PadSource(source, [(0, 1)] * 3) if padded else source, place)


def _begins(source: Source) -> list[int]:
    """At which voxel of the stored array a region of it begins, along each axis that is left."""
    if not isinstance(source, RoiSource):
        return [0] * source.ndim
    inner = _begins(source.source)
    return [inner[axis] + source.roi[axis].start for axis in source.kept]


def place_of(axes: Sequence[Axis], sampling: float | Sequence[float] | None, begin: Sequence[int] = (0, 0, 0)) -> Place:
    """Where voxels lie by three axes of space, or by a given size of a voxel.

    Parameters
    ----------
    axes : sequence of Axis
    sampling : float or sequence of float, optional
    begin : sequence of int
        At which voxel the region begins; with a sampling the stored array begins at 0.

    Raises
    ------
    ParameterError
        A sampling that is none; axes with different units and no sampling.
    """
    names = [axis.name.lower() for axis in axes]
    order = tuple(names.index(name) for name in "xyz") if set(names) == set("xyz") else (2, 1, 0)
    own = [abs(float(axis.scale)) for axis in axes]
    steps = steps_of(axes, own if sampling is None else sampling, name="sampling")
    units = {axis.unit for axis in axes}
    offsets = [n * step for n, step in zip(begin, steps, strict=True)]
    if sampling is None:
        offsets = [float(axis.offset) for axis in axes]
    signs = [-1.0 if axis.scale < 0 and sampling is None else 1.0 for axis in axes]
    if len(units) > 1 and sampling is None:
        raise ParameterError(
            f"the axes have the units {[axis.unit for axis in axes]}", remedy="sampling=, the size of a voxel"
        )
    return Place(
        order,  # type: ignore[arg-type]
        tuple(steps[axis] * signs[axis] for axis in order),  # type: ignore[arg-type]
        tuple(offsets[axis] for axis in order),  # type: ignore[arg-type]
        axes[0].unit if len(units) == 1 else None,
    )
