"""Segmentation of volumes: connected components, watershed, and the ids of labels.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .filtering import segmentation_filter, size_filter
    from .flooding import distance_seeds, seed_mask
    from .labelling import label
    from .relabelling import relabel, relabel_consecutive
    from .superpixels.mutex_watershed import mutex_watershed
    from .superpixels.watershed import distance_watershed
    from .watersheds import watershed
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "distance_seeds": ".flooding",
            "distance_watershed": ".superpixels.watershed",
            "label": ".labelling",
            "mutex_watershed": ".superpixels.mutex_watershed",
            "relabel": ".relabelling",
            "relabel_consecutive": ".relabelling",
            "seed_mask": ".flooding",
            "segmentation_filter": ".filtering",
            "size_filter": ".filtering",
            "watershed": ".watersheds",
        },
    )

__all__ = [
    "distance_seeds",
    "distance_watershed",
    "label",
    "mutex_watershed",
    "relabel",
    "relabel_consecutive",
    "seed_mask",
    "segmentation_filter",
    "size_filter",
    "watershed",
]
