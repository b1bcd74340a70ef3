"""Scores: exact tables, definitions checked by brute force and against scikit-image, independence of the blocks."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from functools import reduce
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import metrics

from bioimage_py import evaluation as ev
from bioimage_py.errors import DtypeError, ParameterError, RunnerError, ShapeError
from bioimage_py.evaluation.dice import DiceSums
from bioimage_py.evaluation.table import ContingencyTable
from bioimage_py.segmentation.objects.pairs import OverlapCounts, merge_overlaps

LABELS = [0, 1, 2, 3, 2**32 - 1, 2**32, 2**53 + 1, 2**53, 720575940612345601, 720575940612345602, 2**63 - 1]


def table_of(a: np.ndarray, b: np.ndarray) -> ContingencyTable:
    return ContingencyTable.from_overlaps(*(OverlapCounts()(a, b) or pytest.fail("no overlaps")))


def random_pair(seed: int, shape: tuple[int, ...] = (20, 20)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    seg = rng.integers(0, 6, shape).astype(np.uint32)
    gt = rng.integers(0, 5, shape).astype(np.uint32)
    half = shape[0] // 2
    gt[:half] = np.minimum(seg[:half], 4)
    return seg, gt


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=8))
    arrays = []
    for _ in range(2):
        dtype = draw(st.sampled_from(["u1", "u2", "i4", "u4", "i8", "u8", "?"]))
        limit = 1 if dtype == "?" else int(np.iinfo(dtype).max)
        known = [label for label in LABELS if label <= limit]
        arrays.append(draw(hnp.arrays(dtype, shape, elements=st.sampled_from(known))))
    return arrays[0], arrays[1]


@given(pairs(), st.integers(0, 512))
@settings(max_examples=200, deadline=None)
def test_table_is_exact_for_64_bit_ids_and_any_cut(case: tuple[np.ndarray, np.ndarray], at: int) -> None:
    a, b = (array.reshape(-1) for array in case)
    at %= a.size
    parts = [(a[s], b[s]) for s in (slice(0, at), slice(at, None)) if a[s].size]
    table = ContingencyTable.from_overlaps(*reduce(merge_overlaps, [OverlapCounts()(*part) for part in parts]))
    expected = Counter(zip(map(int, a), map(int, b), strict=True))
    assert [tuple(pair) for pair in table.pairs.tolist()] == sorted(expected)
    assert table.counts.tolist() == [expected[pair] for pair in sorted(expected)]
    assert (table.pairs.dtype, table.counts.dtype) == (np.uint64, np.int64)
    assert table.as_dicts() == (dict(sorted(Counter(map(int, a)).items())), dict(sorted(Counter(map(int, b)).items())))
    assert table.n_points == a.size


@pytest.mark.slow
def test_large_noise_and_large_objects_cross_the_pieces() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 3000, (2, 1_100_000), dtype=np.uint64)
    blocks = np.repeat(rng.integers(0, 2**60, (2, 11_000), dtype=np.uint64), 100, axis=1)
    for a, b in (noise, blocks, (noise[0], blocks[1])):
        table = table_of(a, b)
        values, counts = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)
        np.testing.assert_array_equal(table.pairs, values)
        np.testing.assert_array_equal(table.counts, counts)


@pytest.mark.parametrize("kwargs", [{}, {"block_shape": (4, 5, 6)}, {"block_shape": (7, 30, 3), "num_workers": 2}])
def test_contingency_table_of_arrays_and_storage(kwargs: Any, tmp_path: Any) -> None:
    seg, gt = random_pair(3, (15, 16, 17))
    expected = table_of(seg, gt)
    stored = zarr.create_array(str(tmp_path / "gt.zarr"), shape=gt.shape, chunks=(8, 8, 8), dtype="u4")
    stored[:] = gt
    for other in (gt, stored):
        table = ev.contingency_table(seg, other, **kwargs)
        np.testing.assert_array_equal(table.pairs, expected.pairs)
        np.testing.assert_array_equal(table.counts, expected.counts)
        np.testing.assert_array_equal(table.sizes_a, expected.sizes_a)
        np.testing.assert_array_equal(table.labels_b, expected.labels_b)


def test_mask_limits_the_table() -> None:
    seg, gt = random_pair(4)
    mask = np.random.default_rng(0).random(seg.shape) < 0.3
    mask[:10, :10] = False
    expected = table_of(seg[mask], gt[mask])
    for kwargs in ({}, {"block_shape": (10, 10)}):
        table = ev.contingency_table(seg, gt, mask=mask, **kwargs)
        np.testing.assert_array_equal(table.counts, expected.counts)
        assert ev.variation_of_information(seg, gt, mask=mask, **kwargs) == ev.vi_scores(expected)
    empty = ev.contingency_table(seg, gt, mask=np.zeros_like(mask))
    assert (empty.n_points, empty.pairs.shape, empty.labels_a.size) == (0, (0, 2), 0)
    assert ev.vi_scores(empty) == (0.0, 0.0)
    assert ev.rand_scores(empty) == (0.0, 1.0)
    assert ev.best_dice_scores(empty) == 0.0
    assert ev.matching_scores(empty)["f1"] == 0.0
    assert len(ev.object_vi_scores(empty)) == 0


def test_ignored_labels_of_either_side_are_dropped() -> None:
    seg, gt = random_pair(5)
    table = table_of(seg, gt).drop_ignore([0, 2], 1)
    keep = ~np.isin(seg, [0, 2]) & (gt != 1)
    np.testing.assert_array_equal(table.counts, table_of(seg[keep], gt[keep]).counts)
    assert table_of(seg, gt).drop_ignore(-1, [2**64, 77]).n_points == seg.size
    expected = ev.vi_scores(table)
    assert ev.variation_of_information(seg, gt, ignore_seg=(0, 2), ignore_gt=1) == expected
    assert ev.rand_index(seg, gt, ignore_seg=[0, 2], ignore_gt=[1]) == ev.rand_scores(table)


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_variation_of_information_is_a_pair_of_conditional_entropies(case: tuple[np.ndarray, np.ndarray]) -> None:
    seg, gt = case
    joint = Counter(zip(seg.reshape(-1).tolist(), gt.reshape(-1).tolist(), strict=True))
    of_seg, of_gt = Counter(seg.reshape(-1).tolist()), Counter(gt.reshape(-1).tolist())
    split = sum(n / seg.size * math.log2(of_gt[b] / n) for (_, b), n in joint.items())
    merge = sum(n / seg.size * math.log2(of_seg[a] / n) for (a, _), n in joint.items())
    assert ev.variation_of_information(seg, gt) == pytest.approx((split, merge), abs=1e-12)
    nats = ev.variation_of_information(seg, gt, use_log2=False)
    assert nats == pytest.approx((split * math.log(2), merge * math.log(2)), abs=1e-12)
    assert ev.variation_of_information(seg, seg) == (0.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_agreement_with_scikit_image(seed: int) -> None:
    seg, gt = random_pair(seed, (30, 40))
    # scikit-image's order is (H(second | first), H(first | second))
    merge, split = metrics.variation_of_information(seg, gt)
    assert ev.variation_of_information(seg, gt) == pytest.approx((split, merge), abs=1e-12)
    error, _, _ = metrics.adapted_rand_error(gt, seg, ignore_labels=())
    table = table_of(seg, gt)
    squares = [int((counts**2).sum()) for counts in (table.counts, table.sizes_a, table.sizes_b)]
    n = seg.size
    # scikit-image leaves the n pairs of a voxel with itself out of every sum
    assert error == pytest.approx(1 - 2 * (squares[0] - n) / (squares[1] + squares[2] - 2 * n), abs=1e-12)
    ours, index = ev.rand_index(seg, gt)
    assert ours == pytest.approx(1 - 2 * squares[0] / (squares[1] + squares[2]), abs=1e-12)
    assert ours == pytest.approx(error, abs=0.01)
    together = seg.reshape(-1, 1) == seg.reshape(1, -1)
    assert index == pytest.approx((together == (gt.reshape(-1, 1) == gt.reshape(1, -1))).mean(), abs=1e-12)


def test_values_of_the_peer() -> None:
    rng = np.random.default_rng(1)
    seg = rng.integers(0, 6, (20, 20)).astype(np.uint32)
    gt = rng.integers(0, 5, (20, 20)).astype(np.uint32)
    gt[:10] = np.minimum(seg[:10], 4)
    assert ev.variation_of_information(seg, gt) == pytest.approx((2.011850550648986, 1.7108694535770776))
    assert ev.rand_index(seg, gt) == pytest.approx((0.6340327868852459, 0.758275))
    assert ev.cremi_score(seg, gt)[3] == pytest.approx(1.5363354253134)
    assert ev.variation_of_information(seg, gt, ignore_seg=[0], ignore_gt=[0, 1]) == pytest.approx(
        (1.8450872078585552, 1.1295151018722462)
    )
    assert ev.symmetric_best_dice_score(seg, gt) == pytest.approx(0.5176679381021827)
    assert ev.dice_score(seg, gt) == pytest.approx(0.9311377244115063)
    found = ev.matching(seg, gt, threshold=0.2)
    assert found == pytest.approx({"precision": 0.8, "recall": 1.0, "segmentation_accuracy": 0.8, "f1": 8 / 9})


def test_split_and_merge_have_the_right_names() -> None:
    whole, halves = np.ones(8, int), np.array([1] * 4 + [2] * 4)
    assert ev.variation_of_information(halves, whole) == (1.0, 0.0)
    assert ev.variation_of_information(whole, halves) == (0.0, 1.0)
    merged = ev.object_vi(whole, halves)
    assert merged.to_dict("list") == {"label": [1, 2], "vi_split": [0.0, 0.0], "vi_merge": [1.0, 1.0]}


def test_object_vi_sums_to_the_whole() -> None:
    seg, gt = random_pair(8)
    table = table_of(seg, gt)
    frame = ev.object_vi_scores(table)
    weights = table.sizes_b / table.n_points
    assert frame["label"].dtype == np.uint64
    assert ((frame["vi_split"] * weights).sum(), (frame["vi_merge"] * weights).sum()) == pytest.approx(
        ev.vi_scores(table)
    )


def test_cremi_score() -> None:
    seg, gt = random_pair(2)
    split, merge, error, score = ev.cremi_score(seg, gt)
    assert (split, merge) == ev.variation_of_information(seg, gt)
    assert score == pytest.approx(math.sqrt(error * (split + merge)))
    assert ev.cremi_score(gt, gt) == (0.0, 0.0, 0.0, 0.0)


def brute_matching(
    seg: np.ndarray, gt: np.ndarray, threshold: float, criterion: str, ignore: int | None
) -> dict[str, float]:
    segments = [label for label in np.unique(seg).tolist() if label != ignore]
    objects = [label for label in np.unique(gt).tolist() if label != ignore]

    def overlap(a: int, b: int) -> float:
        both = int(((seg == a) & (gt == b)).sum())
        size_a, size_b = int((seg == a).sum()), int((gt == b).sum())
        return both / {"iou": size_a + size_b - both, "iop": size_a, "iot": size_b}[criterion]

    few, many = sorted([segments, objects], key=len)
    swap = few is not segments
    most = 0
    for choice in permutations(many, len(few)):
        found = zip(few, choice, strict=True)
        most = max(most, sum(overlap(*((b, a) if swap else (a, b))) >= threshold for a, b in found))
    n = len(segments) + len(objects)
    return {
        "precision": most / len(segments) if segments else 0.0,
        "recall": most / len(objects) if objects else 0.0,
        "segmentation_accuracy": most / (n - most) if n else 0.0,
        "f1": 2 * most / n if n else 0.0,
    }


@given(
    st.integers(0, 100),
    st.sampled_from([0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.0]),
    st.sampled_from(["iou", "iop", "iot"]),
    st.sampled_from([0, 1, None]),
)
@settings(max_examples=80, deadline=None)
def test_matching_is_the_largest_one(seed: int, threshold: float, criterion: str, ignore: int | None) -> None:
    rng = np.random.default_rng(seed)
    seg = rng.integers(0, rng.integers(1, 6), (5, 6))
    gt = np.where(rng.random(seg.shape) < 0.6, seg, rng.integers(0, rng.integers(1, 6), seg.shape))
    result = ev.matching(seg, gt, threshold=threshold, criterion=criterion, ignore_label=ignore)
    assert result == pytest.approx(brute_matching(seg, gt, threshold, criterion, ignore))


def test_matching_of_many_objects_stays_sparse() -> None:
    labels = np.arange(1, 200_001, dtype=np.uint64).repeat(2)
    result = ev.matching(labels + np.uint64(2**40), labels)
    assert result == {"precision": 1.0, "recall": 1.0, "segmentation_accuracy": 1.0, "f1": 1.0}


def test_thresholds_are_decimal_numbers() -> None:
    # an intersection over union of exactly 3/5 reaches the threshold 0.6
    seg, gt = np.array([1, 1, 1, 1, 0]), np.array([0, 1, 1, 1, 1])
    mean, accuracies = ev.mean_segmentation_accuracy(seg, gt, return_accuracies=True)
    assert accuracies.tolist() == [1, 1, 1] + [0] * 7
    assert mean == pytest.approx(0.3)
    assert ev.mean_segmentation_accuracy(seg, gt, thresholds=[0.6, 0.9]) == 0.5


def test_best_dice() -> None:
    seg, gt = random_pair(11)
    dice = {
        (a, b): 2 * ((seg == a) & (gt == b)).sum() / ((seg == a).sum() + (gt == b).sum())
        for a in range(1, 6)
        for b in range(1, 5)
    }
    segments = np.mean([max(dice[a, b] for b in range(1, 5)) for a in range(1, 6)])
    objects = np.mean([max(dice[a, b] for a in range(1, 6)) for b in range(1, 5)])
    assert ev.symmetric_best_dice_score(seg, gt) == pytest.approx(min(segments, objects))
    assert ev.symmetric_best_dice_score(gt, gt) == 1.0
    assert ev.symmetric_best_dice_score(np.zeros_like(seg), gt) == 0.0


@pytest.mark.parametrize("kwargs", [{}, {"block_shape": (7, 6)}])
def test_dice(kwargs: Any) -> None:
    seg, gt = random_pair(12)
    a, b = seg > 0, gt > 2
    expected = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert ev.dice_score(seg, gt, threshold_gt=2, **kwargs) == expected
    soft = seg / 6.0
    assert ev.dice_score(soft, b, threshold_seg=None, **kwargs) == pytest.approx(
        2 * soft[b].sum() / (soft.sum() + b.sum())
    )
    assert ev.dice_score(seg * 0, gt * 0, **kwargs) == 0.0
    mask = np.zeros(seg.shape, bool)
    mask[3:8] = True
    inside = 2 * (a & (gt > 0) & mask).sum() / ((a & mask).sum() + ((gt > 0) & mask).sum())
    assert ev.dice_score(seg, gt, mask=mask, **kwargs) == inside


@pytest.mark.parametrize(
    "name", ["variation_of_information", "rand_index", "cremi_score", "matching", "symmetric_best_dice_score"]
)
def test_scores_do_not_depend_on_the_blocks(name: str) -> None:
    seg, gt = random_pair(13, (12, 13, 14))
    whole = getattr(ev, name)(seg, gt)
    for kwargs in ({"block_shape": (5, 5, 5)}, {"block_shape": (1, 13, 2), "num_workers": 2}):
        assert getattr(ev, name)(seg, gt, **kwargs) == whole


def test_bad_input_is_refused() -> None:
    labels = np.ones((4, 4), np.uint8)
    with pytest.raises(DtypeError, match="segmentation must hold integer labels, its dtype is float32"):
        ev.rand_index(labels.astype(np.float32), labels)
    with pytest.raises(DtypeError, match="seg_b must hold integer labels, its dtype is float64"):
        ev.contingency_table(labels, labels.astype(float))
    with pytest.raises(ParameterError, match="second segmentation has the negative label -1"):
        ev.contingency_table(labels, -labels.astype(int))
    with pytest.raises(RunnerError, match="first segmentation has the negative label -1"):
        ev.contingency_table(-labels.astype(int), labels, block_shape=(2, 2))
    for kwargs in ({}, {"block_shape": (2, 2)}):
        with pytest.raises(ShapeError, match=r"\(4, 5\).*\(4, 4\)"):
            ev.variation_of_information(labels, np.ones((4, 5), np.uint8), **kwargs)
    with pytest.raises(ParameterError, match="matching criterion is 'dice'"):
        ev.matching(labels, labels, criterion="dice")
    for threshold in (0, 1.5, -1):
        with pytest.raises(ParameterError, match="not above 0 and at most 1"):
            ev.matching(labels, labels, threshold=threshold)
    with pytest.raises(ParameterError, match="There is no threshold"):
        ev.mean_segmentation_accuracy(labels, labels, thresholds=[])
    with pytest.raises(DtypeError, match="dice_score cannot use groundtruth of dtype complex128"):
        ev.dice_score(labels, labels.astype(complex))
    with pytest.raises(TypeError, match="unknown keyword"):
        ev.rand_index(labels, labels, block_ids=[0])


@pytest.mark.parametrize("kernel", [OverlapCounts(), DiceSums(0, None)])
def test_kernels_can_be_sent(kernel: Any) -> None:
    assert pickle.loads(pickle.dumps(kernel)) == kernel
