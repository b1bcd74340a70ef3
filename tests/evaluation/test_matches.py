"""Matches over thresholds, and which segment is which object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import evaluation
from bioimage_py.errors import ParameterError

SEG = np.array([1, 1, 1, 1, 2, 2, 3, 3, 0, 0])
GT = np.array([5, 5, 5, 6, 6, 6, 0, 9, 9, 9])


@given(st.integers(0, 2**32 - 1), st.sampled_from(["iou", "iop", "iot"]), st.sampled_from([0, None, 3]))
@settings(max_examples=60, deadline=None)
def test_rows_are_the_scores_of_matching(seed: int, criterion: str, ignore: int | None) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, 40), rng.integers(0, 5, 40)
    b[:30] = a[:30]
    table = evaluation.average_precision(a, b, criterion=criterion, ignore_label=ignore, block_shape=7, progress=False)
    assert len(table) == 10
    for row in table.to_dict("records"):
        threshold = row["threshold"]
        scores = evaluation.matching(a, b, threshold=threshold, criterion=criterion, ignore_label=ignore)
        assert row["average_precision"] == scores["segmentation_accuracy"]
        assert {name: row[name] for name in ("precision", "recall", "f1")} == {
            name: scores[name] for name in ("precision", "recall", "f1")
        }
        pairs = evaluation.matched_pairs(a, b, threshold=threshold, criterion=criterion, ignore_label=ignore)
        assert len(pairs) == row["true_positives"]
        assert pairs["label_seg"].is_unique
        assert pairs["label_gt"].is_monotonic_increasing
        assert (pairs["overlap"] >= threshold).all()


def test_of_equally_many_matches_the_one_with_the_largest_overlaps() -> None:
    pairs = evaluation.matched_pairs(SEG, GT, threshold=0.1)
    assert pairs[["label_seg", "label_gt"]].values.tolist() == [[1, 5], [2, 6], [3, 9]]
    assert pairs["overlap"].tolist() == [3 / 4, 2 / 3, 1 / 4]


def voc(order: list[int], hits: set[int], objects: int) -> float:
    """Area under the curve, by the book."""
    points, true = [], 0
    for place, segment in enumerate(order, 1):
        true += segment in hits
        points.append((true / objects, true / place))
    recalls = sorted({recall for recall, _ in points})
    area, before = 0.0, 0.0
    for recall in recalls:
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    return area


def test_confidence_orders_the_segments() -> None:
    for confidence, order in (({1: 0.9, 2: 0.5, 3: 0.7}, [1, 3, 2]), ({1: 0.1, 2: 0.5, 3: 0.7}, [3, 2, 1])):
        table = evaluation.average_precision(SEG, GT, thresholds=[0.5, 0.1, 0.99], confidence=confidence)
        assert table["average_precision"].tolist() == [
            pytest.approx(voc(order, {1, 2}, 3)),
            pytest.approx(voc(order, {1, 2, 3}, 3)),
            0,
        ]


def test_segments_that_want_one_object() -> None:
    seg, gt = np.array([1, 1, 2, 2]), np.array([7, 7, 7, 7])
    for confidence, area in (({1: 0.9, 2: 0.1}, 1.0), ({1: 0.1, 2: 0.9}, 1.0)):
        table = evaluation.average_precision(seg, gt, thresholds=[0.5], confidence=confidence)
        assert table["average_precision"].tolist() == [area]
        assert table["true_positives"].tolist() == [1]


def test_nothing_to_match() -> None:
    empty = np.zeros((3, 3), "u8")
    assert evaluation.average_precision(empty, empty)["average_precision"].tolist() == [0] * 10
    assert evaluation.average_precision(empty, empty, confidence={})["average_precision"].tolist() == [0] * 10
    assert len(evaluation.matched_pairs(empty, empty + np.uint64(2))) == 0


def test_bad_input() -> None:
    with pytest.raises(ParameterError, match="threshold"):
        evaluation.average_precision(SEG, GT, thresholds=[0.5, 1.5])
    with pytest.raises(ParameterError, match="no threshold"):
        evaluation.average_precision(SEG, GT, thresholds=[])
    with pytest.raises(ParameterError, match="2 segments have no confidence, the first is 2"):
        evaluation.average_precision(SEG, GT, confidence={1: 0.5})
    with pytest.raises(ParameterError, match="NaN"):
        evaluation.average_precision(SEG, GT, confidence={1: 0.5, 2: np.nan, 3: 1.0})
    with pytest.raises(ParameterError, match="criterion"):
        evaluation.matched_pairs(SEG, GT, criterion="dice")
