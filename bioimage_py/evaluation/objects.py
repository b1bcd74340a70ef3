"""Scores of objects from a contingency table: matching by overlap, mean segmentation accuracy, best Dice."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..arguments import number
from ..errors import ParameterError
from .assignment import most_pairs
from .table import ContingencyTable

CRITERIA = ("iop", "iot", "iou")

DEFAULT_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def check_matching(criterion: str, thresholds: Sequence[float]) -> None:
    """Refuse an unknown criterion or a threshold that is no share.

    Raises
    ------
    ParameterError
        In both cases.
    """
    if criterion not in CRITERIA:
        raise ParameterError(
            f"The matching criterion is {criterion!r}.",
            remedy="use 'iou', 'iop' (share of the segment) or 'iot' (of the object)",
        )
    given: Any = thresholds
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ParameterError(f"thresholds={thresholds!r} are no list of numbers", remedy="thresholds=[0.5, 0.75]")
    for threshold in thresholds:
        if not 0 < number("threshold", threshold, example=0.5) <= 1:
            raise ParameterError(
                f"The threshold {threshold!r} is not above 0 and at most 1.", remedy="use for example 0.5"
            )


def matching_scores(
    table: ContingencyTable, *, threshold: float = 0.5, criterion: str = "iou", ignore_label: int | None = 0
) -> dict[str, float]:
    """Share of the objects that are found, from a table.

    A segment and an object match where their overlap reaches the threshold; each takes part in one match at most, and
    as many as possible are matched.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).
    threshold : float, default 0.5
        Least overlap, above 0, at most 1.
    criterion : {"iou", "iop", "iot"}, default "iou"
        Overlap divided by the union, by the size of the segment, or by the size of the true object.
    ignore_label : int, optional
        Background of both, no object; None if there is none.

    Returns
    -------
    dict
        precision = tp / segments, recall = tp / objects, segmentation_accuracy = tp / (segments + objects - tp),
        f1 = 2 tp / (segments + objects).

    Raises
    ------
    ParameterError
        For an unknown criterion or a threshold out of range.
    """
    check_matching(criterion, [threshold])
    segments, objects, edges = overlaps(table, criterion, ignore_label)
    return scores_of(matched(edges, threshold), segments, objects)


def mean_segmentation_accuracy_scores(
    table: ContingencyTable,
    *,
    thresholds: Sequence[float] | None = None,
    ignore_label: int | None = 0,
    return_accuracies: bool = False,
) -> float | tuple[float, np.ndarray]:
    """Mean of the segmentation accuracy over several thresholds of the intersection over union, from a table.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).
    thresholds : sequence of float, optional
        Default 0.5, 0.55, ..., 0.95, as in the Data Science Bowl 2018.
    ignore_label : int, optional
        Background of both, no object; None if there is none.
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
    """
    levels = DEFAULT_THRESHOLDS if thresholds is None else tuple(thresholds)
    if not levels:
        raise ParameterError("There is no threshold.", remedy="pass thresholds=[0.5, 0.75], or leave them out")
    check_matching("iou", levels)
    segments, objects, edges = overlaps(table, "iou", ignore_label)
    accuracies = np.array(
        [scores_of(matched(edges, level), segments, objects)["segmentation_accuracy"] for level in levels]
    )
    mean = float(accuracies.mean())
    return (mean, accuracies) if return_accuracies else mean


def best_dice_scores(table: ContingencyTable, *, ignore_label: int | None = 0) -> float:
    """Symmetric best Dice of a table: the smaller of the mean best Dice of the segments and that of the true objects.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).
    ignore_label : int, optional
        Background of both, no object; None if there is none.

    Returns
    -------
    float
        1 is perfect; 0 where either has no objects.
    """
    in_seg, in_gt = table.positions()
    dice = 2 * table.counts / (table.sizes_a[in_seg] + table.sizes_b[in_gt])
    keep_seg, keep_gt = table.labels_a != background_of(ignore_label), table.labels_b != background_of(ignore_label)
    dice[~(keep_seg[in_seg] & keep_gt[in_gt])] = 0
    if not keep_seg.any() or not keep_gt.any():
        return 0.0
    of_segments, of_objects = np.zeros(keep_seg.size), np.zeros(keep_gt.size)
    np.maximum.at(of_segments, in_seg, dice)
    np.maximum.at(of_objects, in_gt, dice)
    return float(min(of_segments[keep_seg].mean(), of_objects[keep_gt].mean()))


def background_of(ignore_label: Any) -> np.uint64 | int:
    """The label that is no object, as it compares with labels; ParameterError unless it is a whole number or None."""
    if ignore_label is None:
        return -1  # no label: nothing is left out
    try:
        label = operator.index(ignore_label)
    except TypeError:
        raise ParameterError(f"ignore_label={ignore_label!r} is no whole number", remedy="ignore_label=0") from None
    return np.uint64(label) if 0 <= label < 1 << 64 else -1


Edges = tuple[np.ndarray, np.ndarray, np.ndarray]


def overlaps(table: ContingencyTable, criterion: str, ignore_label: int | None) -> tuple[int, int, Edges]:
    """Numbers of segments and objects, and (segment, object, overlap) of the pairs that meet."""
    in_seg, in_gt = table.positions()
    sizes_seg, sizes_gt = table.sizes_a[in_seg], table.sizes_b[in_gt]
    whole = {"iop": sizes_seg, "iot": sizes_gt, "iou": sizes_seg + sizes_gt - table.counts}[criterion]
    keep_seg, keep_gt = table.labels_a != background_of(ignore_label), table.labels_b != background_of(ignore_label)
    keep = keep_seg[in_seg] & keep_gt[in_gt]
    edges = in_seg[keep], in_gt[keep], (table.counts / whole)[keep]
    return int(keep_seg.sum()), int(keep_gt.sum()), edges


def matched(edges: Edges, threshold: float) -> int:
    """Largest number of pairs that reach the threshold without using a segment or an object twice."""
    in_seg, in_gt, share = edges
    enough = share >= threshold
    return most_pairs(in_seg[enough], in_gt[enough])


def scores_of(found: int, segments: int, objects: int) -> dict[str, float]:
    """Scores from the number of matches and of what can match."""

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else 0.0

    return {
        "precision": ratio(found, segments),
        "recall": ratio(found, objects),
        "segmentation_accuracy": ratio(found, segments + objects - found),
        "f1": ratio(2 * found, segments + objects),
    }
