"""Neuroglancer's files that hold many objects each.

Format: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/sharded.md. A shard begins with
where the index of each of its minishards lies; such an index names the objects, with the place and size of each.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runner.ledger.stage_record import Results
from .folder import writing

Array = npt.NDArray[Any]

SHARD_BYTES = 128 * 2**20
"""What a shard is to have about."""
MINISHARD_OBJECTS = 256
"""Objects that an index is to list about: a viewer reads a whole index for one of them."""

_MASK = np.uint64(0xFFFFFFFF)


def murmur(keys: Array) -> Array:
    """The lower 64 bits of MurmurHash3_x86_128 (A. Appleby, public domain) of each key's 8 bytes, seed 0."""
    keys = np.asarray(keys, np.uint64)
    with np.errstate(over="ignore"):
        first, second = keys & _MASK, keys >> np.uint64(32)
        # a key has 8 bytes, less than a block of 16: only the tail of the function, with h1 to h4 at 0
        h1 = _multiplied(_turned(_multiplied(first, 0x239B961B), 15), 0xAB0E9789)
        h2 = _multiplied(_turned(_multiplied(second, 0xAB0E9789), 16), 0x38B34AE5)
        h1, h2, h3, h4 = (one ^ np.uint64(8) for one in (h1, h2, np.zeros_like(h1), np.zeros_like(h1)))
        h1 = (h1 + h2 + h3 + h4) & _MASK
        h2, h3, h4 = ((one + h1) & _MASK for one in (h2, h3, h4))
        h1, h2, h3, h4 = map(_mixed, (h1, h2, h3, h4))
        h1 = (h1 + h2 + h3 + h4) & _MASK
        h2 = (h2 + h1) & _MASK
    found: Array = h1 | (h2 << np.uint64(32))
    return found


def _multiplied(values: Array, factor: int) -> Array:
    found: Array = (values * np.uint64(factor)) & _MASK
    return found


def _turned(values: Array, bits: int) -> Array:
    found: Array = ((values << np.uint64(bits)) | (values >> np.uint64(32 - bits))) & _MASK
    return found


def _mixed(values: Array) -> Array:
    values = _multiplied(values ^ (values >> np.uint64(16)), 0x85EBCA6B)
    values = _multiplied(values ^ (values >> np.uint64(13)), 0xC2B2AE35)
    found: Array = values ^ (values >> np.uint64(16))
    return found


@dataclass(frozen=True)
class Sharding:
    """In which shard an object lies.

    Parameters
    ----------
    minishard_bits, shard_bits : int
    """

    minishard_bits: int
    shard_bits: int

    @classmethod
    def of(cls, n_objects: int, n_bytes: int) -> Sharding:
        """One that suits so many objects with so many bytes."""
        shards = max(0, (max(1, n_bytes // SHARD_BYTES) - 1).bit_length())
        minishards = max(0, (max(1, n_objects // MINISHARD_OBJECTS >> shards) - 1).bit_length())
        return cls(minishards, shards)

    def spec(self) -> dict[str, Any]:
        """As an ``info`` file has it."""
        return {
            "@type": "neuroglancer_uint64_sharded_v1",
            "preshift_bits": 0,
            "hash": "murmurhash3_x86_128",
            "minishard_bits": self.minishard_bits,
            "shard_bits": self.shard_bits,
            "minishard_index_encoding": "gzip",
            "data_encoding": "raw",
        }

    def places(self, ids: Array) -> tuple[Array, Array]:
        """Shard and minishard of objects."""
        hashed = murmur(ids)
        minishard = hashed & np.uint64((1 << self.minishard_bits) - 1)
        shard = (hashed >> np.uint64(self.minishard_bits)) & np.uint64((1 << self.shard_bits) - 1)
        return shard.astype(np.int64), minishard.astype(np.int64)

    def name(self, shard: int) -> str:
        """File name of a shard."""
        digits = -(-self.shard_bits // 4)
        return f"{shard:0{digits}x}.shard" if digits else "0.shard"


@dataclass(frozen=True)
class ChooseSharding:
    """What runs once: how many shards there are to be, by the objects that were listed."""

    def __call__(self, earlier: Results) -> Sharding:
        """The sharding."""
        listing = earlier["objects"]
        return Sharding.of(len(listing.ids), int(listing.bytes.sum()))


def write_shard(path: Path, sharding: Sharding, objects: Iterable[tuple[int, Iterable[bytes]]]) -> None:
    """Write a shard.

    Parameters
    ----------
    path : Path
    sharding : Sharding
    objects : iterable of (int, iterable of bytes)
        Id, and its parts: the last one is what is found under it, the others lie just before that.
    """
    n = 1 << sharding.minishard_bits
    entries: list[list[tuple[int, int, int]]] = [[] for _ in range(n)]
    with writing(path) as file:
        file.write(bytes(16 * n))
        at = 0
        for object_id, parts in objects:
            value = b""
            for part in parts:
                at += file.write(value)
                value = part
            _, minishard = sharding.places(np.array([object_id], np.uint64))
            entries[int(minishard[0])].append((object_id, at, len(value)))
            at += file.write(value)
        head = np.zeros((n, 2), "<u8")
        for number, rows in enumerate(entries):
            index = gzip.compress(_index(rows), 6, mtime=0) if rows else b""
            head[number] = at, at + len(index)
            at += file.write(index)
        file.seek(0)
        file.write(head.tobytes())


def _index(rows: list[tuple[int, int, int]]) -> bytes:
    """Ids, places and sizes, each as its difference from the one before."""
    rows = sorted(rows)
    table = np.zeros((3, len(rows)), "<u8")
    key, end = 0, 0
    for column, (object_id, begin, size) in enumerate(rows):
        table[:, column] = object_id - key, (begin - end) % 2**64, size
        key, end = object_id, begin + size
    return table.tobytes()


def sizes_in(path: Path, sharding: Sharding) -> Iterator[tuple[int, int]]:
    """Ids, and the bytes of what is found under them, of a shard that `write_shard` has written."""
    n = 1 << sharding.minishard_bits
    with open(path, "rb") as file:
        head = np.frombuffer(file.read(16 * n), "<u8").reshape(n, 2).astype(np.int64)
        for begin, end in head[head[:, 0] < head[:, 1]].tolist():
            file.seek(16 * n + begin)
            table = np.frombuffer(gzip.decompress(file.read(end - begin)), "<u8").reshape(3, -1)
            yield from zip(np.cumsum(table[0], dtype=np.uint64).tolist(), table[2].tolist(), strict=True)


def in_order(ids: Array, sharding: Sharding, shard: int) -> Iterator[int]:
    """Places in a list of ids of those in a shard, by minishard and id, as the index wants them."""
    shards, minishards = sharding.places(ids)
    mine = np.flatnonzero(shards == shard)
    yield from mine[np.lexsort((ids[mine], minishards[mine]))].tolist()
