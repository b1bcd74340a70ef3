"""Works by engines in turn, in one session, each result checked."""

from __future__ import annotations

import os
import re
import shutil
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..system.processes import start_of
from . import protocol
from .check import CHECKS
from .data import block_of, make
from .engines import Engine
from .processes import Measured, measure, wait_for_quiet
from .protocol import Case

SMALL, SMALL_BLOCK = 64, 32
"""Edge lengths of the volume and blocks that show what a call costs before any work."""
HOPELESS, PATIENCE = 10.0, 20.0
"""Times the time of the first engine, and seconds: slower is not repeated."""
_OUTPUTS = "bioimage_py-outputs-"
ENDED, LEAST = 20.0, 30.0
"""Times the time of the first engine, and seconds: who takes longer, start included, is ended."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Parameters
    ----------
    out : path
        Folder for data, environments and what was measured.
    size : int
        Edge length of the volume, a multiple of 32.
    works : tuple of str
        Of `CHECKS`.
    workers : int
    repeats : int
    timeout : float
        Seconds for one engine and work.
    outputs : path, optional
        Folder in which the works write into one of their own, which is removed after each; `out` by default.
    """

    out: Path
    size: int = 256
    works: tuple[str, ...] = tuple(CHECKS)
    workers: int = 2
    repeats: int = 3
    timeout: float = 600.0
    outputs: Path | None = None

    @property
    def place(self) -> Path:
        """Where the works write: no other bench that runs at the same time does."""
        return (self.out if self.outputs is None else self.outputs) / f"{_OUTPUTS}{os.getpid()}"


@dataclass(frozen=True)
class Run:
    """One run of a work: seconds and MiB, see `Measured`; `start` is the wall time of the same call on 64³ voxels."""

    wall: float = 0.0
    start: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0
    driver: float = 0.0
    wrong: str = ""


@dataclass(frozen=True)
class Cell:
    """Medians of the runs of an engine and a work, or what is wrong with one of them."""

    wall: float = 0.0
    start: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0
    driver: float = 0.0
    wrong: str = ""
    walls: tuple[float, ...] = ()


Table = dict[str, dict[str, Cell]]
"""From works, and in them from the names of engines."""


def hopeless(name: str, cells: Mapping[str, Cell]) -> bool:
    """Whether an engine is wrong, or so much slower than the first one that another run tells nothing."""
    first = next(iter(cells.values()))
    return bool(cells[name].wrong) or cells[name].wall > max(HOPELESS * first.wall, PATIENCE)


def cell_of(runs: Sequence[Run]) -> Cell:
    """Sum up repeats."""
    wrong = next((run.wrong for run in runs if run.wrong), "")
    walls = tuple(run.wall for run in runs)
    if wrong:
        return Cell(wrong=wrong, walls=walls)
    names = ("wall", "start", "cpu", "peak", "driver")
    return Cell(**{name: statistics.median(getattr(run, name) for run in runs) for name in names}, walls=walls)


@dataclass
class Session:
    """Measures, one process tree at a time.

    Parameters
    ----------
    settings : Settings
    engines : sequence of Engine
        The first is what the others are compared with.
    tell : callable, optional
        Gets a line for every run.
    settled : callable, optional
        From a work, an engine's name and the work's cells so far to whether the engine need not run again.
    before : Table, optional
        What an earlier session measured: an engine that is settled there does not run.
    """

    settings: Settings
    engines: Sequence[Engine]
    tell: Callable[[str], None] = lambda line: None
    settled: Callable[[str, str, Mapping[str, Cell]], bool] = lambda work, name, cells: hopeless(name, cells)
    before: Table = field(default_factory=dict)
    runs: dict[str, dict[str, list[Run]]] = field(default_factory=dict)

    def rounds(self, works: Collection[str] | None = None) -> Iterator[Table]:
        """Run everything once a repeat, and yield the table so far after each.

        The order of engines alternates, so that nobody always finds the page cache as the same other one left it.
        """
        for repeat in range(self.settings.repeats):
            for work in self.settings.works if works is None else works:
                known = [table[work] for table in (self.before, self.table()) if work in table]
                engines = [
                    engine
                    for engine in self.engines
                    if engine.does(work)
                    and not any(engine.name in cells and self.settled(work, engine.name, cells) for cells in known)
                ]
                for engine in engines[:: -1 if repeat % 2 else 1]:
                    limit = self._limit(engine, self.table().get(work, {}))
                    run = self.once(engine, work, self.settings.size, self.settings.workers, limit)
                    self.runs.setdefault(work, {}).setdefault(engine.name, []).append(run)
                    said = run.wrong or f"{run.wall:7.2f} s {run.peak:6.0f} MiB"
                    self.tell(f"{repeat + 1}/{self.settings.repeats} {work:21} {engine.name:22} {said}")
            yield self.table()

    def table(self) -> Table:
        """Medians of what was measured so far."""
        order = [engine.name for engine in self.engines]
        return {
            work: {name: cell_of(found[name]) for name in order if name in found} for work, found in self.runs.items()
        }

    def _limit(self, engine: Engine, cells: Mapping[str, Cell]) -> float:
        """Seconds for a run of an engine; the first one has all that the settings give."""
        first = cells.get(self.engines[0].name)
        if engine is self.engines[0] or first is None or first.wrong:
            return self.settings.timeout
        return min(self.settings.timeout, max(LEAST, ENDED * first.wall))

    def once(self, engine: Engine, work: str, size: int, workers: int, limit: float | None = None) -> Run:
        """Run a work in a process of its own: twice on a small volume, then on the large one, of which we report.

        It is ended after `limit` seconds, by default those of the settings.
        """
        small, large = self._data(work, engine, SMALL), self._data(work, engine, size)
        place = self.settings.place
        remove_left(place)
        cases = [
            Case(str(small), str(place / f"small-{n}"), SMALL_BLOCK, SMALL_BLOCK // 2, workers, engine.backend)
            for n in range(2)
        ]
        block = block_of(size)
        cases.append(Case(str(large), str(place / "large"), block, block // 2, workers, engine.backend))
        # -P: what lies beside the script must not stand in for a library
        command = [str(engine.python(self.settings.out)), "-P", protocol.__file__, str(engine.script), work]
        wait_for_quiet(0.3, 30)
        try:
            seconds = self.settings.timeout if limit is None else limit
            measured = measure([*command, *(case.text() for case in cases)], seconds, self.settings.out)
            wrong = _wrong(work, engine, large, place / "large", measured)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if wrong:
            return Run(wrong=wrong)
        walls = [case["wall"] for case in measured.cases]
        return Run(walls[2], walls[1], measured.cpu, measured.peak, measured.driver)

    def _data(self, work: str, engine: Engine, size: int) -> Path:
        data = make(self.settings.out, size, block_of(size) // 2, CHECKS[work].inputs)
        engine.prepare(data)
        return data


def remove_left(place: Path) -> None:
    """Remove what was written into a place, and into those of benches that were killed."""
    for folder in place.parent.glob(f"{_OUTPUTS}*"):
        pid = folder.name.removeprefix(_OUTPUTS)
        if folder == place or (pid.isdigit() and not start_of(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)


def _wrong(work: str, engine: Engine, data: Path, output: Path, measured: Measured) -> str:
    if measured.error or len(measured.cases) < 3:
        lines = [line.strip() for line in measured.error.splitlines() if line.strip("\x1b[m ")]
        said = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)] or lines or ["no result"]
        return f"fails: {said[-1]}"[:200]
    try:
        found = CHECKS[work].wrong(data, lambda key: engine.result(output, key), measured.cases[2]["result"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        found = f"{type(error).__name__}: {error}"
    return f"wrong: {found}"[:200] if found else ""
