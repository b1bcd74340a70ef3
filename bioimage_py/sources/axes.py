"""Axes: names, kinds, units and scale, and how they are described in files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import named_fields
from ..errors import ArgumentError, BioimageError


@named_fields
@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a source in the physical world.

    The centre of voxel ``i`` lies at ``offset + i * scale``.

    Parameters
    ----------
    name : str
        For example "z", "y", "x", "c", "t".
    kind : str, default "space"
        "space", "time", "channel" or another word.
    unit : str, optional
        Full name of the unit, as in OME-Zarr: "nanometer", "micrometer", "second".
    scale : float, default 1.0
        Distance between neighbouring voxels, in units.
    offset : float, default 0.0
        Position of the centre of voxel 0, in units.

    Raises
    ------
    ArgumentError
        If one is of another type.
    """

    name: str
    kind: str = "space"
    unit: str | None = None
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        for field, kinds, example in (
            ("name", str, '"z"'),
            ("kind", str, '"space"'),
            ("unit", str | None, '"micrometer"'),
            ("scale", int | float | np.number, "0.5"),
            ("offset", int | float | np.number, "0.0"),
        ):
            if not isinstance(value := getattr(self, field), kinds):
                raise ArgumentError(f"Axis: {field}={value!r} is of another type", remedy=f"{field}={example}")


def axes_told(where: str, read: Callable[[], tuple[Axis, ...] | None]) -> tuple[Axis, ...] | None:
    """Return what a file says of its axes; None, with a warning, where that makes no sense: voxels are read anyway.

    Parameters
    ----------
    where : str
        The file, for the warning.
    read : callable
        Reads the axes; it may run into anything that a file can hold.
    """
    try:
        found = read()
    except ArgumentError as error:
        said = error.message
    except BioimageError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        said = str(error)
    else:
        return None if found is None else with_sizes(where, found)
    _warn(where, said)
    return None


def with_sizes(where: str, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Return axes that a file describes, without scale and offset, and with a warning, where these are no numbers.

    Parameters
    ----------
    where : str
        The file, for the warning.
    axes : tuple of Axis
    """
    if all(map(_has_sizes, axes)):
        return axes
    wrong = next(axis for axis in axes if not _has_sizes(axis))
    _warn(where, f"{wrong.name!r} has the scale {wrong.scale!s:.20} and the offset {wrong.offset!s:.20}")
    return tuple(axis if _has_sizes(axis) else Axis(axis.name, axis.kind) for axis in axes)


def require_sizes(axes: Sequence[Axis]) -> None:
    """Raise `ArgumentError` where a scale or offset is no number that a file can hold, or the scale is 0."""
    for axis in axes:
        if not _has_sizes(axis):
            raise ArgumentError(
                f"The axis {axis.name!r} has the scale {axis.scale!s:.20} and the offset {axis.offset!s:.20}.",
                remedy="give finite numbers, and no scale of 0",
            )


def _has_sizes(axis: Axis) -> bool:
    try:
        return 0 < abs(float(axis.scale)) < math.inf and abs(float(axis.offset)) < math.inf
    except OverflowError:  # whole numbers beyond those
        return False


def _warn(where: str, said: str) -> None:
    warnings.warn(f"{where}: what is said of its axes makes no sense: {said:.200}", stacklevel=3)


def default_axes(ndim: int) -> tuple[Axis, ...]:
    """Return axes for data that says nothing of them: the last three are z, y, x, others are d0, d1, ..."""
    names = ["x", "y", "z"]
    spatial = [Axis(name) for name in reversed(names[: min(ndim, 3)])]
    return (*(Axis(f"d{i}", kind="other") for i in range(ndim - len(spatial))), *spatial)


_UNITS = {
    "": "",
    "pixel": "",
    "pixels": "",
    "voxel": "",
    "px": "",
    "pm": "picometer",
    "Å": "angstrom",
    "å": "angstrom",
    "nm": "nanometer",
    "nanometre": "nanometer",
    "nanometers": "nanometer",
    "µm": "micrometer",
    "um": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "micrometre": "micrometer",
    "micrometers": "micrometer",
    "mm": "millimeter",
    "millimetre": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "inch": "inch",
    "in": "inch",
    "ns": "nanosecond",
    "µs": "microsecond",
    "us": "microsecond",
    "ms": "millisecond",
    "msec": "millisecond",
    "s": "second",
    "sec": "second",
    "seconds": "second",
    "min": "minute",
    "h": "hour",
    "d": "day",
}


_KINDS = {"t": "time", "time": "time", "c": "channel", "channel": "channel", "x": "space", "y": "space", "z": "space"}


def unit_name(unit: str | None) -> str | None:
    """Return the full name that OME-Zarr demands for a unit of length or time ("um" gives "micrometer")."""
    if unit is None:
        return None
    text = unit.strip().replace("\\u00B5", "µ").replace("μ", "µ")
    word = text.lower() if len(text) > 2 else text  # Mm and mm differ by nine orders
    return _UNITS.get(text, _UNITS.get(word, text)) or None


def kind_of(name: str) -> str:
    """Return the kind of an axis of that name."""
    return _KINDS.get(name.lower(), "other")


def describe_axes(axes: Sequence[Axis]) -> dict[str, Any]:
    """Return ``{"axes": ..., "coordinateTransformations": ...}`` as OME-Zarr writes them (0.4 and 0.5).

    The transformations map voxel indices to positions: a scale, and a translation if any offset is not zero.
    """
    named = []
    for axis in axes:
        described: dict[str, Any] = {"name": axis.name, "type": axis.kind}
        if unit := unit_name(axis.unit):
            described["unit"] = unit
        named.append(described)
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": [float(axis.scale) for axis in axes]}]
    if any(axis.offset for axis in axes):
        steps.append({"type": "translation", "translation": [float(axis.offset) for axis in axes]})
    return {"axes": named, "coordinateTransformations": steps}
