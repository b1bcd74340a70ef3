"""Precision and recall over thresholds of the overlap, and which segment is which object; from a contingency table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ParameterError
from .assignment import best_pairs
from .objects import DEFAULT_THRESHOLDS, Edges, check_matching, matched, overlaps, scores_of
from .table import ContingencyTable

if TYPE_CHECKING:
    import pandas as pd


def matched_pairs_scores(
    table: ContingencyTable, *, threshold: float = 0.5, criterion: str = "iou", ignore_label: int | None = 0
) -> pd.DataFrame:
    """Which segment is which object, from a table.

    As many as possible are matched, each once at most, and of such matches one with the largest sum of overlaps.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).
    threshold, criterion, ignore_label
        As for `matching_scores`.

    Returns
    -------
    pandas.DataFrame
        A row per match, sorted by object: label_seg, label_gt (uint64), overlap (of the criterion).

    Raises
    ------
    ParameterError
        For an unknown criterion or a threshold out of range.
    """
    import pandas as pd

    check_matching(criterion, [threshold])
    _, _, (in_seg, in_gt, share) = overlaps(table, criterion, ignore_label)
    enough = share >= threshold
    in_seg, in_gt, share = in_seg[enough], in_gt[enough], share[enough]
    chosen = best_pairs(in_seg, in_gt, 1 - share)
    chosen = chosen[np.argsort(in_gt[chosen], kind="stable")]
    return pd.DataFrame(
        {
            "label_seg": table.labels_a[in_seg[chosen]],
            "label_gt": table.labels_b[in_gt[chosen]],
            "overlap": share[chosen],
        }
    )


def average_precision_scores(
    table: ContingencyTable,
    *,
    thresholds: Sequence[float] | None = None,
    criterion: str = "iou",
    ignore_label: int | None = 0,
    confidence: Mapping[int, float] | None = None,
) -> pd.DataFrame:
    """Precision, recall and average precision over thresholds of the overlap, from a table.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).
    thresholds : sequence of float, optional
        Default 0.5, 0.55, ..., 0.95.
    criterion, ignore_label
        As for `matching_scores`.
    confidence : mapping of int to float, optional
        How sure each segment is, by label.

    Returns
    -------
    pandas.DataFrame
        A row per threshold: threshold, true_positives, false_positives, false_negatives (int64), precision, recall, f1,
        and average_precision. Without `confidence` that is tp / (tp + fp + fn), as the Data Science Bowl 2018, StarDist
        and Cellpose define it. With it, it is the area under precision over recall as segments are taken in the order
        of their confidence, each for the object that it overlaps most of those that are left (Everingham et al., "The
        Pascal visual object classes challenge", 2010; every point of the curve counts).

    Raises
    ------
    ParameterError
        For no threshold or one out of range, an unknown criterion, or a segment without confidence.
    """
    import pandas as pd

    levels = DEFAULT_THRESHOLDS if thresholds is None else tuple(thresholds)
    if not levels:
        raise ParameterError("There is no threshold.", remedy="pass thresholds=[0.5, 0.75], or leave them out")
    check_matching(criterion, levels)
    segments, objects, edges = overlaps(table, criterion, ignore_label)
    order = None if confidence is None else _most_sure_first(table, ignore_label, confidence)
    rows = []
    for level in levels:
        found = matched(edges, level)
        scores = scores_of(found, segments, objects)
        area = scores["segmentation_accuracy"] if order is None else _area(order, edges, level, objects)
        counts = {"true_positives": found, "false_positives": segments - found, "false_negatives": objects - found}
        rates = {name: scores[name] for name in ("precision", "recall", "f1")}
        rows.append({"threshold": float(level), **counts, **rates, "average_precision": area})
    return pd.DataFrame(rows)


def _most_sure_first(table: ContingencyTable, ignore_label: int | None, confidence: Mapping[int, float]) -> np.ndarray:
    """Positions of segments in the table, by falling confidence and rising label."""
    labels = table.labels_a.tolist()
    missing = [label for label in labels if label != ignore_label and label not in confidence]
    if missing:
        raise ParameterError(
            f"{len(missing)} segments have no confidence, the first is {missing[0]}",
            remedy=f"confidence={{{missing[0]}: 0.5, ...}}",
        )
    values = np.array([-np.inf if label == ignore_label else confidence[label] for label in labels], np.float64)
    if np.isnan(values).any():
        raise ParameterError(f"the confidence of segment {labels[int(np.isnan(values).argmax())]} is NaN", remedy="0.0")
    order = np.argsort(-values, kind="stable")
    return order[[labels[index] != ignore_label for index in order.tolist()]]


def _area(order: np.ndarray, edges: Edges, level: float, objects: int) -> float:
    if not len(order) or not objects:
        return 0.0
    in_seg, in_gt, share = edges
    enough = np.flatnonzero(share >= level)
    candidates: dict[int, list[int]] = {}
    for index in enough[np.argsort(-share[enough], kind="stable")].tolist():
        candidates.setdefault(int(in_seg[index]), []).append(int(in_gt[index]))
    taken: set[int] = set()
    hits = np.zeros(len(order), np.bool_)
    for place, segment in enumerate(order.tolist()):
        free = next((one for one in candidates.get(segment, ()) if one not in taken), None)
        if free is not None:
            taken.add(free)
            hits[place] = True
    true = np.cumsum(hits)
    precision = np.maximum.accumulate((true / np.arange(1, len(order) + 1))[::-1])[::-1]
    return float(precision[hits].sum() / objects)
