"""Arithmetic and comparisons, voxel by voxel.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "add": ".arithmetic",
            "apply_operation": ".arithmetic",
            "divide": ".arithmetic",
            "greater": ".arithmetic",
            "greater_equal": ".arithmetic",
            "isin": ".arithmetic",
            "less": ".arithmetic",
            "less_equal": ".arithmetic",
            "maximum": ".arithmetic",
            "minimum": ".arithmetic",
            "multiply": ".arithmetic",
            "subtract": ".arithmetic",
        },
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
