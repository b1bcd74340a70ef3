"""Logins: short access tokens, and refresh tokens of which each is good for one renewal (RFC 9700, section 4.14.2).

All tokens are random, and only their SHA-256 is stored. A refresh token that comes a second time was stolen from one of
the two who had it: all that its login has led to ends. Browsers get one token for a day's work, as a cookie; a link
lets somebody without a password choose one, once.
"""

from __future__ import annotations

import hashlib
import secrets as randomness
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ..database import audit
from ..database.engine import Database
from ..database.tables import families, secrets, users
from ..refusals import UnknownCallerError
from . import passwords
from .attempts import Attempts
from .callers import Caller
from .users import Users, end_sessions, user_name

GRACE = 10.0
"""So many seconds a client whose answer was lost may repeat a renewal, if it says the name of the login's client."""
_ACCESS, _REFRESH, _COOKIE, _LINK = "bia_", "bir_", "bic_", "bil_"
LINK_SECONDS = 86400.0
"""How long a link to choose a password works."""


@dataclass(frozen=True)
class Pair:
    """What a login or a renewal gives."""

    access: str
    refresh: str
    seconds: float
    """How long the access token lives."""

    def __repr__(self) -> str:
        return f"Pair(seconds={self.seconds})"


class Sessions:
    """The logins of a server.

    Parameters
    ----------
    database : Database
    access_seconds, refresh_seconds : float
        How long tokens live.
    page_seconds : float
        How long one stays signed in to the page.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        access_seconds: float = 900.0,
        refresh_seconds: float = 30 * 86400.0,
        clock: Callable[[], float] = time.time,
        page_seconds: float = 12 * 3600.0,
    ) -> None:
        self._database = database
        self._lifetimes = {_ACCESS: access_seconds, _REFRESH: refresh_seconds, _COOKIE: page_seconds}
        self._lifetimes[_LINK] = LINK_SECONDS
        self._clock = clock
        self._attempts = Attempts(database, clock)

    def log_in(self, name: str, password: str, client: str = "", address: str = "") -> Pair:
        """Return tokens for a password.

        Raises
        ------
        UnknownCallerError
            There is no such user, or the password is wrong, or the account is disabled: always the same.
        TooManyError
        """
        user = self.verified(name, password, address)
        with self._database.writing() as connection:
            family = self._begin(connection, user["id"], client)
            audit.record(connection, user["name"], "login", address=address, details={"client": client[:200]})
            return self._pair(connection, family)

    def sign_in(self, name: str, password: str, address: str = "", before: str = "") -> str:
        """Return the cookie of somebody who signs in to the page; what the browser had `before` ends.

        Errors are those of `log_in`.
        """
        return self.signed_in(self.verified(name, password, address)["id"], address, before)

    def signed_in(self, user_id: int, address: str = "", before: str = "", by: str = "page") -> str:
        """Return a new cookie for a user who was recognised; what the browser had `before` ends.

        Raises
        ------
        UnknownCallerError
            There is no such user, or the account is disabled.
        """
        with self._database.writing() as connection:
            user = connection.execute(select(users).where(users.c.id == user_id)).mappings().one_or_none()
            if user is None or user["disabled"]:
                raise UnknownCallerError
            family = self._begin(connection, user_id, by)
            if before:
                old = select(secrets.c.family).where(secrets.c.hash == _hash(before), secrets.c.kind == "cookie")
                _end(connection, connection.execute(old).scalars().all())
            audit.record(connection, user["name"], "login", address=address, details={"client": by})
            return self._secret(connection, family, "cookie", _COOKIE)

    def let_in(self, user_id: int, client: str, address: str = "") -> Pair:
        """Return tokens for a program of a user who was recognised otherwise.

        Raises
        ------
        UnknownCallerError
            There is no such user (any more), or the account is disabled.
        """
        with self._database.writing() as connection:
            user = connection.execute(select(users).where(users.c.id == user_id)).mappings().one_or_none()
            if user is None or user["disabled"]:
                raise UnknownCallerError
            family = self._begin(connection, user_id, client)
            audit.record(connection, user["name"], "login", address=address, details={"client": client[:200]})
            return self._pair(connection, family)

    def visitor(self, cookie: str) -> Caller:
        """Return whose cookie this is; UnknownCallerError where it is not valid."""
        return self._caller(cookie, "cookie")

    def link(self, user_id: int, by: str, address: str = "") -> str:
        """Return what lets a user choose a password, once, within a day; links that were made before end."""
        with self._database.writing() as connection:
            user = connection.execute(select(users.c.name).where(users.c.id == user_id)).scalar_one()
            made = select(families.c.id).join(secrets, secrets.c.family == families.c.id)
            own = (families.c.user_id == user_id) & (secrets.c.kind == "link")
            _end(connection, connection.execute(made.where(own)).scalars().all())
            audit.record(connection, by, "link made", address=address, details={"name": user})
            return self._secret(connection, self._begin(connection, user_id, "link"), "link", _LINK)

    def linked(self, link: str) -> Caller:
        """Return whose link this is, which goes on working; UnknownCallerError where it is not valid."""
        return self._caller(link, "link")

    def end_everywhere(self, user_id: int, address: str = "") -> None:
        """End all that a user is logged in with, in every browser and program; API tokens stay."""
        with self._database.writing() as connection:
            name = connection.execute(select(users.c.name).where(users.c.id == user_id)).scalar_one()
            end_sessions(connection, user_id)
            audit.record(connection, name, "logged out everywhere", address=address)

    def verified(self, name: str, password: str, address: str = "") -> dict[str, Any]:
        """Return the row of a user whose password this is; errors as of `log_in`."""
        try:
            name = user_name(name)
        except ValueError:
            name = ""
        self._attempts.begin(name, address)
        with self._database.reading() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).mappings().one_or_none()
        right = passwords.fits(password, None if row is None else row["password"])
        if row is None or not right or row["disabled"]:
            with self._database.writing() as connection:
                known = "" if row is None else name  # who is unknown may have typed a password
                audit.record(connection, known, "login refused", address=address)
            raise UnknownCallerError
        self._attempts.succeeded(name, address)
        if passwords.is_outdated(row["password"]):
            Users(self._database).rehash(row["id"], password)
        return dict(row)

    def renew(self, refresh: str, client: str = "", address: str = "") -> Pair:
        """Return new tokens for a refresh token, which is void from now on.

        Raises
        ------
        UnknownCallerError
            It is unknown, has expired, or was used before; then all that the login has led to ends.
        """
        now = self._clock()
        with self._database.writing() as connection:
            found = _row(connection, refresh, "refresh")
            if found is None or found["revoked"] or found["disabled"] or found["expires"] <= now:
                pair = None
            elif found["used"] is None or (found["client"] == client != "" and now - found["used"] < GRACE):
                own = secrets.c.hash == _hash(refresh)
                connection.execute(update(secrets).where(own, secrets.c.used.is_(None)).values(used=now))
                pair = self._pair(connection, found["family"])
            else:
                connection.execute(update(families).where(families.c.id == found["family"]).values(revoked=True))
                audit.record(connection, found["name"], "refresh token used twice", address=address)
                pair = None
        if pair is None:
            raise UnknownCallerError
        return pair

    def caller(self, access: str) -> Caller:
        """Return whose access token this is; UnknownCallerError where it is not valid."""
        return self._caller(access, "access")

    def _caller(self, token: str, kind: str) -> Caller:
        with self._database.reading() as connection:
            found = _row(connection, token, kind)
        if found is None or found["revoked"] or found["disabled"] or found["expires"] <= self._clock():
            raise UnknownCallerError
        return Caller(found["user_id"], found["name"], found["admin"], family=found["family"], until=found["expires"])

    def log_out(self, family: str) -> None:
        """End all that a login has led to."""
        with self._database.writing() as connection:
            _end(connection, [family])

    def _begin(self, connection: Connection, user_id: int, client: str) -> str:
        now, family = self._clock(), randomness.token_hex(16)
        _purge(connection, now)
        row = {"id": family, "user_id": user_id, "client": client[:200], "created": now, "revoked": False}
        connection.execute(insert(families).values(**row))
        return family

    def _pair(self, connection: Connection, family: str) -> Pair:
        access = self._secret(connection, family, "access", _ACCESS)
        return Pair(access, self._secret(connection, family, "refresh", _REFRESH), self._lifetimes[_ACCESS])

    def _secret(self, connection: Connection, family: str, kind: str, prefix: str) -> str:
        made = prefix + randomness.token_urlsafe(32)
        row = {"hash": _hash(made), "family": family, "kind": kind, "expires": self._clock() + self._lifetimes[prefix]}
        connection.execute(insert(secrets).values(**row, used=None))
        return made


def is_access(token: str) -> bool:
    """Whether a token looks like an access token."""
    return token.startswith(_ACCESS)


def _row(connection: Connection, token: str, kind: str) -> Any:
    query = (
        select(secrets, families.c.revoked, families.c.client, families.c.user_id, users.c.name, users.c.admin)
        .add_columns(users.c.disabled)
        .join(families, families.c.id == secrets.c.family)
        .join(users, users.c.id == families.c.user_id)
        .where(secrets.c.hash == _hash(token), secrets.c.kind == kind)
    )
    return (
        connection.execute(query.with_for_update(of=secrets) if kind == "refresh" else query).mappings().one_or_none()
    )


def _end(connection: Connection, which: Sequence[str]) -> None:
    connection.execute(delete(secrets).where(secrets.c.family.in_(which)))
    connection.execute(delete(families).where(families.c.id.in_(which)))


def _purge(connection: Connection, now: float) -> None:
    connection.execute(delete(secrets).where(secrets.c.expires < now))
    left = select(secrets.c.family)
    connection.execute(delete(families).where(families.c.id.not_in(left)))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
