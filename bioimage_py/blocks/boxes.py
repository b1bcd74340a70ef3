"""Boxes, a slice per axis with a start and a stop and no step: one seen from another, what two have in common."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[slice, ...]
Bounds = tuple[tuple[int, int], ...]
"""A box as it is written down: begin and end per axis."""


def size_of(box: Sequence[slice]) -> tuple[int, ...]:
    """Voxels of a box along every axis."""
    return tuple(part.stop - part.start for part in box)


def is_empty(box: Sequence[slice]) -> bool:
    """Whether a box holds no voxel, as what two boxes that lie apart have in common."""
    return any(part.start >= part.stop for part in box)


def common(one: Sequence[slice], other: Sequence[slice]) -> Box:
    """The box that two boxes share; its parts may end before they begin, see `is_empty`."""
    return tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def within(inner: Sequence[slice], outer: Sequence[slice]) -> Box:
    """A box seen from another one: its index into an array of the other."""
    return tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))


def shifted(box: Sequence[slice], origin: Sequence[int]) -> Box:
    """A box moved by so many voxels: what `within` of a box at the origin has taken away."""
    return tuple(slice(part.start + by, part.stop + by) for part, by in zip(box, origin, strict=True))
