"""Planes of an image: its last two axes, three where the last is colour."""

from __future__ import annotations

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
