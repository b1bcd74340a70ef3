"""Planes of an image, and of what was annotated on it, as pictures of limited size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ParameterError
from ...projects.values.kinds import LayerKind
from ...projects.values.models import Layer
from ...projects.values.records import DescriptorRecord, counts_of
from ...projects.values.sets import BoxSet, LandmarkSet, from_table
from ...sources import Axis, Source
from ...viz.viewing.levels import Level, levels_of
from ...wrapper.view import AxesSource

LARGEST = 1024
"""Pixels of the longer side of a picture."""
ENOUGH = 700
"""Pixels of it for which a coarser level will do."""
MOST_BYTES = 256 * 2**20
"""That are decoded for one picture."""
MOST_ROWS = 100_000
"""Boxes or landmarks of a layer that are drawn."""
_DRAWN_ON, _LARGEST_CANVAS = 640, 2048
"""Pixels of the longer side on which boxes and landmarks are drawn, at least and at most."""
_AXES = {"z": ("y", "x"), "y": ("z", "x"), "x": ("y", "z")}
"""Which axes run down and to the right, by the axis that a plane stands on."""


@dataclass(frozen=True)
class Cut:
    """Where a plane lies.

    Parameters
    ----------
    normal : {"z", "y", "x"}
        The axis that it stands on; "z" for an image that has none.
    at : mapping
        Index along each axis that is not in the plane, by its name in small letters; else the middle.
    """

    normal: str
    at: Mapping[str, int]

    @property
    def down(self) -> str:
        """The axis that runs down."""
        return _AXES[self.normal][0]

    @property
    def right(self) -> str:
        """The axis that runs to the right."""
        return _AXES[self.normal][1]

    def index(self, name: str, size: int) -> int:
        """Return where along an axis it lies."""
        return min(max(0, self.at.get(name, size // 2)), max(0, size - 1))


def cuts_of(axes: Iterable[Axis]) -> tuple[str, ...]:
    """Return the axes on which planes of an image stand."""
    return ("z", "y", "x") if any(_name(axis) == "z" for axis in axes) else ("z",)


def image_plane(image: Source, axes: tuple[Axis, ...], cut: Cut, limits: npt.NDArray[Any]) -> bytes:
    """Return a plane of an image as PNG; values from the first to the second limit of each channel are grey."""
    plane = _read(_levels(image), axes, cut)[0].astype(np.float32)[..., :3]
    low, high = limits[: plane.shape[2], 0], limits[: plane.shape[2], 1]
    grey = (np.clip((np.nan_to_num(plane) - low) / np.maximum(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
    if grey.shape[2] == 2:
        grey = np.concatenate([grey, np.zeros_like(grey[..., :1])], axis=-1)
    return _png(grey[..., ::-1] if grey.shape[2] == 3 else grey)


def limits_of(image: Source, axes: tuple[Axis, ...]) -> npt.NDArray[Any]:
    """Return the 1st and the 99th percentile of the middle plane, of each of the first three channels."""
    levels = _levels(image)
    plane = np.nan_to_num(
        _read(levels[-1:] if math.prod(levels[-1].source.shape) > 10_000 else levels, axes, Cut("z", {}))[0]
    )
    found = [np.percentile(plane[..., i], [1, 99]) for i in range(min(3, plane.shape[2]))]
    return np.array(found, np.float64)


def _levels(image: Source) -> Sequence[Level]:
    inner = image._source if isinstance(image, AxesSource) else image  # levels lie beside what it names the axes of
    return levels_of(inner)


def _read(levels: Sequence[Level], axes: tuple[Axis, ...], cut: Cut) -> tuple[npt.NDArray[Any], int]:
    """Return a plane (down, right, channels), of every n-th voxel so that it is small, and n.

    Raises
    ------
    ParameterError
        It would take too much memory, at every level.
    """
    names = [_name(axis) for axis in axes]
    level = _chosen(levels, names, cut)
    index: list[Any] = []
    shape = level.source.shape
    sides = [size for name, size in zip(names, shape, strict=True) if name in (cut.down, cut.right)]
    step = max(1, -(-max(sides, default=1) // LARGEST))
    for axis, name, size, whole, factor in zip(axes, names, shape, levels[0].source.shape, level.factors, strict=True):
        if name in (cut.down, cut.right):
            index.append(slice(None, None, step))
        elif axis.kind == "channel" and name not in cut.at:
            index.append(slice(0, 3))
        else:
            at = min(cut.index(name, whole) // factor, max(0, size - 1))
            index.append(slice(at, at + 1))
    order = [
        0 if name == cut.down else 1 if name == cut.right else 2 if axis.kind == "channel" else 3
        for axis, name in zip(axes, names, strict=True)
    ]
    plane = level.source.read(tuple(index)).transpose(np.argsort(order, kind="stable"))
    return plane.reshape(*plane.shape[:2], -1), step


def _chosen(levels: Sequence[Level], names: Sequence[str], cut: Cut) -> Level:
    """Return the coarsest level that is fine enough, or a coarser one where that would take too much memory."""

    def side(level: Level) -> int:
        return max(size for name, size in zip(names, level.source.shape, strict=True) if name in (cut.down, cut.right))

    def cost(level: Level) -> int:
        source = level.source
        units = source.chunks or (1,) * source.ndim
        found = source.dtype.itemsize
        for name, size, unit in zip(names, source.shape, units, strict=True):
            found *= size if name in (cut.down, cut.right) else min(size, max(1, unit))
        return found

    fitting = [level for level in levels if cost(level) <= MOST_BYTES]
    if not fitting:
        raise ParameterError(
            f"This plane would take {cost(levels[-1])} bytes of the image, more than {MOST_BYTES}.",
            remedy="store smaller chunks, or coarser levels beside the image (bioimage_py.pyramid)",
        )
    return next((level for level in reversed(fitting) if side(level) >= ENOUGH), fitting[0])


@dataclass(frozen=True)
class Annotated:
    """A layer with what is stored of it.

    Parameters
    ----------
    layer : Layer
    source : Source, optional
        Of a label map.
    table : str
        CSV of boxes or landmarks.
    """

    layer: Layer
    source: Source | None = None
    table: str = ""


def overlay(record: DescriptorRecord, cut: Cut, found: Sequence[Annotated]) -> bytes:
    """Return label maps, boxes and landmarks of a plane as PNG, clear where nothing is."""
    axes = [axis for axis in record.image.axis_values() if axis.kind == "space"]
    sizes = {_name(a): n for a, n in zip(record.image.axis_values(), record.image.shape, strict=True)}
    shape = (sizes.get(cut.down, 1), sizes.get(cut.right, 1))
    step = max(1, -(-max(shape) // LARGEST))
    height, width = (max(1, -(-side // step)) for side in shape)
    canvas = np.zeros((height, width, 4), np.uint8)
    for one in found:
        if one.source is not None:
            with ExitStack() as opened:
                opened.callback(one.source.close)
                labels, _ = _read([Level(one.source, (1,) * one.source.ndim)], tuple(axes), cut)
            colours = coloured(labels[..., 0], one.layer)
            canvas = np.where(colours[..., 3:] > 0, colours, canvas)
    tables = [one for one in found if one.table]
    if tables:
        down, right = _larger(record, cut, height, width)
        canvas = np.ascontiguousarray(canvas.repeat(down, 0).repeat(right, 1))
        for one in tables:
            _draw(canvas, one, record, cut, (down / step, right / step))
    return _png(canvas[..., [2, 1, 0, 3]])


def _larger(record: DescriptorRecord, cut: Cut, height: int, width: int) -> tuple[int, int]:
    """Return how often rows and columns are repeated, so that a circle looks like one, and not coarse."""
    scales = {_name(axis): axis.scale for axis in record.image.axis_values()}
    lengths = (height * scales.get(cut.down, 1.0), width * scales.get(cut.right, 1.0))
    each = _DRAWN_ON / max(lengths)
    down, right = (max(1, math.ceil(each * scales.get(name, 1.0))) for name in (cut.down, cut.right))
    return min(down, max(1, _LARGEST_CANVAS // height)), min(right, max(1, _LARGEST_CANVAS // width))


def coloured(labels: npt.NDArray[Any], layer: Layer) -> npt.NDArray[np.uint8]:
    """Return label values as RGBA: colours of the layer, others by their value; 0 is clear."""
    values, inverse = np.unique(labels, return_inverse=True)
    told = {label.value: label.color for label in layer.labels if label.value is not None}
    table = np.zeros((len(values), 4), np.uint8)
    for row, value in enumerate(values.tolist()):
        if value:
            table[row] = (*told.get(int(value), _colour(int(value))), 140)
    return table[inverse.reshape(labels.shape)]


def _colour(value: int) -> tuple[int, int, int]:
    """Return a colour that differs from those of values nearby."""
    hue = (value * 0x9E3779B97F4A7C15 % 2**64) / 2**64 * 6
    rest = round(255 * (1 - abs(hue % 2 - 1)))
    parts = ((255, rest, 0), (rest, 255, 0), (0, 255, rest), (0, rest, 255), (rest, 0, 255), (255, 0, rest))
    red, green, blue = parts[int(hue) % 6]
    return red, green, blue


def _draw(
    canvas: npt.NDArray[np.uint8], one: Annotated, record: DescriptorRecord, cut: Cut, zooms: tuple[float, float]
) -> None:
    import cv2

    colours = {label.name: label.color for label in one.layer.labels}
    boxes = one.layer.kind == LayerKind.BOUNDINGBOX
    names = {label.id: label.name for label in one.layer.labels}
    axes = record.image.axis_values()
    scale = np.array([next((a.scale for a in axes if _name(a) == n), 1.0) for n in "xyz"])
    rows = from_table(one.table, BoxSet if boxes else LandmarkSet, names, "The table", scale)
    low, high = _places(rows, axes, scale)
    seen = _in_plane(rows, low, high, record, cut, boxes)
    down, right = "xyz".index(cut.down), "xyz".index(cut.right)
    zoom = np.ones(3)
    zoom[down], zoom[right] = zooms
    for row in np.flatnonzero(seen)[:5000]:
        begin, end = (np.clip(ends[row] * zoom, -(2**14), 2**14).round().astype(int) for ends in (low, high))
        colour = (*colours.get(rows._types[row], (255, 255, 255)), 255)
        first = (int(begin[right]), int(begin[down]))
        if boxes:
            cv2.rectangle(canvas, first, (int(end[right]), int(end[down])), colour, 2)
        else:
            cv2.circle(canvas, first, 7, (0, 0, 0, 255), -1, cv2.LINE_AA)
            cv2.circle(canvas, first, 6, colour, -1, cv2.LINE_AA)


def _places(rows: Any, axes: Sequence[Axis], scale: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return low and high corners (x, y, z) in voxels, counted from the edge of the first one."""
    offset = np.array([next((a.offset for a in axes if _name(a) == n), 0.0) for n in "xyz"])
    columns = [(rows._points[name] - offset) / scale + 0.5 for name in rows.columns]
    low, high = (np.minimum.reduce(columns), np.maximum.reduce(columns))
    return np.nan_to_num(low, nan=-1e9), np.nan_to_num(high, nan=-1e9)


def _in_plane(
    rows: Any, low: npt.NDArray[Any], high: npt.NDArray[Any], record: DescriptorRecord, cut: Cut, boxes: bool
) -> npt.NDArray[Any]:
    axes = record.image.axis_values()
    sizes = {_name(axis): size for axis, size in zip(axes, record.image.shape, strict=True)}
    seen = np.isfinite(low).all(1)
    if cut.normal in sizes:
        at, axis = cut.index(cut.normal, sizes[cut.normal]), "xyz".index(cut.normal)
        near = 0.0 if boxes else 1.0  # a landmark is shown in the planes beside it too
        seen &= (low[:, axis] < at + 1 + near) & (high[:, axis] > at - near)
    if counts_of(axes, tuple(record.image.shape)).n_images > 1:
        times = [_name(axis) for axis in axes if axis.kind not in ("space", "channel")]
        seen &= np.asarray(rows._frames == (cut.index(times[0], sizes[times[0]]) if len(times) == 1 else 0))
    return np.asarray(seen)


def _name(axis: Axis) -> str:
    return axis.name.lower()


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", np.ascontiguousarray(picture), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
