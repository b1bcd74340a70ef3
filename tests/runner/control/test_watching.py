"""A run seen from outside while it goes on: what is done, who is where, what has failed, and maps of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.blocks import Grid
from bioimage_py.errors import ConfigError
from bioimage_py.runner.control.watching import CELLS, Watching, _Cells

from .gated import going, look_when


def test_what_is_done_and_who_is_where(tmp_path: Path) -> None:
    with going(tmp_path, last=20) as (folder, end):
        watching = Watching(folder)
        look = look_when(watching, lambda one: one.status.stages and one.status.stages[0].done >= 18)  # type: ignore[return-value]
        assert look.status.state == "running"
        assert not look.over
        look = look_when(watching, lambda one: any(worker.block >= 20 for worker in one.workers))
        busy = [worker for worker in look.workers if worker.block >= 20]
        row, column = divmod(busy[0].block, 8)
        assert busy[0].region == f"[{4 * row}:{4 * row + 4}, {4 * column}:{4 * column + 4}]"
        (made,) = look.maps
        assert made.done.shape == (4, 8)
        assert made.done.sum() == look.status.stages[0].done
        assert made.running[row, column] == 1
        assert look.slowest[0].region
        assert json.loads(json.dumps(look.to_dict()))["maps"][0]["axes"] == [0, 1]
        end()
        with pytest.raises(ConfigError, match="no run"):
            watching.look()


def test_what_has_failed_and_is_mended(tmp_path: Path) -> None:
    with going(tmp_path, last=99, bad=13) as (folder, end):
        watching = Watching(folder)
        look = look_when(watching, lambda one: one.over)
        assert look.status.state == "failed"
        assert [(one.block, one.region) for one in look.failed] == [(13, "[4:8, 20:24]")]
        assert "hole" in look.failed[0].error
        assert look.maps[0].failed[1, 5] == 1
        assert look.rate == 0
        assert look.left is None
        end()
    (tmp_path / "mended").touch()
    (tmp_path / "gate").unlink()
    with going(tmp_path, last=13, bad=13, resume=folder) as (again, _):
        look = look_when(watching, lambda one: one.status.sessions == 2 and bool(one.workers))
        assert again == folder
        assert look.status.stages[0].done == 31


def test_a_rate_and_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with going(tmp_path, last=20) as (folder, _):
        watching = Watching(folder)
        look_when(watching, lambda one: any(worker.block >= 20 for worker in one.workers))
        watching._done.clear()
        watching.look()
        begin, before = watching._done[0]
        watching._done[0] = (begin - 100, before - 20)
        look = watching.look()  # one block more may be done by now
        assert look.rate == pytest.approx(0.2, rel=0.2)
        assert look.left == pytest.approx((32 - look.status.stages[0].done) / look.rate)


def test_of_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run"):
        Watching(tmp_path).look()


@given(st.lists(st.integers(1, 150), min_size=1, max_size=3), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_a_map_counts_every_block_once(sizes: list[int], seed: int) -> None:
    sizes[2:] = [min(size, 4) for size in sizes[2:]]
    grid = Grid(tuple(sizes), (1,) * len(sizes))
    cells = _Cells.of(grid)
    everything = cells.where(np.arange(grid.n_blocks))
    np.testing.assert_array_equal(everything, cells.total)
    assert everything.sum() == grid.n_blocks
    assert max(cells.shape) <= CELLS
    block = int(np.random.default_rng(seed).integers(grid.n_blocks))
    index = np.unravel_index(block, sizes)
    rows, columns = np.nonzero(cells.where(np.array([block])))
    shown = [int(index[axis]) * min(sizes[axis], CELLS) // sizes[axis] for axis in cells.axes]
    assert [int(rows[0]), int(columns[0])][-len(shown) :] == shown


def test_memory_is_told_in_bytes(tmp_path: Path) -> None:
    from bioimage_py.system.memory import peak_bytes

    before = peak_bytes()
    with going(tmp_path, last=20) as (folder, _):
        look = look_when(Watching(folder), lambda one: any(worker.memory for worker in one.workers))
    told = max(worker.memory for worker in look.workers)
    assert 0.5 * before < told <= peak_bytes()  # pages and kibibytes are far from it
