"""Voxel-wise operations on volumes of any size, in place too."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.mapping import map_to, run_map
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..errors import ShapeError
from ..sources import Source, as_source
from .arithmetic_kernels import Apply, IsIn, Operation, canonical_name, resolve, result_dtype

ARITHMETIC = Declaration("exact", "the function of numpy, in a type that holds the result", memory=2.5)
MEMBERSHIP = Declaration("exact", "numpy.isin", memory=2.0)


@operation(declaration=ARITHMETIC)
def apply_operation(x: Any, y: Any, operation: Operation, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Compute ``operation(x, y)`` voxel by voxel.

    Sums, differences, products, powers, quotients, minima, maxima and comparisons of integers are computed exactly,
    whatever their types: values that the output cannot hold raise (unless ``casting="unsafe"``, which wraps them), and
    none passes through a float. The result does not depend on the blocks.

    Parameters
    ----------
    x : source-like
        First operand.
    y : number or source-like
        Second operand: a number, or an array of the shape of `x`, or one with the same number of axes some of which
        have length 1 (these are repeated).
    operation : str or callable
        Name of a numpy function of two arguments ("add", "greater", "power", ...) or a callable ``f(block_x, block_y)``
        that returns an array of the block's shape.
    output : source-like, optional
        Where to write, `x` itself for in place; floats are cut towards zero for integer outputs. By default a numpy
        array is allocated with the type that numpy gives for one voxel: uint8 + 10 is uint8, uint8 + 1.5 is float64.

    Returns
    -------
    source-like
        `output`, or the array allocated.

    Raises
    ------
    ParameterError
        For an unknown operation.
    ShapeError
        If `y` neither has the shape of `x` nor can be repeated to it.
    DtypeError
        If the operation is not defined for the data types.
    ValueRangeError
        If the output cannot hold a result.
    """
    return _apply(operation, x, y, output, run)


def _apply(operation: Operation, x: Any, y: Any, output: Any, run: RunKeywords) -> Any:
    job = Job.of(run)
    name = operation if isinstance(operation, str) else getattr(operation, "__name__", "operation")
    source = as_source(x)
    scalar = _scalar(y)
    operand = None if scalar is not None else _operand(y, source)
    dtype = result_dtype(operation, source.dtype, scalar if operand is None else operand.dtype)
    target, returned = prepare_output(output, source.shape, dtype, job, source=source)
    kernel = Apply(_portable(operation), target.dtype, scalar, unsafe=job.execution.casting == "unsafe")
    inputs = [source] if operand is None else [source, operand]
    map_to(kernel, inputs, target, job, name=name, memory_factor=ARITHMETIC.memory)
    return returned


def _portable(operation: Operation) -> Operation:
    # the name of a ufunc is easier to send, and to compare, than the function
    name = canonical_name(operation)
    return name if name and resolve(operation) is getattr(np, name, None) else operation


def _scalar(y: Any) -> Any:
    if isinstance(y, bool | int | float | complex | np.generic):
        return y
    if isinstance(y, np.ndarray) and y.ndim == 0:
        return y[()]
    return None


def _operand(y: Any, source: Source) -> Source:
    other = as_source(y)
    if other.shape == source.shape:
        return other
    if other.ndim != source.ndim or any(
        size not in (1, full) for size, full in zip(other.shape, source.shape, strict=True)
    ):
        raise ShapeError(
            f"the second operand of shape {other.shape} does not fit the first of shape {source.shape}",
            remedy="pass a number, an array of the same shape, or one with as many axes whose other sizes are 1",
        )
    return as_source(np.broadcast_to(other.read(), source.shape))


def _named(name: str, summary: str, example: str) -> Any:
    def function(x: Any, y: Any, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
        return _apply(name, x, y, output, run)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{summary}

    Parameters
    ----------
    x : source-like
        First operand.
    y : number or source-like
        Second operand: a number, or an array of the shape of `x` or with axes of length 1, which are repeated.
    output : source-like, optional
        Where to write, `x` itself for in place; by default a numpy array is allocated.

    Returns
    -------
    source-like
        `output`, or an array of the type that numpy gives for one voxel.

    Raises
    ------
    ShapeError
        If `y` neither has the shape of `x` nor can be repeated to it.
    DtypeError
        If the operation is not defined for the data types.
    ValueRangeError
        If the output cannot hold a result; integers are computed exactly.

    Examples
    --------
    >>> {example}
    """
    return operation(declaration=ARITHMETIC)(function)


add = _named("add", "x + y for every voxel.", "add(volume, 10, output=volume)")
subtract = _named("subtract", "x - y for every voxel.", "subtract(volume, background)")
multiply = _named("multiply", "x * y for every voxel.", "multiply(volume, 2)")
divide = _named(
    "divide", "x / y for every voxel: a float, which an integer output cuts towards zero.", "divide(volume, 255)"
)
greater = _named("greater", "Whether x > y for every voxel, as bool.", "greater(volume, 100)")
greater_equal = _named("greater_equal", "Whether x >= y for every voxel, as bool.", "greater_equal(volume, 100)")
less = _named("less", "Whether x < y for every voxel, as bool.", "less(volume, 100)")
less_equal = _named("less_equal", "Whether x <= y for every voxel, as bool.", "less_equal(volume, 100)")
minimum = _named("minimum", "The smaller of x and y for every voxel.", "minimum(volume, 100)")
maximum = _named("maximum", "The larger of x and y for every voxel.", "maximum(volume, other)")


@operation(declaration=MEMBERSHIP)
def isin(x: Any, test_values: Any, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Whether each voxel is one of some values.

    Parameters
    ----------
    x : source-like
        Data of any type; integers are compared exactly.
    test_values : number, array_like or set
        The values to look for.
    output : source-like, optional
        Where to write, `x` itself for in place; by default a bool array is allocated.

    Returns
    -------
    source-like
        `output`, or a bool array of the shape of `x`.

    Raises
    ------
    DtypeError
        If the values cannot be compared with the data.
    """
    job = Job.of(run)
    source = as_source(x)
    kernel = IsIn.of(test_values, source.dtype)
    return run_map(kernel, [source], output, job, name="isin", dtype=np.dtype(bool), memory_factor=MEMBERSHIP.memory)
