"""What a caller says of tiles and channels, against the volume and what the model's file says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.job import Job
from ..errors import ParameterError, ShapeError
from ..sources import Source
from ..sources.along import per_axis
from .given import Given
from .tiling import AxisTiles, Tiling


def asked_tiling(
    volume: Source, along: Sequence[int], job: Job, tile: Any, overlap: Any, margin: Any, given: Given
) -> Tiling:
    """The tiles of a call, checked."""
    n = len(along)
    fixed = (given.takes or (None,) * (n + 2))[2:]
    if tile is None:
        tile = [size or {1: 4096, 2: 256, 3: 64}.get(n, 32) for size in fixed]
        tiles = _spread(tile, along, volume.ndim, 1)
    else:
        tiles = _per_axis("tile", tile, volume, job, 1)
    for axis, size in zip(along, fixed, strict=True):
        if size is not None and size != tiles[axis]:
            raise ParameterError(
                f"tile={tile!r}, but the model takes tiles of {fixed} (None: any)", remedy="leave out tile="
            )
    overlaps = [size // 4 for size in tiles] if overlap is None else _per_axis("overlap", overlap, volume, job, 0)
    margins = _per_axis("margin", margin, volume, job, 0)
    for axis in along:
        t, o, m = tiles[axis], overlaps[axis], margins[axis]
        if t < 1 or not 0 <= o < t or not 0 <= 2 * m <= o:
            raise ParameterError(
                f"tile={t}, overlap={o}, margin={m} of axis {axis}: tiles have at least one voxel, overlap by less than"
                " a tile, and have margins of at most half the overlap",
                remedy=f"tile={max(t, 1)}, overlap={max(0, min(o, t - 1))}, margin={max(0, min(o, t - 1)) // 2}",
            )
    return Tiling(tuple(map(AxisTiles, volume.shape, tiles, overlaps, margins)))


def _per_axis(name: str, value: Any, volume: Source, job: Job, elsewhere: int) -> list[int]:
    """A number of voxels for every axis of the volume."""
    values = per_axis(value, volume.axes, job.axes, name=name, elsewhere=elsewhere)
    several = list(values) if hasattr(values, "__len__") and getattr(values, "ndim", True) else [values] * volume.ndim
    if len(several) != volume.ndim:
        raise ParameterError(
            f"{name}={value!r} has {len(several)} entries, the volume has {volume.ndim} axes",
            remedy=f"one number, or {volume.ndim}",
        )
    return [whole_number(name, one, least=0) for one in several]


def _spread(values: Sequence[int], along: Sequence[int], ndim: int, elsewhere: int) -> list[int]:
    result = [elsewhere] * ndim
    for axis, value in zip(along, values, strict=True):
        result[axis] = value
    return result


def whole_number(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least so many; ParameterError otherwise."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or not least <= value < 2**31:
        raise ParameterError(f"{name}={value!r} is no whole number from {least} to 2**31 - 1", remedy=f"{name}={least}")
    return int(value)


def asked_batch(batch: int | None, given: Given) -> int:
    """Tiles at a time: those that are asked for, those of the file, or 1."""
    if batch is not None:
        return whole_number("batch", batch)
    return (given.takes[0] if given.takes else None) or 1


def check_takes(given: Given, n_axes: int, n_channels: int, batch: int) -> None:
    """ShapeError where a file says that it takes something else."""
    takes = given.takes
    if takes is None:
        return
    if len(takes) != n_axes + 2:
        raise ShapeError(
            f"the model takes arrays of {len(takes)} axes (batch, channels, and {len(takes) - 2} of space), the volume"
            f" is worked on along {n_axes}",
            remedy=f"axes={('x', 'yx', 'zyx')[max(0, min(3, len(takes) - 2) - 1)]!r}, or their positions",
        )
    if takes[1] not in (None, n_channels):
        raise ShapeError(
            f"the model takes {takes[1]} channels, it would get {n_channels}",
            remedy='channel_axis="c"' if n_channels == 1 else "leave out channel_axis=",
        )
    if takes[0] not in (None, batch):
        raise ParameterError(f"batch={batch}, but the model takes batches of {takes[0]}", remedy=f"batch={takes[0]}")


def asked_channels(channels: int | None, given: Given) -> tuple[int, bool]:
    """Channels that a model makes, and whether the output has an axis for them."""
    said = given.makes[1] if given.makes is not None and len(given.makes) > 2 else None
    if given.takes is not None and given.makes is not None and len(given.makes) == len(given.takes) - 1:
        said = 1
    if channels is None:
        return (said, True) if said is not None and said > 1 else (1, False)
    if said not in (None, whole_number("channels", channels)):
        raise ParameterError(f"channels={channels}, but the model makes {said}", remedy=f"channels={said}")
    return channels, True
