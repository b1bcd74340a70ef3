"""Chunks as they are stored, which one array takes from another without decoding them.

A zarr v3 shard is a chunk that holds chunks, so a sharded array has two grids of them: shards, each a file, and the
chunks inside. What is encoded alike in a grid of both arrays can be copied, wherever either keeps it: as files
(`ChunkFiles`) or inside shards (`Shards`).
"""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..forks import engine
from ..stores.errors import failed
from ..stores.location import Location
from .unit_files import Position

# What decides which bytes stand for which voxels; names of files, axes and attributes don't.
_ENCODING = {
    "zarr3": ("shape", "data_type", "chunk_grid", "codecs", "fill_value", "storage_transformers"),
    "zarr": ("shape", "dtype", "chunks", "order", "compressor", "filters", "fill_value"),
    "n5": ("dimensions", "dataType", "blockSize", "compression"),
}
_SHARDING = "sharding_indexed"


@dataclass(frozen=True)
class Grid:
    """A grid of chunks that are encoded each for itself.

    Parameters
    ----------
    encoding : str
        How. Where it is equal, the same bytes at the same position are the same voxels.
    chunk : tuple of int
        Shape of a chunk in C order.
    shard : mapping, optional
        Where the chunks lie in shards: what tensorstore's driver for the entries of one has to know.
    """

    encoding: str
    chunk: Position
    shard: Mapping[str, Any] | None = None


def grids_of(driver: str, metadata: Mapping[str, Any], unit: Sequence[int]) -> tuple[Grid, ...]:
    """Grids of an array: its write units, and the chunks in them where these are shards and nothing else.

    Parameters
    ----------
    driver : {"zarr3", "zarr", "n5"}
    metadata : mapping
        What tensorstore says of the array, which is the same for equal arrays, whoever wrote the file.
    unit : sequence of int
        Shape of a write unit in C order.
    """
    told = {name: metadata.get(name) for name in _ENCODING[driver]}
    units = Grid(_words(driver, told), tuple(unit))
    codecs = told.get("codecs") or []
    if [codec["name"] for codec in codecs] != [_SHARDING]:
        return (units,)
    sharding = codecs[0]["configuration"]
    if any(codec["name"] == _SHARDING for codec in sharding["codecs"]):
        return (units,)
    chunk = tuple(sharding["chunk_shape"])
    inside = told | {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "codecs": sharding["codecs"],
    }
    entries = {
        "grid_shape": [outer // inner for outer, inner in zip(unit, chunk, strict=True)],
        "index_codecs": sharding["index_codecs"],
        "index_location": sharding["index_location"],
    }
    return units, Grid(_words(driver, inside), chunk, entries)


def _words(driver: str, told: Mapping[str, Any]) -> str:
    return json.dumps([driver, told], sort_keys=True)


@dataclass(frozen=True)
class EncodedChunks:
    """The chunks of a box as they are stored.

    Parameters
    ----------
    encoding : str
        That of their grid.
    positions : sequence of tuple of int
        Theirs in it.
    holder : ChunkFiles or Shards
        Where they lie.
    """

    encoding: str
    positions: Sequence[Position]
    holder: ChunkFiles | Shards

    def take(self, other: EncodedChunks) -> None:
        """Replace every chunk by that of another array, each file at one stroke, and wait until the store has them.

        What the other array never stored is removed. Shards must be covered whole, and are replaced one by one.

        Raises
        ------
        AccessError, StorageError
            If a store refuses, or fails after all retries: when no request is under way any more, and some files may
            be the new ones.
        """
        for positions in self.holder.strokes(self.positions):
            self.holder.replace(positions, other.holder.read(positions))

    def stored(self) -> dict[Position, bytes | None]:
        """Return what is stored at every position, None where nothing is.

        Raises
        ------
        AccessError, StorageError
            If a store refuses, or fails after all retries.
        """
        errors: list[Exception] = []
        found = dict(_found(self.positions, self.holder.read(self.positions), errors))
        if errors:
            raise errors[0]
        return found


@dataclass(frozen=True)
class Request:
    """What a store was asked to do.

    Parameters
    ----------
    future : tensorstore.Future
    what : str
        In words, such as "read 'c/0/0' of".
    place : Location
        The array.
    """

    future: Any
    what: str
    place: Location

    def result(self, errors: list[Exception]) -> Any:
        """What it gives; None where it failed, and then its error is one more of the errors."""
        try:
            return self.future.result()
        except (ValueError, OSError) as error:
            wrapped = failed(self.what, self.place, error)
            wrapped.__cause__ = error
            errors.append(wrapped)
            return None


def _found(
    positions: Sequence[Position], reads: Sequence[Request], errors: list[Exception]
) -> Iterator[tuple[Position, bytes | None]]:
    """Chunks as they come, None where one was never stored; those that failed are left out."""
    for position, read in zip(positions, reads, strict=True):
        if (found := read.result(errors)) is not None:
            yield position, found.value if found.state == "value" else None


@dataclass(frozen=True)
class ChunkFiles:
    """Chunks that are files (or objects) of their own.

    Parameters
    ----------
    place : Location
        The array.
    store : tensorstore.KvStore
        The same.
    name : callable
        From a position to the file's name in it.
    """

    place: Location
    store: Any
    name: Callable[[Position], str]

    def strokes(self, positions: Sequence[Position]) -> Collection[Sequence[Position]]:
        """Positions that `replace` takes at once: all."""
        return [positions]

    def read(self, positions: Sequence[Position]) -> list[Request]:
        """Ask for chunks."""
        names = [self.name(position) for position in positions]
        return [Request(self.store.read(name), f"read {name!r} of", self.place) for name in names]

    def replace(self, positions: Sequence[Position], reads: Sequence[Request]) -> None:
        """Write what was read for each, as soon as it is there; remove what was not stored."""
        errors: list[Exception] = []
        writes = [self.write(position, chunk) for position, chunk in _found(positions, reads, errors)]
        for write in writes:
            if write is not None:
                write.result(errors)
        if errors:
            raise errors[0]

    def write(self, position: Position, chunk: bytes | None) -> Request | None:
        """Ask for a chunk to be written, or with None to be removed; None where there is nothing to do."""
        name = self.name(position)
        if chunk is None and self._surely_absent(name):
            return None
        return Request(self.store.write(name, chunk), f"write {name!r} of", self.place)

    def _surely_absent(self, name: str) -> bool:
        # removing locks a file, also where there is none: that takes a hundred times longer than looking
        return self.place.folder is not None and not os.path.lexists(os.path.join(self.place.folder, name))


@dataclass(frozen=True)
class Shards:
    """Chunks that lie in shards.

    Parameters
    ----------
    files : ChunkFiles
        The shards.
    grid : sequence of int
        Chunks in a shard along every axis.
    open : callable
        From the name of a shard to a ``tensorstore.KvStore`` of its chunks.
    """

    files: ChunkFiles
    grid: Sequence[int]
    open: Callable[[str], Any]

    def strokes(self, positions: Sequence[Position]) -> Collection[Sequence[Position]]:
        """Positions that `replace` takes at once: those of a shard."""
        shards: dict[Position, list[Position]] = defaultdict(list)
        for position in positions:
            shards[self._shard(position)].append(position)
        return shards.values()

    def read(self, positions: Sequence[Position]) -> list[Request]:
        """Ask for chunks; those of a shard in one batch, so that its index is read once."""
        tensorstore = engine()

        reads: dict[Position, Request] = {}
        for together in self.strokes(positions):
            name = self.files.name(self._shard(together[0]))
            shard = self.open(name)
            with tensorstore.Batch() as batch:
                for position in together:
                    future = shard.read(self._key(position), batch=batch)
                    reads[position] = Request(future, f"read {name!r} of", self.files.place)
        return [reads[position] for position in positions]

    def replace(self, positions: Sequence[Position], reads: Sequence[Request]) -> None:
        """Write a shard of what was read for all of its chunks; no file where none of them was stored."""
        tensorstore = engine()

        place = self._shard(positions[0])
        name = self.files.name(place)
        errors: list[Exception] = []
        transaction = tensorstore.Transaction(atomic=True)
        shard = self.open(name).with_transaction(transaction)
        absent = {_key(entry) for entry in itertools.product(*map(range, self.grid))}
        n_entries = len(absent)
        for position, chunk in _found(positions, reads, errors):
            if chunk is not None:
                shard.write(self._key(position), chunk)
                absent.remove(self._key(position))
        if errors:
            transaction.abort()
            raise errors[0]
        if len(absent) == n_entries:
            write = self.files.write(place, None)
        else:
            for key in absent:  # with every entry given, what the shard held is not even read
                shard.write(key, None)
            write = Request(transaction.commit_async(), f"write {name!r} of", self.files.place)
        if write is not None:
            write.result(errors)
        if errors:
            raise errors[0]

    def _shard(self, position: Position) -> Position:
        return tuple(at // size for at, size in zip(position, self.grid, strict=True))

    def _key(self, position: Position) -> bytes:
        return _key([at % size for at, size in zip(position, self.grid, strict=True)])


def _key(entry: Sequence[int]) -> bytes:
    """Key of a chunk in tensorstore's view of a shard."""
    return b"".join(at.to_bytes(4, "big") for at in entry)
