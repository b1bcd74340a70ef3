"""A source that keeps the chunks it has read."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from ..arguments import number
from ..blocks.boxes import common, size_of, within
from ..sources.base import Source
from ..sources.indexing import Roi
from .base import WrapperSource, register_wrapper

Position = tuple[int, ...]


@register_wrapper
class CachedSource(WrapperSource):
    """A read-only source that keeps the chunks it has read, the latest used ones up to a size.

    For kinds whose library keeps none (HDF5, dask, computed sources). What it keeps is not checked against later
    changes of the data. Any number of threads may read; what several of them lack at once, each of them reads.

    Parameters
    ----------
    source : Source or array_like
        The inner source. Without chunks nothing is kept.
    cache_bytes : int
        How much to keep.

    Raises
    ------
    ParameterError
        If the size is negative.
    """

    pictured = True

    def __init__(self, source: Any, cache_bytes: int) -> None:
        super().__init__(source)
        number("cache_bytes", cache_bytes, least=0, example="64 * 2**20")
        self._cache_bytes = int(cache_bytes)
        self._kept: OrderedDict[Position, np.ndarray] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def _getitem(self, roi: Roi) -> np.ndarray:
        shape = size_of(roi)
        if self._source.chunks is None or 0 in shape or not shape:
            return self._source._getitem(roi)
        positions = self._positions(roi)
        with self._lock:
            found = {position: self._kept[position] for position in positions if position in self._kept}
            for position in found:
                self._kept.move_to_end(position)
        if missing := [position for position in positions if position not in found]:
            found |= self._read(missing)
        result = np.empty(shape, self.dtype)
        for position, chunk in found.items():
            box = self._box(position)
            shared = common(roi, box)
            result[within(shared, roi)] = chunk[within(shared, box)]
        return result

    def _read(self, missing: list[Position]) -> dict[Position, np.ndarray]:
        """Read chunks by one call for the box around them, as requests to a server cost more than voxels."""
        boxes = {position: self._box(position) for position in missing}
        around = tuple(
            slice(min(part.start for part in parts), max(part.stop for part in parts))
            for parts in zip(*boxes.values(), strict=True)
        )
        block = self._source._getitem(around)
        chunks = {}
        for position, box in boxes.items():
            chunks[position] = block[within(box, around)].copy()
        with self._lock:
            for position, chunk in chunks.items():
                self._kept_bytes += chunk.nbytes - (self._kept[position].nbytes if position in self._kept else 0)
                self._kept[position] = chunk
            while self._kept_bytes > self._cache_bytes:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return chunks

    def _positions(self, roi: Roi) -> list[Position]:
        """The chunks that a box touches."""
        grid = zip(roi, self._source.chunks or (), self._source.grid_origin, strict=True)
        spans = [range((p.start - origin) // size, -((origin - p.stop) // size)) for p, size, origin in grid]
        return list(itertools.product(*spans))

    def _box(self, position: Position) -> Roi:
        grid = zip(position, self._source.chunks or (), self._source.grid_origin, self.shape, strict=True)
        return tuple(slice(max(0, o + i * size), min(n, o + (i + 1) * size)) for i, size, o, n in grid)

    def _params(self) -> dict[str, Any]:
        return {"cache_bytes": self._cache_bytes}


def with_cache(source: Source, cache_bytes: int) -> Source:
    """Return the same data through a handle of its own with an empty cache; a `CachedSource` if the kind has none."""
    fresh = source.fresh(cache_bytes=cache_bytes)
    lacks = fresh is source and source.chunks is not None and cache_bytes > 0
    return CachedSource(source, cache_bytes) if lacks else fresh
