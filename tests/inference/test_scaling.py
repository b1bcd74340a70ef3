"""Numbers of the first pass: those of the whole volume, whatever the blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bioimage_py.inference import Percentiles, predict
from bioimage_py.inference.scaling import Scaling, count, digits_of, merge_counts, scaled


def same(batch: np.ndarray) -> np.ndarray:
    return batch


@given(
    hnp.arrays(
        st.sampled_from(["u1", "i1", "u2", ">i2", "i4", "u8", "f4", "f8", ">f4"]),
        st.integers(1, 60),
        elements=None,
    ),
    st.integers(0, 100),
    st.integers(0, 59),
)
@settings(max_examples=300, deadline=None)
def test_percentiles_are_exact_to_the_digits_that_are_counted(values: np.ndarray, percent: int, cut: int) -> None:
    values = values[np.isfinite(values)]
    if not values.size:
        return
    bits = digits_of(values.dtype)
    parts = [count(part, bits) for part in (values[:cut], values[cut:]) if part.size]
    found = parts[0] if len(parts) == 1 else merge_counts(*parts)
    assert found.counts.sum() == values.size
    expected = float(np.percentile(values.astype(np.float64), percent, method="inverted_cdf"))
    if bits == 15:
        assert found.value(percent, bits) == expected
    elif abs(expected) < 1e300:
        assert abs(found.value(percent, bits) - expected) <= abs(expected) * 2**-10 + 1e-300


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8"])
@pytest.mark.parametrize("normalize", ["standard", Percentiles(2, 98)])
def test_one_scaling_for_the_whole_volume(dtype: str, normalize: Any) -> None:
    values = (np.random.default_rng(0).random((50, 40, 30)) * 250).astype(dtype)
    if np.dtype(dtype).kind == "f":
        values[3, 3, 3] = np.nan  # does not count
    whole = predict(values, same, tile=10, overlap=2, normalize=normalize)
    low, high = np.nanpercentile(values, [2, 98], method="inverted_cdf")
    shift, width = (np.nanmean(values), np.nanstd(values)) if normalize == "standard" else (low, high - low)
    np.testing.assert_allclose(whole, (values - np.float64(shift)) / np.float64(width), rtol=5e-3, atol=5e-3)
    roi = (slice(5, 33), slice(0, 40), slice(11, 12))
    for where in ({"block_shape": 7}, {"block_shape": (50, 3, 11), "num_workers": 3}, {"roi": roi}):
        found = predict(values, same, tile=10, overlap=2, normalize=normalize, progress=False, **where)
        part = where.get("roi", ...)
        np.testing.assert_array_equal(found[part], whole[part])


def test_each_channel_has_its_own_numbers() -> None:
    values = np.stack([np.arange(100.0), np.arange(100.0) * 5 + 3])
    both = predict(values, same, tile=10, channel_axis=0, channels=2, normalize="standard")
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)
    given = predict(values, same, tile=10, channel_axis=0, channels=2, normalize=[(0, 1), (3, 5)])
    np.testing.assert_allclose(given[0], given[1], atol=1e-5)
    np.testing.assert_allclose(given[0], np.arange(100))


def test_only_what_is_inside_of_the_mask_counts() -> None:
    values = np.arange(100.0)
    mask = values < 50
    found = predict(values, same, tile=10, normalize="standard", mask=mask)
    np.testing.assert_allclose(found[mask], (values[mask] - 24.5) / np.std(np.arange(50)), rtol=1e-6)
    assert not found[~mask].any()


def test_one_value_and_nothing_at_all_have_a_width_of_one() -> None:
    for normalize in ("standard", Percentiles(0, 100)):
        assert not predict(np.full(9, 7, "u1"), same, tile=4, normalize=normalize).any()
        assert np.isnan(predict(np.full(9, np.nan), same, tile=4, normalize=normalize)).all()


def test_large_integers_keep_their_differences() -> None:
    values = np.array([2**53, 2**53 + 2, 2**53 + 4], np.uint64)
    assert scaled(values, (float(2**53), 2.0)).tolist() == [0, 1, 2]
    assert Scaling().pairs(None, [values.dtype]) is None
