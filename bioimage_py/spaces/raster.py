"""Objects as voxels and back: which voxels an object covers, label images of a space, objects of a label image.

A voxel belongs to a shape where its centre is inside, by the even-odd rule; on an edge as for half-open intervals. To a
polygon of several parts belongs what is in any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError, ShapeError
from ..sources import as_source
from .values.geometry import Box, Ellipse, Geometry, Polygon
from .values.grid import Grid
from .values.masks import Mask

Bools = npt.NDArray[np.bool_]
_BLOCK = 512


def rasterise_geometry(geometry: Geometry, grid: Grid, window: tuple[slice, ...]) -> Bools:
    """Return which voxels of a window a geometry of world coordinates covers.

    Parameters
    ----------
    geometry : Geometry
        With an area: a box, rotated box, ellipse, polygon or mask.
    grid : Grid
    window : tuple of slice
        (y, x) or (z, y, x), in voxels.

    Raises
    ------
    ParameterError
        The geometry has no area.
    """
    shape = tuple(part.stop - part.start for part in window)
    if isinstance(geometry, Mask):
        return _of_mask(geometry, window, shape)
    found = grid.convert(geometry, "pixel")
    y, x = (np.arange(part.start, part.stop) + 0.5 for part in window[-2:])
    if isinstance(found, Ellipse):
        flat = _of_ellipse(found, y, x)
    elif isinstance(found, Box):
        (x0, y0), (x1, y1) = snapped(found.top_left)[:2], snapped(found.lower_right)[:2]
        flat = ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
    elif isinstance(found, Polygon):
        flat = np.logical_or.reduce([_of_rings([snapped(ring) for ring in part], y, x) for part in found.parts])
    elif rings := found.rings():
        flat = _of_rings([snapped(ring) for ring in rings], y, x)
    else:
        raise ParameterError(f"A {geometry.shape} covers no voxels.", remedy="rasterise boxes, polygons, masks, ...")
    if len(window) == 2:
        return flat
    z = np.arange(window[0].start, window[0].stop) + 0.5
    inside = np.ones(len(z), bool)
    if isinstance(found, Box):
        inside = (z >= snapped(found.top_left)[2]) & (z < snapped(found.lower_right)[2])
    return inside[:, None, None] & flat


def snapped(pixels: Any) -> Any:
    """Return coordinates that were meant to be halves as such: in the world a last bit is lost, which would decide."""
    halves = np.round(2 * np.asarray(pixels)) / 2
    return np.where(np.abs(pixels - halves) <= 1e-7, halves, pixels)


def _of_mask(mask: Mask, window: tuple[slice, ...], shape: tuple[int, ...]) -> Bools:
    found = np.zeros(shape, bool)
    here, there = [], []
    for part, origin, n in zip(window, mask.origin, mask.crop.shape, strict=True):
        begin, end = max(part.start, origin), min(part.stop, origin + n)
        if begin >= end:
            return found
        here.append(slice(begin - part.start, end - part.start))
        there.append(slice(begin - origin, end - origin))
    found[tuple(here)] = mask.crop[tuple(there)]
    return found


def _of_ellipse(ellipse: Ellipse, y: Any, x: Any) -> Bools:
    turn, center = np.radians(ellipse.angle), snapped(ellipse.center)
    dx, dy = x[None, :] - center[0], y[:, None] - center[1]
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    away = (along / ellipse.radii[0]) ** 2 + (across / ellipse.radii[1]) ** 2
    edge = np.abs(away - 1) <= 1e-9
    # of a row that is cut the left end belongs to it, the right one not, as of a polygon
    left = dx * (np.cos(turn) / ellipse.radii[0]) ** 2 + dx * (np.sin(turn) / ellipse.radii[1]) ** 2
    left = left + dy * np.sin(turn) * np.cos(turn) * (ellipse.radii[0] ** -2 - ellipse.radii[1] ** -2)
    inside: Bools = np.where(edge, left < -1e-9 / ellipse.radii.max(), away < 1)
    return inside


def _of_rings(rings: list[Any], y: Any, x: Any) -> Bools:
    """Fill by rows: between the first and second crossing, the third and fourth, ..."""
    begin = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # from the smaller y on: neighbours that go along an edge in opposite directions round its crossings alike
    down = (begin[:, 1] > end[:, 1])[:, None]
    begin, end = np.where(down, end, begin), np.where(down, begin, end)
    low, high = begin[:, 1], end[:, 1]
    first = np.searchsorted(y, low, side="left")
    last = np.searchsorted(y, high, side="left")
    counts = last - first
    edge = np.repeat(np.arange(len(begin)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (end[:, 0] - begin[:, 0]) / (end[:, 1] - begin[:, 1])
    at = begin[edge, 0] + (y[row] - begin[edge, 1]) * slope[edge]
    column = np.searchsorted(x, at, side="left")  # the first centre that is not left of the crossing
    flips = np.zeros((len(y), len(x) + 1), np.int32)
    np.add.at(flips, (row, column), 1)
    inside: Bools = np.cumsum(flips, axis=1)[:, :-1] % 2 == 1
    return inside


def rasterise(
    space: Any, output: Any, *, frame: int = 0, values: Mapping[str, int] | None = None, by: str = "object",
    class_: Any = None, block_shape: tuple[int, ...] | None = None,
) -> dict[str, int]:  # fmt: skip
    """Write the objects of a frame as a label image, block by block; later objects cover earlier ones.

    All voxels are written: those of no object become 0. One process writes, so no run may write the output meanwhile.

    Parameters
    ----------
    space : Space
    output : source-like
        Of the shape of the frame, (y, x) or (z, y, x), writable.
    frame : int, default 0
    values : mapping of str to int, optional
        Value of each object, or of each class, by id. None: 1, 2, ... in the order of put.
    by : {"object", "class"}
        Whether each object has a value of its own.
    class_ : optional
        Only objects of this class.
    block_shape : tuple of int, optional
        None: 512 along each axis, or the output's chunks where they are larger.

    Returns
    -------
    dict
        Value by id.

    Raises
    ------
    ShapeError
        The output is of another shape.
    ParameterError
        An object covers no voxels, or a value is missing.
    """
    if by not in ("object", "class"):
        raise ParameterError(f"by={by!r}", remedy="use 'object' or 'class'")
    target, grid = as_source(output), space.grid
    shape = grid.mask_shape(frame)
    if tuple(target.shape) != shape:
        raise ShapeError(f"The output has the shape {target.shape}, the frame {shape}.", remedy=f"shape={shape}")
    frames = frame if space.kind == "sequence" else None
    records = list(space.query(frames=frames, class_=class_))
    keys = list(dict.fromkeys(r.id if by == "object" else r.class_.id for r in records))
    known = dict(values) if values is not None else {key: i for i, key in enumerate(keys, 1)}
    if lost := [key for key in keys if key not in known]:
        raise ParameterError(f"values has none for {lost[0]!r} ({len(lost)} lack one).", remedy="give one for each")
    if odd := [value for value in known.values() if isinstance(value, bool) or not isinstance(value, int | np.integer)]:
        raise ParameterError(f"values has {odd[0]!r}, which is no whole number.", remedy="values={'id': 1}")
    largest = max(known.values(), default=0)
    if target.dtype.kind not in "iu" or largest > np.iinfo(target.dtype).max or min(known.values(), default=0) < 0:
        raise ParameterError(f"Values up to {largest} in {target.dtype}.", remedy="an output of a larger whole type")
    for record in records:
        if record.class_.shape not in ("bounding_box", "rotatable_bounding_box", "polygon", "ellipse", "bitmask"):
            raise ParameterError(f"A {record.class_.shape} covers no voxels.", remedy="class_=..., of another shape")
    chunks = target.write_chunks or (1,) * len(shape)
    sizes = block_shape or tuple(max(_BLOCK // (1 if len(shape) == 2 else 4), c) for c in chunks)
    for window in _windows(shape, sizes):
        low = [part.start for part in window][::-1]
        high = [part.stop for part in window][::-1]
        box = grid.world(Box(low, high), "pixel", frame)
        block = np.zeros(tuple(part.stop - part.start for part in window), target.dtype)
        for record in space.query(box, frames=frames, class_=class_):
            inside = rasterise_geometry(record.geometry, grid, window)
            block[inside] = known[record.id if by == "object" else record.class_.id]
        target[window] = block
    return known


def _windows(shape: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    counts = [-(-n // size) for n, size in zip(shape, sizes, strict=True)]
    for index in np.ndindex(*counts):
        starts = [i * size for i, size in zip(index, sizes, strict=True)]
        yield tuple(slice(a, min(a + size, n)) for a, size, n in zip(starts, sizes, shape, strict=True))


def vectorise(
    space: Any, labels: Any, class_: Any, *, frame: int = 0, block_shape: tuple[int, ...] | None = None, **given: Any
) -> dict[int, str]:
    """Put an object for each value of a label image, which is read block by block; 0 is the background.

    Parameters
    ----------
    space : Space
    labels : source-like
        Whole numbers, of the shape of the frame: (y, x) or (z, y, x).
    class_ : str or ObjectClass
        Of the shape "bitmask", "polygon" (flat only: outlines along the edges of pixels) or "bounding_box".
    frame : int, default 0
    block_shape : tuple of int, optional
    **given
        As of `Space.put_many`: confidence, created_by, source, ...

    Returns
    -------
    dict
        Id by value.

    Raises
    ------
    ShapeError
        It is of another shape than the frame.
    ParameterError
        The class is of another shape, or the values are no whole numbers.
    """
    source, grid = as_source(labels), space.grid
    shape = grid.mask_shape(frame)
    item = space.ontology.object_class(class_)
    if tuple(source.shape) != shape:
        raise ShapeError(f"The labels have the shape {source.shape}, the frame {shape}.", remedy=f"shape={shape}")
    wanted = ("bitmask", "bounding_box", *(("polygon",) if len(shape) == 2 else ()))
    if source.dtype.kind not in "iub" or item.shape not in wanted:
        raise ParameterError(
            f"Labels of {source.dtype} as objects of the shape {item.shape!r}.", remedy=f"a class of {list(wanted)}"
        )
    boxes = _boxes(source, shape, block_shape)
    shapes = []
    for value, box in boxes.items():
        low, high = (np.array([getattr(part, end) for part in box][::-1], float) for end in ("start", "stop"))
        if item.shape == "bounding_box":
            shapes.append(grid.world(Box(low, high), "pixel", frame))
            continue
        mask = Mask(np.asarray(source[box]) == value, [part.start for part in box])
        shapes.append(mask if item.shape == "bitmask" else grid.world(outline(mask), "pixel", frame))
    ids = space.put_many(item, shapes, frame, **given)
    return dict(zip(boxes, ids.tolist(), strict=True))


def _boxes(source: Any, shape: tuple[int, ...], block_shape: Any) -> dict[int, tuple[slice, ...]]:
    """Return the box of each value, in the order of the values."""
    from scipy.ndimage import find_objects

    sizes = block_shape or tuple(max(_BLOCK // (1 if len(shape) == 2 else 4), c) for c in source.chunks or shape)
    found: dict[int, list[list[int]]] = {}
    for window in _windows(shape, sizes):
        block = np.asarray(source[window])
        values, codes = np.unique(block, return_inverse=True)
        for value, box in zip(values.tolist(), find_objects(codes.reshape(block.shape) + 1), strict=True):
            if not value or box is None:
                continue
            ends = [[p.start + w.start, p.stop + w.start] for p, w in zip(box, window, strict=True)]
            known = found.setdefault(value, ends)
            found[value] = [[min(a, c), max(b, d)] for (a, b), (c, d) in zip(known, ends, strict=True)]
    return {value: tuple(slice(a, b) for a, b in found[value]) for value in sorted(found)}


def outline(mask: Mask) -> Polygon:
    """Return the outlines of a flat mask along the edges of its pixels, in pixels."""
    from .values.planar import outline_of_runs

    padded = np.zeros((mask.crop.shape[0], mask.crop.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask.crop
    change = np.diff(padded, axis=1)
    rows, begins = np.nonzero(change == 1)
    _, ends = np.nonzero(change == -1)
    y, x = mask.origin
    return outline_of_runs(begins + x, rows + y, ends + x, rows + y + 1)
