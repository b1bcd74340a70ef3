"""Members of projects, and what their roles allow."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, cast

from sqlalchemy import Connection, delete, insert, select, update

from ...errors import ConflictError, KeyNotFoundError
from ..answered import has_removed, note_removed
from ..database import audit
from ..database.engine import Database, alone
from ..database.tables import members, projects, users
from ..refusals import NotAllowedError
from .callers import Caller, Scope
from .users import user_name

RoleName = Literal["viewer", "annotator", "maintainer", "owner"]


class Role(IntEnum):
    """Of a member; each may do what those before it may."""

    viewer = 1
    annotator = 2
    maintainer = 3
    owner = 4

    @property
    def label(self) -> RoleName:
        """Name, as JSON has it."""
        return cast("RoleName", self.name)


class Right(IntEnum):
    """What a request needs; its value is that of the least role that has it."""

    read = 1
    annotate = 2
    manage = 3
    own = 4


_SCOPES = {Right.read: Scope.READ, Right.annotate: Scope.ANNOTATE, Right.manage: Scope.MANAGE, Right.own: Scope.MANAGE}


class Members:
    """Who is a member of which project.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, caller: Caller, project: str, right: Right) -> Role:
        """Refuse a request that the caller's role or token does not allow, and return the role.

        Raises
        ------
        KeyNotFoundError
            There is no such project, or the caller is no member: nobody else learns that it exists.
        NotAllowedError
            The role, or the scope of the token, is not enough.
        """
        with self._database.reading() as connection:
            role = _role(connection, project, caller.user_id)
        hidden = caller.projects is not None and project not in caller.projects
        if role is None or hidden:
            raise not_there(project)
        if role < right:
            raise NotAllowedError(
                f"That takes the role of {Role(right).name}; yours is {role.name}.",
                remedy="ask an owner of the project",
            )
        if not caller.may(_SCOPES[right]):
            raise NotAllowedError(
                f"The API token is for {caller.scope.value}, not for {_SCOPES[right].value}.",
                remedy="make another one with this scope",
            )
        return role

    def of(self, project: str) -> list[tuple[str, Role]]:
        """Return names and roles of all members."""
        query = select(users.c.name, members.c.role).join(users, users.c.id == members.c.user_id)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(members.c.project_id == project).order_by(users.c.name)).all()
        return [(name, Role[role]) for name, role in rows]

    def put(self, project: str, user: str, role: Role, by: Caller, address: str = "") -> None:
        """Make somebody a member, or give a member another role.

        Raises
        ------
        KeyNotFoundError
            There is no such user.
        NotAllowedError
            Only owners make owners, and change them.
        ConflictError
            No owner would be left.
        """
        with self._database.writing() as connection:
            alone(connection, members)
            id = _user(connection, user)
            before = _role(connection, project, id)
            _check_owner(connection, project, by, before, role)
            own = (members.c.project_id == project) & (members.c.user_id == id)
            if before is None:
                connection.execute(insert(members).values(project_id=project, user_id=id, role=role.name))
            else:
                connection.execute(update(members).where(own).values(role=role.name))
            _one_owner_is_left(connection, project)
            details = {"name": user, "role": role.name, "before": before.name if before else None}
            audit.record(connection, by.name, "member changed", address=address, project=project, details=details)

    def remove(self, project: str, user: str, by: Caller, address: str = "") -> None:
        """Let somebody be a member no more; errors as of `put`."""
        with self._database.writing() as connection:
            alone(connection, members)
            id = _user(connection, user)
            before = _role(connection, project, id)
            if before is None:
                if has_removed(connection, by.name, f"member {project} {id}"):
                    return
                raise KeyNotFoundError(f"{user!r} is no member.", remedy="look at the list of members")
            _check_owner(connection, project, by, before, None)
            own = (members.c.project_id == project) & (members.c.user_id == id)
            connection.execute(delete(members).where(own))
            _one_owner_is_left(connection, project)
            note_removed(connection, by.name, f"member {project} {id}")
            details = {"name": user, "before": before.name}
            audit.record(connection, by.name, "member removed", address=address, project=project, details=details)


def not_there(project: str) -> KeyNotFoundError:
    """The error for a project that there is not, or that the caller may not know of."""
    return KeyNotFoundError(f"There is no project {project!r}, or you are no member.", remedy="Project.list(url)")


def _role(connection: Connection, project: str, user_id: int) -> Role | None:
    own = (members.c.project_id == project) & (members.c.user_id == user_id)
    found = connection.execute(select(members.c.role).where(own)).scalar()
    return None if found is None else Role[found]


def _user(connection: Connection, name: str) -> int:
    found = connection.execute(select(users.c.id).where(users.c.name == user_name(name))).scalar()
    if found is None:
        raise KeyNotFoundError(f"There is no user {name!r}.", remedy="ask an administrator for an account")
    return int(found)


def _check_owner(connection: Connection, project: str, by: Caller, before: Role | None, after: Role | None) -> None:
    if Role.owner in (before, after) and _role(connection, project, by.user_id) != Role.owner:
        raise NotAllowedError("Only owners change who is one.", remedy="ask an owner of the project")


def _one_owner_is_left(connection: Connection, project: str) -> None:
    """Keep an owner, and the project's row in line: who is named there has to be one."""
    owners = (members.c.project_id == project) & (members.c.role == Role.owner.name)
    found = connection.execute(select(members.c.user_id).where(owners).order_by(members.c.user_id)).scalars().all()
    if not found:
        raise ConflictError("No owner would be left.", field="members", remedy="make somebody else an owner first")
    own = projects.c.id == project
    now = connection.execute(select(projects.c.owner_id).where(own)).scalar()
    if now not in found:
        name = connection.execute(select(projects.c.name).where(own)).scalar()
        taken = projects.c.name == name
        free = [
            owner
            for owner in found
            if connection.execute(select(projects.c.id).where(taken, projects.c.owner_id == owner)).scalar() is None
        ]
        if not free:
            raise ConflictError(
                f"The other owner has a project {name!r} already.", field="name", remedy="rename one of them"
            )
        connection.execute(update(projects).where(own).values(owner_id=free[0]))
