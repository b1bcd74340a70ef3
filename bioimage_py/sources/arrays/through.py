"""A source as the storage of another one: what it knows of its files and units stays known."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ..axes import Axis
from ..base import Source
from ..chunked.encoded import EncodedChunks
from ..chunked.unit_files import UnitFiles
from ..indexing import Roi
from ..sharing import Extent
from .backing import Backing


class SourceBacking(Backing):
    """Voxels of a source.

    Parameters
    ----------
    source : Source
        Of which any number of threads may read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.shape, self.dtype = source.shape, source.dtype
        self.chunks, self.shards = source.chunks, source.shards
        self.grid_origin = source.grid_origin
        self.writable, self.concurrency = source.writable, source.concurrency
        self.lossless, self.thins = source.lossless, source.thins

    @property
    def native(self) -> Source:
        return self._source

    @property
    def identity(self) -> Hashable:
        return self._source.identity

    def read(self, roi: Roi) -> np.ndarray:
        return self._source.read(roi)

    def view(self, roi: Roi) -> np.ndarray:
        return self._source.view(roi)

    def write(self, roi: Roi, value: np.ndarray) -> None:
        self._source.write(roi, value)

    def axes(self) -> tuple[Axis, ...]:
        return self._source.axes

    def fresh(self, cache_bytes: int) -> Backing:
        found = self._source.fresh(cache_bytes=cache_bytes)
        return self if found is self._source else SourceBacking(found)

    def durable(self) -> Backing:
        found = self._source.durable()
        return self if found is self._source else SourceBacking(found)

    def flush(self) -> None:
        self._source.flush()

    def check_there(self) -> None:
        self._source.check_there()

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        return self._source.unit_files(roi)

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        return self._source.stored_in(roi)

    def extents(self) -> tuple[Extent, ...] | None:
        return self._source.extents()

    def encoded(self, roi: Roi) -> tuple[EncodedChunks, ...]:
        return self._source.encoded(roi)

    def stored_units(self) -> np.ndarray | None:
        return self._source.stored_units()

    def moved(self, folder: str) -> Backing:
        return SourceBacking(self._source.moved(folder))

    def close(self) -> None:
        self._source.close()
