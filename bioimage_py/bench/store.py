"""What the floor reads and writes, a zarr v3 array by files and codec alone; and its workers."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .protocol import Case

Region = tuple[slice, ...]


class Store:
    """A zarr v3 array with cubic chunks and zstd, by files and codec alone."""

    def __init__(self, path: str | Path) -> None:
        facts = json.loads((Path(path) / "zarr.json").read_text())
        self.path = str(path)
        self.shape = tuple(facts["shape"])
        self.dtype = np.dtype(facts["data_type"])
        self.chunk = tuple(facts["chunk_grid"]["configuration"]["chunk_shape"])
        self.level = 0

    def _codec(self) -> Any:
        from numcodecs import Zstd

        return Zstd(level=self.level)

    def read(self, region: Region) -> np.ndarray:
        """Read a box; a chunk that has no file is zero."""
        out = np.empty([part.stop - part.start for part in region], self.dtype)
        codec = self._codec()
        for position in self._chunks(region):
            begin = [p * c for p, c in zip(position, self.chunk, strict=True)]
            target, inner = [], []
            for part, b, c in zip(region, begin, self.chunk, strict=True):
                low, high = max(part.start, b), min(part.stop, b + c)
                target.append(slice(low - part.start, high - part.start))
                inner.append(slice(low - b, high - b))
            try:
                with open(self._file(position), "rb") as file:
                    whole = np.frombuffer(codec.decode(file.read()), self.dtype).reshape(self.chunk)
            except FileNotFoundError:
                out[tuple(target)] = 0
                continue
            out[tuple(target)] = whole[tuple(inner)]
        return out

    def write(self, region: Region, value: np.ndarray) -> None:
        """Write whole chunks; the region begins on one, and ends on one or at the end."""
        codec = self._codec()
        for position in self._chunks(region):
            local = tuple(
                slice(p * c - part.start, min((p + 1) * c, part.stop) - part.start)
                for p, c, part in zip(position, self.chunk, region, strict=True)
            )
            part = value[local]
            if part.shape != self.chunk:
                part = np.pad(part, [(0, c - n) for c, n in zip(self.chunk, part.shape, strict=True)])
            if not part.any():
                continue
            name = self._file(position)
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "wb") as file:
                file.write(codec.encode(np.ascontiguousarray(part)))

    def _chunks(self, region: Region) -> Iterator[tuple[int, ...]]:
        return itertools.product(
            *(range(part.start // c, -(-part.stop // c)) for part, c in zip(region, self.chunk, strict=True))
        )

    def _file(self, position: Sequence[int]) -> str:
        return "/".join((self.path, "c", *map(str, position)))


def create(path: str, shape: Sequence[int], dtype: Any, case: Case) -> Store:
    """Make an array of cubic chunks."""
    import zarr

    chunks = tuple(min(case.chunk, size) for size in shape)
    zarr.create_array(path, shape=tuple(shape), chunks=chunks, dtype=dtype)
    return Store(path)


def cut(shape: Sequence[int], block: int) -> list[Region]:
    """The blocks of a volume."""
    axes = [[slice(b, min(b + block, size)) for b in range(0, size, block)] for size in shape]
    return list(itertools.product(*axes))


def widened(region: Region, halo: int, shape: Sequence[int]) -> tuple[Region, Region]:
    """A region with a halo, inside of the volume, and where it lies in that."""
    outer = tuple(slice(max(0, p.start - halo), min(n, p.stop + halo)) for p, n in zip(region, shape, strict=True))
    inner = tuple(slice(p.start - o.start, p.stop - o.start) for p, o in zip(region, outer, strict=True))
    return outer, inner


def threads(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> list[Any]:
    """What a function returns for each item, by threads."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


_function: Callable[[Any], Any]


def _call(item: Any) -> Any:
    return _function(item)


def processes(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> list[Any]:
    """Forked, so that nothing is pickled but the results: for kernels that hold the interpreter lock."""
    global _function
    _function = function
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(_call, items, chunksize=1)
