"""Tables of label ids: exact for every integer type, and clear about ids that have no entry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import DtypeError, IndexingError, ParameterError, ShapeError, ValueRangeError
from bioimage_py.segmentation import tables

DTYPES = [np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


def limits(dtype: type) -> tuple[int, int]:
    if dtype is np.bool_:
        return 0, 1
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


@st.composite
def labels_and_labeling(draw: st.DrawFn) -> tuple[np.ndarray, dict[int, int]]:
    dtype = draw(st.sampled_from(DTYPES))
    low, high = limits(dtype)
    near = st.integers(max(low, -3), min(high, 10)) | st.integers(high - min(3, high), high)
    far = st.integers(low, high)
    keys = draw(st.lists(near | far, min_size=1, max_size=20, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.array(keys, dtype)[rng.integers(0, len(keys), draw(st.sampled_from([(0,), (7,), (3, 4), (2, 3, 4)])))]
    values = draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(keys), max_size=len(keys)))
    return labels, dict(zip(keys, values, strict=True))


@given(labels_and_labeling())
@settings(max_examples=300, deadline=None)
def test_a_dict_maps_every_id_exactly(case: tuple[np.ndarray, dict[int, int]]) -> None:
    labels, labeling = case
    table = tables.as_table(labeling, labels.dtype)
    result = table(labels)
    assert result.shape == labels.shape
    assert result.reshape(-1).tolist() == [labeling[int(v)] for v in labels.reshape(-1)]


@pytest.mark.parametrize("dtype", [*DTYPES, ">u8", ">u2"])
@pytest.mark.parametrize("shape", [(0,), (7,), (8,), (9,), (3, 8), (5, 4, 3)])
def test_taking_in_pieces_is_indexing(
    dtype: type | str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_PIECE", 8)
    values = (
        np.array([2**64 - 1, 7], np.uint64) if dtype is np.bool_ else np.arange(2**64 - 100, 2**64, dtype=np.uint64)
    )
    labels = np.random.default_rng(1).integers(0, len(values), shape).astype(dtype)
    for variant in (labels, np.asfortranarray(labels), np.flip(labels), labels[..., ::2]):
        for table in (values, values.astype(np.int8), values > 2**64 - 50):
            taken = tables.take(table, variant)
            assert taken.dtype == table.dtype
            np.testing.assert_array_equal(taken, table[variant.astype(np.int64)])


@given(labels_and_labeling())
@settings(max_examples=100, deadline=None)
def test_a_missing_id_is_named(case: tuple[np.ndarray, dict[int, int]]) -> None:
    labels, labeling = case
    if not labels.size:
        return
    missing = int(labels.reshape(-1)[-1])
    del labeling[missing]
    with pytest.raises(IndexingError, match=rf"id {missing} occurs in the labels but not in the labeling"):
        tables.as_table(labeling, labels.dtype)(labels)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d is not np.bool_])
def test_a_dense_labeling(dtype: type) -> None:
    labels = np.array([[0, 3], [1, 2]], dtype)
    labeling = np.array([9, 2**60 + 1, 7, 0], np.uint64)
    assert tables.as_table(labeling, labels.dtype)(labels).tolist() == [[9, 0], [2**60 + 1, 7]]
    with pytest.raises(IndexingError, match="id 3 occurs in the labels but not in the labeling, which has 3 entries"):
        tables.as_table(labeling[:3], labels.dtype)(labels)


def test_a_dense_labeling_refuses_negative_ids() -> None:
    with pytest.raises(IndexingError, match="id -1 occurs in the labels but not in the labeling"):
        tables.as_table(np.arange(3), np.dtype(np.int32))(np.array([-1, 0]))
    with pytest.raises(IndexingError, match=f"id {2**64 - 1} occurs"):
        tables.as_table(np.arange(3), np.dtype(np.uint64))(np.array([2**64 - 1, 0], np.uint64))


def test_keys_that_the_labels_cannot_hold_are_ignored() -> None:
    table = tables.as_table({0: 0, 1: 5, 300: 7, -2: 1, 2**70: 3}, np.dtype(np.uint8))
    assert table(np.array([1, 0], np.uint8)).tolist() == [5, 0]


@pytest.mark.parametrize(
    ("labeling", "error", "text"),
    [
        ({0: 0.5}, DtypeError, "maps integers to integers"),
        ({1.5: 1}, DtypeError, "maps integers to integers"),
        ({0: -1, 1: 2**63}, ValueRangeError, "fit neither int64 nor uint64"),
        ({0: 2**64}, ValueRangeError, "fit neither int64 nor uint64"),
        (np.zeros((6, 2), int), ShapeError, r"one axis \(new id by old id\), got shape \(6, 2\)"),
        (np.zeros(3), DtypeError, "a labeling must have an integer type, got float64"),
    ],
)
def test_labelings_that_make_no_sense(labeling: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        tables.as_table(labeling, np.dtype(np.int64))  # type: ignore[arg-type]


def test_values_that_do_not_fit_are_found_before_they_are_used() -> None:
    table = tables.as_table({0: 0, 5: 70_000}, np.dtype(np.uint16))
    with pytest.raises(ValueRangeError, match=r"maps id 5 to 70000, which the output's type uint16 cannot hold"):
        tables.check_fits(table, np.dtype(np.uint16))
    tables.check_fits(table, np.dtype(np.int32))
    assert table.narrowed(np.dtype(np.int32)).values.dtype == np.int32
    assert table.narrowed(np.dtype(np.uint16)).values.dtype == table.values.dtype


@pytest.mark.parametrize(
    ("ids", "start", "keep", "expected"),
    [
        ([0, 2, 3, 5], 0, True, [0, 1, 2, 3]),
        ([1, 2, 3], 0, True, [1, 2, 3]),
        ([0, 2, 3], 1, True, [0, 1, 2]),
        ([0, 2, 3], 4, True, [0, 4, 5]),
        ([2, 3], 4, True, [4, 5]),
        ([0, 2, 3], 0, False, [0, 1, 2]),
        ([2, 3], 0, False, [0, 1]),
        ([0, 2], 3, False, [3, 4]),
        ([-4, 0, 2], 0, True, [1, 0, 2]),
        ([0], 7, True, [0]),
        ([], 0, True, []),
    ],
)
def test_consecutive_ids(ids: list[int], start: int, keep: bool, expected: list[int]) -> None:
    assert tables.consecutive(np.array(ids, int), start_label=start, keep_zeros=keep).tolist() == expected


def test_consecutive_ids_at_the_end_of_64_bits() -> None:
    ids = np.array([3, 4])
    assert tables.consecutive(ids, start_label=2**64 - 2).tolist() == [2**64 - 2, 2**64 - 1]
    with pytest.raises(ValueRangeError, match="2 objects numbered from 18446744073709551615 exceed"):
        tables.consecutive(ids, start_label=2**64 - 1)
    with pytest.raises(ParameterError, match="start_label must be a whole number >= 0, got -2"):
        tables.consecutive(ids, start_label=-2)


@given(st.integers(0, 2**32 - 1), st.sampled_from(DTYPES), st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_counts_merge_to_those_of_the_whole(seed: int, dtype: type, cut: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = limits(dtype)
    ids = np.array([low, high, (low + high) // 2, 0, max(low, high - 1)], dtype)
    labels = ids[rng.integers(0, len(ids), 30)]
    found, counts = tables.merge_counted(tables.counted(labels[:cut]), tables.counted(labels[cut:]))
    expected_ids, expected_counts = np.unique(labels, return_counts=True)
    assert found.tolist() == [int(v) for v in expected_ids]
    assert counts.tolist() == expected_counts.tolist()
    assert counts.dtype == np.int64


def test_size_limits() -> None:
    ids, counts = np.array([0, 2, 2**60 + 1, 9], np.uint64), np.array([1, 5, 6, 7])
    kept = tables.by_size(ids, counts, min_size=5, max_size=6, relabel=False)
    assert kept.tolist() == [0, 2, 2**60 + 1, 0]
    assert tables.by_size(ids, counts, min_size=6, max_size=None, relabel=True).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (None, None, "needs a limit"),
        (-2, None, "min_size must be a whole number >= 0, got -2"),
        (None, 2.5, "max_size must be a whole number >= 0, got 2.5"),
        (5, 3, "min_size 5 is above max_size 3"),
    ],
)
def test_size_limits_that_make_no_sense(low: int | None, high: int | None, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        tables.check_size_limits(low, high)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_runs(seed: int) -> None:
    flat = np.random.default_rng(seed).integers(0, 2, seed % 20)
    starts, lengths = tables.runs(flat)
    np.testing.assert_array_equal(np.repeat(flat[starts], lengths), flat)
    assert (np.diff(flat[starts]) != 0).all()
