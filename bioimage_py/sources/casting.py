"""Conversion of values to the data type of their destination, without silent overflow."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..errors import DtypeError, ParameterError, ShapeError, ValueRangeError
from .indexing import Selection

Casting = Literal["checked", "unsafe"]


def convert_values(
    value: Any, dtype: np.dtype, casting: Casting = "checked", where: Selection | None = None
) -> np.ndarray:
    """Return ``value`` as an array of ``dtype``, refusing what the data type cannot hold.

    Floats become integers by truncation, as in numpy. Nothing is computed where numpy calls the conversion safe;
    else only the extremes are looked at, so integers never pass through floats.

    Parameters
    ----------
    value : array_like
        Scalar or array of any shape.
    dtype : numpy.dtype
        Data type of the destination.
    casting : {"checked", "unsafe"}, default "checked"
        "unsafe" converts as ``ndarray.astype`` does, whatever the values.
    where : Selection, optional
        Region that the value goes to; errors then name the absolute index.

    Raises
    ------
    ValueRangeError
        For an integer destination: values out of its range, NaN, infinity. For a floating point destination: finite
        values that would become infinite. Names the first such value, its index and the allowed range.
    DtypeError
        If the kinds do not fit (complex to real, text to numbers).
    ParameterError
        If ``casting`` is unknown.
    """
    if casting not in ("checked", "unsafe"):
        raise ParameterError(f"casting is {casting!r}.", remedy="use casting='checked' or casting='unsafe'")
    array = np.asarray(value)
    if array.dtype == dtype:
        return array
    if array.dtype.kind == "O" and dtype.kind != "O":
        array = _from_objects(array, dtype, where)
    if casting == "unsafe":
        with np.errstate(invalid="ignore", over="ignore"):
            return array.astype(dtype)
    if np.can_cast(array.dtype, dtype, "safe") or array.size == 0:
        return array.astype(dtype)
    if dtype.kind == "b" and array.dtype.kind in "iuf":
        return array.astype(dtype)
    if dtype.kind in "iu" and array.dtype.kind in "iuf":
        _check_integers(array, dtype, where)
        return array.astype(dtype)
    if dtype.kind in "fc" and np.can_cast(array.dtype, dtype, "same_kind"):
        return _to_floats(array, dtype, where)
    if np.can_cast(array.dtype, dtype, "same_kind"):
        return array.astype(dtype)
    raise DtypeError(
        f"Values of type {array.dtype} cannot be written as {dtype}.",
        remedy="convert them first, for example with .real or .astype(...), or pass casting='unsafe'",
    )


def broadcast_value(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return ``array`` broadcast to ``shape`` as numpy does in an assignment (leading axes of size 1 are dropped).

    Raises
    ------
    ShapeError
        If it does not broadcast.
    """
    if array.shape == shape:
        return array
    extra = array.ndim - len(shape)
    if extra > 0 and array.shape[:extra] == (1,) * extra:
        array = array.reshape(array.shape[extra:])
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ShapeError(
            f"A value of shape {array.shape} cannot be broadcast to the selected region of shape {shape}.",
            remedy="write a value of the shape of the region, or one that broadcasts to it",
        ) from None


def _from_objects(array: np.ndarray, dtype: np.dtype, where: Selection | None) -> np.ndarray:
    """Convert what numpy could not type, which is mostly Python integers beyond 64 bits."""
    for position, item in zip(np.ndindex(array.shape), array.flat, strict=True):
        if not isinstance(item, int | float | np.number | np.bool_):
            raise DtypeError(f"A {type(item).__name__} cannot be written as {dtype}.", remedy="write numbers")
        if dtype.kind in "iu" and isinstance(item, int) and not _fits(item, dtype):
            raise _range_error(item, position, array.shape, dtype, where)
    return array.astype(dtype)


def _fits(item: int, dtype: np.dtype) -> bool:
    info = np.iinfo(dtype)
    return int(info.min) <= item <= int(info.max)


def _check_integers(array: np.ndarray, dtype: np.dtype, where: Selection | None) -> None:
    low, high = array.min(), array.max()
    # int() of a float truncates exactly as the conversion will, and Python integers compare without rounding.
    if np.isfinite(low) and np.isfinite(high) and _fits(int(low), dtype) and _fits(int(high), dtype):
        return
    info = np.iinfo(dtype)
    if array.dtype.kind == "f":
        whole = np.trunc(array)
        with np.errstate(over="ignore", invalid="ignore"):
            # Both bounds are powers of two (or 0): exact in every floating point type that reaches them.
            above = array.dtype.type(float(int(info.max) + 1))
            bad = ~np.isfinite(array) | (whole < array.dtype.type(float(info.min))) | (whole >= above)
    else:
        own = np.iinfo(array.dtype)
        bad = np.zeros(array.shape, bool)
        if int(own.min) < int(info.min):
            bad |= array < array.dtype.type(info.min)
        if int(own.max) > int(info.max):
            bad |= array > array.dtype.type(info.max)
    _raise_first(array, bad, dtype, where)


def _to_floats(array: np.ndarray, dtype: np.dtype, where: Selection | None) -> np.ndarray:
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if array.dtype.kind in "iu" and float(np.finfo(dtype).max) > 2.0**64:
        return result
    bad = np.isinf(result)
    if bad.any():
        if array.dtype.kind in "fc":
            bad &= ~np.isinf(array)
        if bad.any():
            _raise_first(array, bad, dtype, where)
    return result


def _raise_first(array: np.ndarray, bad: np.ndarray, dtype: np.dtype, where: Selection | None) -> None:
    position = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), array.shape))
    raise _range_error(array[position], position, array.shape, dtype, where)


def _range_error(
    item: Any, position: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype, where: Selection | None
) -> ValueRangeError:
    if where is not None:
        position = where.locate(_in_selection(position, shape, where.shape))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return ValueRangeError(
        f"Value {item} at index {position} does not fit {dtype}, which holds {limits.min} to {limits.max}.",
        remedy="write to a wider data type, clip the values first, or pass casting='unsafe' to convert as numpy does",
    )


def _in_selection(position: tuple[int, ...], shape: tuple[int, ...], selected: tuple[int, ...]) -> tuple[int, ...]:
    """Return where the value at ``position`` first lands once it is broadcast to ``selected``."""
    if len(position) > len(selected):
        return position[len(position) - len(selected) :]
    return (0,) * (len(selected) - len(position)) + position
