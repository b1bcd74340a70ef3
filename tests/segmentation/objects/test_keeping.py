"""Objects that stay or go: by their size, by the border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import segmentation
from bioimage_py.errors import DtypeError, ParameterError, RunnerError

from .cases import Case, cases


def largest(labels: np.ndarray, inside: np.ndarray, n: int) -> np.ndarray:
    ids, counts = np.unique(labels[inside].astype(labels.dtype.newbyteorder("=")), return_counts=True)
    order = sorted((-count, index) for index, (one, count) in enumerate(zip(ids, counts, strict=True)) if one)
    kept = ids[[index for _, index in order[:n]]]
    return np.where(np.isin(labels.astype(labels.dtype.newbyteorder("=")), kept), labels, np.zeros((), labels.dtype))


@pytest.mark.slow
@given(cases(), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_keep_largest_is_that_of_the_whole_array(case: Case, n: int) -> None:
    output = np.full(case.labels.shape, 1, case.labels.dtype)
    segmentation.keep_largest(case.source, output, n=n, **case.run)
    expected = np.full_like(output, 1)
    for labels, inside, wanted in zip(*map(case.each, (case.labels, case.inside, expected)), strict=True):
        np.copyto(wanted, largest(labels, inside, n), where=inside)
    np.testing.assert_array_equal(output, expected)


def touching(labels: np.ndarray, inside: np.ndarray, roi: tuple[slice, ...], buffer: int) -> np.ndarray:
    border = np.zeros(labels.shape, bool)
    border[roi] = True
    core = tuple(slice(part.start + buffer + 1, max(part.start + buffer + 1, part.stop - buffer - 1)) for part in roi)
    border[core] = False
    return np.unique(labels[border & inside].astype(labels.dtype.newbyteorder("=")))


@pytest.mark.slow
@given(cases(), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_border_objects_are_those_of_the_whole_array(case: Case, buffer: int) -> None:
    output = np.full(case.labels.shape, 1, case.labels.dtype)
    segmentation.remove_border_objects(case.source, output, buffer_size=buffer, **case.run)
    expected = np.full_like(output, 1)
    for labels, inside, wanted in zip(*map(case.each, (case.labels, case.inside, expected)), strict=True):
        gone = touching(labels, inside, case.roi[case.apart :], buffer)
        np.copyto(
            wanted,
            np.where(np.isin(labels.astype(labels.dtype.newbyteorder("=")), gone), np.zeros((), labels.dtype), labels),
            where=inside,
        )
    np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("buffer", [0, 2])
def test_border_objects_are_those_of_scikit_image(buffer: int) -> None:
    from skimage.segmentation import clear_border

    labels = segmentation.label(np.random.default_rng(1).random((30, 40)) < 0.4)
    ours = segmentation.remove_border_objects(labels, buffer_size=buffer, block_shape=(7, 9))
    np.testing.assert_array_equal(ours, clear_border(labels.astype("i8"), buffer_size=buffer))


def test_a_volume_without_objects_stays_empty() -> None:
    for operation in (segmentation.keep_largest, segmentation.remove_border_objects, segmentation.split_disconnected):
        assert not operation(np.zeros((5, 6), "u8"), block_shape=2).any()
        assert operation(np.zeros((0, 6), "u8")).shape == (0, 6)


def test_in_place() -> None:
    labels = np.array([3, 3, 7, 0, 7, 7], "u1")
    assert segmentation.keep_largest(labels, labels, block_shape=2) is labels
    assert labels.tolist() == [0, 0, 7, 0, 7, 7]


def test_an_id_that_the_output_cannot_hold() -> None:
    output = np.zeros(3, "u1")
    with pytest.raises(RunnerError, match="300"):
        segmentation.keep_largest(np.array([300, 300, 2]), output, retries=0)
    assert not output.any()


def test_bad_input() -> None:
    with pytest.raises(DtypeError, match="keep_largest"):
        segmentation.keep_largest(np.zeros(3))
    with pytest.raises(ParameterError, match="n must be"):
        segmentation.keep_largest(np.zeros(3, int), n=-1)
    with pytest.raises(ParameterError, match="buffer_size"):
        segmentation.remove_border_objects(np.zeros(3, int), buffer_size=0.5)
