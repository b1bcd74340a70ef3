"""Along which axes an operation works: those of space, unless a call names others."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any

from ..errors import ParameterError
from .axes import Axis

AxisNames = str | int | Sequence[str | int] | None


def working_axes(axes: Sequence[Axis], wanted: AxisNames = None) -> tuple[int, ...]:
    """Positions of the axes that an operation works along; the others are kept apart.

    Parameters
    ----------
    axes : sequence of Axis
        Axes of the data.
    wanted : str, int or sequence of (str or int), optional
        Axes by name (``"zyx"``, ``["time", "x"]``) or position. None: those of space, and those of which nothing is
        known (``d0``, ``d1``, ... as numpy arrays have); all where none is one of these.

    Returns
    -------
    tuple of int
        In the order in which they are named; ascending for None.

    Raises
    ------
    ParameterError
        For an axis that the data does not have, one that is named twice, or none.
    """
    if wanted is None:
        known = tuple(n for n, axis in enumerate(axes) if axis.kind == "space" or _unknown(axis))
        return known or tuple(range(len(axes)))
    names = [axis.name for axis in axes]
    single = isinstance(wanted, int) or (isinstance(wanted, str) and wanted in names)
    given: list[Any] = [wanted] if single else list(wanted) if isinstance(wanted, Sequence) else [wanted]
    found = tuple(_position(one, names, wanted) for one in given)
    if not found or len(set(found)) < len(found):
        raise ParameterError(
            f"axes={wanted!r} names {'an axis twice' if found else 'no axis'}; the input has the axes {names}",
            remedy=f"axes={tuple(names)}",
        )
    return found


def per_axis(value: Any, axes: Sequence[Axis], wanted: AxisNames = None, *, name: str, elsewhere: Any) -> Any:
    """A value for every axis of the data: what was given along the axes that are worked along, else `elsewhere`.

    The value itself where these are all: its parameter has a check of its own.

    Parameters
    ----------
    value : object or sequence
        One value for all axes that are worked along; or one for each of them, in the order in which they are named; or,
        where none is named, one for every axis of the data: then it means all of them.
    axes, wanted
        See `working_axes`.
    name : str
        Of the parameter, for the message.
    elsewhere : object
        Value of the axes that are kept apart.

    Raises
    ------
    ParameterError
        If the number of values is another one.
    """
    along = working_axes(axes, wanted)
    if wanted is None and len(along) == len(axes):
        return value
    many = hasattr(value, "__len__") and not isinstance(value, str | bytes) and getattr(value, "ndim", 1) != 0
    values = list(value) if many else [value] * len(along)
    if len(values) == len(along):
        result = [elsewhere] * len(axes)
        for axis, one in zip(along, values, strict=True):
            result[axis] = one
        return tuple(result)
    if wanted is None and len(values) == len(axes):
        return tuple(values)
    names = [axes[n].name for n in along]
    every = "" if wanted is not None else f" or {len(axes)} for {[axis.name for axis in axes]}"
    raise ParameterError(
        f"{name}={value!r} has {len(values)} entries; there can be one, {len(along)} for the axes {names}{every}",
        remedy=f"{name}={values[0] if values else 1!r}",
    )


def _unknown(axis: Axis) -> bool:
    return axis.kind == "other" and re.fullmatch(r"d\d+", axis.name) is not None


def _position(one: Any, names: Sequence[str], wanted: Any) -> int:
    if isinstance(one, str) and names.count(one) == 1:
        return names.index(one)
    try:
        return range(len(names))[operator.index(one)]
    except (TypeError, IndexError):
        raise ParameterError(
            f"axes={wanted!r}: {one!r} is no axis of the input, which has {list(names)}",
            remedy=f"axes={''.join(names) if all(len(name) == 1 for name in names) else tuple(names)!r}",
        ) from None
