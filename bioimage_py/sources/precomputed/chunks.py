"""Precomputed layers with a file or object for every chunk.

tensorstore carries the bytes, and decodes most encodings (see `precomputed_codec`). Its own driver for whole layers is
of no use here: cloud-volume compresses the chunks of local layers into files called "....gz", which that driver does
not find, and those of object stores with a header that it does not see.
"""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...blocks.boxes import common, size_of, within
from ...errors import FormatError, RegionError, SourceNotFoundError, StorageError
from ..arrays.backing import gone
from ..chunked.unit_files import UnitFiles
from ..forks import check, engine
from ..indexing import Roi
from ..stores.archives import refuse_left_out
from ..stores.errors import failed
from ..stores.location import Location
from .codec import SUFFIXES, codec_of, pack, unpack
from .info import INFO, Scale, chunk_name, read_info
from .layer import Layer, LayerOptions, closed, missing_chunk, where

# Requests under way at a time: enough to hide the latency of a store, few enough to hold a few chunks in memory only.
_AHEAD = 16
_LOSSY = ("jpeg", "jxl")


class ChunkedLayer(Layer):
    """A scale with a file or object for every chunk. Any number of threads may use it.

    Parameters
    ----------
    place : Location
        The layer.
    info : mapping
        Its info file.
    scale : Scale
    options : LayerOptions
    writable : bool
    cache_bytes : int, default 0
        Size of the cache of decoded chunks, which is not checked against later changes by others.
    sync : bool, default False
        Wait for the disk at every file.
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
        self.scale, self.writable = scale, writable
        self._place, self._info, self._options, self._sync = place, info, options, sync
        self._chunks = place / scale.key
        self._codec = codec_of(info, scale)
        self._cache = ChunkCache(cache_bytes)
        self._resources: dict[str, Any] = {"file_io_sync": sync}
        self._lock = threading.Lock()
        self._store: Any = None
        self._closed = False
        refuse_left_out(self._chunks)

    @property
    def identity(self) -> Hashable:
        return self._chunks.identity

    def read(self, box: Roi) -> np.ndarray:
        result = np.empty(size_of(box), self.scale.dtype)
        for chunk, voxels in self._decoded(self.scale.chunks_in(box)):
            here, there = _overlap(chunk, box)
            result[there] = voxels[here]
        return result

    def _decoded(self, chunks: Iterable[Roi]) -> Iterator[tuple[Roi, np.ndarray]]:
        """Read chunks in their order, several at a time, and decode them in this thread."""
        pending: deque[tuple[Roi, np.ndarray | None, Any]] = deque()
        for chunk in chunks:
            if len(pending) >= _AHEAD:
                yield self._finish(*pending.popleft())
            kept = self._cache.get(chunk_name(chunk))
            pending.append((chunk, kept, None if kept is not None else self._request(chunk)))
        while pending:
            yield self._finish(*pending.popleft())

    def _request(self, chunk: Roi) -> tuple[str | bytes, str, Any]:
        """Ask for a chunk; returns its key, the compression that its name tells, and the answer to come."""
        key, packing = self._key(chunk)
        return key, packing, self._get().read(key)

    def _finish(self, chunk: Roi, kept: np.ndarray | None, request: Any) -> tuple[Roi, np.ndarray]:
        if kept is not None:
            return chunk, kept
        voxels = self._answer(chunk, *request)[0]
        self._cache.put(chunk_name(chunk), voxels)
        return chunk, voxels

    def _answer(self, chunk: Roi, key: str | bytes, packing: str, answer: Any) -> tuple[np.ndarray, Any]:
        """Wait for a chunk; returns its voxels and the generation that it has in the store."""
        try:
            found = answer.result()
        except (ValueError, OSError) as error:
            raise failed(f"read chunk {chunk_name(chunk)} of", self._chunks, error) from error
        content = bytes(found.value)
        if found.state != "value" or not content:
            return self._missing(chunk), found.stamp.generation
        try:
            return self._codec.decode(unpack(content, packing), chunk), found.stamp.generation
        except ValueError as error:
            raise StorageError(
                f"Chunk {self._chunks}/{key if isinstance(key, str) else chunk_name(chunk)} is damaged, or not of the"
                f" encoding, size and type that the info file says: {error}",
                remedy="restore it from a copy; where all chunks fail so, restore the info file",
            ) from error

    def _missing(self, chunk: Roi) -> np.ndarray:
        if not self._options.fill_missing:
            raise missing_chunk(self._chunks, chunk_name(chunk))
        if self._place.folder is not None and not self._place.exists(INFO):
            raise gone(self._place)
        shape = size_of(chunk)
        return np.full(shape, self._options.background_color, self.scale.dtype)

    def _key(self, chunk: Roi) -> tuple[str | bytes, str]:
        """Return what the store calls a chunk, and the compression that this tells."""
        return self._file(chunk_name(chunk))

    def _file(self, name: str) -> tuple[str, str]:
        """Return the file that a chunk has, or would be given, and its compression.

        A file that exists keeps its name, so that a chunk never has two files of which one is out of date.
        """
        folder = self._chunks.folder
        if folder is None:
            return name, ""
        for packing, suffix in SUFFIXES.items():
            if os.path.exists(os.path.join(folder, name + suffix)):
                return name + suffix, packing
        return name + SUFFIXES[self._options.packing], self._options.packing

    def write(self, box: Roi, value: np.ndarray) -> None:
        self._check_write(box)
        pending: deque[tuple[Roi, Any]] = deque()
        try:
            for chunk in self.scale.chunks_in(box):
                if len(pending) >= _AHEAD:
                    self._wait(*pending.popleft())
                here, there = _overlap(chunk, box)
                self._forget(chunk)
                if value[there].size == math.prod(size_of(chunk)):
                    key, packing = self._key(chunk)
                    pending.append((chunk, self._get().write(key, self._encoded(value[there], chunk, packing))))
                else:
                    self._merge(chunk, here, value[there])
            while pending:
                self._wait(*pending.popleft())
        finally:
            for _, answer in pending:  # after an error, nothing may be written later on
                answer.exception()

    def _forget(self, chunk: Roi) -> None:
        self._cache.drop(chunk_name(chunk))

    def _check_write(self, box: Roi) -> None:
        """Refuse what may not be written in part, before anything is written."""
        lossy = self.scale.encoding in _LOSSY
        if (lossy or not self._options.non_aligned_writes) and (part := next(self._covered_in_part(box), None)):
            why = f"{self.scale.encoding} would change the voxels around" if lossy else "non_aligned_writes is False"
            raise RegionError(
                f"The box {where(box)} (c z y x) of {self._place} covers the chunk {where(part)} in part: {why}.",
                remedy=f"write whole chunks of {self.scale.unit[1:]} voxels (z y x), counted from"
                f" {self.scale.voxel_offset[::-1]}",
            )

    def _covered_in_part(self, box: Roi) -> Iterator[Roi]:
        for chunk in self.scale.chunks_in(box):
            if any(c.start < b.start or c.stop > b.stop for c, b in zip(chunk, box, strict=True)):
                yield chunk

    def _encoded(self, voxels: np.ndarray, chunk: Roi, packing: str) -> bytes | None:
        if self._options.delete_black_uploads and not (voxels != self._options.background_color).any():
            return None
        content = self._codec.encode(np.ascontiguousarray(voxels), chunk)
        return pack(content, packing, self._options.level)

    def _merge(self, chunk: Roi, here: Roi, value: np.ndarray) -> None:
        """Write part of a chunk; done again where somebody else has written the chunk meanwhile."""
        while True:
            key, packing, answer = self._request(chunk)
            voxels, generation = self._answer(chunk, key, packing, answer)
            changed = voxels.copy()
            changed[here] = value
            content = self._encoded(changed, chunk, packing)
            if self._wait(chunk, self._get().write(key, content, if_equal=generation)):
                return

    def _wait(self, chunk: Roi, answer: Any) -> bool:
        """Wait for a write; returns whether its condition was met."""
        try:
            return bool(answer.result().generation)
        except (ValueError, OSError) as error:
            raise failed(f"write chunk {chunk_name(chunk)} of", self._chunks, error) from error

    def _get(self) -> Any:
        check()
        with self._lock:
            if self._closed:
                raise closed(self._place)
            if self._store is None:
                tensorstore = engine()

                context = self._chunks.open_context(self._resources)
                try:
                    self._store = tensorstore.KvStore.open(self._kvstore(), context=context).result()
                except (ValueError, OSError) as error:
                    raise failed("open", self._chunks, error) from error
            return self._store

    def _kvstore(self) -> dict[str, Any]:
        """Return tensorstore's JSON for the store whose keys are the chunks."""
        return self._chunks.kvstore()

    def _again(self, place: Location, *, writable: bool, cache_bytes: int = 0, sync: bool = False) -> ChunkedLayer:
        return type(self)(
            place, self._info, self.scale, self._options, writable=writable, cache_bytes=cache_bytes, sync=sync
        )

    def fresh(self, cache_bytes: int) -> Layer:
        return self._again(self._place, writable=self.writable, cache_bytes=cache_bytes, sync=self._sync)

    def durable(self) -> Layer:
        return self._again(self._place, writable=self.writable, sync=True)

    def moved(self, folder: str) -> Layer | None:
        return self._again(Location(folder), writable=False)

    def check_there(self) -> None:
        try:
            scales = read_info(self._place)["scales"]
        except (FormatError, SourceNotFoundError):
            scales = ()
        if self.scale.entry not in scales:
            raise gone(self._chunks)

    def unit_files(self, box: Roi) -> UnitFiles | None:
        files = (self._file(chunk_name(chunk))[0] for chunk in self.scale.chunks_in(box))
        return UnitFiles(self._place, tuple(f"{self.scale.key}/{file}" for file in files))

    def stored_units(self) -> np.ndarray | None:
        folder = self._chunks.folder
        if folder is None or not self._options.fill_missing or self._options.background_color:
            return None
        try:
            with os.scandir(folder) as entries:
                return self.scale.positions(entry.name for entry in entries)
        except FileNotFoundError:
            return self.scale.positions(iter(()))

    def close(self) -> None:
        with self._lock:
            self._closed, self._store = True, None
            self._cache.clear()


class ChunkCache:
    """Decoded chunks, as many as fit; the ones used longest ago go first.

    Parameters
    ----------
    limit : int
        Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._bytes = 0
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> np.ndarray | None:
        """Return a chunk, None if it is not kept."""
        if not self.limit:
            return None
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def put(self, name: str, voxels: np.ndarray) -> None:
        """Keep a chunk."""
        if voxels.nbytes > self.limit:
            return
        with self._lock:
            if name not in self._kept:
                self._kept[name] = voxels
                self._bytes += voxels.nbytes
            while self._bytes > self.limit:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def drop(self, name: str) -> None:
        """Forget a chunk."""
        with self._lock:
            if (voxels := self._kept.pop(name, None)) is not None:
                self._bytes -= voxels.nbytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


def _overlap(chunk: Roi, box: Roi) -> tuple[Roi, Roi]:
    """Return what a chunk and a box have in common, as indices into the chunk and into the box."""
    shared = common(chunk, box)
    return within(shared, chunk), within(shared, box)
