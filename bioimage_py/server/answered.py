"""Requests that take long, or leave no event: a repetition waits for the first one, and is answered the same.

Answers are kept by idempotency key for a day.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from ..errors import LockError, ParameterError
from ..projects.storage.mutex import holding
from .database.engine import Database, alone
from .database.tables import answers
from .refusals import StillWorkingError

_KEPT = 86400.0
_WAITS = 45.0
"""Seconds for which who repeats a request waits; clients, and proxies in between, wait for 60 s."""


@contextmanager
def working(mutexes: Path, name: str) -> Iterator[None]:
    """Hold what nobody else may do meanwhile, for as long as it takes.

    Raises
    ------
    StillWorkingError
        Somebody else is at it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(holding(mutexes, [name], _WAITS))
        except LockError:
            raise StillWorkingError from None
        yield


def once(database: Database, mutexes: Path, name: str, user: str, key: str, request: str, do: Callable[[], Any]) -> Any:
    """Do what a request asks for, one at a time; what asked for it again meanwhile waits, and gets the same answer.

    Parameters
    ----------
    database : Database
    mutexes : Path
        Folder of the locks that processes share.
    name : str
        Of what nobody else may do meanwhile.
    user, key : str
        Whose key this is; "" for none.
    request : str
        What is asked for.
    do : callable
        Returns the answer, a JSON value. One that was killed is done again.

    Raises
    ------
    StillWorkingError
        The first one takes longer.
    ParameterError
        The key came with another request before.
    """
    with working(mutexes, name):
        with database.reading() as connection:
            known = answered(connection, user, key, request)
        if known is not None:
            return known
        answer = do()
        with database.writing() as connection:
            remember(connection, user, key, request, answer)
        return answer


def answered(connection: Connection, user: str, key: str, request: str) -> Any:
    """Return what a request was answered; None where it has not been (or is not known any more)."""
    if not key:
        return None
    query = select(answers.c.request, answers.c.answer).where(answers.c.user == user, answers.c.key == key)
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    if found[0] != _short(request):
        raise ParameterError(
            f"The idempotency key {key!r} came with another request before.", remedy="use a new key for each request"
        )
    return json.loads(found[1])


def remember(connection: Connection, user: str, key: str, request: str, answer: Any) -> None:
    """Keep the answer of a request, with the transaction of what it has done."""
    if not key:
        return
    alone(connection, answers)
    now = time.time()
    connection.execute(delete(answers).where(answers.c.created < now - _KEPT))
    row = {"user": user, "key": key, "created": now, "request": _short(request), "answer": json.dumps(answer)}
    connection.execute(insert(answers).values(**row))


def has_removed(connection: Connection, user: str, what: str) -> bool:
    """Whether somebody has removed something within a day: who asks for it again is answered the same."""
    return bool(answered(connection, user, f"gone-{_short(what)}", what))


def note_removed(connection: Connection, user: str, what: str) -> None:
    """Remember that somebody has removed something, with the transaction that does."""
    key = f"gone-{_short(what)}"
    connection.execute(delete(answers).where(answers.c.user == user, answers.c.key == key))
    remember(connection, user, key, what, True)


def _short(request: str) -> str:
    return sha256(request.encode()).hexdigest()
