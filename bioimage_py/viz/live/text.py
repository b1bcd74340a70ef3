"""A look at a run as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runner.control.watching import Look, StageMap
from ..run_figure import duration

_SHADES = " ░▒▓█"
_BAR = 40
_MOST = 12
"""Workers that are listed."""
_ROWS, _COLUMNS = 16, 64
_COLORS = {"green": "\x1b[32m", "yellow": "\x1b[33m", "red": "\x1b[31m"}
_PLAIN = "\x1b[0m"


def lines_of(look: Look, *, colors: bool = False, maps: bool = True) -> list[str]:
    """Lines for a terminal: stages, workers, slow and failed blocks, and a map of each stage that is under way."""
    return list(_lines(look, _Paint(colors), maps))


def clean(text: str) -> str:
    """What a run says, without what would move a terminal's cursor or change its state."""
    return "".join(sign if sign.isprintable() else "�" for sign in text)


class _Paint:
    """Puts colours around text, where they are wanted."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted

    def __call__(self, color: str, text: str) -> str:
        return f"{_COLORS[color]}{text}{_PLAIN}" if self._wanted and text else text


def _lines(look: Look, paint: _Paint, maps: bool) -> Iterator[str]:
    status = look.status
    yield f"{clean(status.run)}: {clean(status.state)}, {duration(look.seconds)}{_speed(look)}"
    for stage in status.stages:
        part = stage.done / stage.blocks if stage.blocks else 1.0
        filled = int(part * _BAR)
        failed = "  " + paint("red", f"{stage.failed} failed") if stage.failed else ""
        bar = paint("green", "█" * filled) + "·" * (_BAR - filled)
        yield f"  {clean(stage.name):<16} {bar} {stage.done} of {stage.blocks} ({100 * part:.0f} %){failed}"
    busy = [worker for worker in look.workers if worker.block >= 0]
    if look.workers:
        yield f"workers: {len(busy)} of {len(look.workers)} in a block"
    for worker in sorted(busy, key=lambda one: -one.seconds)[:_MOST]:
        memory = f", {worker.memory / 2**20:.0f} MiB" if worker.memory else ""
        place = clean(f"{worker.stage} {worker.block} {worker.region}").rstrip()
        yield f"  {clean(worker.name):<10} {place}, for {duration(worker.seconds)}, {worker.done} done{memory}"
    if look.slowest:
        slow = [f"{clean(one.stage)} {one.block} ({duration(one.seconds)})" for one in look.slowest[:4]]
        yield "slowest blocks: " + ", ".join(slow)
    for block in look.failed:
        first = (block.error.splitlines() or [""])[0]
        yield f"{paint('red', 'failed')}: {clean(f'{block.stage} {block.block} {block.region}: {first}')}"
    for one in look.maps if maps else ():
        stage = next(stage for stage in status.stages if stage.name == one.stage)
        if 0 < stage.done < stage.blocks or stage.failed:
            yield f"{clean(one.stage)}, axes {' and '.join(map(str, one.axes))}:"
            yield from _drawn(one, paint)


def _speed(look: Look) -> str:
    if look.rate <= 0:
        return ""
    left = "" if look.left is None else f", about {duration(look.left)} left"
    return f", {look.rate:.3g} blocks a second{left}"


def _drawn(one: StageMap, paint: _Paint) -> Iterator[str]:
    """A character a cell: shades as far as it is done, R where a worker is, F where a block has failed."""
    done, running, failed = (_fewer(cells) for cells in (one.done, one.running, one.failed))
    for row in range(done.shape[0]):
        line = "  "
        for column in range(done.shape[1]):
            if failed[row, column] > 0:
                line += paint("red", "F")
            elif running[row, column] > 0:
                line += paint("yellow", "R")
            else:
                line += _SHADES[min(len(_SHADES) - 1, int(done[row, column] * (len(_SHADES) - 1) + 1e-9))]
        yield line.rstrip() or "  ."


def _fewer(cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cells as they fit a terminal, each the mean of several."""
    for axis, most in enumerate((_ROWS, _COLUMNS)):
        if (step := -(-cells.shape[axis] // most)) > 1:
            starts = np.arange(0, cells.shape[axis], step)
            counts = np.diff([*starts, cells.shape[axis]])
            shape = (-1, 1) if axis == 0 else (1, -1)
            cells = np.add.reduceat(cells, starts, axis=axis) / counts.reshape(shape)
    return np.asarray(cells)
