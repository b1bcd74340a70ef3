"""A table as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(title: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table under a title; whatever it holds is shown as text."""
    head = _row("th", names)
    body = "".join(_row("td", row) for row in rows)
    return f"<div><b>{escape(title)}</b><table><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def _row(kind: str, cells: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(str(cell))}</{kind}>" for cell in cells) + "</tr>"
