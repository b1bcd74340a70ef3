"""A box of a precomputed layer as a source."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ...blocks.boxes import is_empty, shifted, size_of, within
from ...errors import ParameterError, ReadOnlyError, RegionError
from ..axes import Axis
from ..base import Concurrency, Source
from ..chunked.unit_files import UnitFiles
from ..indexing import Roi
from ..stores.paths import over_network
from .layer import Layer, where

XYZ = tuple[int, int, int]

_LOSSLESS = ("raw", "compressed_segmentation", "compresso", "crackle", "png")


class PrecomputedSource(Source):
    """A box of one scale of a precomputed layer, with the axes z, y, x, or c, z, y, x where it has several channels.

    Index 0 is the first voxel of the box. The write units are the chunks (or shards) of the layer, which begin at its
    ``voxel_offset``.
    """

    pictured = True

    _layer: Layer
    _path: str
    _box: Roi
    _channel: int | None

    def _attach(self, layer: Layer, path: str, box: Roi, channel: int | None) -> None:
        self._layer, self._path, self._box, self._channel = layer, path, box, channel
        # The first of the layer's axes c, z, y, x that this source has.
        self._first = 0 if layer.scale.channels > 1 and channel is None else 1

    @property
    def remote(self) -> bool:
        return over_network(self._path)

    @property
    def mip(self) -> int:
        """Index of the scale."""
        return self._layer.scale.index

    @property
    def resolution(self) -> tuple[float, float, float]:
        """Nanometers a voxel, in the order x, y, z."""
        return self._layer.scale.resolution

    @property
    def offset(self) -> XYZ:
        """Absolute position of the first voxel, in voxels of this scale, in the order x, y, z."""
        x, y, z = (part.start for part in self._box[:0:-1])
        return (x, y, z)

    @property
    def shape(self) -> tuple[int, ...]:
        return size_of(self._box)[self._first :]

    @property
    def dtype(self) -> np.dtype:
        return self._layer.scale.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        return self._layer.scale.unit[self._first :]

    @property
    def shards(self) -> tuple[int, ...] | None:
        shards = self._layer.shards
        return None if shards is None else shards[self._first :]

    @property
    def grid_origin(self) -> tuple[int, ...]:
        whole = self._layer.scale.box
        return tuple(w.start - b.start for w, b in zip(whole, self._box, strict=True))[self._first :]

    @property
    def axes(self) -> tuple[Axis, ...]:
        origin = [-begin for begin in (0, *self.grid_origin)[-4:]]
        axes = self._layer.scale.axes()
        moved = (
            replace(axis, offset=axis.offset + n * axis.scale) for axis, n in zip(axes[1:], origin[-3:], strict=True)
        )
        return (axes[0], *moved)[self._first :]

    @property
    def writable(self) -> bool:
        return self._layer.writable

    @property
    def concurrency(self) -> Concurrency:
        return "aligned"

    @property
    def lossless(self) -> bool:
        return self._layer.scale.encoding in _LOSSLESS

    @property
    def identity(self) -> Hashable:
        return self._layer.identity

    def _absolute(self, roi: Roi) -> Roi:
        spatial = shifted(roi[-3:], [begin.start for begin in self._box[1:]])
        return (roi[0] if self._first == 0 else self._box[0], *spatial)

    def _inside(self, box: Roi) -> Roi:
        return tuple(
            slice(min(max(part.start, whole.start), whole.stop), max(min(part.stop, whole.stop), whole.start))
            for part, whole in zip(box, self._layer.scale.box, strict=True)
        )

    def _getitem(self, roi: Roi) -> np.ndarray:
        shape = size_of(roi)
        box = self._absolute(roi)
        inside = self._inside(box)
        if inside == box and 0 not in shape:
            return self._layer.read(box).reshape(shape)
        result = np.zeros(size_of(box), self.dtype)
        if not is_empty(inside):
            result[within(inside, box)] = self._layer.read(inside)
        return result.reshape(shape)

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        box = self._absolute(roi)
        if self._inside(box) != box:
            raise RegionError(
                f"The box {where(box)} (c z y x) reaches beyond {self._path}, {where(self._layer.scale.box)}.",
                remedy="write inside the layer only",
            )
        self._layer.write(box, value.reshape(size_of(box)))

    def _sibling(self, layer: Layer) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._layer = layer
        return twin

    def fresh(self, *, cache_bytes: int = 0) -> Source:
        layer = self._layer.fresh(cache_bytes)
        return self if layer is self._layer else self._sibling(layer)

    def durable(self) -> Source:
        layer = self._layer.durable()
        return self if layer is self._layer else self._sibling(layer)

    def check_there(self) -> None:
        self._layer.check_there()

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        return self._layer.unit_files(self._inside(self._absolute(roi)))

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        return self._layer.stored_in(self._inside(self._absolute(roi)))

    def stored_units(self) -> np.ndarray | None:
        positions = self._layer.stored_units()
        return None if positions is None else positions[:, self._first :]

    def moved(self, folder: str) -> Source:
        layer = self._layer.moved(folder)
        return super().moved(folder) if layer is None else self._sibling(layer)

    def close(self) -> None:
        self._layer.close()

    def _read_only(self) -> ReadOnlyError:
        return ReadOnlyError(
            f"{self._path} was opened as read-only.", remedy="open it with mode='r+', if its store can be written"
        )

    def __repr__(self) -> str:
        return super().__repr__().replace("(", f"({self._path!r}, mip={self.mip}, ", 1)


def select_channel(layer: Layer, path: str, box: Roi, channel: int | None) -> Roi:
    """Return a box with the given channel alone, unchanged for None."""
    channels = layer.scale.channels
    if channel is None:
        return box
    if not -channels <= channel < channels:
        raise ParameterError(f"{path} has no channel {channel}; it has {channels}.", remedy=f"use 0 to {channels - 1}")
    return (slice(channel % channels, channel % channels + 1), *box[1:])


def box_of(layer: Layer, path: str, offset: Any, size: Any, roi: Any, bounded: bool) -> Roi:
    """Return the absolute box that is opened."""
    whole = layer.scale.box
    if roi is not None:
        if offset is not None or size is not None:
            raise ParameterError("Both roi and offset or size are given.", remedy="give roi alone, it says both")
        return (whole[0], *_from_roi(roi, whole[1:], path))
    begins = [part.start for part in whole[1:]] if offset is None else [int(begin) for begin in offset][::-1]
    ends = [part.stop for part in whole[1:]]
    if size is not None:
        ends = [begin + int(extent) for begin, extent in zip(begins, list(size)[::-1], strict=True)]
    box = (whole[0], *map(slice, begins, ends))
    outside = any(part.start < bounds.start or part.stop > bounds.stop for part, bounds in zip(box, whole, strict=True))
    if any(part.stop <= part.start for part in box) or (bounded and outside):
        raise RegionError(
            f"offset {offset} and size {size} (x y z) do not fit {path}, which begins at {layer.scale.voxel_offset}"
            f" and has the size {layer.scale.size}.",
            remedy="give absolute voxels of the opened mip; bounded=False reads zero outside",
        )
    return box


def _from_roi(roi: Any, whole: Roi, path: str) -> Roi:
    parts = tuple(roi) if isinstance(roi, Sequence) else (roi,)
    if len(parts) > 3 or not all(isinstance(part, slice) and part.step in (None, 1) for part in parts):
        raise RegionError(f"roi is {roi!r}.", remedy="give up to three slices without steps, in the order z, y, x")
    box = []
    for axis, (part, bounds) in enumerate(zip((*parts, *[slice(None)] * (3 - len(parts))), whole, strict=True)):
        length = bounds.stop - bounds.start
        start, stop = (
            default if bound is None else int(bound) + (length if bound < 0 else 0)
            for bound, default in ((part.start, 0), (part.stop, length))
        )
        if not 0 <= start < stop <= length:
            raise RegionError(
                f"The region {part.start}:{part.stop} does not fit axis {'zyx'[axis]} of {path}, of size {length}.",
                remedy=f"use numbers from 0 to {length}, start below stop",
            )
        box.append(slice(bounds.start + start, bounds.start + stop))
    return tuple(box)
