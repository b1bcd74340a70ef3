"""A user's own kernel as an operation: call and decorator, halo, channels, masks, in place, workers, resume."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import bioimage_py as bp
from bioimage_py.errors import AliasError, ArgumentError, ParameterError, ShapeError, ValueRangeError
from bioimage_py.sources import Axis
from bioimage_py.wrapper import AxesSource


@bp.map(halo=lambda radius: radius)
def span(block: np.ndarray, *, radius: int = 1) -> np.ndarray:
    """Largest minus smallest value around every voxel."""
    size = 2 * radius + 1
    return ndimage.maximum_filter(block, size, mode="nearest") - ndimage.minimum_filter(block, size, mode="nearest")


@bp.map()
def weighted(first: np.ndarray, second: np.ndarray, *, weight: float = 0.5) -> np.ndarray:
    return weight * first + (1 - weight) * second


@given(
    hnp.arrays(
        st.sampled_from(["u1", "i2", "f4"]), hnp.array_shapes(max_dims=4, max_side=9), elements=st.integers(0, 100)
    ),
    st.integers(0, 2),
    st.integers(1, 6),
)
@settings(max_examples=60, deadline=None)
def test_blocks_give_what_the_whole_array_gives(array: np.ndarray, radius: int, block: int) -> None:
    expected = span(array, radius=radius)
    np.testing.assert_array_equal(span(array, radius=radius, block_shape=block), expected)
    np.testing.assert_array_equal(span(array, radius=radius, block_shape=block, num_workers=2), expected)


def test_a_call_and_an_operation_are_the_same() -> None:
    array = np.random.default_rng(0).integers(0, 200, (20, 21), dtype=np.uint8)
    size = {"block_shape": 7, "num_workers": 2}
    called = bp.map(lambda one: ndimage.uniform_filter(one.astype("f4"), 3), array, halo=1, **size)
    made = bp.map(lambda one: ndimage.uniform_filter(one.astype("f4"), 3), halo=1)(array, **size)
    assert called.dtype == np.float32
    np.testing.assert_array_equal(called, made)
    np.testing.assert_array_equal(bp.map(np.sqrt, array, **size), np.sqrt(array))
    np.testing.assert_array_equal(bp.map(np.add)(array, array, **size), array + array)
    assert str(inspect.signature(span)).startswith("(input, output=None, *, radius: 'int' = 1, block_shape=None")
    assert span.__name__ == "span"
    assert "Largest minus smallest" in span.__doc__
    assert "num_workers" in span.__doc__


def test_several_inputs_channels_and_types() -> None:
    one, two = (np.random.default_rng(seed).integers(0, 200, (9, 10, 11), dtype=np.uint8) for seed in (0, 1))
    found = weighted(one, two, weight=0.25, block_shape=4)
    np.testing.assert_array_equal(found, 0.25 * one + 0.75 * two)
    both = bp.map(lambda a, b: np.stack([a, b]), [one, two], channels=2, block_shape=4)
    np.testing.assert_array_equal(both, np.stack([one, two]))
    small = bp.map(lambda a: a * 2.0, one, dtype="uint16", block_shape=4)
    assert small.dtype == np.uint16
    with pytest.raises(ValueRangeError, match="does not fit uint8"):
        bp.map(lambda a: a * 2.0, one, dtype="uint8")
    with pytest.raises(ShapeError, match="shape"):
        weighted(one, two[:5], block_shape=4)


def test_channels_of_the_data_are_kept_apart() -> None:
    array = np.random.default_rng(0).random((2, 9, 10, 3)).astype("f4")
    source = AxesSource(array, [Axis("c", "channel"), Axis("y"), Axis("x"), Axis("t", "time")])
    seen = []

    def local(block: np.ndarray) -> np.ndarray:
        seen.append(block.ndim)
        return np.asarray(ndimage.uniform_filter(block, 3))

    found = bp.map(local, source, halo=1, block_shape=4)
    for c, t in np.ndindex(2, 3):
        expected = ndimage.uniform_filter(array[c, :, :, t], 3)
        np.testing.assert_allclose(found[c, ..., t], expected, atol=1e-6)
    assert set(seen) == {2}
    gradients = bp.map(lambda block: np.stack(np.gradient(block)), source, halo=1, channels=2, block_shape=4)
    assert gradients.shape == (2, 2, 9, 10, 3)
    np.testing.assert_allclose(gradients[:, 1, :, :, 2], np.stack(np.gradient(array[1, :, :, 2])), atol=1e-6)
    joined = bp.map(local, source, halo=1, axes="cyxt", block_shape=4)
    np.testing.assert_allclose(joined, ndimage.uniform_filter(array, 3), atol=1e-6)


def test_masks_regions_and_in_place() -> None:
    array = np.arange(100, dtype=np.int64).reshape(10, 10)
    mask = array % 3 == 0
    found = bp.map(lambda one: one + 1, array, mask=mask, block_shape=4)
    np.testing.assert_array_equal(found, np.where(mask, array + 1, 0))
    data = array.copy()
    assert bp.map(lambda one: one * 2, data, data, block_shape=4) is data
    np.testing.assert_array_equal(data, array * 2)
    with pytest.raises(AliasError):
        span(data, data, block_shape=4)
    part = (slice(2, 7), slice(3, 10))
    np.testing.assert_array_equal(span(array, roi=part, block_shape=3)[part], span(array)[part])
    assert span(array, block_shape=5, plan=True).stages[0].n_blocks == 4


def test_a_kernel_cannot_change_its_input() -> None:
    array = np.zeros((4, 5), np.uint8)

    def change(block: np.ndarray) -> np.ndarray:
        block += 1
        return block

    with pytest.raises(ValueError, match="read-only"):
        bp.map(change, array, dtype="uint8")
    assert not array.any()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda a: bp.map(lambda b: b[1:], a), ShapeError, r"shape \(0, 1\) of a block .* of the shape \(1, 1\)"),
        (lambda a: bp.map(lambda b: b.sum(), a, dtype="f4"), ShapeError, r"of the shape \(\) of a block"),
        (lambda a: bp.map(lambda b: np.stack([b, b]), a), ShapeError, "channels=2"),
        (lambda a: bp.map(lambda b: b + [][int(b.max())], a), ParameterError, "failed for zeros"),
        (lambda a: bp.map(lambda b, *, mask: b), ParameterError, "'mask', which every operation has"),
        (lambda a: bp.map(3, a), ParameterError, "is no function"),
        (lambda a: bp.map(np.sqrt, block_shape=4), ArgumentError, "no inputs to run on"),
        (lambda a: bp.map(np.sqrt, None, a), ArgumentError, "no inputs to run on"),
        (lambda a: span(a, diameter=3), ArgumentError, "unknown keyword"),
        (lambda a: span(a, a, a), ArgumentError, "too many positional"),
    ],
)
def test_calls_that_make_no_sense(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(np.zeros((8, 8), np.int64))


SCRIPT = """
import sys
import numpy as np
import bioimage_py as bp

OFFSET = 3

@bp.map(halo=1)
def above(block, *, factor=1):
    from scipy import ndimage
    return (ndimage.uniform_filter(block.astype("f4"), 3) * factor + OFFSET).astype("f4")

if __name__ == "__main__":
    folder = sys.argv[1]
    array = np.random.default_rng(0).integers(0, 200, (40, 41), dtype=np.uint8)
    raw = bp.copy(array, folder + "/a.zarr/raw", chunks=(8, 8))
    above(raw, folder + "/a.zarr/out", factor=2, job_type="subprocess", num_workers=2, progress=False, block_shape=16)
"""


def test_workers_run_what_a_script_defines(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "script.py", str(tmp_path)], cwd=tmp_path, check=True, timeout=120)
    array = bp.open_source(tmp_path / "a.zarr", "raw")[...]
    expected = ndimage.uniform_filter(array.astype("f4"), 3) * 2 + 3
    np.testing.assert_allclose(bp.open_source(tmp_path / "a.zarr", "out")[...], expected, rtol=1e-6)


def test_a_run_that_failed_is_continued(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(1, 200, (32, 32), dtype=np.uint8)
    raw = bp.copy(array, tmp_path / "a.zarr" / "raw", chunks=(8, 8))
    flag = tmp_path / "broken"
    flag.touch()
    calls = tmp_path / "calls"

    def add(block: np.ndarray) -> np.ndarray:
        if flag.exists() and block[0, 0] == array[24, 24]:
            raise OSError("disk on fire")
        with calls.open("a") as file:
            file.write("x")
        return block + np.uint8(1)

    run: dict[str, Any] = {"block_shape": 8, "job_type": "subprocess", "num_workers": 1, "retries": 0, "dtype": "uint8"}
    with pytest.raises(bp.RunnerError):
        bp.map(add, raw, tmp_path / "a.zarr" / "out", progress=False, **run)
    before = len(calls.read_text())
    flag.unlink()
    out = bp.map(add, raw, tmp_path / "a.zarr" / "out", progress=False, **run)
    np.testing.assert_array_equal(out[...], array + 1)
    assert len(calls.read_text()) - before < 16
