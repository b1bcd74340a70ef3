"""Logs of a server: one JSON object a line, of what was chosen to be told, so without headers, bodies and queries."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class Lines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        about = record.__dict__.get("about", {})
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(about if isinstance(about, dict) else {"about": str(about)}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["where"] = _where(record.exc_info[1])
        return json.dumps(line)


def _where(error: BaseException) -> list[str]:
    """Return files and lines of a traceback; values, which may be secret, are left out."""
    found, trace = [type(error).__name__], error.__traceback__
    while trace is not None:
        found.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    return found


def to_stderr() -> None:
    """Let all that is logged here go to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    for name, level in (("bioimage_py.server", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
