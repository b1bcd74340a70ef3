"""Reading the next block while one is computed, and the size of the chunk cache."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ConfigError, RunnerError
from bioimage_py.io import create_array
from bioimage_py.runner.worker.block_runner import BlockRunner
from bioimage_py.runner.worker.read_ahead import ReadAhead
from bioimage_py.sources import Source
from bioimage_py.sources.stores.paths import over_network
from bioimage_py.util import to_roi


class Slow(Source):
    """An array behind a network that notes which boxes are read, and by which thread."""

    remote = True

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.read_boxes = array, []  # type: list[tuple[tuple[slice, ...], str]]
        self.started: dict[tuple[slice, ...], threading.Event] = {}
        self.fails: set[int] = set()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def begun(self, box: tuple[slice, ...]) -> threading.Event:
        return self.started.setdefault(tuple((part.start, part.stop) for part in box), threading.Event())

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        self.begun(roi).set()
        self.read_boxes.append((roi, threading.current_thread().name))
        if roi[0].start in self.fails:
            raise OSError(f"no answer for {roi[0].start}")
        return self.array[roi].copy()


def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, (40, 8))


def test_the_next_block_is_read_while_one_is_computed() -> None:
    source, output = Slow(array()), np.zeros((40, 8), np.int64)
    overlapped = []

    def double(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        voxels = inputs[0][to_roi(block.outer_block)]
        begin, end = block.outer_block.end[0] - 2, block.outer_block.end[0] + 2
        overlapped.append(source.begun((slice(begin, min(40, end)), slice(0, 8))).wait(0.2))
        outputs[0][to_roi(block.inner_block)] = 2 * voxels[to_roi(block.inner_block_local)]

    bp.map_blocks(double, [source], [output], block_shape=(2, 8), halo=(1, 0), num_workers=1, progress=False)
    np.testing.assert_array_equal(output, 2 * source.array)
    # every box once; the first one of each batch is not known before it is claimed
    assert len(source.read_boxes) == 20
    assert [name for _, name in source.read_boxes].count("read ahead") == sum(overlapped) >= 5


def test_a_failed_read_ahead_is_the_error_of_its_own_block() -> None:
    source, output = Slow(array()), np.zeros((40, 8), np.int64)
    source.fails.add(20)
    with pytest.raises(RunnerError, match="no answer for 20") as caught:
        bp.copy(source, output, block_shape=(10, 8), retries=0, progress=False)
    assert caught.value.failed_block_ids == [2]
    np.testing.assert_array_equal(output[:20], source.array[:20])
    np.testing.assert_array_equal(output[30:], source.array[30:])


def test_a_function_may_change_what_it_reads() -> None:
    source, output = Slow(array()), np.zeros((40, 8), np.int64)

    def clear(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        roi = to_roi(block)
        half = (slice(roi[0].start, roi[0].start + 5), roi[1])
        first, whole = inputs[0][half], inputs[0][roi]
        first[...] = 0
        outputs[0][roi] = whole
        whole[...] = -1
        again = inputs[0][roi]
        assert (again >= 0).all()

    bp.map_blocks(clear, [source], [output], block_shape=(10, 8), progress=False)
    np.testing.assert_array_equal(output, source.array)


def test_it_stops_where_blocks_read_nothing_and_begins_again() -> None:
    source = Slow(array())
    ahead = ReadAhead(source)
    boxes = [(slice(i, i + 10), slice(0, 8)) for i in range(0, 40, 10)]
    ahead.enter(boxes[0], boxes[1])  # does not read
    ahead.enter(boxes[1], boxes[2])
    assert source.begun(boxes[1]).wait(10)
    time.sleep(0.05)
    assert not source.begun(boxes[2]).is_set()
    np.testing.assert_array_equal(ahead[boxes[1]], source.array[boxes[1]])
    ahead.enter(boxes[2], boxes[3])
    assert source.begun(boxes[3]).wait(10)
    np.testing.assert_array_equal(ahead[boxes[2]], source.array[boxes[2]])
    np.testing.assert_array_equal(ahead.view(boxes[0]), source.array[boxes[0]])


def test_what_a_stage_writes_is_not_read_ahead(tmp_path: Path) -> None:
    stored = create_array(tmp_path / "a.zarr", "a", shape=(40, 8), dtype="i8", chunks=(5, 8))
    stored[...] = array()
    seen: list[str] = []

    def add(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        seen.append(type(inputs[0]).__name__)
        outputs[0][to_roi(block)] = inputs[0][to_roi(block)] + 1

    bp.map_blocks(add, [stored], [stored], block_shape=(10, 8), read_ahead=True, progress=False)
    assert "ReadAhead" not in seen
    np.testing.assert_array_equal(stored[...], array() + 1)
    other = create_array(tmp_path / "a.zarr", "b", shape=(40, 8), dtype="i8", chunks=(5, 8))
    for choice, expected in ((True, {"ReadAhead"}), (None, {"FileSource"}), (False, {"FileSource"})):
        seen.clear()
        bp.map_blocks(add, [stored], [other], block_shape=(10, 8), read_ahead=choice, progress=False)
        assert set(seen) == expected
        np.testing.assert_array_equal(other[...], array() + 2)


def test_one_block_more_is_promised(tmp_path: Path) -> None:
    stored = create_array(tmp_path / "a.zarr", "a", shape=(64, 64), dtype="u1", chunks=(16, 16))
    other = create_array(tmp_path / "a.zarr", "b", shape=(64, 64), dtype="u1", chunks=(16, 16))

    def planned(**how: Any) -> Any:
        return bp.copy(stored, other, block_shape=(16, 16), plan=True, **how).stages[0]

    assert planned(read_ahead=True).block_bytes - planned().block_bytes == 16 * 16
    assert planned().cache_bytes == 0
    assert planned(cache=1 << 20).cache_bytes == 1 << 20
    smooth = bp.filters.gaussian_smoothing(stored, 1.0, other, block_shape=(16, 16), plan=True)
    assert smooth.stages[0].cache_bytes > 0
    assert (
        bp.filters.gaussian_smoothing(stored, 1.0, other, block_shape=(16, 16), plan=True, cache=0)
        .stages[0]
        .cache_bytes
        == 0
    )


def test_inputs_without_a_cache_of_their_own_get_one(tmp_path: Path) -> None:
    stored = create_array(tmp_path / "a.h5", "a", shape=(64, 64), dtype="f4", chunks=(8, 8))
    stored[...] = np.random.default_rng(0).normal(size=(64, 64))
    written: dict[str, Any] = {}

    def blur(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        voxels = inputs[0][to_roi(block.outer_block)]
        written[type(inputs[0]).__name__] = getattr(inputs[0], "_cache_bytes", None)
        outputs[0][to_roi(block.inner_block)] = voxels[to_roi(block.inner_block_local)] + 1

    for how, expected in (({}, "CachedSource"), ({"cache": 0}, "FileSource"), ({"cache": 5000}, "CachedSource")):
        written.clear()
        output = np.zeros((64, 64), np.float32)
        bp.map_blocks(blur, [stored], [output], block_shape=(16, 16), halo=3, progress=False, **how)
        assert list(written) == [expected]
        np.testing.assert_array_equal(output, stored[...] + 1)
    assert written == {"CachedSource": 5000}
    # in place too: the file stays as it was until the results are copied in
    written.clear()
    before = stored[...]
    bp.map_blocks(blur, [stored], [stored], block_shape=(16, 16), halo=0, progress=False, cache=5000)
    assert written == {"CachedSource": 5000}
    np.testing.assert_array_equal(stored[...], before + 1)


@pytest.mark.parametrize("bad", [{"cache": -1}, {"cache": 1.5}, {"read_ahead": "yes"}])
def test_settings_that_make_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))) as caught:
        bp.Execution(**bad)
    assert caught.value.remedy


def test_results_do_not_depend_on_caches_or_reading_ahead(tmp_path: Path) -> None:
    stored = create_array(tmp_path / "a.zarr", "a", shape=(40, 50), dtype="f4", chunks=(7, 9))
    stored[...] = np.random.default_rng(1).normal(size=(40, 50))
    results = []
    for number, how in enumerate(({"cache": 0}, {"cache": 1 << 24, "read_ahead": True}, {"read_ahead": True})):
        output = create_array(tmp_path / "o.zarr", f"{number}", shape=(40, 50), dtype="f4", chunks=(16, 16))
        job = {"job_type": "subprocess"} if number == 2 else {}
        bp.filters.gaussian_smoothing(
            stored, 2.0, output, block_shape=(16, 16), num_workers=2, progress=False, **job, **how
        )
        results.append(output[...])
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


def test_a_block_knows_the_next_one_also_of_the_next_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = create_array(tmp_path / "o.zarr", "", shape=(40,), dtype="u1", chunks=(4,))
    call, seen = BlockRunner.call, list[tuple[int, int | None]]()

    def noted(runner: BlockRunner, block_id: int, following: int | None = None) -> Any:
        seen.append((block_id, following))
        return call(runner, block_id, following)

    monkeypatch.setattr(BlockRunner, "call", noted)
    bp.copy(np.ones(40, "u1"), output, block_shape=(2,), num_workers=1, job_type="local")
    assert [block for block, _ in seen] == list(range(20)), "two a group"
    ends = [place for place, (_, following) in enumerate(seen) if following is None]
    assert 0 < len(ends) < 10
    assert all(seen[i][1] == seen[i + 1][0] for i in range(19) if i not in ends)


@pytest.mark.parametrize(
    ("path", "waits"),
    [
        ("https://server/a.zarr", True),
        ("s3://bucket/a", True),
        ("precomputed://gs://bucket/layer", True),
        ("precomputed://file:///data/layer", False),
        ("memory://a", False),
        ("/data/s3/a.zarr", False),
    ],
)
def test_which_reading_waits_for_a_network(path: str, waits: bool) -> None:
    assert over_network(path) is waits
