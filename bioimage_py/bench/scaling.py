"""How time and memory grow with the volume and with the workers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from ..errors import MissingDependencyError
from . import picture
from .data import block_of
from .engines import OWN
from .picture import Panel
from .session import Cell, Run, Session, cell_of
from .table import aligned, machine, markdown, page

WORKS = ("copy", "gaussian 2", "label 6", "downsample mean", "statistics", "pyramid labels")
WORKER_WORKS = ("copy", "gaussian 2", "label 6", "statistics")
HEAD = "Nanoseconds a voxel (memory of all processes in MiB), medians; ours on local. Flatness: last size / first."
WORKERS_HEAD = "Wall seconds beyond start-up (processor seconds), medians; bold: times as fast as one worker."


@dataclass(frozen=True)
class Key:
    """A point of a curve: work, engine, edge length of the volume, workers."""

    work: str
    engine: str
    size: int
    workers: int


Points = dict[Key, Cell]


def measured(session: Session, sizes: Sequence[int], workers: Sequence[int]) -> Iterator[Points]:
    """Measure the session's works among `WORKS` once a repeat, and yield the points so far after each.

    Volumes run on the session's workers, workers on the second size.
    """
    local, subprocess = OWN[:2]
    middle = _middle(sizes)
    keys = [Key(work, local.name, size, session.settings.workers) for work in WORKS for size in sizes]
    keys += [Key(w, e.name, middle, n) for w in WORKER_WORKS for e in (local, subprocess) for n in workers]
    runs: dict[Key, list[Run]] = {key: [] for key in dict.fromkeys(keys) if key.work in session.settings.works}
    engines = {engine.name: engine for engine in OWN}
    for repeat in range(session.settings.repeats):
        for key, found in runs.items():
            run = session.once(engines[key.engine], key.work, key.size, key.workers)
            found.append(run)
            said = run.wrong or f"{run.wall:7.2f} s {run.peak:6.0f} MiB"
            place = f"{key.engine:16} {key.size:5}³ {key.workers} workers"
            session.tell(f"{repeat + 1}/{session.settings.repeats} {key.work:16} {place} {said}")
        yield {key: cell_of(found) for key, found in runs.items()}


def nanoseconds(key: Key, cell: Cell) -> float:
    """Time a voxel."""
    return cell.wall / key.size**3 * 1e9


def flatness(points: Points, work: str, workers: int) -> float | None:
    """Time a voxel of the largest volume over that of the smallest; None where one of them is wrong or missing."""
    found = sorted(
        (key.size, nanoseconds(key, cell))
        for key, cell in points.items()
        if key.work == work and key.engine == "ours" and key.workers == workers and not cell.wrong
    )
    return found[-1][1] / found[0][1] if len(found) > 1 else None


def volume_rows(points: Points, sizes: Sequence[int], workers: int) -> list[list[str]]:
    """One row a work, one column a size."""
    rows = [["work", *(f"{size}³" for size in sizes), "flatness"]]
    for work in dict.fromkeys(key.work for key in points):
        cells = [_volume_text(points, Key(work, "ours", size, workers)) for size in sizes]
        flat = flatness(points, work, workers)
        rows.append([work, *cells, "–" if flat is None else f"**{flat:.2f}**"])
    return rows


def _volume_text(points: Points, key: Key) -> str:
    cell = points.get(key)
    if cell is None:
        return "–"
    return cell.wrong[:60] if cell.wrong else f"{nanoseconds(key, cell):.2f} ({cell.peak:.0f})"


def worker_rows(points: Points, size: int, workers: Sequence[int]) -> list[list[str]]:
    """One row a work and backend, one column a number of workers."""
    rows = [["work", "backend", *(f"{n} workers" for n in workers)]]
    for work in _works(points):
        for engine in OWN[:2]:
            cells = {n: points[Key(work, engine.name, size, n)] for n in workers}
            rows.append([work, engine.backend, *(_worker_text(cells, n) for n in workers)])
    return rows


def beyond(cell: Cell) -> float:
    """Wall seconds less those of the same call on next to nothing."""
    return max(cell.wall - cell.start, 1e-3)


def _worker_text(cells: dict[int, Cell], n: int) -> str:
    cell, first = cells[n], next(iter(cells.values()))
    if cell.wrong:
        return cell.wrong[:60]
    text = f"{beyond(cell):.2f} ({cell.cpu:.1f})"
    return text if first.wrong else f"{text} **{beyond(first) / beyond(cell):.2f}x**"


def counts_of(workers: int) -> list[int]:
    """Powers of two up to the workers, and twice as many: those may gain nothing, and must cost little."""
    return sorted({*(2**n for n in range(workers.bit_length())), workers, 2 * workers})


def grow(session: Session, sizes: Sequence[int]) -> Points:
    """Measure, and write scaling.json, scaling.md and scaling.png after each round.

    Parameters
    ----------
    session : Session
    sizes : sequence of int
        Edge lengths, rising.
    """
    points: Points = {}
    counts = counts_of(session.settings.workers)
    for points in measured(session, sizes, counts):
        _write(session, points, sizes, counts)
    workers = session.settings.workers
    session.tell(f"\n{HEAD}\n\n{aligned(volume_rows(points, sizes, workers))}")
    session.tell(f"\n{WORKERS_HEAD}\n\n{aligned(worker_rows(points, _middle(sizes), counts))}")
    return points


def wrong(points: Points) -> list[str]:
    """Points with a wrong result."""
    return [f"{key.work} ({key.engine}, {key.size}³)" for key, cell in points.items() if cell.wrong]


def _works(points: Points) -> list[str]:
    present = {key.work for key in points}
    return [work for work in WORKER_WORKS if work in present]


def _middle(sizes: Sequence[int]) -> int:
    return sizes[min(1, len(sizes) - 1)]


def _write(session: Session, points: Points, sizes: Sequence[int], counts: Sequence[int]) -> None:
    out, facts, workers = session.settings.out, machine(session.settings), session.settings.workers
    facts["volume"] = f"zarr v3, zstd, blocks up to {block_of(sizes[-1])}³, chunks half as long"
    content = [{**asdict(key), **asdict(cell)} for key, cell in points.items()]
    (out / "scaling.json").write_text(json.dumps({"machine": facts, "points": content}, indent=1) + "\n")
    tables = markdown(volume_rows(points, sizes, workers)), markdown(worker_rows(points, _middle(sizes), counts))
    text = f"{HEAD}\n\n{tables[0]}\n\n{WORKERS_HEAD} {_middle(sizes)}³.\n\n{tables[1]}"
    (out / "scaling.md").write_text(page("Growth", text, facts))
    try:
        picture.lines(out / "scaling.png", _panels(points, workers, _middle(sizes), counts), facts)
    except MissingDependencyError as error:
        session.tell(str(error))


def _panels(points: Points, workers: int, middle: int, counts: Sequence[int]) -> list[Panel]:
    good = {key: cell for key, cell in points.items() if not cell.wrong}
    times: dict[str, list[tuple[float, float]]] = {}
    peaks: dict[str, list[tuple[float, float]]] = {}
    for key, cell in good.items():
        if key.engine == "ours" and key.workers == workers and key.work in WORKS:
            times.setdefault(key.work, []).append((key.size, nanoseconds(key, cell)))
            peaks.setdefault(key.work, []).append((key.size, cell.peak))
    return [
        Panel("nanoseconds a voxel", "{:g}³", times),
        Panel("memory of all processes, MiB", "{:g}³", peaks),
        Panel(f"times as fast as one worker, {middle}³", "{:g}", _speedups(good, middle, counts)),
    ]


def _speedups(good: Points, size: int, counts: Sequence[int]) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for work in _works(good):
        for engine in OWN[:2]:
            cells = {n: good[key] for n in counts if (key := Key(work, engine.name, size, n)) in good}
            if counts[0] in cells:
                found[f"{work}, {engine.backend}"] = [
                    (float(n), beyond(cells[counts[0]]) / beyond(cell)) for n, cell in cells.items()
                ]
    return found
