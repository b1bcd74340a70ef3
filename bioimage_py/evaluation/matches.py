"""The scores `average_precision` and `matched_pairs`: matches of objects over thresholds, and which they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from ..engine.job import RunKeywords
from ..engine.operation import operation
from .counting import COUNTED, OMIT, scored
from .objects import check_matching
from .precision import average_precision_scores, matched_pairs_scores

if TYPE_CHECKING:
    import pandas as pd


@operation(omit=OMIT, declaration=COUNTED)
def average_precision(
    segmentation: Any,
    groundtruth: Any,
    *,
    thresholds: Sequence[float] | None = None,
    criterion: str = "iou",
    ignore_label: int | None = 0,
    confidence: Mapping[int, float] | None = None,
    **run: Unpack[RunKeywords],
) -> pd.DataFrame:
    """Precision, recall and average precision over thresholds of the overlap.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape.
    thresholds : sequence of float, optional
        Default 0.5, 0.55, ..., 0.95.
    criterion : {"iou", "iop", "iot"}, default "iou"
        Overlap divided by the union, by the size of the segment, or by the size of the true object.
    ignore_label : int, optional
        Background of both; None if there is none.
    confidence : mapping of int to float, optional
        How sure each segment is, by label.

    Returns
    -------
    pandas.DataFrame
        A row per threshold; see `average_precision_scores`.

    Raises
    ------
    ParameterError
        For no threshold or one out of range, an unknown criterion, or a segment without confidence.
    DtypeError
        If the labels are not integers.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> a, b = np.array([1, 1, 1, 2, 2, 0]), np.array([1, 1, 1, 3, 0, 4])
    >>> table = bp.evaluation.average_precision(a, b, thresholds=[0.5, 0.75], progress=False)
    >>> table["average_precision"].tolist()
    [0.6666666666666666, 0.25]
    """
    if thresholds is not None:
        check_matching(criterion, thresholds)
    table = scored("average_precision", segmentation, groundtruth, run)
    return average_precision_scores(
        table, thresholds=thresholds, criterion=criterion, ignore_label=ignore_label, confidence=confidence
    )


@operation(omit=OMIT, declaration=COUNTED)
def matched_pairs(
    segmentation: Any,
    groundtruth: Any,
    *,
    threshold: float = 0.5,
    criterion: str = "iou",
    ignore_label: int | None = 0,
    **run: Unpack[RunKeywords],
) -> pd.DataFrame:
    """List which segment is which true object.

    Parameters
    ----------
    segmentation, groundtruth, threshold, criterion, ignore_label
        As for `matching`.

    Returns
    -------
    pandas.DataFrame
        label_seg, label_gt, overlap; see `matched_pairs_scores`.

    Raises
    ------
    ParameterError
        For an unknown criterion or a threshold out of range.
    DtypeError
        If the labels are not integers.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> a, b = np.array([1, 1, 1, 2, 2, 0]), np.array([7, 7, 7, 3, 0, 4])
    >>> bp.evaluation.matched_pairs(a, b, progress=False)
       label_seg  label_gt  overlap
    0          2         3      0.5
    1          1         7      1.0
    """
    check_matching(criterion, [threshold])
    table = scored("matched_pairs", segmentation, groundtruth, run)
    return matched_pairs_scores(table, threshold=threshold, criterion=criterion, ignore_label=ignore_label)
