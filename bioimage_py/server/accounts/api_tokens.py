"""API tokens: for programs and clusters, with a scope, an end, and the projects that they are for."""

from __future__ import annotations

import hashlib
import json
import secrets as randomness
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update

from ...errors import KeyNotFoundError, ParameterError
from ..answered import has_removed, note_removed
from ..database import audit
from ..database.engine import Database
from ..database.tables import api_tokens, users
from ..refusals import NotAllowedError, UnknownCallerError
from .callers import Caller, Scope

PREFIX = "bip_"
TICKET = "(ticket)"
"""Name of the tokens that are made for workers."""
MOST_DAYS = 365
MOST = 50
"""Of one user."""


@dataclass(frozen=True)
class ApiToken:
    """An API token, without what proves it."""

    id: str
    name: str
    scope: Scope
    projects: list[str] | None
    created: float
    expires: float
    used: float | None


class ApiTokens:
    """The API tokens of a server.

    Parameters
    ----------
    database : Database
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def make(
        self,
        caller: Caller,
        name: str,
        scope: Scope,
        days: float,
        projects: Iterable[str] | None = None,
        address: str = "",
    ) -> tuple[ApiToken, str]:
        """Return a new token, and what proves it, which is not stored.

        Raises
        ------
        NotAllowedError
            A token cannot make tokens.
        ParameterError
            It would live too long, or there are too many.
        """
        if caller.token:
            raise NotAllowedError("An API token cannot make others.", remedy="log in with a password")
        if not 0 < days <= MOST_DAYS:
            raise ParameterError(f"days is {days!r}.", remedy=f"more than 0, {MOST_DAYS} at most")
        now, id, proof = self._clock(), randomness.token_hex(8), PREFIX + randomness.token_urlsafe(32)
        only = None if projects is None else sorted(set(projects))
        token = ApiToken(id, name, scope, only, now, now + 86400 * days, None)
        with self._database.writing() as connection:
            own = api_tokens.c.user_id == caller.user_id
            connection.execute(delete(api_tokens).where(api_tokens.c.expires < now))
            counted = select(func.count()).select_from(api_tokens).where(own, api_tokens.c.name != TICKET)
            if connection.execute(counted).scalar_one() >= MOST:
                raise ParameterError(f"You have {MOST} tokens already.", remedy="revoke those that are not used")
            connection.execute(
                insert(api_tokens).values(
                    id=id,
                    hash=_hash(proof),
                    user_id=caller.user_id,
                    name=name[:100],
                    scopes=scope.value,
                    projects=None if only is None else json.dumps(only),
                    created=now,
                    expires=token.expires,
                    used=None,
                )
            )
            details = {"id": id, "name": name[:100], "scope": scope.value, "projects": only, "expires": token.expires}
            audit.record(connection, caller.name, "token made", address=address, details=details)
        return token, proof

    def ticket(self, caller: Caller, project: str, scope: Scope = Scope.READ) -> tuple[str, str]:
        """Return id and proof of what lets the workers of somebody who has logged in into one project, for a day.

        Only the newest ones of a user live on, and a changed password ends them all. They may what the user may, at
        most what the scope says.

        Raises
        ------
        NotAllowedError
            A token cannot make others.
        """
        if caller.token:
            raise NotAllowedError("An API token cannot make others.", remedy="let the workers use the token itself")
        now, proof = self._clock(), PREFIX + randomness.token_urlsafe(32)
        own = (api_tokens.c.user_id == caller.user_id) & (api_tokens.c.name == TICKET)
        id = randomness.token_hex(8)
        row = {"id": id, "hash": _hash(proof), "user_id": caller.user_id, "name": TICKET}
        with self._database.writing() as connection:
            query = select(api_tokens.c.id).where(own).order_by(api_tokens.c.created.desc()).offset(MOST - 1)
            connection.execute(delete(api_tokens).where(api_tokens.c.id.in_(connection.execute(query).scalars().all())))
            connection.execute(
                insert(api_tokens).values(
                    **row,
                    scopes=scope.value,
                    projects=json.dumps([project]),
                    created=now,
                    expires=now + 86400.0,
                    used=None,
                )
            )
        return id, proof

    def of(self, caller: Caller) -> list[ApiToken]:
        """Return the tokens of a user."""
        with self._database.reading() as connection:
            own = (api_tokens.c.user_id == caller.user_id) & (api_tokens.c.name != TICKET)
            query = select(api_tokens).where(own).order_by(api_tokens.c.created)
            rows = connection.execute(query).mappings().all()
        return [
            ApiToken(
                row["id"],
                row["name"],
                Scope(row["scopes"]),
                None if row["projects"] is None else json.loads(row["projects"]),
                row["created"],
                row["expires"],
                row["used"],
            )
            for row in rows
        ]

    def revoke(self, caller: Caller, id: str, address: str = "") -> None:
        """End a token of the caller at once; KeyNotFoundError where there is none of that id."""
        if caller.token:
            raise NotAllowedError("An API token cannot revoke others.", remedy="log in with a password")
        with self._database.writing() as connection:
            own = (api_tokens.c.user_id == caller.user_id) & (api_tokens.c.id == id)
            if not connection.execute(delete(api_tokens).where(own)).rowcount:
                if has_removed(connection, caller.name, f"token {id}"):
                    return
                raise KeyNotFoundError(f"There is no token {id!r}.", remedy="GET /api/v1/auth/tokens lists them")
            note_removed(connection, caller.name, f"token {id}")
            audit.record(connection, caller.name, "token revoked", address=address, details={"id": id})

    def caller(self, proof: str) -> Caller:
        """Return whose token this is; UnknownCallerError where it is not valid."""
        now = self._clock()
        query = (
            select(api_tokens, users.c.name.label("user"), users.c.disabled)
            .join(users, users.c.id == api_tokens.c.user_id)
            .where(api_tokens.c.hash == _hash(proof))
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None or row["disabled"] or row["expires"] <= now:
            raise UnknownCallerError
        if row["used"] is None or now - row["used"] > 60:
            with self._database.writing() as connection:
                connection.execute(update(api_tokens).where(api_tokens.c.id == row["id"]).values(used=now))
        only = None if row["projects"] is None else frozenset(json.loads(row["projects"]))
        # a program administrates no users, whoever's it is
        scope, until = Scope(row["scopes"]), row["expires"]
        return Caller(row["user_id"], row["user"], False, scope, only, row["id"], until=until)


def _hash(proof: str) -> str:
    return hashlib.sha256(proof.encode()).hexdigest()
