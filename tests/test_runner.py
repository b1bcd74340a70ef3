"""Running functions over blocks in this process: what `Runner.run`, `Runner.map` and `map_blocks` promise."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from threadpoolctl import threadpool_info, threadpool_limits

import bioimage_py as bp
from bioimage_py.errors import ConfigError, ParameterError, RegionError, RunnerError, ShapeError, ValueRangeError
from bioimage_py.runner import LocalRunner, Runner, get_runner, map_blocks, run_block
from bioimage_py.sources import Source
from bioimage_py.wrapper import RoiSource

LOCAL = get_runner("local")


def nothing(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    pass


def block_id(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    return int(block.id)


def workers_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("bioimage_py")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Any:
    yield
    assert workers_alive() == []


# --- pinned --------------------------------------------------------------------------------------------------------


def test_blocks_come_in_c_order_with_lists_of_ints() -> None:
    blocks = LOCAL.run(lambda block, i, o, m: block, [np.zeros((5, 7))], block_shape=(3, 4), has_return_val=True)
    assert blocks is not None
    assert [(b.begin, b.end, b.shape, b.ndim) for b in blocks] == [
        ([0, 0], [3, 4], [3, 4], 2),
        ([0, 4], [3, 7], [3, 3], 2),
        ([3, 0], [5, 4], [2, 4], 2),
        ([3, 4], [5, 7], [2, 3], 2),
    ]
    assert all(type(v) is int for b in blocks for v in (b.id, *b.begin, *b.end, *b.shape))


@pytest.mark.parametrize(
    ("halo", "kind"),
    [(None, bp.Block), (0, bp.BlockWithHalo), ((0, 0), bp.BlockWithHalo), ([1, 2], bp.BlockWithHalo)],
)
def test_the_halo_decides_what_a_block_is(halo: Any, kind: type) -> None:
    kinds = LOCAL.run(lambda b, i, o, m: type(b), [np.zeros((4, 4))], block_shape=2, halo=halo, has_return_val=True)
    assert kinds == [kind] * 4


def test_the_function_gets_tuples_of_sources_and_the_mask() -> None:
    data, mask, out = np.arange(6), np.array([1, 0, 1, 1, 0, 1]), np.zeros(6, int)

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> bool:
        assert isinstance(inputs, tuple)
        assert isinstance(outputs, tuple)
        assert all(isinstance(source, Source) for source in (*inputs, *outputs, mask))
        roi = bp.to_roi(block)
        outputs[0][roi] = inputs[0][roi] * mask[roi]
        return mask is not None

    assert LOCAL.run(function, [data], [out], mask=mask, block_shape=2, has_return_val=True) == [True] * 3
    assert out.tolist() == (data * mask).tolist()
    assert LOCAL.run(lambda b, i, o, m: m, [data], block_shape=3, has_return_val=True) == [None, None]


def test_without_has_return_val_there_is_nothing() -> None:
    assert LOCAL.run(block_id, [np.zeros(4)], block_shape=2) is None


@pytest.mark.parametrize(
    "ids", [[3, 0, 2], (3, 0, 2), np.array([3, 0, 2]), iter([3, 0, 2])], ids=["list", "tuple", "numpy", "iterator"]
)
def test_results_follow_block_ids_as_given(ids: Any) -> None:
    assert LOCAL.run(block_id, [np.zeros(8)], block_shape=2, block_ids=ids, has_return_val=True) == [3, 0, 2]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_results_follow_block_ids_with_sharded_outputs_too(tmp_path: Path, num_workers: int) -> None:
    out = zarr.create_array(str(tmp_path / "o.zarr"), shape=(64, 64), chunks=(16, 16), shards=(32, 32), dtype="u1")
    run = {"block_shape": (16, 16), "num_workers": num_workers, "has_return_val": True}
    assert LOCAL.run(block_id, [], [out], **run) == list(range(16))
    ids = [9, 0, 15, 4, 1, 5]
    assert LOCAL.run(block_id, [], [out], block_ids=ids, **run) == ids


def test_a_region_restricts_the_grid_and_halos_reach_beyond_it() -> None:
    def outer(block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
        return block.inner_block.begin, block.outer_block.begin, block.outer_block.end

    found = LOCAL.run(outer, [np.zeros(20)], block_shape=4, halo=2, roi=(slice(5, 13),), has_return_val=True)
    assert found == [([5], [3], [11]), ([9], [7], [15])]


def test_outputs_may_have_leading_axes() -> None:
    out = np.zeros((2, 6, 6), "f4")

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        roi = bp.to_roi(block)
        outputs[0][(slice(None), *roi)] = np.stack([inputs[0][roi], -inputs[0][roi]])

    data = np.arange(36.0).reshape(6, 6)
    LOCAL.run(function, [data], [out], block_shape=(4, 3), num_workers=2)
    np.testing.assert_array_equal(out, np.stack([data, -data]))


def test_a_run_may_have_outputs_only_or_one_bare_array() -> None:
    out = np.zeros(6, int)

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][bp.to_roi(block)] = block.id

    LOCAL.run(function, (), out, block_shape=4)
    assert out.tolist() == [0, 0, 0, 0, 1, 1]
    with pytest.raises(ParameterError, match="at least one input or output"):
        LOCAL.run(function, (), ())


def test_without_a_block_shape_one_is_chosen() -> None:
    shapes = LOCAL.run(lambda b, i, o, m: b.shape, [np.zeros((200, 100, 300), "u1")], has_return_val=True)
    assert shapes is not None
    assert sum(map(np.prod, shapes)) == 6_000_000
    assert max(map(np.prod, shapes)) <= 2**21


def test_nothing_to_do() -> None:
    assert LOCAL.run(block_id, [np.zeros(8)], block_shape=2, block_ids=[], has_return_val=True) == []
    assert LOCAL.run(block_id, [np.zeros(8)], block_shape=2, roi=(slice(3, 3),), has_return_val=True) == []
    assert LOCAL.run(block_id, [np.zeros((0, 8))], block_shape=2, has_return_val=True) == []
    assert LOCAL.run(block_id, [np.array(3.0)], has_return_val=True) == [0]
    assert map_blocks(block_id, [np.zeros(0)], reduce=lambda a, b: a + b).results is None


def test_get_runner_is_open_about_case_and_names_what_it_knows() -> None:
    assert isinstance(get_runner("LOCAL"), LocalRunner)
    assert isinstance(get_runner("subprocess"), Runner)
    with pytest.raises(ConfigError, match=r"unknown job_type 'pbs'; known are \[.*'local'"):
        get_runner("pbs")
    with pytest.raises(ConfigError, match="job_type None is not a name"):
        get_runner(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is not a runner configuration"):
        get_runner("local", {"tmp_root": "/tmp"})


def test_run_block_is_one_call_here_and_now() -> None:
    grid = bp.Grid((8,), (4,))
    assert run_block(lambda b, i, o, m: (b.id, i, m), grid, 1, ("in",), ("out",)) == (1, ("in",), None)
    found = run_block(lambda b, i, o, m: b.outer_block.begin, grid, 1, (), (), halo=2)
    assert found == [2]


# --- map -----------------------------------------------------------------------------------------------------------


def test_map_gives_values_in_order() -> None:
    assert LOCAL.map(lambda i: i * i, 5, num_workers=2) == [0, 1, 4, 9, 16]
    assert LOCAL.map(lambda i: i * i, item_ids=[3, 1, -2, 3]) == [9, 1, 4, 9]
    assert LOCAL.map(lambda i: i, item_ids=(i for i in (2, 0))) == [2, 0]
    assert LOCAL.map(lambda i: i, 0) == []
    assert LOCAL.map(lambda i: i, 3, has_return_val=False) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "neither n_items nor item_ids"),
        ({"n_items": -1}, "n_items=-1 is negative"),
        ({"n_items": 2.5}, "n_items must be whole numbers"),
        ({"item_ids": [1.5]}, "item_ids must be whole numbers"),
    ],
)
def test_map_refuses(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        LOCAL.map(lambda i: i, **arguments)


# --- map_blocks ----------------------------------------------------------------------------------------------------


def test_map_blocks_reports_what_happened() -> None:
    report = map_blocks(block_id, [np.zeros(100)], block_shape=10, name="count", has_return_val=True, num_workers=2)
    assert report.results == list(range(10))
    assert report.n_blocks == 10
    stage = report.stages[0]
    assert sorted(stage.block_ids.tolist()) == list(range(10))
    assert stage.seconds.shape == (10,)
    assert (stage.seconds >= 0).all()
    assert len(stage.slowest(3)) == 3
    told = json.loads(report.to_json())
    assert told["stages"][0]["done"] == told["stages"][0]["n_blocks"] == 10
    assert report.peak_bytes > 2**20
    sizes = [size for _, size in report.memory_marks]
    assert sizes == sorted(set(sizes))
    assert "count: 10 of 10 blocks" in report.summary()


def test_reduce_has_the_same_bits_whatever_the_workers_do() -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal(3000) * 10.0 ** rng.integers(-6, 6, 3000)

    def total(num_workers: int, fails: bool) -> str:
        failed: set[int] = set()

        def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
            if fails and block.id % 17 == 3 and block.id not in failed:
                failed.add(block.id)
                raise OSError("for once")
            time.sleep(float(np.random.default_rng().random()) * 1e-3)
            return None if block.id == 40 else float(inputs[0][bp.to_roi(block)].sum())

        run = map_blocks(function, [data], block_shape=30, reduce=lambda a, b: a + b, num_workers=num_workers)
        return float(run.results).hex()

    assert len({total(num_workers, fails) for num_workers in (1, 2, 5) for fails in (False, True)}) == 1


def test_setup_is_called_once_and_reaches_the_function() -> None:
    calls: list[int] = []

    def setup() -> dict[str, int]:
        calls.append(1)
        return {"answer": 42}

    def function(block: Any, inputs: Any, outputs: Any, mask: Any, context: Any) -> int:
        return int(context["answer"])

    report = map_blocks(
        function, [np.zeros(20)], block_shape=2, setup=setup, has_return_val=True, num_workers=4, progress=False
    )
    assert report.results == [42] * 10
    assert len(calls) == 1


def test_a_failing_setup_ends_the_run_with_its_error() -> None:
    def setup() -> None:
        raise KeyError("no model")

    with pytest.raises(RunnerError, match=r"worker \w+ crashed: KeyError\('no model'\)") as error:
        map_blocks(lambda b, i, o, m, context: None, [np.zeros(20)], block_shape=2, setup=setup, num_workers=2)
    assert isinstance(error.value.__cause__, KeyError)
    assert error.value.failed_block_ids == list(range(10))


def test_a_failing_reduce_ends_the_run_with_its_error() -> None:
    def merge(a: int, b: int) -> int:
        raise KeyError("cannot merge")

    with pytest.raises((RunnerError, KeyError), match="cannot merge"):
        map_blocks(block_id, [np.zeros(20)], block_shape=2, reduce=merge, num_workers=2)


def test_runs_nest() -> None:
    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        values = LOCAL.map(lambda i: i * block.id, 3, num_workers=2)
        assert values is not None
        return sum(values)

    assert LOCAL.run(function, [np.zeros(8)], block_shape=2, num_workers=2, has_return_val=True) == [0, 3, 6, 9]


def test_nothing_is_printed_off_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    LOCAL.run(nothing, [np.zeros(8)], block_shape=2, name="quiet")
    assert capfd.readouterr() == ("", "")


# --- failures ------------------------------------------------------------------------------------------------------


class Flaky:
    """A block function that fails on some blocks, the first time or always, and remembers what it did."""

    def __init__(self, bad: set[int], *, always: bool, error: type[BaseException] = ValueError) -> None:
        self.bad, self.always, self.error = bad, always, error
        self.calls: Counter[int] = Counter()
        self.workers: dict[int, list[str]] = {}

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        self.calls[block.id] += 1
        self.workers.setdefault(block.id, []).append(threading.current_thread().name)
        time.sleep(0.001)
        if block.id in self.bad and (self.always or self.calls[block.id] == 1):
            raise self.error(f"block {block.id} is bad")
        return int(block.id)


def test_one_bad_block_costs_no_other_block() -> None:
    function = Flaky({13}, always=True)
    with pytest.raises(RunnerError) as error:
        LOCAL.run(function, [np.zeros((100, 4))], block_shape=(2, 4), num_workers=2, name="job")
    assert set(function.calls) == set(range(50))
    assert error.value.failed_block_ids == [13]
    assert error.value.tmp_folder is None
    text = str(error.value)
    assert "1 block(s) failed in 'job' of 50 (0 not run)" in text
    assert "13 [26:28, 0:4]" in text
    assert "ValueError: block 13 is bad" in text
    assert "in __call__" in text
    assert 'raise self.error(f"block {block.id} is bad")' in text
    assert "block_ids=error.failed_block_ids" in error.value.remedy
    cause = error.value.__cause__
    assert isinstance(cause, ValueError)
    assert cause.__traceback__ is not None


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_retry_finishes_the_run_and_goes_to_another_worker(num_workers: int) -> None:
    function = Flaky({3, 30}, always=False)
    values = LOCAL.run(function, [np.zeros(100)], block_shape=2, num_workers=num_workers, has_return_val=True)
    assert values == list(range(50))
    assert function.calls[3] == function.calls[30] == 2
    if num_workers == 2:
        assert len(set(function.workers[30])) == 2


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_counted(retries: int) -> None:
    function = Flaky({7}, always=True)
    with pytest.raises(RunnerError, match="block 7 is bad"):
        map_blocks(function, [np.zeros(20)], block_shape=2, retries=retries, num_workers=2)
    assert function.calls[7] == retries + 1
    assert set(function.calls) == set(range(10))


def test_a_bug_stops_the_run_at_once() -> None:
    function = Flaky(set(range(400)), always=True)
    with pytest.raises(RunnerError, match="the first blocks all failed in the same way") as error:
        LOCAL.run(function, [np.zeros(800)], block_shape=2, num_workers=2)
    assert len(function.calls) < 100
    assert error.value.failed_block_ids == list(range(400)), "blocks that were not run have no result either"
    assert "not run" in str(error.value)


def test_three_bad_blocks_among_good_ones_are_no_bug() -> None:
    function = Flaky({20, 21, 22}, always=True)
    with pytest.raises(RunnerError) as error:
        LOCAL.run(function, [np.zeros(800)], block_shape=2, num_workers=1)
    assert error.value.failed_block_ids == [20, 21, 22]
    assert len(function.calls) == 400


def test_max_failures_stops_the_run() -> None:
    function = Flaky(set(range(50, 400)), always=True)
    with pytest.raises(RunnerError, match="more than 5 blocks failed"):
        map_blocks(function, [np.zeros(800)], block_shape=2, retries=0, max_failures=5)
    assert len(function.calls) < 200


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_no_exception_of_a_function_ends_the_caller(error: type[BaseException]) -> None:
    function = Flaky({4}, always=True, error=error)
    with pytest.raises(RunnerError, match=f"{error.__name__}: block 4 is bad") as failure:
        LOCAL.run(function, [np.zeros(40)], block_shape=2, num_workers=2)
    assert isinstance(failure.value.__cause__, error)
    assert set(function.calls) == set(range(20))


def test_failures_do_not_hold_the_arrays_of_their_blocks() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        region = inputs[0][bp.to_roi(block)]
        alive.append(weakref.ref(region))
        try:
            region.reshape(7, -1)
        except ValueError as error:
            raise KeyError(block.id) from error

    with pytest.raises(RunnerError) as error:
        map_blocks(function, [np.zeros(40)], block_shape=4, max_failures=100)
    gc.collect()
    assert [ref() for ref in alive if ref() is not None] == []
    assert "cannot reshape array of size 4" in str(error.value), "the text of the whole chain stays"


def test_an_exception_that_cannot_be_printed_is_reported_all_the_same() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(RunnerError, match="Silent: <exception str"):
        LOCAL.run(Flaky({0}, always=True, error=Silent), [np.zeros(4)], block_shape=2)


def test_functions_that_cannot_be_called_are_refused_before_the_first_block() -> None:
    data = [np.zeros(4)]
    with pytest.raises(ParameterError, match=r"few\(.*cannot be called with \(block, inputs, outputs, mask\)"):
        LOCAL.run(few, data)
    with pytest.raises(ParameterError, match="the function is a int"):
        LOCAL.run(3, data)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="context"):
        map_blocks(nothing, data, setup=dict)
    with pytest.raises(ParameterError, match=r"cannot be called with \(index\)"):
        LOCAL.map(nothing, 3)


def few(block: Any, inputs: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([99], r"block_ids \[99\] are not in 0\.\.3"),
        ([-1], r"block_ids \[-1\] are not in"),
        ([1.7], "block_ids must be whole numbers"),
        ([2, 0, 2], r"block_ids \[2\] are given more than once"),
        (3, "block_ids must be whole numbers"),
    ],
)
def test_bad_block_ids(ids: Any, text: str) -> None:
    with pytest.raises(RegionError, match=text):
        LOCAL.run(block_id, [np.zeros(8)], block_shape=2, block_ids=ids, has_return_val=True)


def test_what_threads_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="'local' cannot end a block after block_timeout=1 seconds") as error:
        map_blocks(nothing, [np.zeros(4)], block_timeout=1)
    assert error.value.remedy == 'job_type="subprocess"'
    for call in (
        lambda: LOCAL.map(lambda i: i, 3, resume_from="folder"),
        lambda: bp.copy(np.zeros(4), resume_from="folder"),
    ):
        with pytest.raises(ConfigError, match="keeps no run folder to resume from"):
            call()


def test_resume_from_and_ids_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="resume_from and block_ids exclude each other"):
        LOCAL.run(nothing, [np.zeros(4)], resume_from="folder", block_ids=[0])


# --- writing -------------------------------------------------------------------------------------------------------


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


# --- in place ------------------------------------------------------------------------------------------------------


def add_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = bp.to_roi(getattr(block, "inner_block", block))
    outputs[0][roi] = inputs[0][roi] + 1


def opened(path: Path) -> Any:
    return zarr.open_array(str(path), mode="r+")


def test_in_place_without_a_halo_is_fine(tmp_path: Path) -> None:
    data = np.arange(12)
    LOCAL.run(add_one, [data], [data], block_shape=5, num_workers=2)
    LOCAL.run(add_one, [data[:]], [data], block_shape=5, halo=0)
    assert data.tolist() == list(range(2, 14))
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(64,), chunks=(8,), dtype="i4")
    LOCAL.run(add_one, [store], [opened(tmp_path / "a.zarr")], block_shape=12, num_workers=2)
    assert (store[:] == 1).all()


def test_reading_with_a_halo_what_is_written_is_refused(tmp_path: Path) -> None:
    data = np.zeros((8, 8))
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(8, 8), chunks=(4, 4), dtype="i4")
    second = bp.open_source(str(tmp_path / "a.zarr"), mode="r+")
    pairs = [(data, data), (data, data[:, ::-1]), (store, opened(tmp_path / "a.zarr")), (store, second)]
    pairs.append((store, RoiSource(second, (slice(0, 8), slice(0, 8)))))
    for source, output in pairs:
        with pytest.raises(ValueError, match=r"output 0 is the same storage as input 0 .* read with the halo \(1, 1\)"):
            LOCAL.run(add_one, [source], [output], block_shape=4, halo=1)
    with pytest.raises(ValueError, match="output 0 is the same storage as the mask"):
        LOCAL.run(add_one, [data.copy()], [data], mask=data, block_shape=4, halo=1)


def test_in_place_through_another_view_is_refused(tmp_path: Path) -> None:
    data = np.zeros((8, 8))
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(16, 8), chunks=(4, 4), dtype="i4")
    halves = [RoiSource(store, (slice(start, start + 8),)) for start in (0, 8)]
    for source, output in ((data, data[::-1]), (data, data.T), (halves[0], halves[1])):
        with pytest.raises(ValueError, match="are different views of one storage"):
            LOCAL.run(add_one, [source], [output], block_shape=4)
    LOCAL.run(add_one, [halves[1]], [RoiSource(opened(tmp_path / "a.zarr"), (slice(8, 16),))], block_shape=4)
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
        add_one(block, inputs, outputs, mask)
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
        add_one(block, inputs, outputs, mask)
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


# --- threads -------------------------------------------------------------------------------------------------------


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info()]


def test_libraries_get_one_thread_a_worker_and_theirs_back() -> None:
    np.ones((4, 4)) @ np.ones((4, 4))
    with threadpool_limits(2):
        before = blas_threads()
        seen = LOCAL.run(
            lambda b, i, o, m: blas_threads(), [np.zeros(4)], block_shape=2, num_workers=2, has_return_val=True
        )
        assert seen == [[1] * len(before)] * 2
        assert blas_threads() == before
        with pytest.raises(RunnerError):
            LOCAL.run(Flaky({0, 1}, always=True), [np.zeros(4)], block_shape=2, num_workers=2)
        assert blas_threads() == before
        for num_workers in (1, 4):
            alone = LOCAL.run(
                lambda b, i, o, m: blas_threads(),
                [np.zeros(4)],
                block_shape=4,
                num_workers=num_workers,
                has_return_val=True,
            )
            assert alone == [before], "a worker that is alone may use all of them"


def test_libraries_that_a_block_loads_are_limited_too() -> None:
    script = """
import numpy as np
import bioimage_py as bp
from threadpoolctl import threadpool_info

def function(block, inputs, outputs, mask):
    import scipy.linalg
    return len(threadpool_info()), {l["num_threads"] for l in threadpool_info()}

before = len(threadpool_info())
blocks = bp.get_runner("local").run(function, [np.zeros(40)], block_shape=1, num_workers=2, has_return_val=True)
print(before < blocks[-1][0], blocks[-1][1], {l["num_threads"] for l in threadpool_info()} == {2})
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout == "True {1} True\n", result.stderr


def test_threads_are_given_back_when_runs_overlap() -> None:
    """The first run ends while the second goes on, and the other way round."""
    with threadpool_limits(2):
        before = blas_threads()
        for first_to_end in (0, 1):
            inside = threading.Barrier(3)
            go = [threading.Event(), threading.Event()]

            def one(number: int, inside: threading.Barrier = inside, go: list[threading.Event] = go) -> None:
                def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
                    if block.id == 0:
                        inside.wait(20)
                        go[number].wait(20)

                LOCAL.run(function, [np.zeros(4)], block_shape=2, num_workers=2)

            runs = [threading.Thread(target=one, args=(number,)) for number in range(2)]
            for run in runs:
                run.start()
            inside.wait(20)
            go[first_to_end].set()
            runs[first_to_end].join(20)
            assert blas_threads() == [1] * len(before), "the other run still needs the limit"
            go[1 - first_to_end].set()
            runs[1 - first_to_end].join(20)
            assert blas_threads() == before


def test_workers_run_at_the_same_time() -> None:
    meet = threading.Barrier(3)
    LOCAL.run(lambda b, i, o, m: meet.wait(20) and None, [np.zeros(6)], block_shape=2, num_workers=3)


def test_no_more_threads_than_groups() -> None:
    names: set[str] = set()
    LOCAL.run(
        lambda b, i, o, m: names.add(threading.current_thread().name), [np.zeros(4)], block_shape=2, num_workers=64
    )
    assert len(names) <= 2


# --- interruption and size, each in a process of its own -------------------------------------------------------------

INTERRUPTED = """
import os, sys, threading, time
import numpy as np
import bioimage_py as bp
from threadpoolctl import threadpool_info

done = []
def slow(block, inputs, outputs, mask):
    os.write(1, b"begin\\n")
    time.sleep(0.2)
    if outputs:
        outputs[0][bp.to_roi(block)] = 1
    done.append(block.id)

if len(sys.argv) > 1:
    import zarr
    outputs = [zarr.create_array(sys.argv[1], shape=(400,), chunks=(1,), dtype="u1")]
else:
    outputs = []
before = [library["num_threads"] for library in threadpool_info()]
try:
    bp.get_runner("local").run(slow, [np.zeros(400)], outputs, block_shape=1, num_workers=2)
except KeyboardInterrupt:
    left = [t.name for t in threading.enumerate() if t.name.startswith("bioimage_py")]
    after = [library["num_threads"] for library in threadpool_info()]
    print("interrupted", len(done), left, before == after, flush=True)
    raise
"""


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "storage"])
def test_ctrl_c_ends_a_run_within_a_block(tmp_path: Path, stored: bool) -> None:
    arguments = [str(tmp_path / "o.zarr")] if stored else []
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begin\n"
    child.send_signal(signal.SIGINT)
    begin = time.monotonic()
    out, err = child.communicate(timeout=60)
    assert time.monotonic() - begin < 10, "400 blocks of 0.2 s on 2 workers take 40 s"
    told = out.splitlines()[-1].split(maxsplit=2)
    assert told[0] == "interrupted"
    assert int(told[1]) <= 10
    assert told[2] == "[] True", "no thread is left, thread limits are as before"
    assert child.returncode in (-signal.SIGINT, 128 + signal.SIGINT, 1)
    assert err.rstrip().endswith("KeyboardInterrupt")


MANY = """
import sys, resource
import numpy as np
import bioimage_py as bp

def nothing(block, inputs, outputs, mask):
    pass

class Zeros(bp.Source):
    shape, dtype = (100, 100, 100), np.dtype("u1")
    def _getitem(self, roi):
        return np.zeros([p.stop - p.start for p in roi], "u1")

peaks = []
for n in (10_000, 1_000_000):
    ids = {} if n == 1_000_000 else {"roi": (slice(0, 1),)}
    report = bp.map_blocks(nothing, [Zeros()], block_shape=1, num_workers=2, **ids)
    assert report.n_blocks == n, report.n_blocks
    del report
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
def test_a_million_blocks_take_little_more_memory_than_ten_thousand() -> None:
    begin = time.monotonic()
    result = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 50 * 2**20
    assert time.monotonic() - begin < 120, "generous: the machine may be busy"


def test_the_environment_stays_as_it_was() -> None:
    before = dict(os.environ)
    LOCAL.run(nothing, [np.zeros(8)], block_shape=2, num_workers=2)
    assert dict(os.environ) == before


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"input 1 has the shape \(4, 5\), the first input \(4, 4\)"):
        LOCAL.run(nothing, [np.zeros((4, 4)), np.zeros((4, 5))])
    with pytest.raises(ShapeError, match=r"mask 0 has the shape \(4,\)"):
        LOCAL.run(nothing, [np.zeros((4, 4))], mask=np.zeros(4))
    with pytest.raises(ShapeError, match=r"output 0 has the shape \(4, 4, 2\), which does not end in \(4, 4\)"):
        LOCAL.run(nothing, [np.zeros((4, 4))], [np.zeros((4, 4, 2))])
