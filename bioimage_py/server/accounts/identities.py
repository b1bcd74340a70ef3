"""Users whom a provider of identities knows: their account, and what their groups give them."""

from __future__ import annotations

import secrets as randomness

from sqlalchemy import Connection, delete, insert, select, update

from ...errors import ConflictError, ParameterError
from ..database import audit
from ..database.engine import Database, alone
from ..database.tables import identities, members, projects, users
from . import passwords
from .members import Role
from .provider import Identity, ProviderSettings
from .users import Users, added, one_admin_is_left, user_name


class Identities:
    """Accounts of those who sign in with a provider.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def user_of(self, identity: Identity, settings: ProviderSettings, address: str = "") -> int:
        """Return the id of an identity's user, whose account is made where there is none; its groups count as they are.

        Raises
        ------
        ConflictError
            Somebody else has the name here: a provider takes over no account, an operator says who is the same.
        ParameterError
            The provider tells no name that can be one here.
        """
        stored = passwords.hashed(randomness.token_urlsafe(32), "")  # nobody knows it: there is no password
        with self._database.writing() as connection:
            alone(connection, users)
            own = (identities.c.issuer == identity.issuer) & (identities.c.subject == identity.subject)
            user_id = connection.execute(select(identities.c.user_id).where(own)).scalar()
            if user_id is None:
                user_id = self._made(connection, identity, stored, address)
            if settings.admins:
                _set_admin(connection, user_id, bool(identity.groups & set(settings.admins)), address)
            for project, groups in settings.roles.items():
                given = [role for group, role in groups.items() if group in identity.groups]
                _set_role(connection, project, user_id, max(given, default=None), address)
            return int(user_id)

    def _made(self, connection: Connection, identity: Identity, stored: str, address: str) -> int:
        try:
            name = user_name(identity.name)
        except ParameterError:
            raise ParameterError(
                "The provider tells no name that can be one here.",
                remedy="ask an operator to set another claim as name",
            ) from None
        if connection.execute(select(users.c.id).where(users.c.name == name)).scalar() is not None:
            raise ConflictError(
                f"There is another account {name!r} here.",
                field="name",
                remedy=f"ask an operator: bioimage-py server user link FOLDER {name} {identity.issuer}"
                f" {identity.subject}",
            )
        user_id = added(connection, name, stored, admin=False, by=f"provider {identity.issuer}"[:200], address=address)
        _link(connection, identity.issuer, identity.subject, user_id)
        return user_id

    def link(self, name: str, issuer: str, subject: str, by: str) -> None:
        """Let an identity be a user that there is.

        Raises
        ------
        KeyNotFoundError
            There is no such user.
        ConflictError
            The identity is another user.
        """
        user = Users(self._database).named(name)
        with self._database.writing() as connection:
            alone(connection, users)
            own = (identities.c.issuer == issuer) & (identities.c.subject == subject)
            known = connection.execute(select(identities.c.user_id).where(own)).scalar()
            if known not in (None, user.id):
                raise ConflictError("This identity is another user.", field="subject", remedy="remove that user first")
            if known is None:
                _link(connection, issuer, subject, user.id)
            audit.record(
                connection, by, "identity linked", details={"name": user.name, "issuer": issuer, "subject": subject}
            )


def _link(connection: Connection, issuer: str, subject: str, user_id: int) -> None:
    connection.execute(insert(identities).values(issuer=issuer, subject=subject, user_id=user_id))


def _set_admin(connection: Connection, user_id: int, admin: bool, address: str) -> None:
    row = connection.execute(select(users.c.name, users.c.admin).where(users.c.id == user_id)).one()
    if row.admin != admin:
        connection.execute(update(users).where(users.c.id == user_id).values(admin=admin))
        one_admin_is_left(connection)
        audit.record(
            connection, "provider", "user changed", address=address, details={"name": row.name, "admin": admin}
        )


def _set_role(connection: Connection, project: str, user_id: int, role: Role | None, address: str) -> None:
    """Let groups decide of a membership; owners stay what they are."""
    if connection.execute(select(projects.c.id).where(projects.c.id == project)).scalar() is None:
        return
    own = (members.c.project_id == project) & (members.c.user_id == user_id)
    before = connection.execute(select(members.c.role).where(own)).scalar()
    after = None if role is None else role.name
    if before in (Role.owner.name, after):
        return
    if after is None:
        connection.execute(delete(members).where(own))
    elif before is None:
        connection.execute(insert(members).values(project_id=project, user_id=user_id, role=after))
    else:
        connection.execute(update(members).where(own).values(role=after))
    name = connection.execute(select(users.c.name).where(users.c.id == user_id)).scalar()
    details = {"name": name, "role": after, "before": before}
    audit.record(connection, "provider", "member changed", address=address, project=project, details=details)
