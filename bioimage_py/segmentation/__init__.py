"""Segmentation of volumes: connected components, watershed, and the ids of labels.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .filtering import segmentation_filter, size_filter
    from .flooding import distance_seeds, seed_mask
    from .labelling import label
    from .objects.joining import merge_labels
    from .objects.keeping import keep_largest, remove_border_objects
    from .objects.meeting import contacts, intersect
    from .objects.smoothing import majority
    from .objects.splitting import split_disconnected
    from .relabelling import relabel, relabel_consecutive
    from .watersheds import watershed
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "contacts": ".objects.meeting",
            "distance_seeds": ".flooding",
            "intersect": ".objects.meeting",
            "keep_largest": ".objects.keeping",
            "label": ".labelling",
            "majority": ".objects.smoothing",
            "merge_labels": ".objects.joining",
            "relabel": ".relabelling",
            "relabel_consecutive": ".relabelling",
            "remove_border_objects": ".objects.keeping",
            "seed_mask": ".flooding",
            "segmentation_filter": ".filtering",
            "size_filter": ".filtering",
            "split_disconnected": ".objects.splitting",
            "watershed": ".watersheds",
        },
    )

__all__ = [
    "contacts",
    "distance_seeds",
    "intersect",
    "keep_largest",
    "label",
    "majority",
    "merge_labels",
    "relabel",
    "relabel_consecutive",
    "remove_border_objects",
    "seed_mask",
    "segmentation_filter",
    "size_filter",
    "split_disconnected",
    "watershed",
]
