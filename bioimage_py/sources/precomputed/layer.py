"""What every way to read and write a precomputed layer has in common."""

from __future__ import annotations

import abc
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from ...errors import SourceNotFoundError, StorageError
from ..chunked.unit_files import UnitFiles
from ..indexing import Roi
from ..stores.location import Location
from .info import Scale


@dataclass(frozen=True)
class LayerOptions:
    """How a layer is read and written, as in CloudVolume.

    Parameters
    ----------
    fill_missing : bool, default False
        Missing chunks read as `background_color`; else they are an error.
    background_color : int, default 0
    non_aligned_writes : bool, default True
        Chunks may be written in part: they are read, changed and written back, atomically.
    delete_black_uploads : bool, default False
        Chunks of background only are deleted instead of written.
    packing : str, default ""
        Compression of the files of new chunks, a key of `SUFFIXES`.
    level : int, default 6
        Of gzip, 0 to 9.
    """

    fill_missing: bool = False
    background_color: int = 0
    non_aligned_writes: bool = True
    delete_black_uploads: bool = False
    packing: str = ""
    level: int = 6


class Layer(abc.ABC):
    """Voxels of one scale; boxes are absolute, with the axes channel, z, y, x."""

    scale: Scale
    writable: bool

    @abc.abstractmethod
    def read(self, box: Roi) -> np.ndarray:
        """Return a box inside the scale."""

    @abc.abstractmethod
    def write(self, box: Roi, value: np.ndarray) -> None:
        """Write a box inside the scale."""

    @property
    @abc.abstractmethod
    def identity(self) -> Hashable:
        """Equal for the same storage."""

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of the shards, None if not sharded."""
        return None

    def fresh(self, cache_bytes: int) -> Layer:
        """Return another handle with an empty cache of decoded chunks."""
        return self

    def durable(self) -> Layer:
        """Return another handle that waits for the disk when it writes."""
        return self

    def check_there(self) -> None:  # noqa: B027 (not every layer can be asked)
        """StorageError where the layer was deleted or replaced."""

    def unit_files(self, box: Roi) -> UnitFiles | None:
        """Return the files of the chunks that a box touches."""
        return None

    def stored_in(self, box: Roi) -> UnitFiles | None:
        """Return the files that hold the voxels of a box."""
        return self.unit_files(box)

    def stored_units(self) -> np.ndarray | None:
        """Return the grid positions of the chunks that exist; None where what is missing is not zero."""
        return None

    def moved(self, folder: str) -> Layer | None:
        """Return the same layer in another folder."""
        return None

    def close(self) -> None:  # noqa: B027 (not every layer holds something)
        """Release handles and caches."""


def missing_chunk(place: Location | str, name: str) -> SourceNotFoundError:
    """Return the error for a chunk that does not exist."""
    return SourceNotFoundError(
        f"Chunk {name} is missing in {place}.",
        remedy="fill_missing=True reads missing chunks as 0; a new layer needs it too where chunks are written in part",
    )


def closed(place: Location | str) -> StorageError:
    """Return the error for a layer that was closed."""
    return StorageError(f"{place} is closed.", remedy="open it again with open_cloudvolume(...)")


def where(box: Roi) -> str:
    """Return a box as text."""
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in box) + "]"
