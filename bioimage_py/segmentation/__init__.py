"""Segmentation of volumes: connected components, watershed, tiles, and the objects of label volumes.

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
    from .stitching.multicut import (
        compute_edge_costs,
        multicut_decomposition,
        multicut_gaec,
        multicut_kernighan_lin,
        transform_probabilities_to_costs,
    )
    from .stitching.stitching import stitch_segmentation, stitch_tiled_segmentation
    from .superpixels.mutex_watershed import mutex_watershed
    from .superpixels.watershed import distance_watershed
    from .watersheds import watershed
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "compute_edge_costs": ".stitching.multicut",
            "contacts": ".objects.meeting",
            "distance_seeds": ".flooding",
            "distance_watershed": ".superpixels.watershed",
            "intersect": ".objects.meeting",
            "keep_largest": ".objects.keeping",
            "label": ".labelling",
            "majority": ".objects.smoothing",
            "merge_labels": ".objects.joining",
            "multicut_decomposition": ".stitching.multicut",
            "multicut_gaec": ".stitching.multicut",
            "multicut_kernighan_lin": ".stitching.multicut",
            "mutex_watershed": ".superpixels.mutex_watershed",
            "relabel": ".relabelling",
            "relabel_consecutive": ".relabelling",
            "remove_border_objects": ".objects.keeping",
            "seed_mask": ".flooding",
            "segmentation_filter": ".filtering",
            "size_filter": ".filtering",
            "split_disconnected": ".objects.splitting",
            "stitch_segmentation": ".stitching.stitching",
            "stitch_tiled_segmentation": ".stitching.stitching",
            "transform_probabilities_to_costs": ".stitching.multicut",
            "watershed": ".watersheds",
        },
    )

__all__ = [
    "compute_edge_costs",
    "contacts",
    "distance_seeds",
    "distance_watershed",
    "intersect",
    "keep_largest",
    "label",
    "majority",
    "merge_labels",
    "multicut_decomposition",
    "multicut_gaec",
    "multicut_kernighan_lin",
    "mutex_watershed",
    "relabel",
    "relabel_consecutive",
    "remove_border_objects",
    "seed_mask",
    "segmentation_filter",
    "size_filter",
    "split_disconnected",
    "stitch_segmentation",
    "stitch_tiled_segmentation",
    "transform_probabilities_to_costs",
    "watershed",
]
