"""Masks: which voxels belong to an object, as a crop of the image, and as run lengths in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from ...errors import ParameterError, ShapeError
from .geometry import Bounds, Geometry, Points, extent

if TYPE_CHECKING:
    from .grid import Grid

LARGEST = 2**28
"""Voxels of a crop that is read from a file."""


class Mask(Geometry):
    """Voxels of an object.

    Parameters
    ----------
    crop : bool array (y, x) or (z, y, x)
        True where a voxel belongs to it.
    origin : sequence of int, optional
        Index of the crop's first voxel, in the order of its axes. None: the crop is as large as the image.

    Raises
    ------
    ParameterError
        No voxel belongs to it, or it is no array of booleans.

    Examples
    --------
    >>> Mask(np.ones((2, 3), bool), origin=(10, 20)).area
    6
    """

    shape = "bitmask"
    fields = ("origin", "shape", "counts")
    __slots__ = ("crop", "origin", "whole")

    def __init__(self, crop: Any, origin: Sequence[int] | None = None) -> None:
        given = np.asarray(crop)
        if given.ndim not in (2, 3) or given.dtype.kind != "b" or not given.any():
            raise ParameterError(
                f"The mask has the shape {given.shape}, {given.dtype}, with {np.count_nonzero(given)} voxels.",
                remedy="Mask(labels == 7), an array (y, x) or (z, y, x) of booleans of which some are True",
            )
        at = [0] * given.ndim if origin is None else list(origin)
        if len(at) != given.ndim or any(
            isinstance(i, bool) or not isinstance(i, int | np.integer) or i < 0 for i in at
        ):
            raise ParameterError(f"origin={origin!r} is no index of a voxel.", remedy=f"origin={(0,) * given.ndim}")
        box = [np.flatnonzero(given.any(axis=tuple(j for j in range(given.ndim) if j != i))) for i in range(given.ndim)]
        self.crop: npt.NDArray[np.bool_] = given[tuple(slice(int(b[0]), int(b[-1]) + 1) for b in box)].copy()
        self.crop.setflags(write=False)
        self.origin = tuple(int(i) + int(b[0]) for i, b in zip(at, box, strict=True))
        self.whole = given.shape if origin is None else None

    @property
    def area(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.crop))

    def check(self, size: Sequence[int]) -> None:
        """Raise ShapeError where it is not of an image of this shape (in the order of its own axes)."""
        end = tuple(i + n for i, n in zip(self.origin, self.crop.shape, strict=True))
        whole = self.whole is not None and tuple(self.whole) != tuple(size)
        if whole or len(size) != len(end) or any(e > s for e, s in zip(end, size, strict=True)):
            mine = self.whole if whole else f"{self.crop.shape} at {self.origin}"
            raise ShapeError(
                f"The mask is {mine}, the image {tuple(size)}.", remedy="Mask(crop, origin=...) within the image"
            )

    def slices(self) -> tuple[slice, ...]:
        """Return where its crop lies."""
        return tuple(slice(i, i + n) for i, n in zip(self.origin, self.crop.shape, strict=True))

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        low = np.array(self.origin[::-1], float)
        n = len(low)
        corners = np.stack([low, low + self.crop.shape[::-1]])
        return extent(corners * grid.scale[:n] + grid.corner[:n])

    def mapped(self, scale: Points, shift: Points) -> Mask:
        """As of `Geometry`."""
        return self

    def to_document(self) -> dict[str, Any]:
        """As of `Geometry`."""
        return {"origin": list(self.origin), "shape": list(self.crop.shape), "counts": run_lengths(self.crop)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """As of `Geometry`."""
        origin, shape, counts = (document[name] for name in ("origin", "shape", "counts"))
        return cls(from_run_lengths(counts, shape), origin)


def run_lengths(crop: npt.NDArray[np.bool_]) -> list[int]:
    """Return lengths of runs in C order, of False and True in turn, beginning with False."""
    flat = crop.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths


def from_run_lengths(counts: Sequence[int], shape: Sequence[int], order: Any = "C") -> npt.NDArray[np.bool_]:
    """Return the array of run lengths.

    Raises
    ------
    ShapeError
        They are not of an array of that shape.
    """
    numbers = np.asarray(counts)
    sizes = [int(n) for n in shape]
    total = int(np.prod(np.array(sizes, dtype=object)))
    whole = numbers.ndim == 1 and numbers.dtype.kind in "iu" and min(sizes, default=0) > 0 and (numbers >= 0).all()
    if not whole or total > LARGEST or int(sum(numbers.tolist())) != total:
        raise ShapeError(f"Run lengths of {counts!r:.80} for the shape {tuple(sizes)}.", remedy="their sum is the area")
    flat = np.repeat(np.arange(len(numbers)) % 2 == 1, numbers)
    return flat.reshape(sizes, order=order)
