"""Local precomputed layers of one channel, as the peer package opens them with tensorstore."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import DtypeError, ParameterError, ShapeError
from ..spec import SourceSpec
from .cloudvolume_opening import CloudVolumeArguments, Mode, open_layer, place_of
from .source import XYZ, PrecomputedSource


class TensorStorePrecomputedSource(PrecomputedSource):
    """A precomputed layer of one channel on the local disk, with the axes z, y, x; missing chunks read as zero.

    Parameters
    ----------
    path : str or os.PathLike
        The layer's folder.
    mode : {"r", "r+"}, default "r"
    offset_xyz : tuple of int, optional
        What the layer's ``voxel_offset`` is expected to be, in the order x, y, z.
    size_zyx, chunks_zyx : tuple of int, optional
        What its size and chunks are expected to be, in the order z, y, x.
    dtype : numpy.dtype or str, optional
        What its data type is expected to be.
    mip : int or sequence of float, default 0
        Level, or its resolution in nanometers in the order x, y, z.

    Raises
    ------
    ShapeError, DtypeError
        If the layer is not what is expected.
    ParameterError
        If the layer has several channels.
    SourceNotFoundError
        If there is no layer.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "r",
        *,
        offset_xyz: XYZ | None = None,
        size_zyx: XYZ | None = None,
        chunks_zyx: XYZ | None = None,
        dtype: Any = None,
        mip: int | Sequence[float] = 0,
    ) -> None:
        place = place_of(os.fspath(path))
        if place is None or place.folder is None:
            raise ParameterError(f"{path} is no local folder.", remedy=f"open_cloudvolume({os.fspath(path)!r})")
        layer = open_layer(CloudVolumeArguments(place.folder, mip=mip, fill_missing=True, mode=mode))
        if layer.scale.channels != 1:
            raise ParameterError(
                f"{path} has {layer.scale.channels} channels.", remedy=f"open_cloudvolume({place.folder!r}, channel=0)"
            )
        self._attach(layer, place.folder, layer.scale.box, None)
        for name, wanted, found in (
            ("offset_xyz", offset_xyz, layer.scale.voxel_offset),
            ("size_zyx", size_zyx, self.shape),
            ("chunks_zyx", chunks_zyx, self.chunks),
        ):
            if wanted is not None and tuple(int(number) for number in wanted) != found:
                raise ShapeError(f"{path} has {name}={found}, not {tuple(wanted)}.", remedy=f"pass {name}={found}")
        if dtype is not None and np.dtype(dtype) != self.dtype:
            raise DtypeError(f"{path} has the data type {self.dtype}, not {np.dtype(dtype)}.", remedy="pass that one")

    @property
    def path(self) -> str:
        """Absolute path of the layer."""
        return self._path

    def to_spec(self) -> SourceSpec:
        params = {"mode": "r+" if self.writable else "r", "mip": self.mip}
        return SourceSpec("tensorstore_precomputed", self._path, None, params)

    @staticmethod
    def reopen(spec: SourceSpec) -> TensorStorePrecomputedSource:
        """Open the layer of a spec of kind "tensorstore_precomputed"."""
        return reopen_tensorstore_precomputed(spec)


def open_tensorstore_precomputed(
    path: str | os.PathLike[str],
    mode: Mode = "r",
    *,
    offset_xyz: XYZ | None = None,
    size_zyx: XYZ | None = None,
    chunks_zyx: XYZ | None = None,
    dtype: Any = None,
    mip: int | Sequence[float] = 0,
) -> TensorStorePrecomputedSource:
    """Open a precomputed layer of one channel on the local disk; see `TensorStorePrecomputedSource`."""
    return TensorStorePrecomputedSource(
        path, mode, offset_xyz=offset_xyz, size_zyx=size_zyx, chunks_zyx=chunks_zyx, dtype=dtype, mip=mip
    )


def reopen_tensorstore_precomputed(spec: SourceSpec) -> TensorStorePrecomputedSource:
    """Open the layer of a spec of kind "tensorstore_precomputed"."""
    return open_tensorstore_precomputed(spec.path or "", **spec.arguments())
