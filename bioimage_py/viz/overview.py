"""One picture of a volume and its segmentation: the three planes through a voxel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import DtypeError, RegionError, ShapeError
from ..extras import need, needing
from ..sources import Source, as_source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image = npt.NDArray[Any]

_LINE = (255, 214, 0)  # colour of boundaries
_PANEL_INCHES = 3.4  # longest side of the largest picture of a row
_SHORT_UNITS = {"nanometer": "nm", "micrometer": "µm", "millimeter": "mm", "centimeter": "cm", "meter": "m"}


@dataclass(frozen=True)
class _Plane:
    """A window of the plane across one axis: rows and columns are the two other axes."""

    across: int
    rows: int
    columns: int
    index: tuple[slice, ...]

    def read(self, source: Source) -> Image:
        plane = source.read(self.index).squeeze(self.across)
        return plane if self.rows < self.columns else plane.T


def label_colors(labels: Image) -> npt.NDArray[np.uint8]:
    """Return a colour for every label.

    Parameters
    ----------
    labels : ndarray of integers, any shape

    Returns
    -------
    ndarray of uint8, shape (..., 3)
        Red, green, blue. 0 is black; the colour of any other label depends on its number only, so it is the same in
        every picture.
    """
    with needing("matplotlib", "A picture"):
        from matplotlib.colors import hsv_to_rgb

    ids, inverse = np.unique(labels, return_inverse=True)
    # Multiples of the golden ratio spread the hues of neighbouring numbers; the low bits vary the brightness.
    scrambled = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    hue = (scrambled >> np.uint64(40)).astype(np.float64) / 2**24
    saturation = 0.55 + 0.4 * ((scrambled >> np.uint64(20)) % np.uint64(4)).astype(np.float64) / 3
    value = 0.65 + 0.35 * ((scrambled >> np.uint64(24)) % np.uint64(3)).astype(np.float64) / 2
    colors = np.rint(255 * hsv_to_rgb(np.stack([hue, saturation, value], axis=-1))).astype(np.uint8)
    colors[ids == 0] = 0
    painted: npt.NDArray[np.uint8] = colors[inverse.reshape(labels.shape)]
    return painted


def overview(
    raw: Any,
    segmentation: Any,
    groundtruth: Any = None,
    *,
    boundaries: Any = None,
    path: str | os.PathLike[str],
    position: Sequence[int] | None = None,
    size: int = 1024,
    title: str = "",
) -> str:
    """Draw a segmentation beside its image and the ground truth, in three planes, and save the picture as PNG.

    The columns are the planes across the three axes through one voxel, drawn to scale (voxels need not be cubes); the
    rows are the image, the image with the boundaries of the segmentation, the segmentation and the ground truth. Only
    these planes are read, never the volume.

    Parameters
    ----------
    raw : source-like
        Image with three axes, numbers.
    segmentation : source-like
        Labels of the same shape; 0 is drawn black, other labels in fixed colours of their own.
    groundtruth : source-like, optional
        Labels of the same shape; left out of the picture if not given.
    boundaries : source-like, optional
        Labels (integers) of the same shape whose boundaries are drawn over the image, by default the segmentation.
    path : str or os.PathLike
        The PNG file; folders above it are made.
    position : sequence of three int, optional
        Voxel through which the planes go; by default the middle.
    size : int, default 1024
        Largest part of a plane that is read and drawn, in voxels along each axis, around the position.
    title : str, optional
        Heading of the picture.

    Returns
    -------
    str
        The absolute path of the PNG.

    Raises
    ------
    ShapeError
        If there are not three axes, or shapes differ.
    DtypeError
        If labels are not integers.
    RegionError
        If the position lies outside the volume.
    MissingDependencyError
        If matplotlib is not installed.
    """
    need("matplotlib", "A picture")
    image = as_source(raw)
    labels = {"segmentation": as_source(segmentation)}
    if groundtruth is not None:
        labels["ground truth"] = as_source(groundtruth)
    outlined = labels["segmentation"] if boundaries is None else as_source(boundaries)
    _check(image, {**labels, "boundaries": outlined})
    planes = _planes(image.shape, _position(position, image.shape), size)
    rows: list[tuple[str, list[Image]]] = []
    grey = [_grey(plane.read(image)) for plane in planes]
    rows.append(("image", grey))
    rows.append(("boundaries", [_outlined(g, plane.read(outlined)) for g, plane in zip(grey, planes, strict=True)]))
    for name, source in labels.items():
        rows.append((name, [label_colors(plane.read(source)) for plane in planes]))
    figure = _draw(rows, planes, image, title)
    target = os.path.abspath(os.fspath(path))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    figure.savefig(target, format="png", dpi=110)
    return target


def _check(image: Source, labels: dict[str, Source]) -> None:
    if image.ndim != 3:
        raise ShapeError(
            f"An overview needs three axes, the image has the shape {image.shape}.",
            remedy="select a volume, for example bioimage_py.wrapper.RoiSource(image, (0,), squeeze=True)",
        )
    for name, source in labels.items():
        if source.shape != image.shape:
            raise ShapeError(
                f"The {name} has the shape {source.shape}, the image {image.shape}.",
                remedy="pass the same region of both",
            )
        if source.dtype.kind not in "biu":
            raise DtypeError(f"The {name} is {source.dtype}, not integers.", remedy="pass labels")


def _position(position: Sequence[int] | None, shape: Sequence[int]) -> tuple[int, ...]:
    if position is None:
        return tuple(n // 2 for n in shape)
    if len(position) != 3 or not all(0 <= at < n for at, n in zip(position, shape, strict=True)):
        raise RegionError(
            f"The position {tuple(position)} is outside the volume of shape {tuple(shape)}.",
            remedy=f"position={tuple(n // 2 for n in shape)}",
        )
    return tuple(int(at) for at in position)


def _planes(shape: Sequence[int], position: Sequence[int], size: int) -> list[_Plane]:
    window = []
    for at, n in zip(position, shape, strict=True):
        begin = max(0, min(at - size // 2, n - size))
        window.append(slice(begin, min(begin + size, n)))

    def plane(across: int, rows: int, columns: int) -> _Plane:
        index = list(window)
        index[across] = slice(position[across], position[across] + 1)
        return _Plane(across, rows, columns, tuple(index))

    # The first axis runs to the right where it lies in the plane: volumes are often deep along it.
    return [plane(0, 1, 2), plane(1, 2, 0), plane(2, 1, 0)]


def _grey(plane: Image) -> npt.NDArray[np.uint8]:
    values = plane.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (0.2, 99.8)) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(values, nan=low) - low) * (255.0 / max(high - low, 1e-6))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _outlined(grey: Image, labels: Image) -> npt.NDArray[np.uint8]:
    """Colour the voxels whose neighbour to the right or below has another label."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    colored = np.repeat(grey[..., None], 3, axis=-1)
    colored[edge] = _LINE
    return colored


def _draw(rows: Sequence[tuple[str, list[Image]]], planes: Sequence[_Plane], image: Source, title: str) -> Figure:
    with needing("matplotlib", "A picture"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    scales = [axis.scale for axis in image.axes]
    extents = [
        (picture.shape[0] * scales[plane.rows], picture.shape[1] * scales[plane.columns])
        for plane, picture in zip(planes, rows[0][1], strict=True)
    ]
    inches = _PANEL_INCHES / max(min(extent) for extent in extents)
    widths = [max(width * inches, 1.0) for _, width in extents]
    height = max(height * inches for height, _ in extents)
    gap, top = 0.35, 0.75
    total = (sum(widths) + gap * (len(widths) + 1), len(rows) * (height + gap) + top)
    figure = Figure(figsize=total)
    FigureCanvasAgg(figure)
    for r, (name, pictures) in enumerate(rows):
        left = gap
        for plane, picture, width in zip(planes, pictures, widths, strict=True):
            bottom = total[1] - top - (r + 1) * height - r * gap
            axes = figure.add_axes((left / total[0], bottom / total[1], width / total[0], height / total[1]))
            _show(axes, picture, plane, image)
            if r == 0:
                axes.set_title(_plane_title(plane, image), fontsize=9)
            if plane is planes[0]:
                axes.set_ylabel(name, fontsize=10)
            left += width + gap
        _scale_bar(figure.axes[-len(planes)], pictures[0].shape[1], image.axes[2].scale, image.axes[2].unit)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _show(axes: Axes, picture: Image, plane: _Plane, image: Source) -> None:
    aspect = image.axes[plane.rows].scale / image.axes[plane.columns].scale
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _plane_title(plane: _Plane, image: Source) -> str:
    names = [axis.name for axis in image.axes]
    at = plane.index[plane.across].start
    return f"{names[plane.across]} = {at}   ({names[plane.rows]} down, {names[plane.columns]} right)"


def _scale_bar(axes: Axes, columns: int, scale: float, unit: str | None) -> None:
    """Draw a bar of a round length near a quarter of the width."""
    rough = 0.25 * columns * scale
    step = 10.0 ** np.floor(np.log10(rough))
    length = float(step * max(factor for factor in (1, 2, 5) if factor * step <= rough))
    x, y = 0.05, 0.07
    end = x + length / (columns * scale)
    axes.plot([x, end], [y, y], color="black", linewidth=6, solid_capstyle="butt", transform=axes.transAxes)
    axes.plot([x, end], [y, y], color="white", linewidth=3, solid_capstyle="butt", transform=axes.transAxes)
    box = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.5}
    axes.text(
        (x + end) / 2, y + 0.045, _length(length, unit), color="white", fontsize=8, ha="center", va="bottom",
        transform=axes.transAxes, bbox=box,
    )  # fmt: skip


def _length(length: float, unit: str | None) -> str:
    if unit is None:
        return f"{length:g} voxels"
    short = _SHORT_UNITS.get(unit, unit)
    if short == "nm" and length >= 1000:
        length, short = length / 1000, "µm"
    return f"{length:g} {short}"
