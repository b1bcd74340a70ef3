"""Masks that stay sparse: a crop and where it lies, or a label map and one of its values."""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ShapeError
from ...sources import Source
from ..layout import Region, read_ordered
from ..opening.handles import read_from
from .label_index import label_index

Bools = npt.NDArray[np.bool_]
Shared = dict[tuple[Hashable, tuple[tuple[int, int], ...]], npt.NDArray[Any]]
"""Label maps that were read for one item: its masks share them."""


class Mask(abc.ABC):
    """Which voxels of a resource (N, H, W) belong to something. An axis N of size 1 stands for all N."""

    shape: tuple[int, ...]

    @property
    @abc.abstractmethod
    def box(self) -> Region | None:
        """A box around it; None where it is empty."""

    @abc.abstractmethod
    def read(self, region: Region, shared: Shared | None = None) -> Bools:
        """Return a box of it, bool (n, h, w); `shared` keeps what masks of one item have in common."""

    def over(self, shape: tuple[int, ...], what: str) -> None:
        """Check that it fits an image (N, H, W).

        Raises
        ------
        ShapeError
            It does not.
        """
        if self.shape[1:] != shape[1:] or self.shape[0] not in (1, shape[0]):
            raise ShapeError(
                f"The mask of {what} has the shape {self.shape}, the image {shape}.",
                remedy="pass masks over the planes or frames, rows and columns of the image",
            )

    def within(self, region: Region) -> Region:
        """The region in its own indices: one plane or frame where it stands for all."""
        return (slice(0, 1), *region[1:]) if self.shape[0] == 1 else region


@dataclass(frozen=True, eq=False)
class CropMask(Mask):
    """A crop of a mask, and the index of its first voxel."""

    crop: Bools
    origin: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, mask: Any, frame: int | None = None, frames: int = 1) -> CropMask:
        """Return the mask of an array (N, H, W) or (H, W); anything but 0 belongs to it.

        Parameters
        ----------
        mask : array_like
        frame : int, optional
            The plane or frame that a mask (H, W) lies in.
        frames : int, default 1
            How many there are.
        """
        array = np.asarray(mask) != 0
        if array.ndim == 2:
            array = array[None]
        if array.ndim != 3:
            raise ShapeError(f"A mask has the shape {array.shape}.", remedy="pass (N, H, W) or (H, W)")
        begin = 0 if frame is None else frame
        shape = (frames if frame is not None else array.shape[0], *array.shape[1:])
        where = [np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        if not all(len(w) for w in where):
            return cls(np.zeros((0, 0, 0), bool), (0, 0, 0), shape)
        box = tuple(slice(int(w[0]), int(w[-1]) + 1) for w in where)
        return cls(array[box].copy(), (begin + box[0].start, box[1].start, box[2].start), shape)

    @property
    def box(self) -> Region | None:
        """A box around it; None where it is empty."""
        if not self.crop.size:
            return None
        return tuple(slice(o, o + n) for o, n in zip(self.origin, self.crop.shape, strict=True))

    def read(self, region: Region, shared: Shared | None = None) -> Bools:
        """Return a box of it, bool (n, h, w)."""
        own = self.within(region)
        result = np.zeros([part.stop - part.start for part in own], bool)
        if self.crop.size:
            low = [max(part.start, o) for part, o in zip(own, self.origin, strict=True)]
            high = [min(p.stop, o + n) for p, o, n in zip(own, self.origin, self.crop.shape, strict=True)]
            if all(a < b for a, b in zip(low, high, strict=True)):
                to = tuple(slice(a - p.start, b - p.start) for a, b, p in zip(low, high, own, strict=True))
                of = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, self.origin, strict=True))
                result[to] = self.crop[of]
        return np.broadcast_to(result, [part.stop - part.start for part in region])


@dataclass(frozen=True, eq=False)
class LabelMask(Mask):
    """One value of a label map.

    Parameters
    ----------
    key : hashable
        What stands for this label map and no other content.
    open : callable
        Opens it.
    order : tuple of int or None
        Its axes for (N, H, W).
    value : int
    shape : tuple of int
        (N, H, W); N is 1 where the label map has no such axis.
    extent : tuple of slice, optional
        A box around the value. None: it may not occur at all; `box` looks through the label map then.
    """

    key: Hashable
    open: Callable[[], Source]
    order: tuple[int | None, ...]
    value: int
    shape: tuple[int, ...]
    extent: Region | None = field(default=None, repr=False)

    @property
    def box(self) -> Region | None:
        """A box around it; None where it is empty."""
        if self.extent is not None:
            return self.extent
        found = label_index(self.key, self.open).box(self.value)
        return None if found is None else tuple(slice(0, 1) if a is None else found[a] for a in self.order)

    def read(self, region: Region, shared: Shared | None = None) -> Bools:
        """Return a box of it, bool (n, h, w)."""
        own = self.within(region)
        at = (self.key, tuple((part.start, part.stop) for part in own))
        labels = None if shared is None else shared.get(at)
        if labels is None:
            labels = read_from(self.key, self.open, lambda source: read_ordered(source, self.order, own))
            if shared is not None:
                shared[at] = labels
        return np.broadcast_to(labels == self.value, [part.stop - part.start for part in region])


@dataclass(frozen=True, eq=False)
class FrameMask(Mask):
    """A mask (1, H, W) that lies in one plane or frame of several."""

    mask: Mask
    frame: int
    shape: tuple[int, ...]

    @property
    def box(self) -> Region | None:
        """A box around it; None where it is empty."""
        inner = self.mask.box
        return None if inner is None else (slice(self.frame, self.frame + 1), *inner[1:])

    def read(self, region: Region, shared: Shared | None = None) -> Bools:
        """Return a box of it, bool (n, h, w)."""
        result = np.zeros([part.stop - part.start for part in region], bool)
        if region[0].start <= self.frame < region[0].stop:
            result[self.frame - region[0].start] = self.mask.read((slice(0, 1), *region[1:]), shared)[0]
        return result
