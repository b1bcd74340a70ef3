"""Users: their names, passwords, and whether they may come in."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from ...errors import ConflictError, KeyNotFoundError, ParameterError
from ..answered import has_removed, note_removed
from ..database import audit, tables
from ..database.engine import Database, alone
from ..database.tables import answers, api_tokens, events, families, projects, secrets, users
from . import passwords

_NAME = re.compile(r"[\w][\w.@+-]{0,149}")
_REMOVED = "user removed"
_FORMER = "former user"
"""With a number, in the place of a name: no account has a name with a space."""
_COLUMNS = (users.c.id, users.c.name, users.c.admin, users.c.disabled, users.c.created)


@dataclass(frozen=True)
class User:
    """An account."""

    id: int
    name: str
    admin: bool
    disabled: bool
    created: float


def user_name(name: str) -> str:
    """Return a name as it is stored: letters, digits, "_.@+-", no matter which case.

    Raises
    ------
    ParameterError
        It has other characters, or is too long.
    """
    found = unicodedata.normalize("NFC", name).casefold()
    if not _NAME.fullmatch(found):
        raise ParameterError("That is no name of a user.", remedy="letters, digits and _ . @ + - , 150 at most")
    return found


def _nothing(name: str, number: str) -> None:
    pass


class Users:
    """The accounts of a server.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, name: str, password: str, *, admin: bool = False, again: bool = False, by: str = "", address: str = ""
    ) -> User:
        """Add an account.

        Parameters
        ----------
        name, password : str
        admin : bool, default False
            Whether it may look after users.
        again : bool, default False
            Whether it is for whom had the name before the account was removed: what that one did, and drafts, are
            under the name.

        Raises
        ------
        ParameterError
            The name or the password is not allowed.
        ConflictError
            The name is taken, or was somebody's.
        """
        name = user_name(name)
        stored = passwords.hashed(password, name)
        with self._database.writing() as connection:
            alone(connection, users)
            if connection.execute(select(users.c.id).where(users.c.name == name)).scalar() is not None:
                raise ConflictError(f"The name {name!r} is taken.", field="name", remedy="choose another one")
            added(connection, name, stored, admin=admin, again=again, by=by or name, address=address)
        return self.named(name)

    def named(self, name: str) -> User:
        """Return the account of a name.

        Raises
        ------
        KeyNotFoundError
            There is none.
        """
        with self._database.reading() as connection:
            return _found(connection, users.c.name == user_name(name), name)

    def of_id(self, id: int) -> User:
        """Return the account of an id; KeyNotFoundError where there is none."""
        with self._database.reading() as connection:
            return _found(connection, users.c.id == id, id)

    def all(self, after: int = 0, limit: int = 1000) -> list[User]:
        """Return accounts in the order of their ids, those after one."""
        with self._database.reading() as connection:
            query = select(*_COLUMNS).where(users.c.id > after).order_by(users.c.id).limit(limit)
            return [User(*row) for row in connection.execute(query)]

    def is_empty(self) -> bool:
        """Whether there is no account yet."""
        return not self.all(limit=1)

    def change(
        self, id: int, *, admin: bool | None = None, disabled: bool | None = None, by: str, address: str = ""
    ) -> User:
        """Make somebody an administrator or not, or let them in or not, which ends what they are logged in with.

        Raises
        ------
        KeyNotFoundError
        ConflictError
            Nobody would be left to administrate.
        """
        values = {name: value for name, value in (("admin", admin), ("disabled", disabled)) if value is not None}
        with self._database.writing() as connection:
            alone(connection, users)
            user = _found(connection, users.c.id == id, id)
            if values:
                connection.execute(update(users).where(users.c.id == id).values(**values))
                audit.record(connection, by, "user changed", address=address, details={"name": user.name, **values})
            one_admin_is_left(connection)
            if disabled:
                end_sessions(connection, id)
            return _found(connection, users.c.id == id, id)

    def set_password(self, id: int, password: str, *, by: str, address: str = "") -> None:
        """Give somebody another password, which ends all they are logged in with; API tokens stay.

        Raises
        ------
        KeyNotFoundError, ParameterError
        """
        user = self.of_id(id)
        stored = passwords.hashed(password, user.name)
        with self._database.writing() as connection:
            connection.execute(update(users).where(users.c.id == id).values(password=stored))
            end_sessions(connection, id)
            audit.record(connection, by, "password changed", address=address, details={"name": user.name})

    def rehash(self, id: int, password: str) -> None:
        """Store a password that is right with what hashing costs now."""
        stored = passwords.rehashed(password)
        with self._database.writing() as connection:
            connection.execute(update(users).where(users.c.id == id).values(password=stored))

    def known(self, names: Iterable[str]) -> frozenset[str]:
        """Return those names that are of accounts."""
        wanted, found = list(names), set[str]()
        with self._database.reading() as connection:
            for at in range(0, len(wanted), 500):
                query = select(users.c.name).where(users.c.name.in_(wanted[at : at + 500]))
                found.update(connection.execute(query).scalars())
        return frozenset(found)

    def remove(self, id: int, *, by: str, address: str = "", forget: Callable[[str, str], None] = _nothing) -> None:
        """Delete an account; what it did stays in events and audit, under a number.

        Parameters
        ----------
        id : int
        by, address : str
            Who removes it, and from where.
        forget : callable
            Does the same to files, for a name and what takes its place; called before the account goes, so that whoever
            is killed does all of it again, and after it, for what came in between.

        Raises
        ------
        KeyNotFoundError
        ConflictError
            It owns projects, or nobody would be left to administrate.
        """
        with self._database.reading() as connection:
            if has_removed(connection, by, f"user {id}"):
                return
            name, number = _removable(connection, id), f"{_FORMER} {id}"
        forget(name, number)
        with self._database.writing() as connection:
            alone(connection, users)
            if has_removed(connection, by, f"user {id}"):
                return
            _removable(connection, id)
            end_sessions(connection, id)
            connection.execute(delete(api_tokens).where(api_tokens.c.user_id == id))
            connection.execute(delete(users).where(users.c.id == id))
            connection.execute(delete(answers).where(answers.c.user == name))
            audit.rename(connection, name, number, _rename_events(connection, name, number))
            note_removed(connection, by, f"user {id}")
            audit.record(connection, number if by == name else by, _REMOVED, address=address, details={"name": number})
        forget(name, number)


def _removable(connection: Connection, id: int) -> str:
    """Return the name of an account that may be removed; ConflictError where it may not."""
    user = _found(connection, users.c.id == id, id)
    owned = connection.execute(select(projects.c.name).where(projects.c.owner_id == id)).scalars().all()
    if owned:
        raise ConflictError(
            f"{user.name!r} owns {len(owned)} projects.", field="projects", remedy="give them to others first"
        )
    one_admin_is_left(connection, but=id)
    return user.name


def _rename_events(connection: Connection, name: str, number: str) -> dict[str, str]:
    """Let events be of a number in the place of a name; return the SHA-256 that each has now, by that before."""
    found: dict[str, str] = {}
    own = select(events.c.project_id, events.c.seq, events.c.document).where(events.c.user == name).limit(1000)
    same = (events.c.project_id == bindparam("_project")) & (events.c.seq == bindparam("_seq"))
    while rows := connection.execute(own).all():
        changed = []
        for project, seq, before in rows:
            text = json.dumps({**json.loads(before), "user": number, "client": ""})
            found[sha256(before.encode()).hexdigest()] = sha256(text.encode()).hexdigest()
            changed.append({"_project": project, "_seq": seq, "user": number, "document": text})
        connection.execute(update(events).where(same), changed)
    return found


def added(
    connection: Connection, name: str, stored: str, *, admin: bool, by: str, address: str, again: bool = False
) -> int:
    """Add an account of a name that is free, with what is stored of its password, and return its id."""
    if not again and audit.is_told(connection, _REMOVED, {"name": name}):
        raise ConflictError(
            f"{name!r} was somebody whose account was removed, and what they did is under that name.",
            field="name",
            remedy=f"choose another one; for the same person: bioimage-py server user add FOLDER {name} --again",
        )
    row = {"name": name, "password": stored, "admin": admin, "disabled": False, "created": time.time()}
    connection.execute(insert(users).values(id=_next(connection), **row))
    audit.record(connection, by, "user added", address=address, details={"name": name, "admin": admin})
    return int(connection.execute(select(users.c.id).where(users.c.name == name)).scalar_one())


def _next(connection: Connection) -> int:
    """Return an id that nobody has had, under which history may be; databases give ids again."""
    there = connection.execute(select(func.max(users.c.id))).scalar() or 0
    gone = connection.execute(select(tables.audit.c.details).where(tables.audit.c.action == _REMOVED)).scalars()
    names = [str(json.loads(text).get("name")) for text in gone]
    former = [int(name.rpartition(" ")[2]) for name in names if name.startswith(f"{_FORMER} ")]
    return 1 + max([int(there), *former])


def end_sessions(connection: Connection, user_id: int) -> None:
    """End all that a user is logged in with, and what workers were given for it."""
    tickets = (api_tokens.c.user_id == user_id) & (api_tokens.c.name == "(ticket)")
    connection.execute(delete(api_tokens).where(tickets))
    own = select(families.c.id).where(families.c.user_id == user_id)
    connection.execute(delete(secrets).where(secrets.c.family.in_(own)))
    connection.execute(delete(families).where(families.c.user_id == user_id))


def _found(connection: Connection, which: Any, key: object) -> User:
    row = connection.execute(select(*_COLUMNS).where(which)).one_or_none()
    if row is None:
        raise KeyNotFoundError(f"There is no user {key!r}.", remedy="GET /api/v1/users lists them")
    return User(*row)


def one_admin_is_left(connection: Connection, but: int = 0) -> None:
    """Refuse, as ConflictError, a change after which nobody (but one) administrates."""
    able = users.c.admin.is_(True) & users.c.disabled.is_(False) & (users.c.id != but)
    if not connection.execute(select(func.count()).select_from(users).where(able)).scalar():
        raise ConflictError("Nobody would be left to administrate.", field="admin", remedy="name another one first")
