"""Tokens of one project for workers, which find them in their environment: specs hold the name of the variable only.

Of somebody who has logged in, such a token is for this project, for reading or annotating, and for a day; who uses an
API token passes it on.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from ...errors import KeyNotFoundError, StorageError
from .connection import TOKEN_VARIABLE, Connection


def variable_name(url: str, user: str, project: str, scope: str) -> str:
    """Return the name of the environment variable of a token: another one for each server, user, project and scope."""
    words = f"{url} {user} {project} {scope}"
    return f"{TOKEN_VARIABLE}_{hashlib.sha256(words.encode()).hexdigest()[:16].upper()}"


def variable(connection: Connection, project: str, scope: Literal["read", "annotate"] = "read") -> str:
    """Return the name of the variable in which workers that are started from now on find a token for a project."""
    name = variable_name(connection.url, connection.user, project, scope)
    if not connection.renews():
        os.environ[name] = connection.access_token()
    elif time.monotonic() >= connection.tickets.get(name, 0.0):
        made = connection.send("POST", f"/projects/{project}/ticket", key=secrets.token_hex(16), scope=scope)
        connection.tickets[name] = time.monotonic() + made["seconds"] / 2
        os.environ[name] = made["token"]
    return name


@contextmanager
def ticket(connection: Connection, project: str) -> Iterator[str]:
    """Inside, workers that are started find a token that annotates a project in a variable; yields its name.

    What was made for it ends here.
    """
    name, made = f"{TOKEN_VARIABLE}_{secrets.token_hex(4).upper()}", None
    if connection.renews():
        made = connection.send("POST", f"/projects/{project}/ticket", key=secrets.token_hex(16), scope="annotate")
    os.environ[name] = connection.access_token() if made is None else made["token"]
    try:
        yield name
    finally:
        del os.environ[name]
        if made is not None:
            with suppress(StorageError, KeyNotFoundError):  # it ends by itself
                connection.send("DELETE", f"/auth/tokens/{made['id']}")
