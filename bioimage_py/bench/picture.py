"""Plots of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extras import needing
from .session import Table
from .table import FLOOR

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panel:
    """One of several plots: title, format of the ticks, and the points of every line."""

    title: str
    tick: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def _figure(width: float, height: float) -> Figure:
    with needing("matplotlib", "A picture"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def ratios(path: Path, table: Table, facts: Mapping[str, str], targets: Mapping[str, float] | None = None) -> None:
    """Draw wall times as multiples of ours, a row a work.

    Parameters
    ----------
    path : path
        The PNG.
    table : Table
    facts : mapping
        The machine's description.
    targets : mapping, optional
        From works to the multiple that the peer package is to be right of.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for cells in table.values() for name in cells if name != "ours"))
    figure = _figure(10, 1.9 + 0.36 * len(table))
    from matplotlib.ticker import LogLocator, NullFormatter

    axes = figure.subplots()
    for row in range(0, len(table), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="0.955", zorder=0)
    axes.axvline(1, color="black", linewidth=1.2, zorder=1)
    axes.axvline(1 / FLOOR, color="black", linewidth=1, linestyle=":", zorder=1)
    for n, name in enumerate(names):
        pairs = [(row, cells) for row, cells in enumerate(table.values()) if _both(cells, name)]
        found = [(cells[name].wall / cells["ours"].wall, row) for row, cells in pairs]
        if found:
            axes.scatter(*zip(*found, strict=True), label=name, **_marker(name, n))
    marks = [(ratio, row) for row, work in enumerate(table) if (ratio := (targets or {}).get(work))]
    if marks:
        style: dict[str, Any] = {"marker": "|", "s": 190, "color": "tab:red", "linewidths": 2, "zorder": 2}
        axes.scatter(*zip(*marks, strict=True), label="target: bioimage-py right of it", **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(table)), list(table))
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel(f"wall time, ours = 1; dotted: the floor is to be right of 1/{FLOOR}")
    axes.grid(axis="x", which="major", alpha=0.4)
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_title(_caption(facts), fontsize=8, loc="left")
    figure.savefig(path, dpi=130)


def _both(cells: Mapping[str, Any], name: str) -> bool:
    return all(key in cells and not cells[key].wrong and cells[key].wall > 0 for key in ("ours", name))


def _marker(name: str, n: int) -> dict[str, Any]:
    colours = ("tab:green", "tab:blue", "tab:orange", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan")
    if name == "floor":
        return {"marker": "D", "s": 34, "facecolors": "white", "edgecolors": "black", "zorder": 4}
    if name == "ours subprocess":
        return {"marker": "s", "s": 34, "facecolors": "white", "edgecolors": "tab:red", "zorder": 4}
    return {"marker": "o", "s": 42, "color": colours[n % len(colours)], "alpha": 0.85, "zorder": 3}


def _caption(facts: Mapping[str, str]) -> str:
    return f"{facts['processor']}, {facts['memory']}; {facts['volume']}; {facts['workers']} workers"


def lines(path: Path, panels: Sequence[Panel], facts: Mapping[str, str]) -> None:
    """Draw panels side by side, a line a work.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure = _figure(5 * len(panels), 5)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, points in panel.lines.items():
            # a work has one colour, and its second backend is dashed
            colours = list(dict.fromkeys(other.partition(",")[0] for other in panel.lines))
            style = "--" if name.endswith("subprocess") else "-"
            colour = f"C{colours.index(name.partition(',')[0])}"
            axes.plot(*zip(*points, strict=True), marker="o", label=name, linestyle=style, color=colour)
        ticks = sorted({x for points in panel.lines.values() for x, _ in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [panel.tick.format(tick) for tick in ticks])
        axes.set_ylim(bottom=0)
        axes.set_title(panel.title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=2)
    figure.suptitle(_caption(facts), fontsize=8)
    figure.savefig(path, dpi=130)
