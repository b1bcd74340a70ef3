"""Arithmetic and comparisons, voxel by voxel."""

from .arithmetic import (
    add,
    apply_operation,
    divide,
    greater,
    greater_equal,
    isin,
    less,
    less_equal,
    maximum,
    minimum,
    multiply,
    subtract,
)

__all__ = [
    "add",
    "apply_operation",
    "divide",
    "greater",
    "greater_equal",
    "isin",
    "less",
    "less_equal",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]
