"""Tables and small pictures as HTML, for notebooks."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def table(title: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table under a title; whatever it holds is shown as text."""
    head = _row("th", names)
    body = "".join(_row("td", row) for row in rows)
    return f"<div><b>{escape(title)}</b><table><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def picture(pixels: Any, width: int = 160) -> str:
    """An image of uint8, grey or (rows, columns, 3), as a PNG inside of the page."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" style="width:{width}px;image-rendering:pixelated" src="data:image/png;base64,{data}">'


def _row(kind: str, cells: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(str(cell))}</{kind}>" for cell in cells) + "</tr>"
