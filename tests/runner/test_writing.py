"""What a function may write, and what it reads back where it changes data in place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import RegionError, RunnerError, ValueRangeError
from bioimage_py.runner import get_runner, map_blocks
from bioimage_py.wrapper import RoiSource

from ..helpers import nothing, plus_one

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

LOCAL = get_runner("local")


def test_a_function_may_write_its_own_block_only() -> None:
    out = np.zeros(12, int)

    def whole(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][...] = 1

    def halo(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][bp.to_roi(block.outer_block)] = 1

    for function, margin in ((whole, None), (halo, 1)):
        with pytest.raises(RunnerError, match=r"may write its own block \[0:4\] only, not \[0:\d+\]") as error:
            LOCAL.run(function, [out.copy()], [out], block_shape=4, halo=margin)
        assert isinstance(error.value.__cause__, RegionError)
        assert "block.inner_block_local" in str(error.value)
    assert not out.any()


def test_writes_inside_the_block_follow_numpy() -> None:
    out = np.zeros((6, 8), int)

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        (z, _), (y, x) = block.begin, block.end
        outputs[0][z] = 0
        outputs[0][z, ::2] = 5
        outputs[0][z, -1] = block.id
        assert outputs[0][z, 0] == 5
        assert (y, x) == (z + 1, 8)

    LOCAL.run(function, [], [out], block_shape=(1, 8), num_workers=2)
    assert out[3].tolist() == [5, 0, 5, 0, 5, 0, 5, 3]


def test_values_out_of_range_name_the_block_and_both_values() -> None:
    out = np.zeros(20, "u1")

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)]

    data = np.arange(20)
    data[13] = 300
    with pytest.raises(RunnerError) as error:
        LOCAL.run(function, [data], [out], block_shape=4, num_workers=2)
    assert error.value.failed_block_ids == [3]
    assert "block 3 [12:16]" in str(error.value)
    assert "Value 300 at index (13,) does not fit uint8, which holds 0 to 255" in str(error.value)
    assert isinstance(error.value.__cause__, ValueRangeError)
    map_blocks(function, [data], [out], block_shape=4, casting="unsafe")
    assert out[13] == 300 - 256


def test_an_output_is_what_it_stands_for() -> None:
    out = np.zeros((4, 4), "u2")
    seen = LOCAL.run(
        lambda b, i, o, m: (o[0].shape, o[0].dtype, o[0].writable, o[0].ndim, len(o[0])),
        [],
        [out],
        block_shape=4,
        has_return_val=True,
    )
    assert seen == [((4, 4), np.dtype("u2"), True, 2, 4)]


def test_too_few_groups_for_the_workers_is_a_warning(tmp_path: Path) -> None:
    out = zarr.create_array(str(tmp_path / "o.zarr"), shape=(64,), chunks=(32,), dtype="u1")
    with pytest.warns(UserWarning, match="4 blocks share write units so that only 2 can run at once, fewer than the 3"):
        LOCAL.run(nothing, [], [out], block_shape=16, num_workers=3)


# --- in place ---


def opened(path: Path) -> Any:
    return zarr.open_array(str(path), mode="r+")


def test_in_place_without_a_halo_is_fine(tmp_path: Path) -> None:
    data = np.arange(12)
    LOCAL.run(plus_one, [data], [data], block_shape=5, num_workers=2)
    LOCAL.run(plus_one, [data[:]], [data], block_shape=5, halo=0)
    assert data.tolist() == list(range(2, 14))
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(64,), chunks=(8,), dtype="i4")
    LOCAL.run(plus_one, [store], [opened(tmp_path / "a.zarr")], block_shape=12, num_workers=2)
    assert (store[:] == 1).all()


def test_reading_with_a_halo_what_is_written_is_refused(tmp_path: Path) -> None:
    data = np.zeros((8, 8))
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(8, 8), chunks=(4, 4), dtype="i4")
    second = bp.open_source(str(tmp_path / "a.zarr"), mode="r+")
    pairs = [(data, data), (data, data[:, ::-1]), (store, opened(tmp_path / "a.zarr")), (store, second)]
    pairs.append((store, RoiSource(second, (slice(0, 8), slice(0, 8)))))
    for source, output in pairs:
        with pytest.raises(ValueError, match=r"output 0 is the same storage as input 0 .* read with the halo \(1, 1\)"):
            LOCAL.run(plus_one, [source], [output], block_shape=4, halo=1)
    with pytest.raises(ValueError, match="output 0 is the same storage as the mask"):
        LOCAL.run(plus_one, [data.copy()], [data], mask=data, block_shape=4, halo=1)


def test_in_place_through_another_view_is_refused(tmp_path: Path) -> None:
    data = np.zeros((8, 8))
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(16, 8), chunks=(4, 4), dtype="i4")
    halves = [RoiSource(store, (slice(start, start + 8),)) for start in (0, 8)]
    for source, output in ((data, data[::-1]), (data, data.T), (halves[0], halves[1])):
        with pytest.raises(ValueError, match="are different views of one storage"):
            LOCAL.run(plus_one, [source], [output], block_shape=4)
    LOCAL.run(plus_one, [halves[1]], [RoiSource(opened(tmp_path / "a.zarr"), (slice(8, 16),))], block_shape=4)
    assert (store[8:] == 1).all()
    assert (store[:8] == 0).all()


def test_two_outputs_must_not_share_storage(tmp_path: Path) -> None:
    data = np.zeros((2, 8))
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(8,), chunks=(4,), dtype="i4")
    for outputs in ([data[0], data[0, :]], [store, opened(tmp_path / "a.zarr")]):
        with pytest.raises(ValueError, match=r"output 1 .* shares its storage with another output"):
            LOCAL.run(nothing, [], outputs, block_shape=4)


def test_channels_of_one_numpy_array_are_different_arrays() -> None:
    channels = np.zeros((4, 6, 6, 3))

    def smear(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][bp.to_roi(block.inner_block)] = 1 + inputs[0][bp.to_roi(block.outer_block)].max()
        outputs[1][bp.to_roi(block.inner_block)] = 7

    LOCAL.run(smear, [channels[..., 0]], [channels[..., 1], channels[..., 2]], block_shape=3, halo=1)
    assert [float(channels[..., channel].mean()) for channel in range(3)] == [0.0, 1.0, 7.0]


def test_numpy_changed_in_place_is_not_run_twice() -> None:
    data = np.zeros(8)
    calls: Counter[int] = Counter()

    def twice_is_wrong(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        plus_one(block, inputs, outputs, mask)
        calls[block.id] += 1
        if block.id == 2:
            raise OSError("after the write")

    with pytest.raises(RunnerError) as error:
        LOCAL.run(twice_is_wrong, [data], [data], block_shape=2)
    assert error.value.failed_block_ids == [2]
    assert set(calls.values()) == {1}
    assert (data == 1).all()


def test_storage_changed_in_place_is_run_again_from_what_it_was(tmp_path: Path) -> None:
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(8,), chunks=(2,), dtype="i4", fill_value=5)
    failed: list[int] = []

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        plus_one(block, inputs, outputs, mask)
        if block.id == 2 and not failed:
            failed.append(1)
            raise OSError("after the write")

    LOCAL.run(function, [store], [store], block_shape=2)
    assert failed
    assert (store[:] == 6).all()


def test_a_mask_that_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(8,), chunks=(4,), dtype="i4", fill_value=1)
    failed: list[int] = []

    def clear(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        roi = bp.to_roi(block)
        outputs[0][roi] = mask[roi] - 1
        if not failed:
            failed.append(1)
            raise OSError("after the write")

    LOCAL.run(clear, [], [store], mask=store, block_shape=4)
    assert failed
    assert store[:].tolist() == [0] * 8
