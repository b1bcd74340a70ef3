"""Undo: what is kept before a unit is written, and that blocks give the same bits however often they are run."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import RunnerError
from bioimage_py.io.create import create_array
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.ledger.driver_side import FolderLedger
from bioimage_py.runner.planning.build import Where, blocks_stage
from bioimage_py.runner.planning.stage import Plan
from bioimage_py.runner.worker.block_runner import BlockRunner, StageHandles
from bioimage_py.runner.worker.loop import run_batch
from bioimage_py.runner.worker.undo import Undo, can_keep
from bioimage_py.sources import Source, as_source
from bioimage_py.wrapper import RoiSource

from ...helpers import plus_one

SHAPE = (24, 20)
DATA = np.arange(24 * 20, dtype=np.uint16).reshape(SHAPE)


def zarr_v2(path: Path) -> Any:
    return zarr.create_array(path, shape=SHAPE, chunks=(8, 8), dtype="u2", zarr_format=2)


def zarr_v2_nested(path: Path) -> Any:
    encoding = {"name": "v2", "separator": "/"}
    return zarr.create_array(path, shape=SHAPE, chunks=(8, 8), dtype="u2", zarr_format=2, chunk_key_encoding=encoding)


def zarr_v3(path: Path) -> Any:
    return zarr.create_array(path, shape=SHAPE, chunks=(8, 8), dtype="u2")


def zarr_v3_flat(path: Path) -> Any:
    encoding = {"name": "v2", "separator": "."}
    return zarr.create_array(path, shape=SHAPE, chunks=(8, 8), dtype="u2", chunk_key_encoding=encoding)


def sharded(path: Path) -> Any:
    return zarr.create_array(path, shape=SHAPE, chunks=(4, 4), shards=(8, 8), dtype="u2")


def n5(path: Path) -> Any:
    pytest.importorskip("z5py", reason="n5 arrays are made by z5py: pip install 'bioimage-blocks[io]'")
    return create_array(path.with_suffix(".n5"), "deep/key", shape=SHAPE, dtype="u2", chunks=(8, 8))


KINDS = [zarr_v2, zarr_v2_nested, zarr_v3, zarr_v3_flat, sharded, n5]
kinds = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
Make = Callable[[Path], Any]


def filled(make: Make, path: Path) -> Source:
    source = as_source(make(path))
    source[...] = DATA
    return source


def everything(source: Source) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in source.shape)


@kinds
def test_units_are_kept_by_link_and_read_as_they_were(make: Make, tmp_path: Path) -> None:
    source = filled(make, tmp_path / "a.zarr")
    assert can_keep(source)
    undo = Undo(tmp_path / "undo", source)
    undo.keep((slice(0, 8), slice(0, 20)))
    files = source.unit_files(everything(source))
    assert files is not None
    kept = [name for name in files.names if os.stat(os.path.join(files.folder, name)).st_nlink == 3]
    assert len(kept) == 3, "the file, what is kept, and the view; no byte is copied"
    source[...] = 0
    source[:8] = DATA[:8] + 1
    np.testing.assert_array_equal(undo.source[:8], DATA[:8])
    np.testing.assert_array_equal(source[:8], DATA[:8] + 1)


@kinds
def test_what_was_never_written_is_kept_as_such(make: Make, tmp_path: Path) -> None:
    source = as_source(make(tmp_path / "a.zarr"))
    source[:8, :8] = DATA[:8, :8]
    undo = Undo(tmp_path / "undo", source)
    undo.keep(everything(source))
    source[...] = 7
    expected = np.zeros(SHAPE, np.uint16)
    expected[:8, :8] = DATA[:8, :8]
    np.testing.assert_array_equal(undo.source[...], expected)
    Undo(tmp_path / "undo", source).keep(everything(source))  # by another worker, later
    np.testing.assert_array_equal(Undo(tmp_path / "undo", source).source[...], expected)


@kinds
def test_a_unit_whose_file_goes_is_kept(make: Make, tmp_path: Path) -> None:
    """A chunk that becomes all fill value loses its file."""
    source = filled(make, tmp_path / "a.zarr")
    undo = Undo(tmp_path / "undo", source)
    undo.keep(everything(source))
    source[...] = 0
    Undo(tmp_path / "undo", source).keep(everything(source))
    np.testing.assert_array_equal(undo.source[...], DATA)


def test_what_is_read_is_kept_first(tmp_path: Path) -> None:
    """A function may read where nobody has written yet: later that must still read the same."""
    source = filled(zarr_v3, tmp_path / "a.zarr")
    undo = Undo(tmp_path / "undo", source)
    np.testing.assert_array_equal(undo.source[3:20, 5:18], DATA[3:20, 5:18])
    source[...] = 9
    np.testing.assert_array_equal(undo.source[8:16, 8:16], DATA[8:16, 8:16])


@kinds
def test_views_keep_the_units_of_the_storage(make: Make, tmp_path: Path) -> None:
    store = filled(make, tmp_path / "a.zarr")
    view = RoiSource(RoiSource(store, (slice(2, 23), slice(3, 19))), (slice(1, 15), slice(0, 9)))
    undo = Undo(tmp_path / "undo", view)
    undo.keep((slice(0, 4), slice(0, 4)))  # voxels 3:7, 3:7
    store[...] = 1
    np.testing.assert_array_equal(undo.source[0:4, 0:4], DATA[3:7, 3:7])
    squeezed = RoiSource(store, (5,), squeeze=True)
    other = Undo(tmp_path / "other", squeezed)
    other.keep((slice(0, 20),))
    store[...] = 2
    assert (other.source[...] == 1).all()


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
@pytest.mark.parametrize("make", [zarr_v2, sharded, n5], ids=lambda make: make.__name__)
def test_where_no_link_is_possible_the_unit_is_copied(
    make: Make, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = filled(make, tmp_path / "a.zarr")
    link = os.link

    def no_link_out_of_the_array(one: Any, other: Any) -> None:
        if "undo" not in str(one):
            raise OSError(code, os.strerror(code), str(one))
        link(one, other)

    monkeypatch.setattr(os, "link", no_link_out_of_the_array)
    undo = Undo(tmp_path / "undo", source)
    undo.keep(everything(source))
    source[...] = 0
    Undo(tmp_path / "undo", source).keep(everything(source))
    np.testing.assert_array_equal(undo.source[...], DATA)
    assert not [path for path in (tmp_path / "undo").rglob(".*") if "." in path.name[1:] and path.name[1:2].isdigit()]


def test_other_errors_of_keeping_are_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = filled(zarr_v2, tmp_path / "a.zarr")
    undo = Undo(tmp_path / "undo", source)
    _ = undo.source

    def no_space(one: Any, other: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(other))

    monkeypatch.setattr(os, "link", no_space)
    with pytest.raises(OSError, match="No space left"):
        undo.keep(everything(source))


@kinds
def test_of_many_keepers_the_first_decides(make: Make, tmp_path: Path) -> None:
    """Each keeps all units, then writes them: nobody must ever keep what another one has written."""
    source = as_source(make(tmp_path / "a.zarr"))
    source[:12] = DATA[:12]
    before = source[...]
    start = threading.Barrier(6)

    def keep_and_write(number: int) -> None:
        mine = source.fresh()
        undo = Undo(tmp_path / "undo", mine)
        start.wait()
        for begin in range(0, 24, 8):
            roi = (slice(begin, begin + 8), slice(0, 20))
            undo.keep(roi)
            mine[roi] = number + 100

    threads = [threading.Thread(target=keep_and_write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(Undo(tmp_path / "undo", source).source[...], before)
    assert (source[...] >= 100).all()


def test_a_unit_that_was_half_kept_is_kept(tmp_path: Path) -> None:
    """A worker that died between its two links."""
    source = filled(zarr_v3, tmp_path / "a.zarr")
    undo = Undo(tmp_path / "undo", source)
    undo.keep(everything(source))
    shutil.rmtree(tmp_path / "undo" / "view" / "c" / "1")
    source[...] = 0
    again = Undo(tmp_path / "undo", source)
    np.testing.assert_array_equal(again.source[...], DATA)


def test_files_that_are_not_replaced_whole_are_not_kept(tmp_path: Path) -> None:
    """What tensorstore cannot open is written by other libraries, into the file that a link would share."""
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8,), chunks=(4,), dtype="u2", zarr_format=2, filters=None)
    metadata = tmp_path / "a.zarr" / ".zarray"
    metadata.write_text(metadata.read_text().replace('"filters": null', '"filters": [{"id": "delta", "dtype": "<u2"}]'))
    array = zarr.open_array(tmp_path / "a.zarr", mode="r+")
    assert not can_keep(as_source(array))
    assert not can_keep(as_source(np.zeros(4)))


# --- blocks that are run again -------------------------------------------------------------------------------------


def stage_of(function: Any, source: Source, **options: Any) -> Any:
    from dataclasses import replace

    stage = blocks_stage(function, [source], [source], Where(**options))
    return replace(stage, undo=True)


def rerun(stage: Any, folder: Path, order: list[int], workers: int = 1) -> None:
    """Run batches of one stage in any order, any number of times, each by a worker that knows nothing."""
    plan = Plan("job", (stage,), Execution(num_workers=3, progress=False))
    ledger = FolderLedger(folder, plan)
    batches = ledger._cut(0)
    for number, index in enumerate(order):
        work = ledger.workers()
        runner = BlockRunner(stage, StageHandles(work), 0, "checked", work)
        run_batch(f"s0w{number}", batches[index % len(batches)], runner, work, 0)
        work.shut()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    make=st.sampled_from([zarr_v2, zarr_v3, sharded]),
    block_shape=st.sampled_from([(8, 8), (4, 4), (5, 7), (24, 3)]),
    again=st.lists(st.integers(0, 50), max_size=25),
    partly=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:.*share write units")
def test_in_place_blocks_give_the_same_bits_however_often_they_run(
    make: Make, block_shape: tuple[int, int], again: list[int], partly: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("rerun")
    source = filled(make, tmp_path / "a.zarr")
    roi = (slice(3, 22), slice(1, 17)) if partly else None
    stage = stage_of(plus_one, source, block_shape=block_shape, roi=roi)
    rerun(stage, tmp_path / "run", [*range(30), *again])
    expected = DATA.copy()
    expected[roi or ...] += 1
    np.testing.assert_array_equal(source[...], expected)


@kinds
def test_functions_that_read_what_they_write_see_it_as_it_was_before_the_stage(make: Make, tmp_path: Path) -> None:
    source = filled(make, tmp_path / "a.zarr")

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        roi = bp.to_roi(block)
        outputs[0][roi] = outputs[0][roi] * 2
        outputs[0][roi] = outputs[0][roi] + 3  # what a block has written, it reads back
        np.testing.assert_array_equal(outputs[0][roi], DATA[roi] * 2 + 3)
        elsewhere = outputs[0][(slice(23, 24), slice(19, 20))]
        if block.end != [24, 20]:
            assert elsewhere == DATA[23, 19]

    stage = stage_of(function, source, block_shape=(8, 8))
    rerun(stage, tmp_path / "run", [*range(20), 3, 0, 7, 3])
    np.testing.assert_array_equal(source[...], DATA * 2 + 3)


@pytest.mark.parametrize("bad", [{5}, {4, 5}, {0, 1, 2, 3}], ids=str)
def test_blocks_of_a_group_that_failed_once_cost_the_others_nothing(bad: set[int], tmp_path: Path) -> None:
    """Blocks 4, 5, 10 and 11 share a shard; after a retry of some, the others are still what they became."""
    source = filled(sharded, tmp_path / "a.zarr")
    failed: set[int] = set()

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id in bad and block.id not in failed:
            failed.add(block.id)
            raise OSError("for once")
        plus_one(block, inputs, outputs, mask)

    bp.get_runner("local").run(function, [source], [source], block_shape=(4, 4), num_workers=2)
    np.testing.assert_array_equal(source[...], DATA + 1)
    assert failed == bad


def test_a_group_that_is_run_again_by_a_late_worker_undoes_nothing(tmp_path: Path) -> None:
    """A worker whose block failed is stopped before it writes the rest; meanwhile others do the whole group."""
    source = filled(sharded, tmp_path / "a.zarr")
    fails = [True]

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == 1 and fails[0]:
            raise OSError("for once")
        plus_one(block, inputs, outputs, mask)

    stage = stage_of(function, source, block_shape=(4, 4))
    plan = Plan("job", (stage,), Execution(num_workers=1, progress=False))
    ledger = FolderLedger(tmp_path / "run", plan)
    work = ledger.workers()
    late = BlockRunner(stage, StageHandles(work), 0, "checked", work)
    ids = stage.units.blocks(0)
    buffers = late.buffer(0, len(ids))
    done = []
    for block_id in ids:
        try:
            late.call(block_id)
        except OSError:
            continue
        done.append(block_id)
    fails[0] = False
    rerun(stage, tmp_path / "run", list(range(30)))
    late.flush(buffers, 0, done)
    np.testing.assert_array_equal(source[...], DATA + 1)


def test_a_mask_that_is_changed_in_place_is_read_as_it_was(tmp_path: Path) -> None:
    source = as_source(zarr_v3(tmp_path / "a.zarr"))
    source[...] = DATA % 3

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        roi = bp.to_roi(block)
        outputs[0][roi] = np.where(mask[roi] > 0, inputs[0][roi] - 1, 5)

    stage = stage_of(function, source, block_shape=(8, 8), mask=source)
    rerun(stage, tmp_path / "run", [*range(12), 0, 4, 2])
    np.testing.assert_array_equal(source[...], np.where(DATA % 3 > 0, DATA % 3 - 1, 5))


def test_relabelling_in_place_is_done_once(tmp_path: Path) -> None:
    """Killed after each number of blocks and continued: a permutation that was applied twice would show."""
    source = as_source(zarr_v3(tmp_path / "a.zarr"))
    source[...] = DATA % 50
    table = np.roll(np.arange(50), 7)
    calls = [0]

    class Table:
        def __call__(self, labels: np.ndarray) -> np.ndarray:
            calls[0] += 1
            return table[labels].astype(labels.dtype)

    for stop in (2, 1, 4, 0):
        left = [stop or 100]

        def function(block: Any, inputs: Any, outputs: Any, mask: Any, left: list[int] = left) -> None:
            if left[0] == 0:
                raise OSError("enough for now")
            left[0] -= 1
            roi = bp.to_roi(block)
            outputs[0][roi] = Table()(inputs[0][roi])

        execution = Execution(num_workers=1, retries=0, max_failures=0, version="1", progress=False)
        try:
            bp.map_blocks(function, [source], [source], block_shape=(8, 8), execution=execution)
        except RunnerError:
            assert stop
    np.testing.assert_array_equal(source[...], table[DATA % 50])
    assert calls == [9]


@pytest.mark.parametrize("before", [0, 7], ids=["absent", "stored"])
def test_what_is_kept_waits_for_the_disk(tmp_path: Path, before: int) -> None:
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = before  # zeros are not stored
    bp.operations.add(array, 1, array, block_shape=(8, 8), durability="node", num_workers=2)
    assert np.all(array[...] == before + 1)
