"""Morphology: objects measured, distances, maxima, and shapes changed by neighbourhoods, at any size.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .distances import distance_transform
    from .maxima import find_local_maxima
    from .measuring import morphology
    from .points import map_points_to_objects
    from .properties import regionprops
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "distance_transform": ".distances",
            "find_local_maxima": ".maxima",
            "map_points_to_objects": ".points",
            "morphology": ".measuring",
            "regionprops": ".properties",
        },
    )

__all__ = [
    "distance_transform",
    "find_local_maxima",
    "map_points_to_objects",
    "morphology",
    "regionprops",
]
