"""Statistics of volumes of any size.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .statistics import Summary, max, mean, mean_and_std, min, min_and_max, std, summary, unique
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "Summary": ".statistics",
            "max": ".statistics",
            "mean": ".statistics",
            "mean_and_std": ".statistics",
            "min": ".statistics",
            "min_and_max": ".statistics",
            "std": ".statistics",
            "summary": ".statistics",
            "unique": ".statistics",
        },
    )

__all__ = [
    "Summary",
    "max",
    "mean",
    "mean_and_std",
    "min",
    "min_and_max",
    "std",
    "summary",
    "unique",
]
