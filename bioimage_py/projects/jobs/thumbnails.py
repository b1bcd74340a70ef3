"""Small pictures of data sets with their label maps, alone and together on a sheet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...system.files import write_once
from ..images import middle_plane
from ..values.kinds import PALETTE

if TYPE_CHECKING:
    from ..descriptor import Descriptor
    from ..layers import LabelMapLayer
    from ..project import Project

Picture = npt.NDArray[np.uint8]

OPACITY = 0.45
_MARGIN = 10
_TEXT = 34
_FONT_SCALE = 0.42
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (120, 120, 120)


def label_picture(layer: LabelMapLayer) -> Picture | None:
    """Return the middle of a label map in the colours of its labels, uint8 (height, width, 3); None where none is.

    Values without a label take colours in turn, 0 is black.
    """
    source = layer.load()
    if source is None:
        return None
    plane = middle_plane(source, source.axes)[..., 0]
    known = {label.value: label.color for label in layer.labels}
    values, inverse = np.unique(plane, return_inverse=True)
    colors = [known.get(int(v), PALETTE[(int(v) - 1) % len(PALETTE)] if v else (0, 0, 0)) for v in values]
    return np.array(colors, np.uint8)[inverse.reshape(plane.shape)]


def make_thumbnails(project: Project, descriptors: Iterable[Descriptor] | None = None) -> int:
    """Make the pictures that are missing, or older than the last edit, of images and of label maps.

    Returns
    -------
    int
        How many were made.
    """
    made = 0
    for descriptor in project.descriptors if descriptors is None else descriptors:
        if not os.path.exists(descriptor.thumbnail_path):
            descriptor.load_thumbnail()
            made += 1
        for layer in descriptor.labelmap_layers:
            path, edited = Path(layer.thumbnail_path()), descriptor.latest_edit_time.timestamp()
            if layer.path() and not (path.exists() and path.stat().st_mtime > edited):
                picture = label_picture(layer)
                assert picture is not None
                write_once(path, _png(picture))
                made += 1
    return made


def thumbnail_sheet(
    project: Project,
    path: str | os.PathLike[str],
    descriptors: Iterable[Descriptor] | None = None,
    *,
    layer: str | None = None,
    columns: int = 5,
    size: int = 180,
) -> tuple[int, ...]:
    """Draw a sheet of all pictures, with names, groups and sizes.

    Parameters
    ----------
    project : Project
    path : path
        PNG file to write.
    descriptors : iterable of Descriptor, optional
        By default all.
    layer : str, optional
        Pixelwise layer to be drawn over the images.
    columns : int, default 5
        Pictures side by side, at most.
    size : int, default 180
        Width and height of a picture in pixels; pictures keep their proportions.

    Returns
    -------
    tuple of int
        Shape of the sheet (height, width, 3).

    Raises
    ------
    KeyNotFoundError
        There is no such layer.
    """
    cells = [_cell(found, layer, size) for found in (project.descriptors if descriptors is None else descriptors)]
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    high, wide = size + _TEXT + _MARGIN, size + _MARGIN
    sheet = np.full((_TEXT + max(1, rows) * high + _MARGIN, columns * wide + _MARGIN, 3), _PAPER, np.uint8)
    shown = f"{project.name}: {len(cells)} data sets" + (f", layer {layer}" if layer else "")
    _write(sheet, shown, _MARGIN, _MARGIN + 12, sheet.shape[1] - 2 * _MARGIN, _INK)
    for index, cell in enumerate(cells):
        top, left = _TEXT + (index // columns) * high, _MARGIN + (index % columns) * wide
        sheet[top : top + cell.shape[0], left : left + size] = cell
    write_once(Path(path), _png(sheet))
    return sheet.shape


def _cell(descriptor: Descriptor, layer: str | None, size: int) -> Picture:
    picture = descriptor.load_thumbnail()
    assert picture is not None
    spacing = descriptor.spacing
    picture = _fitted(picture, size, spacing[1] * descriptor.height / (spacing[0] * descriptor.width))
    if layer is not None and (labels := label_picture(descriptor.labelmap_layers[layer])) is not None:
        over = _fitted(labels, size, spacing[1] * descriptor.height / (spacing[0] * descriptor.width), smooth=False)
        inside = over.any(axis=2, keepdims=True)
        picture = np.where(inside, (1 - OPACITY) * picture + OPACITY * over, picture).astype(np.uint8)
    cell = np.full((size + _TEXT, size, 3), _PAPER, np.uint8)
    cell[:size] = 236
    top, left = (size - picture.shape[0]) // 2, (size - picture.shape[1]) // 2
    cell[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    _write(cell, descriptor.name, 0, size + 14, size, _INK)
    groups = " / ".join(group.display or group.key for group in descriptor.grouping)
    extent = " x ".join(str(n) for n in descriptor.spatial_shape)
    _write(cell, f"{groups}  {extent}" if groups else extent, 0, size + 29, size, _FAINT)
    return cell


def _fitted(picture: Picture, size: int, ratio: float, *, smooth: bool = True) -> Picture:
    """Resize to fit a square, with a ratio of height to width."""
    import cv2

    height, width = (size, size / ratio) if ratio > 1 else (size * ratio, size)
    shape = max(1, round(width)), max(1, round(height))
    resized: Any = cv2.resize(picture, shape, interpolation=cv2.INTER_AREA if smooth else cv2.INTER_NEAREST)
    return np.asarray(resized, np.uint8)


def _write(canvas: Picture, text: str, left: int, base: int, width: int, color: Sequence[int]) -> None:
    """Write text that is cut to a width; letters that the font does not have become "?"."""
    import cv2

    font, shown = cv2.FONT_HERSHEY_SIMPLEX, text.encode("ascii", "replace").decode()
    while len(shown) > 3 and cv2.getTextSize(shown, font, _FONT_SCALE, 1)[0][0] > width:
        shown = shown[:-4] + "..." if shown.endswith("...") else shown[:-3] + "..."
    cv2.putText(canvas, shown, (left, base), font, _FONT_SCALE, tuple(color), 1, cv2.LINE_AA)


def _png(picture: Picture) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1])
