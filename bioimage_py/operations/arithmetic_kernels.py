"""One voxel-wise operation on numpy blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DtypeError, ParameterError
from .exact import EXACT, exact_arithmetic, exact_quotient, exact_threshold, holds, integer_type, is_integer

Operation = str | Callable[[Any, Any], Any]


def resolve(operation: Operation) -> Callable[[Any, Any], Any]:
    """The function of two arguments that a numpy name or a callable stands for.

    Raises
    ------
    ParameterError
        If a name is no numpy function.
    """
    if callable(operation):
        return operation
    function = getattr(np, operation, None) if isinstance(operation, str) else None
    if not isinstance(function, np.ufunc) or (function.nin, function.nout) != (2, 1):
        raise ParameterError(
            f"unknown operation {operation!r}",
            remedy="pass the name of a numpy function of two arguments, for example 'add', or a callable",
        )
    return function


def canonical_name(operation: Operation) -> str:
    """Own numpy name of the operation, ``""`` for a function that is not numpy's."""
    function = resolve(operation)
    return function.__name__ if isinstance(function, np.ufunc) else ""


def result_dtype(operation: Operation, x: np.dtype[Any], y: Any) -> np.dtype[Any]:
    """Data type of the operation on one voxel, as numpy gives it.

    Parameters
    ----------
    operation : str or callable
        What to compute.
    x : numpy.dtype
        Data type of the first operand.
    y : numpy.dtype, number
        Data type of the second operand, or the scalar itself: Python numbers adapt to `x`. A Python integer that `x`
        cannot hold (where numpy raises) widens the result to an integer type that holds both.

    Raises
    ------
    DtypeError
        If the operation is not defined for these types.
    """
    function = resolve(operation)
    one = np.ones(1, x)
    other: Any = np.ones(1, y) if isinstance(y, np.dtype) else y
    if (
        type(other) is int
        and x.kind in "iu"
        and canonical_name(operation) in EXACT | {"divide"}
        and not holds(x, (other, other))
    ):
        limits = np.iinfo(x)
        kind = integer_type((min(int(limits.min), other), max(int(limits.max), other))) or x
        if canonical_name(operation) in EXACT:
            return kind
        other = np.ones(1, kind)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(function(one, other)).dtype
    except TypeError as error:
        raise DtypeError(
            f"{getattr(function, '__name__', function)} is not defined for {x} and {y!r}: {error}",
            remedy="convert one of them first, for example with .astype(...)",
        ) from error


@dataclass(frozen=True)
class Apply:
    """Kernel: ``operation(x, y)`` for one block.

    Integers are computed exactly, so that the writer can check the range; everything else is numpy's.

    Parameters
    ----------
    operation : str or callable
        Name of a numpy function, or any function of two arrays that can be pickled.
    dtype : numpy.dtype
        Data type of the destination.
    scalar : number, optional
        The second operand where it is not an array.
    unsafe : bool, default False
        Integers beyond the destination wrap, as in ``ndarray.astype``.
    """

    operation: Operation
    dtype: np.dtype[Any]
    scalar: Any = None
    unsafe: bool = False

    def __call__(self, x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        """Compute the block; the result has the shape of `x` and any type, an object array beyond 64 bits."""
        result = self._compute(x, self.scalar if y is None else y)
        if result.shape != x.shape:
            raise ParameterError(
                f"{self.operation!r} returned the shape {result.shape} for a block of shape {x.shape}",
                remedy="pass an operation that works voxel by voxel",
            )
        if self.unsafe and result.dtype.kind == "O" and self.dtype.kind in "iu":
            bits = 8 * self.dtype.itemsize
            return (result & ((1 << bits) - 1)).astype(f"u{self.dtype.itemsize}").view(self.dtype)
        return result

    def _compute(self, x: np.ndarray, y: Any) -> np.ndarray:
        name = canonical_name(self.operation)
        if x.dtype.kind in "iu" and is_integer(y):
            if name in EXACT:
                return exact_arithmetic(name, x, y, self.dtype)
            if name == "divide" and self.dtype.kind in "iu":
                quotient = exact_quotient(x, y)
                if quotient is not None:
                    return quotient
        if x.dtype.kind in "iu" and isinstance(y, float | np.floating):
            rule = exact_threshold(name, float(y))
            if rule is not None:
                return np.asarray(getattr(np, rule[0])(x, rule[1]))
        with np.errstate(all="ignore"):
            return np.asarray(resolve(self.operation)(x, y))


@dataclass(frozen=True)
class IsIn:
    """Kernel: whether each voxel is one of some values.

    Parameters
    ----------
    values : bytes
        The values, sorted, as the bytes of an array of `dtype` (so that the kernel can be compared and hashed).
    dtype : numpy.dtype
        Data type of `values`: that of the input where it has integers.
    """

    values: bytes
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, test_values: Any, dtype: np.dtype[Any]) -> IsIn:
        """A kernel for an input of `dtype`; values that `dtype` cannot hold are left out, they are never found.

        Parameters
        ----------
        test_values : number, array_like or set
            The values to look for.
        dtype : numpy.dtype
            Data type of the input.
        """
        if isinstance(test_values, set | frozenset | range):
            test_values = list(test_values)
        if dtype.kind in "iub":
            # numpy would make floats of a list that mixes large and small integers
            kind = None if isinstance(test_values, np.ndarray | np.generic) else object
            numbers = [int(v) for v in np.asarray(test_values, kind).reshape(-1).tolist() if _is_whole(v)]
            held = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
            values = np.unique(np.array([number for number in numbers if holds(held, (number, number))], held))
        else:
            values = np.asarray(test_values).reshape(-1)
            values = np.unique(values if values.size else values.astype(dtype))
        if values.dtype.kind not in "buifc":
            raise DtypeError(
                f"isin cannot look for {test_values!r} in {dtype}", remedy="pass numbers, for example [1, 5, 7]"
            )
        return cls(values.tobytes(), values.dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Boolean array of the shape of `x`."""
        values = np.frombuffer(self.values, self.dtype)
        block = x.view(np.uint8) if x.dtype.kind == "b" else x
        if values.size == 0:
            return np.zeros(x.shape, bool)
        return np.isin(block, values)


def _is_whole(value: Any) -> bool:
    if not isinstance(value, int | float | np.number):
        raise DtypeError(f"isin cannot look for {value!r} in integers", remedy="pass numbers, for example [1, 5, 7]")
    return isinstance(value, int | np.integer) or bool(value == np.floor(value))
