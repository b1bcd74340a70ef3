"""A volume that neuroglancer asks for voxels, read from its source and from the level that suits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import neuroglancer
import numpy as np
import numpy.typing as npt
from neuroglancer import downsample, local_volume

from ...sources import Axis, Source
from .levels import Level, best

_UNITS = {
    "angstrom": ("nm", 0.1),
    "picometer": ("pm", 1.0),
    "nanometer": ("nm", 1.0),
    "micrometer": ("um", 1.0),
    "millimeter": ("mm", 1.0),
    "centimeter": ("m", 0.01),
    "meter": ("m", 1.0),
    "nanosecond": ("ns", 1.0),
    "microsecond": ("us", 1.0),
    "millisecond": ("ms", 1.0),
    "second": ("s", 1.0),
}
_TYPES = {"b1": "u1", "f2": "f4", "f8": "f4"}
_LABELS = {"b1": "u1", "i1": "u1", "i2": "u2", "i4": "u4", "i8": "u8"}
_ON_THE_FLY = 64
"""Voxels that are averaged into one as they are served; beyond, a coarser level is needed."""
_SMALLEST = 64
"""Voxels of the longest axis of the coarsest view."""
_MESHED = 512**3
"""Voxels of the largest volume of which surfaces are made, for which all of it is read."""


def dtype_of(source: Source, labels: bool) -> np.dtype[Any]:
    """The data type that is served: one that the page knows."""
    kind = source.dtype.str[1:]
    if labels:
        return np.dtype(_LABELS.get(kind, kind))
    return np.dtype("f4" if kind == "i8" else _TYPES.get(kind, kind))


class _Array:
    """What neuroglancer takes for an array; all is read only for surfaces."""

    def __init__(self, source: Source, dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = tuple(source.shape), dtype
        self._source = source

    def transpose(self) -> npt.NDArray[Any]:
        """The whole volume, x first."""
        return self._source[...].astype(self.dtype).T


class ServedVolume(neuroglancer.LocalVolume):  # type: ignore[misc]
    """The levels of a volume.

    Parameters
    ----------
    levels : sequence of Level
    axes : sequence of Axis
        Of the finest, as they are shown.
    labels : bool
    """

    def __init__(self, levels: Sequence[Level], axes: Sequence[Axis], labels: bool) -> None:
        self._levels = tuple(levels)
        finest = levels[0].source
        self._served = dtype_of(finest, labels)
        coarsest = math.prod(levels[-1].factors)
        super().__init__(
            _Array(finest, self._served),
            dimensions=space_of(axes),
            volume_type="segmentation" if labels else "image",
            voxel_offset=[0 if one.kind == "channel" else round(one.offset / one.scale) for one in axes],
            encoding="raw",
            max_downsampling=_ON_THE_FLY * coarsest,
            max_downsampled_size=_SMALLEST,
        )

    def get_encoded_subvolume(self, data_format: str, start: Any, end: Any, scale_key: str) -> tuple[bytes, str]:
        """A part of the volume, coarser by the factors of the key, as bytes, the first axis fastest."""
        factors = [int(factor) for factor in scale_key.split(",")]
        if len(factors) != self.rank or len(start) != self.rank or min(factors) < 1:
            raise ValueError(f"{scale_key!r} is no scale of a volume of {self.rank} axes")
        if math.prod(factors) > self.max_downsampling:
            raise ValueError(f"{scale_key!r} is coarser than is served")
        level = best(self._levels, factors)
        rest = [want // have for want, have in zip(factors, level.factors, strict=True)]
        box = []
        for size, begin, stop, step in zip(level.source.shape, start, end, rest, strict=True):
            if not 0 <= begin <= stop <= -(-size // step):
                raise ValueError(f"{begin}:{stop} does not lie in {-(-size // step)} voxels")
            box.append(slice(int(begin) * step, min(size, int(stop) * step)))
        voxels = level.source.read(tuple(box)).astype(self._served, copy=False)
        if max(rest) > 1:
            reduced = downsample.downsample_with_averaging if self.volume_type == "image" else _strided
            voxels = reduced(voxels, rest)
        return voxels.tobytes("F"), "application/octet-stream"

    def get_object_mesh(self, object_id: int) -> Any:
        """The surface of an object, of small volumes."""
        if math.prod(self.shape) > _MESHED:
            raise local_volume.MeshesNotSupportedForVolume
        return super().get_object_mesh(object_id)


def _strided(voxels: npt.NDArray[Any], steps: Sequence[int]) -> npt.NDArray[Any]:
    return voxels[tuple(slice(None, None, step) for step in steps)]


def space_of(axes: Sequence[Axis]) -> Any:
    """Names, scales and units of axes, as neuroglancer has them; channels are mixed, not walked through."""
    names = [f"{one.name}^" if one.kind == "channel" else one.name for one in axes]
    told = [("", 1.0) if one.kind == "channel" else _UNITS.get(one.unit or "", ("", 1.0)) for one in axes]
    scales = [1.0 if one.kind == "channel" else factor * one.scale for one, (_, factor) in zip(axes, told, strict=True)]
    return neuroglancer.CoordinateSpace(names=names, units=[unit for unit, _ in told], scales=scales)
