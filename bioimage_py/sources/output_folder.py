"""A folder of files as what a run writes: it tells a run where to lie, and that what it makes outlives the process."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable
from pathlib import Path

import numpy as np

from .base import Source
from .indexing import Roi
from .spec import SourceSpec

MARK = ".begun"
"""A file in a folder that a run is filling."""


def token_of(run: str) -> str:
    """Twelve letters for a run, by its name."""
    return hashlib.sha256(run.encode()).hexdigest()[:12]


class OutputFolder(Source):
    """A folder that the functions of a run fill with files; as an array it is empty.

    Parameters
    ----------
    path : str
        Absolute.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def shape(self) -> tuple[int, ...]:
        return (0,)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8)

    @property
    def writable(self) -> bool:
        return True

    @property
    def identity(self) -> Hashable:
        return ("output folder", os.path.realpath(self.path))

    def hidden(self, run: str) -> Path:
        """Where the files of a run lie until all are there: the same name for whoever continues it."""
        path = Path(self.path)
        return path.with_name(f".{path.name}.{token_of(run)}")

    def to_spec(self) -> SourceSpec:
        return SourceSpec("output folder", self.path)

    def _getitem(self, roi: Roi) -> np.ndarray:
        return np.zeros([part.stop - part.start for part in roi], self.dtype)


def reopen_output_folder(spec: SourceSpec) -> OutputFolder:
    """The folder that a spec stands for."""
    return OutputFolder(str(spec.path))
