"""Along which axes an operation works: those of space, unless a call names others."""

from __future__ import annotations

import math
import numbers
import operator
import re
from collections.abc import Sequence
from typing import Any

from ..errors import ParameterError
from .axes import Axis, unit_name

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


def lengths(
    value: Any, axes: Sequence[Axis], wanted: AxisNames = None, *, name: str, physical: bool = False
) -> tuple[Any, ...]:
    """A length in voxels for every axis of the data, None along the axes that are kept apart.

    Every operation that takes a length (a sigma, a size, a distance) takes ``physical=`` as well, and has it from here.

    Parameters
    ----------
    value : float or sequence of float
        As for `per_axis`.
    axes, wanted
        See `working_axes`.
    name : str
        Of the parameter, for messages.
    physical : bool, default False
        The value counts in the units of the axes, not in voxels: it is divided by the scale of each axis.

    Returns
    -------
    tuple
        Values that are no numbers stay as they are, for the parameter's own check. Real numbers, not rounded.

    Raises
    ------
    ParameterError
        If the number of values is another one; or, where `physical` is set, an axis has neither a unit nor a scale, or
        one value is given for axes of different units.
    """
    found = per_axis(value, axes, wanted, name=name, elsewhere=None)
    many = hasattr(found, "__len__") and not isinstance(found, str | bytes) and getattr(found, "ndim", 1) != 0
    voxels = tuple(found) if many else (found,) * len(axes)
    if len(voxels) != len(axes):
        raise ParameterError(
            f"{name} has {len(voxels)} values, the input has {len(axes)} axes: {name}={value!r}",
            remedy=f"pass one number, or {len(axes)} numbers in the order of the axes",
        )
    if not physical:
        return voxels
    meant = [axis for axis, one in zip(axes, voxels, strict=True) if one is not None]
    scales = voxel_sizes(meant, name=name)
    units = {axis.name: unit_name(axis.unit) for axis in meant}
    if isinstance(value, numbers.Real) and len(set(units.values())) > 1:
        raise ParameterError(
            f"{name}={value!r} is one value for axes of the units {units}",
            remedy=f"{name}={(value,) * len(meant)}, a value for each of {list(units)} in its unit",
        )
    return tuple(
        float(one) / scales[axis.name] if isinstance(one, numbers.Real) else one
        for axis, one in zip(axes, voxels, strict=True)
    )


def steps_of(axes: Sequence[Axis], given: Any = None, *, name: str, physical: bool = False) -> tuple[float, ...]:
    """Distance of neighbouring voxels along axes: as given, else as the axes say where `physical` is set, else 1.

    Every operation that measures lengths and has a ``sampling=`` or ``resolution=`` has it from here.

    Parameters
    ----------
    axes : sequence of Axis
        Those that are measured along.
    given : float or sequence of float, optional
    name : str
        Of the parameter, for messages.
    physical : bool, default False

    Returns
    -------
    tuple of float

    Raises
    ------
    ParameterError
        If both are given, for sizes that are not above 0 or not one for each axis, or where `physical` is set and an
        axis has neither a unit nor a scale, or two axes different units.
    """
    if not physical:
        return _given_steps(given, axes, name)
    if given is not None:
        raise ParameterError(f"{name}= and physical=True exclude each other", remedy="leave one of them out")
    units = {axis.name: unit_name(axis.unit) for axis in axes}
    if len(set(units.values())) > 1:
        raise ParameterError(
            f"physical=True needs one unit of length, the axes of the input have {units}",
            remedy=f"{name}={(1.0,) * len(units)}, the size of a voxel along each of {list(units)}",
        )
    scales = voxel_sizes(axes, name="the result")
    return tuple(scales[axis.name] for axis in axes)


def _given_steps(given: Any, axes: Sequence[Axis], name: str) -> tuple[float, ...]:
    many = hasattr(given, "__len__") and getattr(given, "ndim", 1) != 0
    try:
        steps = tuple(map(float, given if many else [1.0 if given is None else given] * len(axes)))
        steps = steps * len(axes) if len(steps) == 1 else steps
    except (TypeError, ValueError):
        steps = ()
    if len(steps) != len(axes) or not all(math.isfinite(one) and one > 0 for one in steps):
        raise ParameterError(
            f"{name}={given!r} is not one positive number, or one for each of the {len(axes)} axes"
            f" {[axis.name for axis in axes]}",
            remedy=f"{name}={(1.0,) * len(axes)}",
        )
    return steps


def voxel_sizes(axes: Sequence[Axis], *, name: str) -> dict[str, float]:
    """Distance between neighbouring voxels by name of axis, above 0.

    Raises
    ------
    ParameterError
        If an axis has neither a unit nor a scale, as those of numpy arrays.
    """
    for axis in axes:
        if (axis.unit is None and axis.scale == 1) or not (math.isfinite(axis.scale) and axis.scale != 0):
            raise ParameterError(
                f"{name} cannot count in physical units: the axis {axis.name!r} of the input has the scale {axis.scale}"
                f" and the unit {axis.unit}",
                remedy="physical=False, or say what a voxel measures: bioimage_py.wrapper.AxesSource(input,"
                ' [Axis("z", unit="micrometer", scale=2.0), ...])',
            )
    return {axis.name: abs(float(axis.scale)) for axis in axes}


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
