"""The log of a project that a server serves: every commit, of whatever process, leaves one event.

An event is one more document of its commit, so the rename that lets the commit count lets its event count too.
Events are numbered without gaps, in the order of the commits. A server takes them into its database and removes the
files but for the last one, which is where the next commit finds its number. Its presence is what says that a project
is served; where there is none, commits leave no events.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...system.files import listed
from ..values.merge import MISSING, Document, differences, value_at
from ..values.records import now

EVENTS = "events"
_DIGITS = 12
_NAME = re.compile(rf"{EVENTS}/[0-9]{{{_DIGITS}}}")


@dataclass(frozen=True)
class Origin:
    """Who makes a commit.

    Parameters
    ----------
    user : str
        Name of an account, or, without a server, of the system's user and the host.
    client : str
        Which of the user's programs; "" where it does not say.
    key : str
        What tells a commit from a repetition of it, the same for both; "" for none.
    """

    user: str
    client: str = ""
    key: str = ""

    @classmethod
    def here(cls) -> Origin:
        """Return this process."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # a container without a user database
            user = str(os.getuid())
        return cls(f"{user}@{socket.gethostname()}", f"process {os.getpid()}")


def event_name(number: int) -> str:
    """Return the name of the document of an event."""
    return f"{EVENTS}/{number:0{_DIGITS}}"


def is_event(name: str) -> bool:
    """Whether a document is an event."""
    return _NAME.fullmatch(name) is not None


def numbers(root: Path) -> list[int]:
    """Numbers of the events that lie in a project's folder, in their order; none where it is not served."""
    return [int(path.stem) for path in listed(root / EVENTS) if is_event(f"{EVENTS}/{path.stem}")]


def event(
    number: int, origin: Origin, documents: Mapping[str, tuple[Document | None, Document | None]]
) -> dict[str, Any]:
    """Return the event of a commit.

    Parameters
    ----------
    number : int
    origin : Origin
    documents : mapping
        Each document that the commit writes, before and after; None where there is none.

    Returns
    -------
    dict
        ``seq``, ``time``, ``user``, ``client``, ``key``, ``id`` (which no other event has), and ``changes``: for each
        document its ``name``, ``kind`` ("added", "changed" or "removed") and ``fields``, a path, the old and the new
        value each.
    """
    changes = [
        {"name": name, "kind": _kind(before, after), "fields": list(_fields(before, after))}
        for name, (before, after) in documents.items()
    ]
    time = now().isoformat().replace("+00:00", "Z")
    return {"seq": number, "id": secrets.token_hex(8), "time": time, **asdict(origin), "changes": changes}


def _kind(before: Document | None, after: Document | None) -> str:
    return "added" if before is None else "removed" if after is None else "changed"


def _fields(before: Document | None, after: Document | None) -> list[list[Any]]:
    if before is None or after is None:
        return []
    paths = [path for path in differences(before, after) if path != ("edit_time",)]
    return [[list(path), *(_json(value_at(document, path)) for document in (before, after))] for path in paths]


def _json(value: Any) -> Any:
    return None if value is MISSING else value
