"""Precomputed layers whose chunks lie in shards."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import RegionError
from ..chunked.marks import some_files
from ..chunked.unit_files import UnitFiles
from ..forks import engine
from ..indexing import Roi
from ..stores.errors import failed
from ..stores.location import Location
from .chunks import ChunkedLayer
from .info import Scale
from .layer import Layer, LayerOptions, where

# Indices of shards, not voxels: without a cache each chunk would cost two more requests.
_INDEX_CACHE = 1 << 24


class ShardedLayer(ChunkedLayer):
    """A sharded scale: tensorstore finds the chunks in the shards, and writes whole shards.

    tensorstore's driver for layers takes every missing chunk of a shard for zeros, so it only writes here. What it
    cannot open is read-only.
    """

    def __init__(
        self,
        place: Location,
        info: Mapping[str, Any],
        scale: Scale,
        options: LayerOptions,
        *,
        writable: bool,
        cache_bytes: int = 0,
        sync: bool = False,
    ) -> None:
        super().__init__(place, info, scale, options, writable=writable, cache_bytes=cache_bytes, sync=sync)
        self._resources = {"cache_pool": {"total_bytes_limit": _INDEX_CACHE}, "file_io_sync": sync}
        self._driver = self._open_driver()
        self.writable = writable and self._driver is not None

    def _open_driver(self) -> Any:
        tensorstore = engine()

        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": self._place.kvstore(),
            "scale_index": self.scale.index,
            "store_data_equal_to_fill_value": not self._options.delete_black_uploads,
        }
        context = self._place.open_context(self._resources)
        try:
            return tensorstore.open(spec, context=context, open=True).result().T
        except ValueError:
            return None

    @property
    def shards(self) -> tuple[int, ...] | None:
        if self._driver is None:
            return None
        return tuple(int(size) for size in self._driver.chunk_layout.write_chunk.shape)

    def _kvstore(self) -> dict[str, Any]:
        return {
            "driver": "neuroglancer_uint64_sharded",
            "metadata": self.scale.entry["sharding"],
            "base": self._chunks.kvstore(),
        }

    def _key(self, chunk: Roi) -> tuple[str | bytes, str]:
        return chunk_number(chunk, self.scale).to_bytes(8, "big"), ""

    def write(self, box: Roi, value: np.ndarray) -> None:
        if not self._options.non_aligned_writes and not self._whole_shards(box):
            raise RegionError(
                f"The box {where(box)} (c z y x) of {self._place} covers shards in part: non_aligned_writes is False.",
                remedy=f"write whole shards of {(self.shards or ())[1:]} voxels (z y x)",
            )
        if not self._options.fill_missing:
            for _ in self._decoded(self._covered_in_part(box)):
                pass  # a missing one is an error
        self._get()  # an error if closed
        for chunk in self.scale.chunks_in(box) if self._cache.limit else ():
            self._forget(chunk)
        try:
            self._driver[box].write(value).result()
        except (ValueError, OSError) as error:
            raise failed(f"write {where(box)} of", self._place, error) from error

    def _whole_shards(self, box: Roi) -> bool:
        return all(
            (part.start - bounds.start) % size == 0
            and ((part.stop - bounds.start) % size == 0 or part.stop == bounds.stop)
            for part, bounds, size in zip(box, self.scale.box, self.shards or (), strict=True)
        )

    def moved(self, folder: str) -> Layer | None:
        return None

    def unit_files(self, box: Roi) -> UnitFiles | None:
        return None

    def stored_in(self, box: Roi) -> UnitFiles | None:
        return some_files(self._chunks)

    def stored_units(self) -> np.ndarray | None:
        return None


def chunk_number(chunk: Roi, scale: Scale) -> int:
    """Return the number under which a shard keeps a chunk: its compressed Morton code.

    The bits of the grid position are interleaved, x first, and each axis stops where its grid does. Source:
    https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/volume.md#compressed-morton-code.
    """
    position = [
        (part.start - begin) // step
        for part, begin, step in zip(chunk[:0:-1], scale.voxel_offset, scale.chunk_size, strict=True)
    ]
    bits = [(math.ceil(size / step) - 1).bit_length() for size, step in zip(scale.size, scale.chunk_size, strict=True)]
    number = shift = 0
    for level in range(max(bits)):
        for place, count in zip(position, bits, strict=True):
            if level < count:
                number |= (place >> level & 1) << shift
                shift += 1
    return number
