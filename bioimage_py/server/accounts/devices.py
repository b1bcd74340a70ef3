"""Programs that wait to be let in: somebody types their code into the page, signed in by whatever way (RFC 8628)."""

from __future__ import annotations

import hashlib
import secrets as randomness
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update

from ...errors import KeyNotFoundError
from ..database import audit
from ..database.engine import Database, alone
from ..database.tables import devices
from ..refusals import TooManyError, UnknownCallerError
from .attempts import Attempts
from .callers import Caller
from .sessions import Pair, Sessions

SECONDS, EVERY = 600.0, 5.0
"""How long a program may wait, and how often it should ask."""
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Which make no words."""
_MOST, _MOST_OF_ADDRESS = 1000, 20


@dataclass(frozen=True)
class Waiting:
    """A program that waits."""

    words: str
    """What its user types, such as "BCDF-GHJK"."""
    client: str
    address: str
    began: float


class Devices:
    """The programs that wait.

    Parameters
    ----------
    database : Database
    sessions : Sessions
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, database: Database, sessions: Sessions, clock: Callable[[], float] = time.time) -> None:
        self._database, self._sessions, self._clock = database, sessions, clock
        self._attempts = Attempts(database, clock)

    def begin(self, client: str, address: str) -> tuple[str, str]:
        """Return what proves a program that waits from now on, and what its user is to type.

        Raises
        ------
        TooManyError
            Too many wait.
        """
        now, code = self._clock(), "bid_" + randomness.token_urlsafe(32)
        words = "".join(randomness.choice(_LETTERS) for _ in range(8))
        row = {"hash": _hash(code), "words": words, "client": client[:200], "address": address[:100]}
        with self._database.writing() as connection:
            alone(connection, devices)
            connection.execute(delete(devices).where(devices.c.began < now - SECONDS))
            count = select(func.count()).select_from(devices)
            there = connection.execute(count).scalar_one()
            own = connection.execute(count.where(devices.c.address == row["address"])).scalar_one()
            if there >= _MOST or own >= _MOST_OF_ADDRESS:
                raise TooManyError(60.0)
            connection.execute(insert(devices).values(**row, began=now, asked=0.0, user_id=None))
        return code, f"{words[:4]}-{words[4:]}"

    def waiting(self, words: str, caller: Caller, address: str) -> Waiting:
        """Return the program of which somebody has typed the code.

        Raises
        ------
        KeyNotFoundError
            None of that code waits (any more).
        TooManyError
            Too many codes were tried.
        """
        self._attempts.begin(f"device {caller.name}", address)
        own = (devices.c.words == _plain(words)) & (devices.c.began >= self._clock() - SECONDS)
        with self._database.reading() as connection:
            found = connection.execute(select(devices).where(own, devices.c.user_id.is_(None))).mappings().one_or_none()
        if found is None:
            raise KeyNotFoundError("No program waits with this code (any more).", remedy="start it again")
        self._attempts.succeeded(f"device {caller.name}", address)
        shown = f"{found['words'][:4]}-{found['words'][4:]}"
        return Waiting(shown, found["client"], found["address"], found["began"])

    def answer(self, words: str, caller: Caller, address: str, *, let_in: bool) -> None:
        """Let a program in as somebody, or not; errors as of `waiting`."""
        found = self.waiting(words, caller, address)
        own = (devices.c.words == _plain(words)) & devices.c.user_id.is_(None)
        with self._database.writing() as connection:
            if let_in:
                connection.execute(update(devices).where(own).values(user_id=caller.user_id))
            else:
                connection.execute(delete(devices).where(own))
            details = {"client": found.client, "address": found.address}
            action = "program let in" if let_in else "program refused"
            audit.record(connection, caller.name, action, address=address, details=details)

    def take(self, code: str, address: str = "") -> Pair | None:
        """Return tokens for a program that was let in, once; None while it has to wait.

        Raises
        ------
        UnknownCallerError
            It was refused, has waited too long, or has its tokens.
        TooManyError
            It asks too often.
        """
        now, own = self._clock(), devices.c.hash == _hash(code)
        with self._database.writing() as connection:
            alone(connection, devices)
            found = connection.execute(select(devices).where(own)).mappings().one_or_none()
            if found is None or found["began"] < now - SECONDS:
                raise UnknownCallerError("The program was not let in, or has waited too long.")
            if found["user_id"] is None:
                if now - found["asked"] < EVERY / 2:
                    raise TooManyError(EVERY)
                connection.execute(update(devices).where(own).values(asked=now))
                return None
            connection.execute(delete(devices).where(own))
        return self._sessions.let_in(found["user_id"], found["client"], address)


def _plain(words: str) -> str:
    return "".join(letter for letter in words.upper() if letter.isalpha())[:20]


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
