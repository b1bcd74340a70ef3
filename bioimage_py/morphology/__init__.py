"""Morphology: objects measured, distances, maxima, and shapes changed by neighbourhoods, at any size.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .distances import distance_transform
    from .measuring import morphology
    from .properties import regionprops
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "distance_transform": ".distances",
            "morphology": ".measuring",
            "regionprops": ".properties",
        },
    )

__all__ = [
    "distance_transform",
    "morphology",
    "regionprops",
]
