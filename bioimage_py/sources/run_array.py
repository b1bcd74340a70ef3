"""Arrays that a run makes for itself, between its stages."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from .base import Concurrency, Source
from .indexing import Roi
from .spec import SourceSpec


class RunArray(Source):
    """What one stage of a run writes and a later one reads: named by its place in the run, wherever that will lie.

    It stands for the array until the run has a folder (or keeps all in memory), see `runner.planning.placing`. So the
    same call has the same definition in every run.

    Parameters
    ----------
    name : str
        Of its own in the run.
    shape : sequence of int
    dtype : dtype_like
    chunks : sequence of int
        Also the units in which it is written.
    """

    def __init__(self, name: str, shape: Sequence[int], dtype: Any, chunks: Sequence[int]) -> None:
        self.name = name
        self._shape = tuple(map(int, shape))
        self._dtype: np.dtype = np.dtype(dtype)
        self._chunks = tuple(min(int(one), max(1, size)) for one, size in zip(chunks, self._shape, strict=True))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return self._chunks

    @property
    def writable(self) -> bool:
        return True

    @property
    def concurrency(self) -> Concurrency:
        return "aligned"

    @property
    def lossless(self) -> bool:
        return True

    @property
    def identity(self) -> Hashable:
        return ("run array", self.name)

    def to_spec(self) -> SourceSpec:
        told = {"name": self.name, "shape": self._shape, "dtype": self._dtype.str, "chunks": self._chunks}
        return SourceSpec("run array", params=told)

    def in_folder(self, folder: str) -> SourceSpec:
        """What opens it where it lies in a folder, or below a URL."""
        return SourceSpec("file", folder, self.name, {"format": "zarr", "mode": "r+"})

    def __repr__(self) -> str:
        return super().__repr__().replace("(", f"({self.name!r}, ", 1)

    def _getitem(self, roi: Roi) -> np.ndarray:
        return np.zeros([part.stop - part.start for part in roi], self._dtype)


def reopen_run_array(spec: SourceSpec) -> RunArray:
    """The array that a spec stands for."""
    told = spec.params
    return RunArray(str(told["name"]), told["shape"], told["dtype"], told["chunks"])
