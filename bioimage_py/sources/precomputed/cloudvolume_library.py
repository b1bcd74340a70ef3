"""Layers that only the cloud-volume library can reach: other formats and servers, its disk cache, its own arguments."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from ...errors import ParameterError, ReadOnlyError, RegionError, StorageError
from ...extras import needing
from ..arrays.backing import gone, sync_written
from ..chunked.marks import some_files
from ..chunked.unit_files import UnitFiles
from ..indexing import Roi
from ..stores.location import Location
from .codec import SUFFIXES
from .info import INFO, chunk_name, find_scale
from .layer import Layer, closed, missing_chunk, where


class LibraryLayer(Layer):
    """A scale through a handle of cloud-volume, one call at a time, because the library's handles are not for threads.

    Parameters
    ----------
    volume : cloudvolume.CloudVolume
        The handle; its own settings say what is done with missing chunks and unaligned writes.
    place : Location, optional
        Where the layer lies, if tensorstore could get there too.
    writable : bool
    sync : bool, default False
        Wait for the disk at every file. Other stores than local folders have it written when they say so.
    """

    def __init__(self, volume: Any, place: Location | None, *, writable: bool, sync: bool = False) -> None:
        self._volume = volume
        self._place = place
        self._sync = sync
        self._lock = threading.RLock()
        self.scale = find_scale(volume.info, int(volume.mip), str(volume.cloudpath))
        self.writable = writable

    @property
    def volume(self) -> Any:
        """The handle."""
        return self._volume

    @property
    def identity(self) -> Hashable:
        if self._place is not None:
            return (self._place / self.scale.key).identity
        return ("cloudvolume", str(self._handle().cloudpath), self.scale.key)

    def stored_in(self, box: Roi) -> UnitFiles | None:
        return None if self._place is None else some_files(self._place / self.scale.key)

    def read(self, box: Roi) -> np.ndarray:
        with self._lock:
            try:
                found = self._handle()[_slices(box)]
            except Exception as error:  # the library and what it stands on raise classes of their own
                raise self._failed("read", box, error) from error
        if self._place is not None and self._place.folder is not None:
            self.check_there()  # absent chunks of a layer that has gone are no fill values
        voxels = np.asarray(found)
        voxels = voxels.reshape((*voxels.shape, 1)) if voxels.ndim == 3 else voxels
        return np.array(voxels.T[box[0]], self.scale.dtype, order="C")

    def write(self, box: Roi, value: np.ndarray) -> None:
        with self._lock:
            if box[0] != self.scale.box[0]:
                whole = self.read((self.scale.box[0], *box[1:]))
                whole[box[0]] = value
                value = whole
            try:
                self._handle()[_slices(box)] = np.asfortranarray(value.T)
            except Exception as error:  # the library and what it stands on raise classes of their own
                raise self._failed("write", box, error) from error
            folder = None if self._place is None else (self._place / self.scale.key).folder
            if self._sync and folder is not None:
                for chunk in self.scale.chunks_in(box):
                    for packing in SUFFIXES.values():
                        sync_written(folder, chunk_name(chunk) + packing)

    def durable(self) -> Layer:
        return LibraryLayer(self._handle(), self._place, writable=self.writable, sync=True)

    def check_there(self) -> None:
        if self._place is not None and not self._place.exists(INFO):
            raise gone(self._place)

    def _handle(self) -> Any:
        if self._volume is None:
            raise closed("The layer")
        return self._volume

    def _failed(self, what: str, box: Roi, error: Exception) -> Exception:
        from cloudvolume import exceptions

        path = self._handle().cloudpath
        if isinstance(error, exceptions.EmptyVolumeException):
            return missing_chunk(path, str(error).strip() or where(box))
        if isinstance(error, exceptions.AlignmentError):
            return RegionError(f"Cannot write {where(box)} of {path}: {error}", remedy="non_aligned_writes=True")
        if isinstance(error, exceptions.ReadOnlyException):
            return ReadOnlyError(f"{path} is read-only: {error}", remedy="copy it to a layer of your own")
        return StorageError(
            f"Cannot {what} {where(box)} (c z y x) of {path}: {type(error).__name__}: {error}",
            remedy="check the path and the secrets of cloud-volume (~/.cloudvolume/secrets)",
        )

    def close(self) -> None:
        self._volume = None


def open_volume(cloudpath: str, arguments: Mapping[str, Any]) -> Any:
    """Return a handle of cloud-volume.

    Raises
    ------
    MissingDependencyError
        If cloud-volume is not installed.
    ParameterError
        If it does not know an argument.
    StorageError
        If it cannot open the layer.
    """
    with needing("cloudvolume", cloudpath):
        from cloudvolume import CloudVolume
    try:
        return CloudVolume(cloudpath, **arguments, progress=False)
    except TypeError as error:
        raise ParameterError(
            f"CloudVolume does not take these arguments: {error}",
            remedy="see the arguments of cloudvolume.CloudVolume; progress is always off",
        ) from error
    except Exception as error:  # the library and what it stands on raise classes of their own
        raise StorageError(
            f"Cannot open {cloudpath}: {type(error).__name__}: {error}", remedy="check the path and the secrets"
        ) from error


def _slices(box: Roi) -> tuple[slice, slice, slice]:
    return (box[3], box[2], box[1])
