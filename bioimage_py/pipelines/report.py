"""A page about a pipeline: what its calls took, read and wrote, and how they hang together."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from .call import Explanation
from .graph import graph

_COLOURS = {"run": "#2f6fb0", "run again": "#c9792b", "skipped": "#b9c3cc", "failed": "#b03a3a", "planned": "#dfe5ea"}
_WIDTH, _ROW = 560, 26


def page(name: str, calls: Sequence[Explanation]) -> str:
    """The page as HTML; it needs nothing else."""
    ran = [call for call in calls if call.action in ("run", "run again")]
    told = f"{len(calls)} calls: {len(ran)} run in {sum(call.seconds for call in ran):.2f} s, "
    told += f"{sum(call.action == 'skipped' for call in calls)} skipped"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>'
        "<style>body{font:15px sans-serif;margin:2em;color:#222}table{border-collapse:collapse}"
        "td,th{text-align:left;padding:.25em .8em;border-bottom:1px solid #ddd;vertical-align:top}</style></head>"
        f"<body><h1>{escape(name)}</h1><p>{told}</p>{_bars(calls)}{_between(calls)}{_table(calls)}</body></html>"
    )


def _between(calls: Sequence[Explanation]) -> str:
    drawn = graph(calls, _COLOURS)
    return f"<h2>Arrays and calls</h2>{drawn}<h2>Calls</h2>" if drawn else ""


def _bars(calls: Sequence[Explanation]) -> str:
    longest = max((call.seconds for call in calls), default=0.0) or 1.0
    rows = []
    for place, call in enumerate(calls):
        top = place * _ROW
        width = max(2.0, call.seconds / longest * _WIDTH)
        rows.append(
            f'<text x="0" y="{top + 17}">{escape(f"{call.number}  {call.name}")}</text>'
            f'<rect x="250" y="{top + 4}" width="{width:.1f}" height="{_ROW - 8}" rx="3"'
            f' fill="{_COLOURS.get(call.action, "#888")}"/>'
            f'<text x="{256 + width:.1f}" y="{top + 17}" fill="#666">{call.seconds:.2f} s, {escape(call.action)}</text>'
        )
    return f'<svg width="{_WIDTH + 420}" height="{len(calls) * _ROW + 6}" font-size="13">{"".join(rows)}</svg>'


def _table(calls: Sequence[Explanation]) -> str:
    rows = ""
    for call in calls:
        told = [escape(text) for text in (str(call.number), call.name, call.action, call.reason)]
        cells = [*told, _names(call, written=False), _names(call, written=True)]
        rows += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    head = "".join(f"<th>{name}</th>" for name in ("", "call", "", "why", "reads", "writes"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _names(call: Explanation, *, written: bool) -> str:
    if call.record is None:
        return ""
    names = call.record.wrote if written else call.record.reads
    return "<br>".join(
        f'<span title="{escape(name)}">{escape("/".join(Path(name).parts[-2:]))}</span>' for name in names
    )
