"""The table, the picture and the targets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FLOOR = 1.25
"""At most this many times the time of the bare codec and kernel."""
AGAINST_PEER = {
    "copy": 1.75,
    "copy to shards": 1.75,
    "gaussian 2": 2.0,
    "gaussian 8": 2.0,
    "label 6": 3.0,
    "label 26": 3.0,
    "label multi": 3.0,
    "downsample mean": 3.0,
    "pyramid image": 3.0,
    "pyramid labels": 3.0,
    "statistics": 3.0,
    "unique counts": 3.0,
    "watershed": 1.3,
}
"""At least this many times faster than the better backend of bioimage-py; every other work and peer: not slower."""
SUBPROCESS = 1.15
"""Subprocess against local at most, beyond start-up."""
EMPTY_SECONDS, EMPTY_MIB = 8.0, 200.0
"""One million empty blocks, local; memory on both backends."""


def write(out: Path, machine: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write what is known so far."""
    (out / "speed.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    facts = "\n".join(f"- {key}: {value}" for key, value in machine.items())
    head = "Wall seconds (CPU seconds, memory of all processes in MiB), medians; bold: times ours."
    head = "Wall seconds (CPU seconds, memory of all processes in MiB), medians; bold: times ours."
    text = f"# Speed\n\n{head}\n\n{facts}\n\n{markdown(rows)}\n"
    (out / "speed.md").write_text(text)
    _picture(out / "speed.png", rows)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One line a work, one column an engine."""
    names = list(dict.fromkeys(name for row in rows for name in row["engines"]))
    lines = ["| work | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = [_cell(row["engines"].get(name), row["engines"].get("ours"), name) for name in names]
        lines.append(f"| {row['work']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(cell: dict[str, Any] | None, ours: dict[str, Any] | None, name: str) -> str:
    if cell is None:
        return "–"
    if cell["wrong"]:
        return f"wrong: {cell['wrong'][:60]}"
    text = f"{cell['wall']:.2f} ({cell['cpu']:.1f}, {cell['peak']:.0f})"
    if ours and not ours["wrong"] and name != "ours":
        text += f" **{cell['wall'] / ours['wall']:.2f}x**"
    return text


def missed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Every ratio that falls short of its target."""
    found = []
    for row in rows:
        good = {name: cell for name, cell in row["engines"].items() if not cell["wrong"]}
        if "ours" not in good:
            found.append(f"{row['work']}: ours is wrong")
            continue
        found += [f"{row['work']}: {line}" for line in _missed(row["work"], good)]
    return found


def _missed(work: str, good: dict[str, dict[str, Any]]) -> list[str]:
    ours, lines = good["ours"]["wall"], []
    if "floor" in good and ours > FLOOR * good["floor"]["wall"]:
        lines.append(f"{ours / good['floor']['wall']:.2f} x the floor, at most {FLOOR}")
    peer = min((good[name]["wall"] for name in ("bioimage-py", "bioimage-py subprocess") if name in good), default=0.0)
    if peer and peer / ours < AGAINST_PEER.get(work, 1.0):
        lines.append(f"{peer / ours:.2f} x as fast as bioimage-py, at least {AGAINST_PEER.get(work, 1.0)}")
    for name, cell in good.items():
        if name not in ("ours", "ours subprocess", "floor") and cell["wall"] < ours:
            lines.append(f"slower than {name}: {ours:.2f} s, not {cell['wall']:.2f}")
    lines += _missed_elsewhere(work, good)
    return lines


def _missed_elsewhere(work: str, good: dict[str, dict[str, Any]]) -> list[str]:
    lines, ours = [], good["ours"]
    if work == "empty 1m":
        if ours["wall"] > EMPTY_SECONDS:
            lines.append(f"{ours['wall']:.1f} s local, at most {EMPTY_SECONDS}")
        lines += [
            f"{name} {good[name]['peak']:.0f} MiB, at most {EMPTY_MIB:.0f}"
            for name in ("ours", "ours subprocess")
            if name in good and good[name]["peak"] > EMPTY_MIB
        ]
    elif "ours subprocess" in good:
        other = good["ours subprocess"]
        beyond = other["wall"] - other["start"]
        if beyond > SUBPROCESS * ours["wall"]:
            lines.append(f"subprocess {beyond / ours['wall']:.2f} x local beyond start-up, at most {SUBPROCESS}")
    return lines


def _picture(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for row in rows for name in row["engines"] if name != "ours"))
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.42 * len(rows)), layout="constrained")
    colours = pyplot.get_cmap("tab10")
    for n, name in enumerate(names):
        at, ratios = [], []
        for y, row in enumerate(rows):
            cell, ours = row["engines"].get(name), row["engines"].get("ours")
            if cell and ours and not cell["wrong"] and not ours["wrong"]:
                at.append(y)
                ratios.append(cell["wall"] / ours["wall"])
        axes.scatter(ratios, at, label=name, color=colours(n % 10), marker="|" if name == "floor" else "o", s=60)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row["work"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("wall time / ours (right of the line: slower than ours)")
    axes.grid(axis="x", which="both", alpha=0.3)
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
