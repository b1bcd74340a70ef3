"""How good a segmentation is: overlaps with the ground truth, and the scores made of them.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hausdorff import hausdorff_distance
    from .matches import average_precision, matched_pairs
    from .metrics import (
        contingency_table,
        cremi_score,
        dice_score,
        matching,
        mean_segmentation_accuracy,
        object_vi,
        rand_index,
        symmetric_best_dice_score,
        variation_of_information,
    )
    from .objects import best_dice_scores, matching_scores, mean_segmentation_accuracy_scores
    from .points import centroid_matching, coordinate_matching
    from .precision import average_precision_scores, matched_pairs_scores
    from .scores import cremi_scores, object_vi_scores, rand_scores, vi_scores
    from .table import ContingencyTable
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "ContingencyTable": ".table",
            "average_precision": ".matches",
            "average_precision_scores": ".precision",
            "best_dice_scores": ".objects",
            "centroid_matching": ".points",
            "contingency_table": ".metrics",
            "coordinate_matching": ".points",
            "cremi_score": ".metrics",
            "cremi_scores": ".scores",
            "dice_score": ".metrics",
            "hausdorff_distance": ".hausdorff",
            "matched_pairs": ".matches",
            "matched_pairs_scores": ".precision",
            "matching": ".metrics",
            "matching_scores": ".objects",
            "mean_segmentation_accuracy": ".metrics",
            "mean_segmentation_accuracy_scores": ".objects",
            "object_vi": ".metrics",
            "object_vi_scores": ".scores",
            "rand_index": ".metrics",
            "rand_scores": ".scores",
            "symmetric_best_dice_score": ".metrics",
            "variation_of_information": ".metrics",
            "vi_scores": ".scores",
        },
    )

__all__ = [
    "ContingencyTable",
    "average_precision",
    "average_precision_scores",
    "best_dice_scores",
    "centroid_matching",
    "contingency_table",
    "coordinate_matching",
    "cremi_score",
    "cremi_scores",
    "dice_score",
    "hausdorff_distance",
    "matched_pairs",
    "matched_pairs_scores",
    "matching",
    "matching_scores",
    "mean_segmentation_accuracy",
    "mean_segmentation_accuracy_scores",
    "object_vi",
    "object_vi_scores",
    "rand_index",
    "rand_scores",
    "symmetric_best_dice_score",
    "variation_of_information",
    "vi_scores",
]
