"""The image under a space: its axes and size, and how world, pixel and normalised coordinates become each other.

Pixel ``i`` covers ``[i, i + 1)``, its centre is ``i + 0.5``, and lies at ``offset + i * scale`` in the world. So
``world = offset + (pixel - 0.5) * scale``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from ...errors import ParameterError, ShapeError
from ...sources import Source, as_source
from ...sources.axes import Axis, kind_of
from .geometry import Bounds, Box, Geometry, Points, Polygon
from .ids import is_text
from .masks import Mask

Units = Literal["world", "pixel", "normalised"]
Outside = Literal["keep", "clip", "error"]
_LONGEST = 2**31 - 1


class Grid:
    """Axes and size of what is annotated.

    Parameters
    ----------
    axes : sequence of Axis
        Of the image, in its own order; x and y must be among them.
    shape : sequence of int
    frames : str, optional
        Name of the axis along which the frames of a sequence lie; None: there is one frame.
    sizes : sequence of (height, width), optional
        Of each frame, where they differ.

    Raises
    ------
    ParameterError
        There is no x or y, or no such axis of frames.
    ShapeError
        `shape` and `axes`, or `sizes` and frames, are of different lengths.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        shape: Sequence[int],
        frames: str | None = None,
        sizes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.axes, self.shape, self.frames = tuple(axes), _lengths(shape), frames
        known = {axis.name.lower(): (axis, n) for axis, n in zip(self.axes, self.shape, strict=False)}
        if len(self.axes) != len(self.shape) or len(known) < len(self.axes):
            raise ShapeError(
                f"The image has the shape {self.shape} and the axes {[axis.name for axis in self.axes]}.",
                remedy="give one axis of its own for each axis of the image",
            )
        if odd := [text for axis in self.axes for text in (axis.name, axis.unit) if text and not is_text(text)]:
            raise ParameterError(f"The axes have the text {odd[0]!r}, which no file can hold.", remedy="rename it")
        if not {"x", "y"} <= set(known) or (frames is not None and frames not in known) or frames in ("x", "y"):
            raise ParameterError(
                f"The axes are {list(known)}, frames along {frames!r}.", remedy="axes=('y', 'x'), or ('t', 'y', 'x')"
            )
        self.n_frames = known[frames][1] if frames else 1
        self.names = [name for name in "xyz" if name in known and name != frames and known[name][0].kind == "space"]
        self.scale = np.array([known[name][0].scale if name in self.names else 1.0 for name in "xyz"], float)
        self.offset = np.array([known[name][0].offset if name in self.names else 0.0 for name in "xyz"], float)
        if not (np.isfinite(self.scale).all() and (self.scale > 0).all() and np.isfinite(self.offset).all()):
            raise ParameterError(f"scale {self.scale}, offset {self.offset}.", remedy="give finite scales above 0")
        self.corner = self.offset - 0.5 * self.scale
        """World coordinates of the outer corner of voxel 0."""
        self._limits: dict[int, tuple[list[float], list[float]]] = {}
        self._size = np.array([known[name][1] if name in self.names else 1 for name in "xyz"], float)
        self.sizes = None if sizes is None else [_lengths((h, w)) for h, w in sizes]
        if self.sizes is not None and len(self.sizes) != self.n_frames:
            raise ShapeError(f"{len(self.sizes)} sizes for {self.n_frames} frames.", remedy="give one size a frame")

    @property
    def unit(self) -> str | None:
        """Unit of the world coordinates."""
        return next(axis.unit for axis in self.axes if axis.name.lower() == "x")

    @property
    def ndim(self) -> int:
        """2 or 3: number of coordinates of a point."""
        return len(self.names)

    def size(self, frame: int = 0) -> Points:
        """Voxels along x, y and z."""
        if self.sizes is None:
            return self._size
        height, width = self.sizes[max(frame, 0)]
        return np.array([width, height, self._size[2]], float)

    def mask_shape(self, frame: int = 0) -> tuple[int, ...]:
        """Shape of a mask of the whole image: (y, x) or (z, y, x)."""
        return tuple(int(n) for n in self.size(frame)[: self.ndim][::-1])

    def world(self, geometry: Geometry, units: Units = "pixel", frame: int = 0) -> Geometry:
        """Return a geometry that is given in other units in world coordinates."""
        if units == "world":
            return geometry
        factor = self.scale if check_units(units) == "pixel" else self.scale * self.size(frame)
        return geometry.mapped(factor, self.corner)

    def convert(self, geometry: Geometry, units: Units, frame: int = 0) -> Geometry:
        """Return a geometry of world coordinates in other units."""
        if units == "world":
            return geometry
        factor = self.scale if check_units(units) == "pixel" else self.scale * self.size(frame)
        return geometry.mapped(1 / factor, -self.corner / factor)

    def edges(self, frame: int = 0) -> tuple[Points, Points]:
        """World coordinates of both outer corners of the image; of a flat one, infinite along z."""
        low, high = self.corner.copy(), self.corner + self.size(frame) * self.scale
        if self.ndim == 2:
            low[2], high[2] = -math.inf, math.inf
        return low, high

    def is_outside(self, bounds: Bounds, frame: int = 0) -> bool:
        """Whether bounds reach out of the image."""
        frame = 0 if self.sizes is None else frame
        limits = self._limits.get(frame)
        if limits is None:
            low, high = self.edges(frame)
            slack = 1e-9 * np.where(np.isfinite(high - low), high - low, 0)
            limits = self._limits[frame] = ((low - slack).tolist(), (high + slack).tolist())
        low_x, low_y, low_z, high_x, high_y, high_z = bounds
        (x0, y0, z0), (x1, y1, z1) = limits
        if low_x < x0 or low_y < y0 or high_x > x1 or high_y > y1:
            return True
        return not math.isinf(low_z) and (low_z < z0 or high_z > z1)

    def checked(self, geometry: Any, frame: int, outside: Outside) -> tuple[Geometry, Bounds, bool]:
        """Return a geometry of world coordinates as it is to be stored, its bounds, and whether it reaches outside.

        Raises
        ------
        ParameterError
            It has another number of coordinates than the image, or reaches outside with ``outside="error"``.
        ShapeError
            A mask is of another shape than the image.
        """
        if isinstance(geometry, Mask):
            geometry.check(self.mask_shape(frame))
        bounds = geometry.bounds(self)
        if math.isinf(bounds[2]) != (self.ndim == 2):
            given = 2 if math.isinf(bounds[2]) else 3
            raise ParameterError(
                f"A {geometry.shape} of {given} coordinates in a space of {self.ndim}.", remedy=f"use {self.ndim}"
            )
        beyond = self.is_outside(bounds, frame)
        check_outside(outside)
        if beyond and outside == "error":
            raise ParameterError(
                f"The {geometry.shape} with the bounds {bounds} reaches out of the image of {self.size(frame).tolist()}"
                " voxels (x, y, z).",
                remedy="outside='clip' or 'keep'",
            )
        if beyond and outside == "clip":
            geometry = self._clipped(geometry, frame)
            return geometry, geometry.bounds(self), False
        return geometry, bounds, beyond

    def _clipped(self, geometry: Geometry, frame: int) -> Geometry:
        low, high = self.edges(frame)
        low, high = low[: self.ndim], high[: self.ndim]
        if isinstance(geometry, Box):
            at = np.maximum(geometry.top_left, low), np.minimum(geometry.lower_right, high)
            if (at[0] < at[1]).all():
                return Box(*at)
        elif isinstance(geometry, Polygon):
            from .planar import clipped

            if (cut := clipped(geometry, (*low, *high))) is not None:
                return cut
        else:
            raise ParameterError(f"A {geometry.shape} can't be clipped.", remedy="outside='keep' or 'error'")
        raise ParameterError(f"Nothing of the {geometry.shape} is inside of the image.", remedy="outside='keep'")


def _lengths(given: Iterable[Any]) -> tuple[int, ...]:
    """Return numbers of voxels along axes: whole, above 0, and no larger than indices are."""
    found = tuple(given)
    if odd := [n for n in found if not _is_length(n)]:
        raise ShapeError(f"{odd[0]!r:.80} is no number of voxels.", remedy=f"use whole numbers from 1 to {_LONGEST}")
    return tuple(int(n) for n in found)


def _is_length(n: Any) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and 1 <= int(n) <= _LONGEST


def check_outside(outside: str) -> None:
    """Raise ParameterError unless it says what becomes of a geometry that reaches out of the image."""
    if outside not in ("keep", "clip", "error"):
        raise ParameterError(f"outside={outside!r}", remedy="use one of 'keep', 'clip', 'error'")


def check_units(units: str) -> str:
    """Return a name of units that is known."""
    if units not in ("world", "pixel", "normalised"):
        raise ParameterError(f"units={units!r}", remedy="use one of 'world', 'pixel', 'normalised'")
    return units


def extent_of(given: Any, axes: Iterable[Axis | str] | None) -> tuple[Any, Any]:
    """Return shape and axes of a source, or of a shape with axes."""
    named = None if axes is None else [Axis(a, kind_of(a)) if isinstance(a, str) else a for a in axes]
    if isinstance(given, tuple | list) and all(isinstance(n, int | np.integer) for n in given):
        if named is None:
            raise ParameterError(f"The shape {tuple(given)} without axes.", remedy="axes=('y', 'x')")
        return tuple(given), tuple(named)
    source: Source = as_source(given)
    return source.shape, source.axes if named is None else tuple(named)
