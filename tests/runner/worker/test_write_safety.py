"""No lost voxel: whatever blocks, regions, views and workers, each write unit is written by one worker, once."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import BlockShapeError, RunnerError, StorageError
from bioimage_py.runner import get_runner, map_blocks
from bioimage_py.sources import Source
from bioimage_py.wrapper import RoiSource

LOCAL = get_runner("local")
REPEATS = 20


def fill(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    for number, output in enumerate(outputs):
        output[bp.to_roi(block)] = number + 1


class Units(Source):
    """A store in memory that is as unforgiving as a disk: a write replaces the whole units that it touches.

    Two writers in one unit at a time are recorded in `clashes`; `written` counts the writes of each unit.
    """

    def __init__(
        self, shape: tuple[int, ...], unit: tuple[int, ...] | None, *, patient: float = 0.0, fails: int = 0
    ) -> None:
        self.data = np.zeros(shape, "i4")
        self.unit = unit
        self.patient = patient
        self.fails = fails
        self.written: Counter[tuple[int, ...]] = Counter()
        self.clashes: list[Any] = []
        self._busy: set[tuple[int, ...]] = set()
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return self.unit

    @property
    def writable(self) -> bool:
        return True

    @property
    def identity(self) -> Hashable:
        return ("units", id(self.data))

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        return self.data[roi].copy()

    def _setitem(self, roi: tuple[slice, ...], value: np.ndarray) -> None:
        unit = self.unit or (1,) * self.ndim
        spans = [range(p.start // u, -(-p.stop // u)) for p, u in zip(roi, unit, strict=True)]
        units = set(map(tuple, np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, self.ndim).tolist()))
        with self._lock:
            if self.fails:
                self.fails -= 1
                raise StorageError("the disk is full for once")
            self.clashes += sorted(self._busy & units)
            self._busy |= units
            self.written.update(units)
            whole = tuple(slice(s.start * u, s.stop * u) for s, u in zip(spans, unit, strict=True))
            before = self.data[whole].copy()
        if self.patient:
            time.sleep(self.patient)
        with self._lock:
            begin = [part.start for part in whole]
            before[tuple(slice(p.start - b, p.stop - b) for p, b in zip(roi, begin, strict=True))] = value
            self.data[whole] = before
            self._busy -= units


def inside(shape: tuple[int, ...], roi: tuple[slice, ...]) -> np.ndarray:
    expected = np.zeros(shape, int)
    expected[roi] = 1
    return expected


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    ndim = draw(st.integers(1, 3))
    most = (60, 20, 10)[ndim - 1]
    shape = tuple(draw(st.integers(1, most)) for _ in range(ndim))
    # outputs lie in larger stores, as views do, anywhere on their units
    stores = []
    for _ in range(draw(st.integers(1, 3))):
        before = tuple(draw(st.integers(0, 6)) for _ in range(ndim))
        unit = draw(st.one_of(st.none(), st.tuples(*[st.integers(1, 9)] * ndim)))
        stores.append((before, unit))
    roi = []
    for size in shape:
        begin = draw(st.integers(0, size))
        roi.append(slice(begin, draw(st.integers(begin, size))))
    return {
        "shape": shape,
        "stores": stores,
        "roi": tuple(roi),
        "block_shape": tuple(draw(st.integers(1, most + 2)) for _ in range(ndim)),
        "num_workers": draw(st.integers(1, 4)),
    }


@settings(max_examples=120, deadline=None)
@given(runs())
@pytest.mark.filterwarnings("ignore:.*share write units")
def test_every_voxel_arrives_and_every_unit_is_written_once(run: dict[str, Any]) -> None:
    shape, roi = run["shape"], run["roi"]
    stores, outputs = [], []
    for before, unit in run["stores"]:
        store = Units(tuple(b + n + 3 for b, n in zip(before, shape, strict=True)), unit)
        stores.append(store)
        outputs.append(RoiSource(store, tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))))
    options = {"roi": roi, "num_workers": run["num_workers"]}
    try:
        LOCAL.run(fill, [], outputs, block_shape=run["block_shape"], **options)
    except BlockShapeError:
        LOCAL.run(fill, [], outputs, **options)
    for number, (store, output) in enumerate(zip(stores, outputs, strict=True), 1):
        np.testing.assert_array_equal(output[...], inside(shape, roi) * number)
        assert np.count_nonzero(store.data) == math.prod(part.stop - part.start for part in roi), "wrote elsewhere"
        assert store.clashes == []
        if store.unit is not None:
            assert set(store.written.values()) <= {1}


@pytest.mark.parametrize("block_shape", [(8, 8), (16, 8), (24, 40), None])
@pytest.mark.filterwarnings("ignore:.*share write units")
def test_slow_writers_never_meet_in_a_unit(block_shape: Any) -> None:
    store = Units((96, 96), (32, 32), patient=0.001)
    view = RoiSource(store, (slice(5, 90), slice(11, 96)))
    LOCAL.run(fill, [], [view], block_shape=block_shape, num_workers=8)
    assert store.clashes == []
    assert (view[...] == 1).all()


def test_a_source_that_takes_one_writer_gets_one_at_a_time() -> None:
    class OneWriter(Units):
        concurrency = "single-writer"  # type: ignore[assignment]

        def _setitem(self, roi: tuple[slice, ...], value: np.ndarray) -> None:
            now = self.inside = getattr(self, "inside", 0) + 1
            time.sleep(0.002)
            super()._setitem(roi, value)
            assert now == self.inside == 1, "two writers at a time"
            self.inside -= 1

    for block_shape in (4, 2):
        store = OneWriter((64,), (4,))
        LOCAL.run(fill, [], [store], block_shape=block_shape, num_workers=8)
        assert (store.data == 1).all()


def test_a_group_keeps_what_its_blocks_do_not_write() -> None:
    store = Units((8, 8), (8, 8))
    store.data[...] = 9

    def some(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id % 2:
            outputs[0][block.begin[0], block.begin[1] : block.end[1]] = block.id

    LOCAL.run(some, [], [store], block_shape=(2, 4))
    expected = np.full((8, 8), 9)
    expected[::2, 4:] = np.array([[1], [3], [5], [7]])
    np.testing.assert_array_equal(store.data, expected)
    assert store.written == {(0, 0): 1}


def test_a_group_that_writes_nothing_is_not_written() -> None:
    store = Units((8, 8), (8, 8))
    LOCAL.run(lambda b, i, o, m: None, [], [store], block_shape=(2, 4))
    assert not store.written


def test_a_block_reads_back_what_its_group_has_written() -> None:
    store = Units((8,), (8,))
    store.data[...] = 9
    seen: list[list[int]] = []

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][block.begin[0]] = block.id
        seen.append(outputs[0][:].tolist())

    LOCAL.run(function, [], [RoiSource(store, (slice(2, 8),))], block_shape=2)
    assert seen == [[0, 9, 9, 9, 9, 9], [0, 9, 1, 9, 9, 9], [0, 9, 1, 9, 2, 9]]
    assert store.data.tolist() == [9, 9, 0, 9, 1, 9, 2, 9]


@pytest.mark.filterwarnings("ignore:.*share write units")
def test_leading_axes_are_assembled_too() -> None:
    store = Units((2, 8, 8), (1, 8, 8))
    LOCAL.run(
        lambda b, i, o, m: o[0].__setitem__((slice(None), *bp.to_roi(b)), b.id),
        [np.zeros((8, 8))],
        [store],
        block_shape=(4, 8),
        num_workers=2,
    )
    assert store.written == {(0, 0, 0): 1, (1, 0, 0): 1}
    assert (store.data[:, :4] == 0).all()
    assert (store.data[:, 4:] == 1).all()


def test_a_group_that_could_not_be_written_failed_whole() -> None:
    """Two outputs, the first of which fails once: nothing of the group may be lost in the second."""
    calls: Counter[int] = Counter()

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        calls[block.id] += 1
        fill(block, inputs, outputs, mask)

    first, second = Units((16,), (8,), fails=1), Units((16,), (8,))
    outputs = [first, second]
    with pytest.raises(RunnerError, match="the disk is full for once") as error:
        map_blocks(function, [], outputs, block_shape=4)
    assert error.value.failed_block_ids == [0, 1]
    map_blocks(function, [], outputs, block_shape=4, block_ids=error.value.failed_block_ids)
    assert calls == {0: 2, 1: 2, 2: 1, 3: 1}
    assert (first.data == 1).all()
    assert (second.data == 2).all()


def test_after_a_failed_group_single_blocks_are_written_at_once() -> None:
    store, other = Units((24,), (8,), fails=1), Units((24,), (8,))
    with pytest.raises(RunnerError) as error:
        map_blocks(fill, [], [store, other], block_shape=4, block_ids=[0, 1, 2, 5])
    assert error.value.failed_block_ids == [0, 1]
    assert store.data.tolist() == [0] * 8 + [1] * 4 + [0] * 8 + [1] * 4
    assert other.data[8:].tolist() == [2] * 4 + [0] * 8 + [2] * 4


# --- on disk -------------------------------------------------------------------------------------------------------


def copy_block(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)]


@pytest.mark.slow
def test_a_region_off_the_chunks_loses_nothing(tmp_path: Path) -> None:
    """8 threads, chunks 32, blocks 32, region 16:112: the check on blocks alone would let neighbours race."""
    data = np.random.default_rng(0).integers(1, 255, (128,) * 3, "u1")
    roi = (slice(16, 112),) * 3
    for repeat in range(REPEATS):
        out = zarr.create_array(str(tmp_path / f"{repeat}.zarr"), shape=data.shape, chunks=(32,) * 3, dtype="u1")
        bp.copy(data, out, roi=roi, block_shape=(32,) * 3, num_workers=8)
        found = out[:]
        assert np.count_nonzero(found[roi] != data[roi]) == 0, f"voxels lost in repeat {repeat}"
        assert np.count_nonzero(found) == 96**3


@pytest.mark.slow
@pytest.mark.long
def test_a_view_of_a_sharded_array_loses_nothing(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(1, 255, (64, 96, 96), "u1")
    for repeat in range(REPEATS):
        store = zarr.create_array(
            str(tmp_path / f"{repeat}.zarr"), shape=(96, 128, 128), chunks=(16,) * 3, shards=(32,) * 3, dtype="u1"
        )
        view = RoiSource(store, (slice(7, 71), slice(20, 116), slice(16, 112)))
        LOCAL.run(copy_block, [data], [view], block_shape=(16, 16, 32), num_workers=8)
        found = store[:]
        np.testing.assert_array_equal(found[7:71, 20:116, 16:112], data)
        assert np.count_nonzero(found) == data.size


@pytest.mark.filterwarnings("ignore:.*share write units")
@pytest.mark.parametrize("block_shape", [(100, 90, 70), (32, 32, 32), (16, 64, 64), None], ids=str)
def test_any_block_shape_gives_the_whole_copy(tmp_path: Path, block_shape: Any) -> None:
    data = np.random.default_rng(0).integers(1, 255, (130, 70, 90), "u1")
    shapes = {"chunks": (32, 16, 32), "shards": (32, 32, 64)}
    out = zarr.create_array(str(tmp_path / "o.zarr"), shape=data.shape, dtype="u1", **shapes)
    bp.copy(data, out, block_shape=block_shape, num_workers=4)
    np.testing.assert_array_equal(out[:], data)
