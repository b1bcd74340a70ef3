"""Scores of a segmentation against the ground truth, for volumes of any size.

All of them first count overlaps block by block into a `ContingencyTable`, exactly; so no score depends on the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.reducing import run_reduce
from ..errors import DtypeError
from ..sources import as_source
from .counting import COUNTED, OMIT, Labels, scored, table_of
from .dice import DiceSums, dice_of, merge_dice
from .objects import best_dice_scores, check_matching, matching_scores, mean_segmentation_accuracy_scores
from .scores import cremi_scores, object_vi_scores, rand_scores, vi_scores
from .table import ContingencyTable

if TYPE_CHECKING:
    import pandas as pd

_POSITIONAL = ("num_workers", "block_shape", "job_type", "job_config", "mask", "block_ids", "resume_from")


@operation(positional=(*_POSITIONAL, "pre_cleanup"), omit=("casting",), declaration=COUNTED)
def contingency_table(
    seg_a: Any, seg_b: Any, *, pre_cleanup: Callable[[str], None] | None = None, **run: Unpack[RunKeywords]
) -> ContingencyTable:
    """Count how often each pair of labels of two segmentations meets.

    Parameters
    ----------
    seg_a, seg_b : source-like
        Label volumes of one shape and any integer types; ids up to 2**64 - 1 are exact.
    pre_cleanup : callable, optional
        Called with the run folder before it is deleted; runs without a folder never call it.

    Returns
    -------
    ContingencyTable
        Without any pair where the mask leaves nothing.

    Raises
    ------
    DtypeError
        If the labels are not integers.
    ParameterError
        If a label is negative.
    """
    return table_of("contingency_table", seg_a, seg_b, ("seg_a", "seg_b"), run)


@operation(omit=OMIT, declaration=COUNTED)
def variation_of_information(
    segmentation: Any,
    groundtruth: Any,
    *,
    ignore_seg: Labels = None,
    ignore_gt: Labels = None,
    use_log2: bool = True,
    **run: Unpack[RunKeywords],
) -> tuple[float, float]:
    """Variation of information (Meila 2003) between a segmentation and the ground truth.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape.
    ignore_seg, ignore_gt : int or sequence of int, optional
        Labels; voxels that have one of them in the segmentation, or in the ground truth, are not counted.
    use_log2 : bool, default True
        Bits, else nats.

    Returns
    -------
    split : float
        H(segmentation | groundtruth), over-segmentation; 0 is perfect.
    merge : float
        H(groundtruth | segmentation), under-segmentation; 0 is perfect.

    Raises
    ------
    DtypeError
        If the labels are not integers.
    """
    table = scored("variation_of_information", segmentation, groundtruth, run, ignore_seg, ignore_gt)
    return vi_scores(table, use_log2=use_log2)


@operation(omit=OMIT, declaration=COUNTED)
def object_vi(
    segmentation: Any,
    groundtruth: Any,
    *,
    ignore_seg: Labels = None,
    ignore_gt: Labels = None,
    use_log2: bool = True,
    **run: Unpack[RunKeywords],
) -> pd.DataFrame:
    """Variation of information of each object of the ground truth.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape.
    ignore_seg, ignore_gt : int or sequence of int, optional
        Labels; voxels that have one of them in the segmentation, or in the ground truth, are not counted.
    use_log2 : bool, default True
        Bits, else nats.

    Returns
    -------
    pandas.DataFrame
        label, vi_split, vi_merge; see `object_vi_scores`.

    Raises
    ------
    DtypeError
        If the labels are not integers.
    """
    table = scored("object_vi", segmentation, groundtruth, run, ignore_seg, ignore_gt)
    return object_vi_scores(table, use_log2=use_log2)


@operation(omit=OMIT, declaration=COUNTED)
def rand_index(
    segmentation: Any,
    groundtruth: Any,
    *,
    ignore_seg: Labels = None,
    ignore_gt: Labels = None,
    **run: Unpack[RunKeywords],
) -> tuple[float, float]:
    """Adapted Rand error and Rand index.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape.
    ignore_seg, ignore_gt : int or sequence of int, optional
        Labels; voxels that have one of them in the segmentation, or in the ground truth, are not counted.

    Returns
    -------
    error : float
        Adapted Rand error; 0 is perfect.
    index : float
        Rand index; 1 is perfect. See `rand_scores`.

    Raises
    ------
    DtypeError
        If the labels are not integers.
    """
    return rand_scores(scored("rand_index", segmentation, groundtruth, run, ignore_seg, ignore_gt))


@operation(omit=OMIT, declaration=COUNTED)
def cremi_score(
    segmentation: Any,
    groundtruth: Any,
    *,
    ignore_seg: Labels = None,
    ignore_gt: Labels = None,
    use_log2: bool = True,
    **run: Unpack[RunKeywords],
) -> tuple[float, float, float, float]:
    """Scores of the CREMI challenge.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape.
    ignore_seg, ignore_gt : int or sequence of int, optional
        Labels; voxels that have one of them in the segmentation, or in the ground truth, are not counted.
    use_log2 : bool, default True
        Bits, else nats.

    Returns
    -------
    tuple of float
        (vi_split, vi_merge, adapted Rand error, geometric mean of error and VI); 0 is perfect. See `cremi_scores`.

    Raises
    ------
    DtypeError
        If the labels are not integers.
    """
    table = scored("cremi_score", segmentation, groundtruth, run, ignore_seg, ignore_gt)
    return cremi_scores(table, use_log2=use_log2)


@operation(omit=OMIT, declaration=COUNTED)
def matching(
    segmentation: Any,
    groundtruth: Any,
    *,
    threshold: float = 0.5,
    criterion: str = "iou",
    ignore_label: int | None = 0,
    **run: Unpack[RunKeywords],
) -> dict[str, float]:
    """Share of the objects that are found.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape.
    threshold : float, default 0.5
        Least overlap, above 0, at most 1.
    criterion : {"iou", "iop", "iot"}, default "iou"
        Overlap divided by the union, by the size of the segment, or by the size of the true object.
    ignore_label : int, optional
        Background of both; None if there is none.

    Returns
    -------
    dict
        precision, recall, segmentation_accuracy, f1; see `matching_scores`.

    Raises
    ------
    ParameterError
        For an unknown criterion or a threshold out of range.
    DtypeError
        If the labels are not integers.
    """
    check_matching(criterion, [threshold])
    table = scored("matching", segmentation, groundtruth, run)
    return matching_scores(table, threshold=threshold, criterion=criterion, ignore_label=ignore_label)


@operation(omit=OMIT, declaration=COUNTED)
def mean_segmentation_accuracy(
    segmentation: Any,
    groundtruth: Any,
    *,
    thresholds: Sequence[float] | None = None,
    ignore_label: int | None = 0,
    return_accuracies: bool = False,
    **run: Unpack[RunKeywords],
) -> float | tuple[float, np.ndarray]:
    """Mean of the segmentation accuracy over several thresholds of the intersection over union.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape.
    thresholds : sequence of float, optional
        Default 0.5, 0.55, ..., 0.95.
    ignore_label : int, optional
        Background of both; None if there is none.
    return_accuracies : bool, default False
        Also return the accuracy at each threshold.

    Returns
    -------
    float or tuple
        The mean, or (mean, float64 array of the accuracies).

    Raises
    ------
    ParameterError
        For no threshold, or one out of range.
    DtypeError
        If the labels are not integers.
    """
    if thresholds is not None:
        check_matching("iou", thresholds)
    table = scored("mean_segmentation_accuracy", segmentation, groundtruth, run)
    return mean_segmentation_accuracy_scores(
        table, thresholds=thresholds, ignore_label=ignore_label, return_accuracies=return_accuracies
    )


@operation(omit=OMIT, declaration=COUNTED)
def symmetric_best_dice_score(
    segmentation: Any, groundtruth: Any, *, ignore_label: int | None = 0, **run: Unpack[RunKeywords]
) -> float:
    """The smaller of the mean best Dice of the segments and that of the true objects.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape.
    ignore_label : int, optional
        Background of both; None if there is none.

    Returns
    -------
    float
        1 is perfect; 0 where either has no objects.

    Raises
    ------
    DtypeError
        If the labels are not integers.
    """
    table = scored("symmetric_best_dice_score", segmentation, groundtruth, run)
    return best_dice_scores(table, ignore_label=ignore_label)


@operation(omit=OMIT, declaration=Declaration("tolerance", "numpy.sum", memory=2.0))
def dice_score(
    segmentation: Any,
    groundtruth: Any,
    *,
    threshold_seg: float | None = 0,
    threshold_gt: float | None = 0,
    **run: Unpack[RunKeywords],
) -> float:
    """Dice coefficient of two foregrounds, ``2 sum(a b) / (sum(a) + sum(b))``.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Volumes of one shape: labels, masks or probabilities.
    threshold_seg, threshold_gt : float, optional
        Foreground is what exceeds it; None takes the values as they are (for probabilities).

    Returns
    -------
    float
        1 is perfect; 0 where both sums are 0. With both thresholds it is exact; else it depends on the blocks by
        rounding in float64 only.

    Raises
    ------
    DtypeError
        For data that are not boolean, integer or real floating point.
    """
    first, second = as_source(segmentation), as_source(groundtruth)
    for source, name in ((first, "segmentation"), (second, "groundtruth")):
        if source.dtype.kind not in "buif":
            raise DtypeError(f"dice_score cannot use {name} of dtype {source.dtype}", remedy="pass real numbers")
    kernel = DiceSums(threshold_seg, threshold_gt)
    return dice_of(run_reduce(kernel, merge_dice, [first, second], Job.of(run), name="dice_score", memory_factor=2.0))
