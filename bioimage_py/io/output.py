"""The array that an operation writes to where its output is a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain, count
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..sources.axes import Axis, default_axes
from ..sources.base import Concurrency, Source
from ..sources.file import FileSource, open_source
from ..sources.spec import SourceSpec
from ..sources.to_be import ArrayToBe
from ..system.swap import remove
from .chunks import check_chunks, suit, whole_numbers
from .create import array_exists, create_array, fits
from .formats import format_named
from .ome import check_axes
from .target import OwnPath, Target, target_of


def output_array(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    like: Source | None = None,
    chunks: Any = None,
    shards: Any = None,
) -> FileSource | ArrayToBe:
    """The array of an output path: the one that is there, or one to be made.

    Parameters
    ----------
    path : str or os.PathLike
        Such as "out.zarr/data"; "out.ome.zarr" is made an OME-Zarr image of one level.
    shape, dtype
        Of the array.
    like : Source, optional
        What the output is made of: its axes are taken over, behind one of channels where the output has an axis more.
        So are its chunks and shards (of one channel) where they have at most 128³ voxels and are not slices (one voxel
        thick along an axis of space that is longer).
    chunks, shards : int or sequence of int, optional
        Take these instead.

    Raises
    ------
    FormatError
        If no array can be created there, as at "out.png".
    ShapeError, DtypeError, ParameterError
        If there is an array of another shape, data type, chunks or shards.
    """
    chunks = None if chunks is None else whole_numbers("chunks", chunks, len(shape))
    shards = None if shards is None else whole_numbers("shards", shards, len(shape))
    place, asked = target_of(path), (("chunks", chunks), ("shards", shards))
    entry = format_named(place.format)
    extra = 0 if like is None else len(shape) - like.ndim
    axes: tuple[Axis, ...] = ()
    if like is not None and extra in (0, 1):
        axes = (*_channels(like.axes)[:extra], *like.axes)
        if chunks is None and suit(like, shape[extra:]):
            chunks = (*(1,) * extra, *(like.chunks or ()))
            # whole units of writing are moved undecoded, but not every format has shards
            if shards is None and like.shards and entry.shards and not place.root.exists(".zgroup"):
                shards = (*(1,) * extra, *like.shards)
    if place.image:
        check_axes(axes or default_axes(len(shape)))
    grid, outer = check_chunks(chunks, shards, shape, axes, entry)
    wanted: dict[str, Any] = {"shape": shape, "dtype": dtype, "chunks": chunks, "shards": shards, "axes": axes}
    if not array_exists(place.path, place.key, place.format) or (
        isinstance(path, OwnPath) and not (fits(place, shape, dtype) and _has(place, asked, shape))
    ):

        def make() -> Source:
            if isinstance(path, OwnPath):
                remove(os.path.join(place.path, place.key))
            return create_array(path, **wanted)

        spec = SourceSpec("file", place.path, place.key, {"format": place.format, "mode": "r+"})
        concurrency: Concurrency = "aligned" if entry.stores else "single-writer"
        return ArrayToBe(shape, dtype, grid, outer, axes, spec, concurrency, make)
    there = create_array(path, **wanted)
    for name, value in asked:
        if value is not None and _fitted(value, shape) != _fitted(getattr(there, name), shape):
            raise ParameterError(
                f"{there!r} has been made with {name}={getattr(there, name)}, but {name}={value!r} is asked for.",
                remedy=f"leave out {name}=, or write to another path",
            )
    return there


def _has(place: Target, asked: Sequence[tuple[str, Any]], shape: tuple[int, ...]) -> bool:
    """Whether the array at a place has the chunks and shards that are asked for."""
    with open_source(place.path, place.key, format=place.format) as there:
        return all(
            value is None or _fitted(value, shape) == _fitted(getattr(there, name), shape) for name, value in asked
        )


def _channels(axes: Sequence[Axis]) -> tuple[Axis]:
    """An axis of channels beside these axes."""
    names = {axis.name for axis in axes}
    free = (name for name in chain(("c", "channel"), (f"c{n}" for n in count(1))) if name not in names)
    return (Axis(next(free), "channel"),)


def _fitted(unit: Sequence[int] | None, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Part of a unit that lies in an array: some formats cut it."""
    return None if unit is None else tuple(min(one, max(1, size)) for one, size in zip(unit, shape, strict=True))
