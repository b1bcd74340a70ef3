"""Tables and files of what was measured."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..extras import DISTRIBUTION
from .data import block_of
from .session import Cell, Settings, Table

FLOOR = 1.25
"""At most this many times the time of the floor is what every work is to take."""
HEAD = (
    "Wall seconds of a call (processor seconds of the processes with all they did, memory of all in MiB), medians. "
    "Bold: times the time of ours; for ours, times the floor: the bare codec and kernel."
)
BRIEF = "Medians of ours on local; for each other engine, how many times as long it took."
_LIBRARIES = ("numpy", "zarr", "tensorstore", "opencv-python-headless", "connected-components-3d")


def machine(settings: Settings) -> dict[str, str]:
    """Describe where and what was measured."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    block = block_of(settings.size)
    others = [f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES]
    versions = [f"{DISTRIBUTION} {__version__}", *others]
    return {
        "processor": f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory[0]:.0f} GiB" if memory else "unknown",
        "system": platform.platform(),
        "software": f"Python {platform.python_version()}, {', '.join(versions)}",
        "volume": f"{settings.size}³, zarr v3, zstd, chunks {block // 2}³, blocks {block}³",
        "outputs": f"below {settings.place.parent}",
        "workers": str(settings.workers),
        "repeats": f"{settings.repeats}, taking turns",
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Make a table, of which the first row is the head."""
    head, *body = rows
    return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, body)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Make a table for a terminal."""
    plain = [[cell.replace("*", "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in plain
    )


def rows_of(table: Table) -> list[list[str]]:
    """One row a work, one column an engine."""
    names = list(dict.fromkeys(name for cells in table.values() for name in cells))
    body = [[work, *(_text(name, cells) for name in names)] for work, cells in table.items()]
    return [["work", *names], *body]


def brief(table: Table) -> list[list[str]]:
    """One row a work for a terminal: ours, and how many times as long the others took; for the floor, we."""
    others = list(dict.fromkeys(name for cells in table.values() for name in cells if name not in ("ours", "floor")))
    rows = [["work", "seconds", "x floor", "CPU s", "MiB", *others]]
    for work, cells in table.items():
        ours, floor = cells.get("ours", Cell(wrong="–")), cells.get("floor", Cell(wrong="–"))
        figures = (
            [_seconds(ours.wall), f"{ours.cpu:.1f}", f"{ours.peak:.0f}"] if not ours.wrong else [_state(ours), "", ""]
        )
        ratios = [_times(cells.get(name, Cell(wrong="–")), ours) for name in others]
        rows.append([work, figures[0], _times(ours, floor), *figures[1:], *ratios])
    return rows


def _state(cell: Cell) -> str:
    return cell.wrong.partition(":")[0]


def _seconds(wall: float) -> str:
    return f"{wall:.{2 if wall >= 0.1 else 3}f}"


def _times(cell: Cell, other: Cell) -> str:
    if cell.wrong or other.wrong:
        return _state(cell if cell.wrong else Cell(wrong="–"))
    ratio = cell.wall / other.wall
    return f"{ratio:.{2 if ratio < 100 else 0}f}x"


def _text(name: str, cells: dict[str, Cell]) -> str:
    cell = cells.get(name)
    if cell is None:
        return "–"
    if cell.wrong:
        return cell.wrong[:60]
    text = f"{_seconds(cell.wall)} ({cell.cpu:.1f}, {cell.peak:.0f})"
    other = cells.get("floor" if name == "ours" else "ours")
    if other is None or other.wrong:
        return text
    return f"{text} **{_times(cell, other)}{' floor' if name == 'ours' else ''}**"


def write(out: Path, name: str, title: str, facts: dict[str, str], table: Table) -> None:
    """Write NAME.json and NAME.md."""
    content = {"machine": facts, "works": {w: {n: asdict(c) for n, c in cells.items()} for w, cells in table.items()}}
    (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / f"{name}.md").write_text(page(title, f"{HEAD}\n\n{markdown(rows_of(table))}", facts))


def page(title: str, text: str, facts: dict[str, str]) -> str:
    """Make a page that ends with the machine's description."""
    described = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    return f"# {title}\n\n{text}\n\n{described}\n"
