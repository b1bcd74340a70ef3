"""The chunks and shards of arrays that are created."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..sources.axes import Axis
from ..sources.base import Source
from .formats import Format

Shape = Sequence[int]

MOST_VOXELS = 128**3
"""Of the chunks that an array takes over from another one."""


def default_chunks(shape: tuple[int, ...], axes: Sequence[Axis] = ()) -> tuple[int, ...]:
    """Return the chunk shape for an array that asks for none."""
    space = [number for number, axis in enumerate(axes) if axis.kind == "space"] or [*range(len(shape))][-3:]
    side = 64 if len(space) > 2 else 512
    return tuple(max(1, min(size, side if number in space else 1)) for number, size in enumerate(shape))


def check_chunks(
    chunks: Shape | None, shards: Shape | None, shape: tuple[int, ...], axes: Sequence[Axis], entry: Format
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return chunks and shards of an array in a format; ParameterError where they do not fit."""
    grid = whole_numbers("chunks", chunks, len(shape)) if chunks is not None else default_chunks(shape, axes)
    return grid, None if shards is None else _shards(shards, grid, entry)


def suit(like: Source, shape: Sequence[int]) -> bool:
    """Whether the chunks of a source suit an array of a shape that is made of it.

    They do with at most 128³ voxels, unless they are slices: one voxel thick along an axis of space that is longer.
    """
    if like.chunks is None or like.ndim != len(shape) or math.prod(like.chunks) > MOST_VOXELS:
        return False
    return not any(
        axis.kind == "space" and chunk == 1 < size
        for axis, chunk, size in zip(like.axes, like.chunks, shape, strict=True)
    )


def whole_numbers(name: str, values: Any, ndim: int | None) -> tuple[int, ...]:
    """Sizes that a parameter gives, above 0 (a shape: 0 too), as many as there are axes; ParameterError otherwise.

    One number stands for as many as there are axes.
    """
    try:
        one = ndim is not None and isinstance(values, int | np.integer) and not isinstance(values, bool)
        found = (int(values),) * (ndim or 0) if one else tuple(map(operator.index, values))
    except TypeError:
        raise ParameterError(f"{name} is {values!r}.", remedy=f"pass a tuple: {name}=(64, 64, 64)") from None
    if ndim is not None and len(found) != ndim:
        raise ParameterError(f"{name} is {found}, the array has {ndim} axes.", remedy=f"pass {ndim} numbers")
    if any(value < (0 if name == "shape" else 1) for value in found):
        raise ParameterError(f"{name} is {found}.", remedy="pass positive numbers")
    return found


def _shards(shards: Shape, chunks: tuple[int, ...], entry: Format) -> tuple[int, ...]:
    if not entry.shards:
        raise ParameterError(
            f"The format {entry.name!r} has no shards.", remedy="leave shards out, or use format='zarr'"
        )
    found = whole_numbers("shards", shards, len(chunks))
    if any(shard % chunk for shard, chunk in zip(found, chunks, strict=True)):
        near = tuple(math.ceil(shard / chunk) * chunk for shard, chunk in zip(found, chunks, strict=True))
        raise ParameterError(f"shards {found} are no multiples of chunks {chunks}.", remedy=f"use shards={near}")
    return found
