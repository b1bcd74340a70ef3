"""How good a segmentation is: overlaps with the ground truth, and the scores made of them."""

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
from .scores import cremi_scores, object_vi_scores, rand_scores, vi_scores
from .table import ContingencyTable

__all__ = [
    "ContingencyTable",
    "best_dice_scores",
    "contingency_table",
    "cremi_score",
    "cremi_scores",
    "dice_score",
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
