"""Templates as HTML: all that is filled in is escaped, and the browser is told to load nothing from elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def rendered(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page.

    Parameters
    ----------
    template : str
        Name, without its ending.
    status : int, default 200
        HTTP status.
    **values
        What the template names.
    """
    text = _environment().get_template(f"{template}.html").render(**values)
    return HTMLResponse(text, status, {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"})


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters["when"] = when
    found.filters["short"] = short
    found.filters["plain"] = json.dumps
    return found


def when(seconds: float | str | None) -> Markup:
    """Return a time (seconds since 1970, or ISO 8601) as an element, in UTC; "never" for None."""
    if seconds is None:
        return Markup("never")
    if isinstance(seconds, str):
        found = datetime.fromisoformat(seconds).astimezone(UTC)
    else:
        found = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{}</time>').format(found.isoformat(), f"{found:%Y-%m-%d %H:%M}")


def short(value: Any, most: int = 80) -> str:
    """Return a value as a text of limited length."""
    text = {True: "yes", False: "no", None: "–"}.get(value, value) if isinstance(value, bool | None) else value
    said = str(text)
    return said if len(said) <= most else f"{said[: most - 1]}…"
