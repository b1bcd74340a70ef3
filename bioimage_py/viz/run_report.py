"""The report of a run as a page, a picture or data."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from ..errors import ParameterError
from ..runner.driver.report import RunReport
from ..runner.ledger.records import BlockFailure, text_of
from .run_figure import color_of, duration, figure_png, headline, promised_per_worker, slowest_blocks, workers_of

_MOST_ROWS = 500
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #1a1a1a; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; } td, th { padding: .2em .9em .2em 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #888; font-weight: 600; } td.n, th.n { text-align: right; }
tr:nth-child(even) td { background: #f5f5f5; }
img { max-width: 100%; } pre { background: #f5f5f5; padding: .8em; overflow-x: auto; font-size: 13px; }
.bad { color: #b00020; } .dot { display: inline-block; width: .8em; height: .8em; margin-right: .5em; }
"""


def write_report(report: RunReport, path: str | os.PathLike[str]) -> str:
    """Write what happened in a run, as the suffix of the file says.

    Parameters
    ----------
    report : RunReport
        From `bioimage_py.map_blocks`, or of a run folder with `bioimage_py.runner.control.inspect.report_of`.
    path : str or os.PathLike
        ``.html``: a page that needs no other file, with the picture, the failed and slowest blocks, memory and
        events. ``.png``: the picture alone. ``.json``: totals and stages. ``.jsonl``: one event a line, the totals
        last. Folders above it are made.

    Returns
    -------
    str
        The absolute path.

    Raises
    ------
    ParameterError
        Another suffix.
    MissingDependencyError
        If matplotlib is not installed (``.html``, ``.png``).
    """
    target = Path(os.path.abspath(path))
    if target.suffix not in _WRITERS:
        raise ParameterError(
            f"a report cannot be written to {target.name!r}: its suffix is none of {', '.join(_WRITERS)}",
            remedy=f"{target.stem}.html",
        )
    content = _WRITERS[target.suffix](report)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(target)


def report_lines(report: RunReport) -> str:
    """One event a line as JSON; the last line holds the totals."""
    last = {"seconds": report.seconds, "event": "Report", "report": report.to_dict()}
    return "".join(json.dumps(line) + "\n" for line in (*report.events, last))


def report_page(report: RunReport) -> str:
    """The report as a page of HTML that needs no other file."""
    picture = base64.b64encode(figure_png(report)).decode()
    parts = [
        f"<h1>{escape(headline(report))}</h1>",
        _failed(report),
        "<h2>Stages</h2>" + _stages(report),
        f'<p><img alt="timeline, times and memory" src="data:image/png;base64,{picture}"></p>',
        "<h2>Slowest blocks</h2>" + _slowest(report),
        "<h2>Memory</h2>" + _memory(report),
        "<h2>Events</h2>" + _events(report),
    ]
    title = escape(report.name or "run")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(part for part in parts if part) + "\n</body></html>\n"
    )


_WRITERS: dict[str, Any] = {
    ".html": report_page,
    ".png": figure_png,
    ".json": RunReport.to_json,
    ".jsonl": report_lines,
}


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as a table; numbers stand to the right, text is escaped, and strings that begin with < are HTML."""
    shown = list(rows)
    right = [bool(shown) and all(isinstance(row[i], int | float) for row in shown) for i in range(len(names))]
    kinds = [' class="n"' if at_right else "" for at_right in right]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(names, kinds, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in shown
    )
    return f"<table><tr>{head}</tr>\n{body}\n</table>"


class _Html(str):
    """Text that is HTML already."""


def _cell(cell: Any) -> str:
    return cell if isinstance(cell, _Html) else escape(str(cell))


def _named(report: RunReport, stage: int) -> _Html:
    return _Html(f'<span class="dot" style="background:{color_of(stage)}"></span>{escape(report.stages[stage].name)}')


def _mebi(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"


def _failed(report: RunReport) -> str:
    parts = []
    for title, kind in (("Failed blocks", "failures"), ("Blocks that failed and succeeded when run again", "overcome")):
        found: list[BlockFailure] = [failure for stage in report.stages for failure in getattr(stage, kind)]
        if not found:
            continue
        rows = [
            (_named(report, failure.stage), failure.block_id, failure.region, failure.worker, text_of(failure.error))
            for failure in found[:_MOST_ROWS]
        ]
        first = found[0]
        bad = ' class="bad"' if kind == "failures" else ""
        parts += [
            f"<h2{bad}>{title}: {len(found)}</h2>",
            _table(("stage", "block", "region", "worker", "error"), rows),
            f"<details{' open' if bad else ''}><summary>first traceback (block {first.block_id})</summary>"
            f"<pre>{escape(first.traceback)}</pre></details>",
        ]
    return "\n".join(parts)


def _stages(report: RunReport) -> str:
    rows = []
    for number, stage in enumerate(report.stages):
        spans = stage.spans
        wall = max(s.end for s in spans) - min(s.begin for s in spans) if spans else 0.0
        times = duration(stage.times.total), duration(wall)
        rows.append((_named(report, number), stage.n_blocks, stage.n_done, len(stage.failures), *times))
    return _table(("stage", "blocks", "done", "failed", "time in blocks", "from first to last batch"), rows)


def _slowest(report: RunReport) -> str:
    rows = [
        (_named(report, number), block, report.stages[number].regions.get(block, ""), duration(seconds))
        for number, block, seconds in slowest_blocks(report.stages)
    ]
    return _table(("stage", "block", "region", "time"), rows)


def _memory(report: RunReport) -> str:
    rows: list[tuple[Any, ...]] = []
    promise = promised_per_worker(report)
    for worker in workers_of(report):
        if (peak := report.worker_peaks.get(worker)) is not None:
            share = f"{100 * peak / promise:.0f} %" if promise else ""
            rows.append((worker, _mebi(promise), _mebi(peak), share))
    if not rows:
        before = report.memory_marks[0][1] if report.memory_marks else 0
        grown = report.peak_bytes - before
        share = f"{100 * grown / report.promised_bytes:.0f} %" if report.promised_bytes else ""
        rows.append(
            ("all threads, above what the process held before", _mebi(report.promised_bytes), _mebi(grown), share)
        )
    else:
        rows.append(("the driver", "", _mebi(report.peak_bytes), ""))
    marks = [
        (_named(report, number), block, _mebi(size))
        for number, stage in enumerate(report.stages)
        for block, size, _ in sorted(stage.memory, key=lambda mark: -mark[1])[:5]
    ]
    text = _table(("process", "promised", "measured", "of the promise"), rows)
    if marks:
        text += "<p>Blocks after which a worker had never held so much:</p>" + _table(
            ("stage", "block", "memory of the worker"), marks
        )
    return text


def _events(report: RunReport) -> str:
    if not report.events:
        return "<p>None.</p>"
    rows = [(f"{event['seconds']:.3f}", _clock(event), event["event"], _told(event)) for event in report.events]
    left = len(rows) - _MOST_ROWS
    more = f"<p>… and {left} more: write the report as .jsonl for all of them.</p>" if left > 0 else ""
    return _table(("seconds", "time", "event", "what"), rows[:_MOST_ROWS]) + more


def _clock(event: dict[str, Any]) -> str:
    if "time" not in event:
        return ""
    return datetime.fromtimestamp(event["time"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _told(event: dict[str, Any]) -> str:
    rest = {key: value for key, value in event.items() if key not in ("seconds", "time", "event", "session")}
    return ", ".join(f"{key} {value}" for key, value in rest.items() if value not in ("", None, [], ()))
