"""Planes of an image (its last two axes, three where the last is colour), and images that are stacked."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import DtypeError, ShapeError
from ...sources.base import Source
from ...wrapper.roi import RoiSource


def lead_of(source: Source, rgb: bool) -> tuple[int, ...]:
    """Shape of the axes in front of a plane."""
    return source.shape[: max(0, source.ndim - (3 if rgb else 2))]


def plane_of(source: Source, at: tuple[int, ...]) -> Source:
    """One plane, by its position along the axes in front; the image itself without any."""
    return RoiSource(source, at, squeeze=True) if at else source


def slice_of(source: Source, axis: int, number: int) -> Source:
    """One index of an axis, without the axis."""
    return RoiSource(source, (*(slice(None),) * axis, number), squeeze=True)


def require_equal(name: str, sources: Sequence[Source]) -> None:
    """Raise where images of a file cannot be stacked, since their shapes or data types differ."""
    for number, source in enumerate(sources):
        if source.shape != sources[0].shape:
            raise ShapeError(
                f"{name}: image 0 has the shape {sources[0].shape}, image {number} {source.shape}: they cannot be"
                " stacked.",
                remedy="imiter(uri) yields one after the other, index=0 is the first",
            )
        if source.dtype != sources[0].dtype:
            raise DtypeError(
                f"{name}: image 0 has the data type {sources[0].dtype}, image {number} {source.dtype}.",
                remedy="imiter(uri) yields one after the other, index=0 is the first",
            )
