"""Running functions over blocks in this process: what `Runner.run`, `Runner.map` and `map_blocks` promise."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import ConfigError, ParameterError, RunnerError, ShapeError
from bioimage_py.runner import LocalRunner, Runner, get_runner, map_blocks, run_block
from bioimage_py.sources import Source

from ..helpers import block_id, nothing

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

LOCAL = get_runner("local")


# --- pinned ---


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


def test_skip_empty_keeps_to_the_blocks_asked_for(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=(8, 8), chunks=(2, 2), dtype="u1")
    array[0, 0] = array[5, 5] = array[7, 0] = 1  # blocks 0, 10 and 12
    keywords: dict[str, Any] = {"block_shape": 2, "skip_empty": True, "has_return_val": True}
    assert list(map_blocks(block_id, [array], [], **keywords).results) == [0, 10, 12]
    assert list(map_blocks(block_id, [array], [], block_ids=[12, 3, 0], **keywords).results) == [12, 0]
    assert list(map_blocks(block_id, [array], [], block_ids=[3], **keywords).results) == []


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


# --- map ---


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


# --- map_blocks ---


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

    with pytest.raises(RunnerError, match=r"worker \w+ crashed: KeyError: 'no model'") as error:
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


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"input 1 has the shape \(4, 5\), the first input \(4, 4\)"):
        LOCAL.run(nothing, [np.zeros((4, 4)), np.zeros((4, 5))])
    with pytest.raises(ShapeError, match=r"mask 0 has the shape \(4,\)"):
        LOCAL.run(nothing, [np.zeros((4, 4))], mask=np.zeros(4))
    with pytest.raises(ShapeError, match=r"output 0 has the shape \(4, 4, 2\), which does not end in \(4, 4\)"):
        LOCAL.run(nothing, [np.zeros((4, 4))], [np.zeros((4, 4, 2))])
