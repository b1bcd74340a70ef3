"""Filters: one value per voxel from its neighbourhood.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .gaussian import gaussian_smoothing
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "gaussian_smoothing": ".gaussian",
        },
    )

__all__ = [
    "gaussian_smoothing",
]
