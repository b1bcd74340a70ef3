"""Morphology: objects measured, distances, maxima, and shapes changed by neighbourhoods, at any size.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .binary import binary_closing, binary_dilation, binary_erosion, binary_opening
    from .distance.distances import distance_transform
    from .growing import expand_labels, skeletonize
    from .holes import fill_holes, remove_small_holes, remove_small_objects
    from .maxima import find_local_maxima
    from .measures.measuring import morphology
    from .measures.properties import regionprops
    from .points import map_points_to_objects
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "binary_closing": ".binary",
            "binary_dilation": ".binary",
            "binary_erosion": ".binary",
            "binary_opening": ".binary",
            "distance_transform": ".distance.distances",
            "expand_labels": ".growing",
            "fill_holes": ".holes",
            "find_local_maxima": ".maxima",
            "map_points_to_objects": ".points",
            "morphology": ".measures.measuring",
            "regionprops": ".measures.properties",
            "remove_small_holes": ".holes",
            "remove_small_objects": ".holes",
            "skeletonize": ".growing",
        },
    )

__all__ = [
    "binary_closing",
    "binary_dilation",
    "binary_erosion",
    "binary_opening",
    "distance_transform",
    "expand_labels",
    "fill_holes",
    "find_local_maxima",
    "map_points_to_objects",
    "morphology",
    "regionprops",
    "remove_small_holes",
    "remove_small_objects",
    "skeletonize",
]
