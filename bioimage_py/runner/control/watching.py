"""A run as it goes on, from any machine that sees its folder: how fast, who is where, what is slow or has failed."""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Grid
from ...errors import ConfigError, StorageError
from ...run_folder import RunFolder
from ..ledger.batch_lists import own_session
from ..ledger.journal import StageJournal
from ..ledger.progress import read_progress
from ..ledger.records import Record
from ..ledger.stage_record import StageRecord
from ..planning.stage import Stage
from .inspect import RunStatus, bare_stages, checked, described, status_with

CELLS = 64
"""Most cells of a map along an axis."""
_WINDOW = 60.0
"""Seconds over which the rate is taken."""
_MOST = 8
"""Slow and failed blocks that are told."""


@dataclass(frozen=True)
class WorkerAt:
    """Where a worker is: the block that it is in (-1: none), since when it was seen there, its most memory in bytes."""

    name: str
    stage: str
    block: int
    region: str
    seconds: float
    done: int
    memory: int


@dataclass(frozen=True)
class BlockAt:
    """A block that was slow, or failed with an error."""

    stage: str
    block: int
    region: str
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class StageMap:
    """The blocks of a stage as a picture: two axes of the grid, what lies behind one another is added up.

    Attributes
    ----------
    stage : str
    axes : tuple of int
        Which axes of the volume are its rows and columns.
    done : ndarray of float, shape (rows, columns)
        Part of the blocks of each cell that are done, 0 to 1.
    running, failed : ndarray of int, shape (rows, columns)
        Blocks of each cell.
    """

    stage: str
    axes: tuple[int, ...]
    done: npt.NDArray[np.float64]
    running: npt.NDArray[np.int64]
    failed: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Look:
    """One look at a run.

    Attributes
    ----------
    status : RunStatus
    seconds : float
        Since the run was begun.
    rate : float
        Blocks a second in the last minute; 0 where nothing is known yet.
    left : float, optional
        Seconds to the end at this rate.
    workers : tuple of WorkerAt
    slowest, failed : tuple of BlockAt
    maps : tuple of StageMap
    """

    status: RunStatus
    seconds: float
    rate: float
    left: float | None
    workers: tuple[WorkerAt, ...]
    slowest: tuple[BlockAt, ...]
    failed: tuple[BlockAt, ...]
    maps: tuple[StageMap, ...]

    @property
    def over(self) -> bool:
        """Whether nobody drives the run any more."""
        return not self.status.alive

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        maps = [
            {
                "stage": one.stage,
                "axes": list(one.axes),
                "done": np.round(one.done, 4).tolist(),
                "running": one.running.tolist(),
                "failed": one.failed.tolist(),
            }
            for one in self.maps
        ]
        return {
            **self.status.to_dict(),
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 6),
            "left": None if self.left is None else round(self.left, 1),
            "workers": [vars(worker) for worker in self.workers],
            "slowest": [vars(block) for block in self.slowest],
            "failed": [vars(block) for block in self.failed],
            "maps": maps,
        }


@dataclass
class _Cells:
    """How many blocks of a grid are done, in each cell of its map."""

    grid: Grid
    axes: tuple[int, ...]
    shape: tuple[int, int]
    done: npt.NDArray[np.int64] = field(init=False)
    total: npt.NDArray[np.int64] = field(init=False)

    @classmethod
    def of(cls, grid: Grid) -> _Cells:
        """The two longest axes of a grid, in their order."""
        sizes = grid.grid_shape
        longest = sorted(range(len(sizes)), key=lambda axis: (-sizes[axis], -axis))[:2]
        axes = tuple(sorted(longest))
        rows, columns = ([1] * 2 + [min(sizes[axis], CELLS) for axis in axes])[-2:]
        return cls(grid, axes, (rows, columns))

    def __post_init__(self) -> None:
        self.done = np.zeros(self.shape, np.int64)
        sizes = self.grid.grid_shape
        counts = [np.ones(1, np.int64)] * 2
        for axis, cells in zip(self.axes[::-1], self.shape[::-1], strict=False):
            counts = [*counts, np.bincount(np.arange(sizes[axis]) * cells // sizes[axis], minlength=cells)]
        columns, rows = (counts[2:] + counts[:2])[:2]
        behind = int(np.prod([size for axis, size in enumerate(sizes) if axis not in self.axes], dtype=np.int64))
        self.total = np.outer(rows, columns) * behind

    def where(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many of some blocks lie in each cell."""
        sizes = self.grid.grid_shape
        index = np.unravel_index(ids, sizes)
        at = [np.zeros(len(ids), np.int64)] * 2
        at += [
            index[axis] * cells // sizes[axis]
            for axis, cells in zip(self.axes, self.shape[2 - len(self.axes) :], strict=True)
        ]
        rows, columns = at[-2:]
        return np.bincount(rows * self.shape[1] + columns, minlength=self.shape[0] * self.shape[1]).reshape(self.shape)


class _Stage:
    """A stage, with what its journals have said so far."""

    def __init__(self, folder: Path, index: int, stage: Stage) -> None:
        self.stage = stage
        self.record = StageRecord.of(stage)
        self.slowest: list[tuple[float, int]] = []
        self._journal = StageJournal(folder, index, stage)
        groups = stage.units.groups
        self.cells = _Cells.of(groups.grid) if groups is not None and groups.grid.n_blocks else None

    def poll(self, memory: dict[str, int]) -> None:
        for part in checked(self._journal):
            self.record.add(part)
            self._note(part)
            if part.mark is not None:
                memory[part.worker] = max(part.mark[1], memory.get(part.worker, 0))

    def _note(self, part: Record) -> None:
        ids = np.frombuffer(part.ids, np.int64)
        if self.cells is not None and len(ids):
            self.cells.done += self.cells.where(ids)
        for seconds, block in zip(part.seconds, part.ids, strict=True):
            if len(self.slowest) < _MOST:
                heapq.heappush(self.slowest, (seconds, block))
            elif seconds > self.slowest[0][0]:
                heapq.heapreplace(self.slowest, (seconds, block))

    def region(self, block: int) -> str:
        groups = self.stage.units.groups
        known = groups is not None and 0 <= block < groups.grid.n_blocks
        return groups.grid[block].where() if known and groups is not None else ""

    def map(self, running: Sequence[int]) -> StageMap | None:
        if self.cells is None:
            return None
        cells = self.cells
        failed = np.array(sorted(self.record.failures), np.int64)
        inside = np.array([block for block in running if 0 <= block < cells.grid.n_blocks], np.int64)
        done = np.minimum(cells.done / np.maximum(cells.total, 1), 1.0)
        return StageMap(self.stage.name, cells.axes, done, cells.where(inside), cells.where(failed))


class Watching:
    """Looks at a run again and again; each look reads what was written since the last one.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._session = -1
        self._stages: list[_Stage] = []
        self._memory: dict[str, int] = {}
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        self._done: deque[tuple[float, int]] = deque()

    def look(self) -> Look:
        """What is known now.

        Raises
        ------
        ConfigError
            There is no run any more: it has come to its end, or was removed.
        StorageError
            Its files are damaged.
        """
        session = self._read_session()
        if session != self._session or not self._stages:  # other records count now
            self._session, self._memory = session, {}
            bare = bare_stages(described(self.folder))
            self._stages = [_Stage(self.folder, index, stage) for index, stage in enumerate(bare)]
            self._done.clear()
        for stage in self._stages:
            stage.poll(self._memory)
        status = status_with(self.folder, (stage.record for stage in self._stages))
        now = time.time()
        rate = self._rate(now, sum(stage.done for stage in status.stages)) if status.alive else 0.0
        to_do = sum(stage.blocks - stage.done for stage in status.stages)
        workers = self._workers() if status.alive or status.state == "detached" else ()
        return Look(
            status,
            max(0.0, (now if status.alive else status.active) - status.created),
            rate,
            to_do / rate if rate > 0 else None,
            workers,
            self._slowest(),
            self._failed(),
            self._maps(workers),
        )

    def _read_session(self) -> int:
        try:
            return RunFolder(self.folder).session()
        except FileNotFoundError:
            raise ConfigError(f"there is no run in {self.folder}", remedy="bioimage-py runs list") from None
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise StorageError(f"{self.folder}/run.json cannot be read: {error}", remedy="look again") from error

    def _rate(self, now: float, done: int) -> float:
        self._done.append((now, done))
        while len(self._done) > 2 and now - self._done[0][0] > _WINDOW:
            self._done.popleft()
        (begin, before), (end, after) = self._done[0], self._done[-1]
        return max(0, after - before) / (end - begin) if end > begin else 0.0

    def _workers(self) -> tuple[WorkerAt, ...]:
        found = []
        folder, now = RunFolder(self.folder), time.time()
        adopted: list[str] = []
        with suppress(OSError, ValueError, KeyError, TypeError):
            adopted = folder.adopted()[1]
        for path in sorted(folder.progress.glob("[!.]*")):
            name = path.name
            if own_session(name) != f"s{self._session}" and name not in adopted:
                continue
            at = read_progress(path)
            before, since = self._seen.get(name, ((-2, -2), now))
            if before != (at.stage, at.block):
                since = now
            self._seen[name] = ((at.stage, at.block), since)
            stage = self._stages[at.stage] if 0 <= at.stage < len(self._stages) else None
            where = ("", "") if stage is None else (stage.stage.name, stage.region(at.block))
            memory = self._memory.get(name, 0)
            found.append(WorkerAt(name, where[0], at.block, where[1], round(now - since, 1), at.done, memory))
        return tuple(found)

    def _slowest(self) -> tuple[BlockAt, ...]:
        found = [
            BlockAt(stage.stage.name, block, stage.region(block), round(seconds, 4))
            for stage in self._stages
            for seconds, block in stage.slowest
        ]
        return tuple(sorted(found, key=lambda block: -block.seconds)[:_MOST])

    def _failed(self) -> tuple[BlockAt, ...]:
        found = []  # exceptions are not opened here: each is a RuntimeError with the text of the true one
        for stage in self._stages:
            for block, failure in list(stage.record.failures.items())[:_MOST]:
                found.append(BlockAt(stage.stage.name, block, failure.region, error=str(failure.error)))
        return tuple(found[:_MOST])

    def _maps(self, workers: Sequence[WorkerAt]) -> tuple[StageMap, ...]:
        found = []
        for stage in self._stages:
            running = [worker.block for worker in workers if worker.stage == stage.stage.name]
            if (made := stage.map(running)) is not None:
                found.append(made)
        return tuple(found)
