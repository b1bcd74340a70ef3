"""Arithmetic of integers without silent overflow.

The range of a result follows from the extremes of its operands. Where the data type of the destination holds that
range, numpy computes in it; else in the narrowest 64 bit or smaller integer type that does; else with Python integers.
So the writer of the result, which knows the destination, sees true values and never wrapped or rounded ones.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ParameterError

Range = tuple[int, int]

# numbers of more bits than any destination has; beyond it a result only costs time and memory
_MAX_POWER_BITS = 1 << 16


def is_integer(value: Any) -> bool:
    """True for integer arrays and integer scalars; booleans follow numpy's own rules."""
    return np.asarray(value).dtype.kind in "iu" or (isinstance(value, int) and not isinstance(value, bool))


def value_range(value: Any) -> Range:
    """Smallest and largest value of a non-empty integer array, or twice the scalar, as Python integers."""
    if isinstance(value, np.ndarray) and value.ndim:
        return int(value.min()), int(value.max())
    return int(value), int(value)


def holds(dtype: np.dtype[Any], span: Range) -> bool:
    """Whether every integer in `span` is a value of `dtype`."""
    if dtype.kind not in "iu":
        return False
    info = np.iinfo(dtype)
    return int(info.min) <= span[0] and span[1] <= int(info.max)


def integer_type(span: Range) -> np.dtype[Any] | None:
    """The narrowest integer type that holds `span`, None where 64 bits do not."""
    for name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"):
        if holds(np.dtype(name), span):
            return np.dtype(name)
    return None


def wrapped(value: Any, dtype: np.dtype[Any]) -> Any:
    """`value` modulo 2**bits in `dtype`, for operations that are exact modulo 2**bits."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value.astype(dtype, copy=False)
    bits = 8 * dtype.itemsize
    number = int(value) % (1 << bits)
    if dtype.kind == "i" and number >= 1 << (bits - 1):
        number -= 1 << bits
    return dtype.type(number)


def _corners(function: Callable[[int, int], int], x: Range, y: Range) -> Range:
    values = [function(a, b) for a in x for b in y]
    return min(values), max(values)


def _power_range(x: Range, y: Range) -> Range:
    base = max(abs(x[0]), abs(x[1]))
    if base > 1 and y[1] * base.bit_length() > _MAX_POWER_BITS:
        raise ParameterError(
            f"{base} to the power of {y[1]} is beyond every data type", remedy="use a smaller exponent or float data"
        )
    largest = max(1, int(base ** y[1]))
    return (-largest if x[0] < 0 else 0), largest


def _ring(name: str, x: Any, y: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Compute in `dtype`, wrapping on the way: right whenever the result fits."""
    result: np.ndarray = getattr(np, name)(wrapped(x, dtype), wrapped(y, dtype), dtype=dtype)
    return result


def _choice(name: str, x: Any, y: Any, span: Range) -> np.ndarray:
    """Minimum or maximum; `span` covers the operands too."""
    dtype = integer_type(span) or np.dtype(object)
    result: np.ndarray = getattr(np, name)(_typed(x, dtype), _typed(y, dtype))
    return result


def _typed(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        return value.astype(dtype, copy=False)
    return int(value) if dtype.kind == "O" else dtype.type(int(value))


_RING: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
}
EXACT = frozenset([*_RING, "power", "minimum", "maximum"])


def exact_arithmetic(name: str, x: np.ndarray, y: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """``np.<name>(x, y)`` of integers, never wrapped and never rounded.

    Parameters
    ----------
    name : str
        One of `EXACT`.
    x : numpy.ndarray
        Integers of any type.
    y : numpy.ndarray or int
        Integers that broadcast to `x`.
    dtype : numpy.dtype
        Data type of the destination: used to compute where it holds every result.

    Returns
    -------
    numpy.ndarray
        Integers of `dtype` or of another integer type; of Python integers where 64 bits do not hold the results.
    """
    if x.size == 0 or np.size(y) == 0:
        return x.astype(dtype)
    span_x, span_y = value_range(x), value_range(y)
    if name in ("minimum", "maximum"):
        return _choice(name, x, y, (min(span_x[0], span_y[0]), max(span_x[1], span_y[1])))
    if name == "power":
        if span_y[0] < 0:
            raise ParameterError(
                f"integers to the negative power {span_y[0]} are not integers",
                remedy="use float data or a float exponent",
            )
        span = _power_range(span_x, span_y)
    else:
        span = _corners(_RING[name], span_x, span_y)
    kind = dtype if holds(dtype, span) else integer_type(span)
    if kind is not None:
        return _ring(name, x, y, kind)
    objects: np.ndarray = getattr(np, name)(_typed(x, np.dtype(object)), _typed(y, np.dtype(object)))
    return objects


def exact_quotient(x: np.ndarray, y: Any) -> np.ndarray | None:
    """``x / y`` of integers cut towards zero without passing through floats; None where a divisor is 0."""
    if x.size == 0 or np.size(y) == 0 or not np.all(y):
        return None
    span_x, span_y = value_range(x), value_range(y)
    largest = max(-span_x[0], span_x[1])
    signed = span_x[0] < 0 or span_y[0] < 0
    span = (min(span_x[0], span_y[0], -largest if signed else 0), max(span_x[1], span_y[1], largest))
    kind = integer_type(span) or np.dtype(object)
    a, b = _typed(x, kind), _typed(y, kind)
    quotient: np.ndarray = a // b
    if signed:
        # floor and truncation differ by one where the quotient is negative and not whole
        inexact = (quotient * b != a) & ((a < 0) != (b < 0))
        quotient = quotient + inexact.astype(kind)
    return quotient


def exact_threshold(name: str, y: float) -> tuple[str, int] | None:
    """A comparison with an integer that is the same for all integers as the comparison with the float `y`.

    An integer above 2**53 compared with a float would be rounded first. None where `y` is not finite or `name` is no
    comparison.
    """
    if not np.isfinite(y):
        return None
    floor = int(np.floor(y))
    whole = floor == y
    rules: dict[str, tuple[str, int]] = {
        "greater": ("greater", floor),
        "greater_equal": ("greater_equal", floor if whole else floor + 1),
        "less": ("less", floor if whole else floor + 1),
        "less_equal": ("less_equal", floor),
        # 2**64 is no value of any integer type
        "equal": ("equal", floor if whole else 1 << 64),
        "not_equal": ("not_equal", floor if whole else 1 << 64),
    }
    return rules.get(name)
