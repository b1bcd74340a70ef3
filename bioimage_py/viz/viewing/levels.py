"""The coarser levels that are stored beside an array, and which of them serves a zoomed out view."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import BioimageError
from ...io.ome import read_multiscales
from ...sources import Source
from ...sources.file import FileSource, open_source


@dataclass(frozen=True)
class Level:
    """One level of a volume.

    Parameters
    ----------
    source : Source
    factors : tuple of int
        Voxels of the finest level in one of this, along each axis.
    """

    source: Source
    factors: tuple[int, ...]


def levels_of(source: Source) -> tuple[Level, ...]:
    """The array, and the coarser levels that its OME-Zarr group or n5 pyramid has beside it."""
    return pyramid_of([source, *_beside(source)])


def pyramid_of(sources: Sequence[Source]) -> tuple[Level, ...]:
    """Levels of given arrays, the finest first; what is no level of it, by whole factors, is left out."""
    finest = sources[0]
    levels = [Level(finest, (1,) * finest.ndim)]
    for source in sources[1:]:
        factors = _factors(finest, source)
        if factors is not None:
            levels.append(Level(source, factors))
    return tuple(sorted(levels, key=lambda level: math.prod(level.factors)))


def best(levels: Sequence[Level], factors: Sequence[int]) -> Level:
    """The coarsest level from which a view that is coarser by these factors can be made."""
    fitting = [
        level for level in levels if all(want % have == 0 for want, have in zip(factors, level.factors, strict=True))
    ]
    return fitting[-1]  # the finest divides everything


def _factors(finest: Source, coarse: Source) -> tuple[int, ...] | None:
    if coarse.ndim != finest.ndim or coarse.dtype != finest.dtype or 0 in coarse.shape:
        return None
    found = []
    for axis, (fine, size) in enumerate(zip(finest.shape, coarse.shape, strict=True)):
        told = coarse.axes[axis].scale / finest.axes[axis].scale if finest.axes[axis].scale else 0.0
        factor = next((f for f in (round(told), round(fine / size)) if f >= 1 and -(-fine // f) == size), None)
        if factor is None:
            return None
        found.append(factor)
    return tuple(found) if max(found, default=1) > 1 else None


def _beside(source: Source) -> list[Source]:
    """Arrays that are said, or named, to be coarser levels of one in a file."""
    if not isinstance(source, FileSource):
        return []
    group, name = posixpath.split(source.internal_path)
    options = source.to_spec().arguments().get("storage_options")
    keys: list[str] = []
    for image in read_multiscales(source.path, group, storage_options=options):
        names = [key for key, _ in image.levels]
        if name in names:
            keys = [posixpath.join(group, key) for key in names[names.index(name) + 1 :]]
            break
    found: list[Source] = []
    if not keys and name == "s0":
        keys = [posixpath.join(group, f"s{number}") for number in range(1, 32)]
    for key in keys:
        try:
            found.append(open_source(source.path, key, source.format, storage_options=options))
        except BioimageError:  # a level that is announced and not there, or the end of the numbered ones
            break
    return found
