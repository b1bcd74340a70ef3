"""Looking for a bug: `debug=True`, and single blocks of a kept run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import RegionError, RunnerError
from bioimage_py.io import create_array
from bioimage_py.runner import map_blocks
from bioimage_py.runner.control.replay import Replay, replay_block
from bioimage_py.runner.driver.debug import Sketch
from bioimage_py.runner.ledger.worker_side import FolderWork
from bioimage_py.runner.planning.plan_file import kept_plan
from bioimage_py.sources import as_source

SHAPE = (24, 24)


class Strict(Exception):
    """An error of the test's own."""


class Increment:
    """Adds one; raises on some blocks while a file is there."""

    def __init__(self, mark: Path, bad: tuple[int, ...] = ()) -> None:
        self.mark = mark
        self.bad = bad

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        roi = bp.to_roi(block)
        if block.id in self.bad and self.mark.exists():
            raise Strict(f"block {block.id} has a hole")
        outputs[0][roi] = inputs[0][roi] + 1
        return int(block.id)


@pytest.fixture
def raw(tmp_path: Path) -> Any:
    array = create_array(tmp_path / "v.zarr", "raw", shape=SHAPE, chunks=(8, 8), dtype="u2")
    array[...] = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    return array


@pytest.fixture
def out(tmp_path: Path) -> Any:
    return create_array(tmp_path / "v.zarr", "out", shape=SHAPE, chunks=(8, 8), dtype="u2")


def failed(call: Any) -> Path:
    with pytest.raises(RunnerError) as error:
        call()
    assert error.value.tmp_folder is not None
    return Path(error.value.tmp_folder)


def replay(folder: Path, block: int, stage: int = 0) -> Replay:
    plan = kept_plan(folder)
    return replay_block(plan, stage, block, FolderWork(folder, plan))


# --- debug=True ----------------------------------------------------------------------------------------------------


def test_debug_runs_here_and_leaves_the_output_alone(raw: Any, out: Any, tmp_path: Path) -> None:
    threads = set()

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        threads.add(threading.current_thread())
        outputs[0][bp.to_roi(block)] = 7
        return int(block.id)

    how: dict[str, Any] = {"block_shape": 8, "num_workers": 3, "job_type": "subprocess", "debug": True}
    report = map_blocks(function, [raw], [out], has_return_val=True, **how)
    assert report.results == list(range(9))
    assert report.n_blocks == 9
    assert threads == {threading.current_thread()}
    assert not np.asarray(out).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.zarr"]


def test_debug_raises_the_error_itself_at_the_first_bad_block(raw: Any, out: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    with pytest.raises(Strict, match="block 2 has a hole") as error:
        map_blocks(Increment(mark, (2, 4)), [raw], [out], block_shape=8, debug=True)
    assert error.traceback[-1].name == "__call__"
    assert error.traceback[-1].frame.f_locals["block"].id == 2, "the frame of the function is there to look at"


def test_debug_gives_values_of_reductions_and_runs_all_stages(raw: Any, out: Any) -> None:
    assert bp.stats.max(raw, block_shape=8, debug=True) == np.prod(SHAPE) - 1
    assert bp.segmentation.label(raw, out, block_shape=8, debug=True) is out
    assert not np.asarray(out).any()


def test_debug_reads_in_a_stage_what_the_stages_before_it_have_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = create_array(tmp_path / "v.zarr", "raw", shape=(64, 64), chunks=(8, 8), dtype="u1")
    raw[...] = np.random.default_rng(5).integers(1, 255, raw.shape)
    drawn = {64 >> level: np.zeros((64 >> level,) * 2, "u1") for level in (1, 2, 3, 4)}
    write = Sketch._setitem

    def remembered(self: Sketch, roi: tuple[slice, ...], value: np.ndarray) -> None:
        write(self, roi, value)
        drawn[self.shape[0]][roi] = value

    def levels(name: str) -> list[Any]:
        file = tmp_path / f"{name}.zarr"
        return [create_array(file, str(size), shape=(size,) * 2, chunks=(8, 8), dtype="u1") for size in drawn]

    right, untouched = levels("right"), levels("debugged")
    bp.pyramid(raw, [2] * 4, right, block_shape=16, progress=False)
    monkeypatch.setattr(Sketch, "_setitem", remembered)
    bp.pyramid(raw, [2] * 4, untouched, block_shape=16, debug=True)
    for size, level, other in zip(drawn, right, untouched, strict=True):
        np.testing.assert_array_equal(drawn[size], np.asarray(level))
        assert not np.asarray(other).any()


def test_a_sketch_reads_what_was_written_to_it_and_below_it_the_target() -> None:
    target = np.arange(12).reshape(3, 4)
    sketch = Sketch(as_source(target))
    sketch[0:2, 1:3] = 50
    sketch[1, 2:] = 60
    expected = target.copy()
    expected[0:2, 1:3] = 50
    expected[1, 2:] = 60
    np.testing.assert_array_equal(sketch[...], expected)
    np.testing.assert_array_equal(sketch[1:, 2:], expected[1:, 2:])
    np.testing.assert_array_equal(target, np.arange(12).reshape(3, 4))


# --- one block of a kept run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_a_block_of_a_failed_run_is_run_again_in_memory(job_type: str, raw: Any, out: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    how: dict[str, Any] = {"block_shape": 8, "job_type": job_type, "retries": 0, "progress": False}
    folder = failed(lambda: map_blocks(Increment(mark, (5,)), [raw], [out], has_return_val=True, **how))
    before = np.array(out)
    with pytest.raises(Strict, match="block 5 has a hole"):
        replay(folder, 5)
    mark.unlink()
    done = replay(folder, 5)
    assert done.value == 5
    (((region, array),),) = done.written
    assert region == (slice(8, 16), slice(16, 24))
    np.testing.assert_array_equal(array, np.array(raw)[region] + 1)
    np.testing.assert_array_equal(np.array(out), before)
    for block in (-1, 9):
        with pytest.raises(RegionError, match=rf"'blocks' has no block {block}, only 0\.\.8"):
            replay(folder, block)


def test_a_later_stage_has_the_values_of_the_earlier_ones(raw: Any, tmp_path: Path) -> None:
    raw[...] = 1
    raw[:, 11] = 0
    small = create_array(tmp_path / "v.zarr", "small", shape=SHAPE, chunks=(8, 8), dtype="u2")
    damage = tmp_path / "v.zarr/small/c/2/2"

    folder = failed(lambda: _label_with_a_broken_output(raw, small, damage))
    damage.rmdir()
    done = replay(folder, 8, stage=2)
    (((region, array),),) = done.written
    assert region == (slice(16, 24), slice(16, 24))
    assert (array == 2).all(), "the second component, as the merge of all blocks found"
    assert not np.array(small)[region].any()


def _label_with_a_broken_output(raw: Any, out: Any, damage: Path) -> None:
    damage.mkdir(parents=True)  # a folder where the file of a chunk is to be
    bp.segmentation.label(raw, out, block_shape=8, retries=0, progress=False)


def test_data_changed_in_place_is_read_as_it_was(raw: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    old = np.array(raw)
    folder = failed(lambda: map_blocks(Increment(mark, (5,)), [raw], [raw], block_shape=8, retries=0, progress=False))
    assert (np.array(raw)[:8, :8] == old[:8, :8] + 1).all()
    for block, region in ((0, (slice(0, 8), slice(0, 8))), (8, (slice(16, 24), slice(16, 24)))):
        (((written, array),),) = replay(folder, block).written
        assert written == region
        np.testing.assert_array_equal(array, old[region] + 1)
    mark.unlink()
    map_blocks(Increment(mark, (5,)), [raw], [raw], block_shape=8, retries=0, progress=False)
    np.testing.assert_array_equal(np.array(raw), old + 1), "looking has changed nothing"
