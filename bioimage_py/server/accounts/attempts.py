"""How often somebody may try a password: few times, then after waits that double; nobody is locked out for good."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from sqlalchemy import Connection, delete, insert, select, update

from ..database.engine import Database, alone
from ..database.tables import failures
from ..refusals import TooManyError

FREE = 5
"""Attempts of one account from one address before one has to wait."""
FREE_OF_ADDRESS = 50
"""Attempts of all accounts from one address."""
SPAN = 900.0
"""Seconds after which attempts are forgotten; also the longest wait."""


class Attempts:
    """Attempts to log in, by account and address.

    Parameters
    ----------
    database : Database
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def begin(self, name: str, address: str) -> None:
        """Count an attempt, before it is known how it ends: many at once are many.

        Raises
        ------
        TooManyError
            There were too many.
        """
        now = self._clock()
        with self._database.writing() as connection:
            alone(connection, failures)
            connection.execute(delete(failures).where(failures.c.first < now - SPAN, failures.c.until < now))
            whose = ((_key("address", address), FREE_OF_ADDRESS), (_key("account", name, address), FREE))
            waits = [_wait(connection, who, now) for who, _ in whose]
            if max(waits) <= 0:
                for who, free in whose:
                    _count(connection, who, free, now)
        if max(waits) > 0:
            raise TooManyError(max(waits))

    def succeeded(self, name: str, address: str) -> None:
        """Forget the attempts of an account from an address."""
        with self._database.writing() as connection:
            connection.execute(delete(failures).where(failures.c.who == _key("account", name, address)))
            own = failures.c.who == _key("address", address)
            connection.execute(update(failures).where(own).values(count=failures.c.count - 1))


def _wait(connection: Connection, who: str, now: float) -> float:
    until = connection.execute(select(failures.c.until).where(failures.c.who == who)).scalar()
    return 0.0 if until is None else float(until) - now


def _count(connection: Connection, who: str, free: int, now: float) -> None:
    count = connection.execute(select(failures.c.count).where(failures.c.who == who)).scalar()
    if count is None:
        connection.execute(insert(failures).values(who=who, count=1, first=now, until=0.0))
        return
    count += 1
    until = now + min(SPAN, 2.0 ** min(count - free, 20)) if count >= free else 0.0
    connection.execute(update(failures).where(failures.c.who == who).values(count=count, until=until))


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
