"""A small picture of an array, for notebooks, where it costs little."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import BioimageError
from ..markup import picture
from ..sources.file import FileSource
from .viewing.levels import levels_of

if TYPE_CHECKING:
    from ..sources.base import Source

_EDGE = 160
_MOST = 16 * 2**20
"""Bytes that are read for it: those of all chunks that it touches."""
_MOST_REMOTE = 2 * 2**20
_SECONDS = 3.0
"""How long one waits for a network, or for what a view computes."""


def thumbnail(source: Source) -> str:
    """An image of HTML: the middle plane, grey or, of 32 and 64 bit integers, a colour an id; "" where that costs much.

    Only the first of channels and times is shown. Of a large plane it is a coarser level that is stored beside it, else
    the middle. What comes over a network, or is a view, has some seconds.
    """
    chain = list(_chain(source))
    if source.dtype.kind not in "buif" or not all(one.pictured for one in chain):
        return ""
    remote = any(one.remote for one in chain)
    if not remote and len(chain) == 1:
        return _made(source, _MOST)
    found: list[str] = []
    # a thread that is late ends by itself: its bytes are few
    thread = threading.Thread(
        target=lambda: found.append(_made(source, _MOST_REMOTE if remote else _MOST)), daemon=True
    )
    thread.start()
    thread.join(_SECONDS)
    return found[0] if found else ""


def _chain(source: Source) -> Iterator[Source]:
    """A source, and what it is a view of."""
    yield source
    for inner in getattr(source, "sources", ()):
        yield from _chain(inner)


def _made(source: Source, most: int) -> str:
    try:
        shown = _level(source, most)
        box = _box(shown, most)
        if box is None:
            return ""
        plane = _plane(shown, box)
    except (BioimageError, OSError, ValueError):  # a notebook shows the rest all the same
        return ""
    step = max(1, -(-max(plane.shape) // _EDGE))
    labels = plane.dtype.kind in "iu" and plane.dtype.itemsize >= 4
    painted = (_colors if labels else _grey)(plane[::step, ::step])
    return picture(painted, _EDGE)


def _level(source: Source, most: int) -> Source:
    """The array, or where its plane is much, the coarsest of the levels beside it that still has enough pixels."""
    if not isinstance(source, FileSource) or (whole := _whole(source)) is None or _bytes(source, whole) <= most // 8:
        return source
    levels: list[Source] = [level.source for level in levels_of(source)]
    return [one for one in levels if max(one.shape[axis] for axis in _space(one)[-2:]) >= _EDGE or one is source][-1]


def _plane(source: Source, box: tuple[slice, ...]) -> npt.NDArray[Any]:
    """Rows and columns: the last two axes of space, in their order."""
    read = source.read(box)
    space = _space(source)
    return read.transpose([axis for axis in range(read.ndim) if axis not in space[-2:]] + space[-2:]).reshape(
        [read.shape[axis] for axis in space[-2:]]
    )


def _space(source: Source) -> list[int]:
    return [axis for axis, one in enumerate(source.axes) if one.kind == "space"] or list(range(source.ndim))


def _whole(source: Source) -> list[slice] | None:
    """The middle plane; None where there is none."""
    space = _space(source)
    if len(space) < 2 or not source.size:
        return None
    box = []
    for axis, size in enumerate(source.shape):
        middle = size // 2 if axis in space else 0
        box.append(slice(0, size) if axis in space[-2:] else slice(middle, middle + 1))
    return box


def _box(source: Source, most: int) -> tuple[slice, ...] | None:
    """The middle plane, or the middle of it; None where even this is too much, or there is none."""
    if (box := _whole(source)) is None:
        return None
    space = _space(source)
    for _ in range(8):
        if _bytes(source, box) <= most:
            return tuple(box)
        for axis in space[-2:]:
            begin, end = box[axis].start, box[axis].stop
            quarter = (end - begin) // 4
            box[axis] = slice(begin + quarter, max(begin + quarter + 1, end - quarter))
    return None


def _bytes(source: Source, box: list[slice]) -> int:
    units = source.chunks or (1,) * source.ndim
    sizes = [(-(-part.stop // unit) - part.start // unit) * unit for part, unit in zip(box, units, strict=True) if unit]
    reduced: int = math.prod(factor for one in _chain(source) for factor in getattr(one, "factors", ()))
    return int(math.prod(sizes) * reduced * source.dtype.itemsize)


def _grey(plane: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    values = plane.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (1, 99.7)) if finite.size else (0, 1)
    with np.errstate(invalid="ignore"):
        scaled = np.clip((values - low) / max(high - low, 1e-20), 0, 1)
    return np.nan_to_num(255 * scaled).astype(np.uint8)


def _colors(plane: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    mixed = plane.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    parts = [((mixed >> np.uint64(shift)) & np.uint64(127)) + np.uint64(96) for shift in (40, 48, 56)]
    painted = np.stack(parts, -1).astype(np.uint8)
    painted[plane == 0] = 0
    return painted
