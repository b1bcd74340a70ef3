"""What annotators see of a project: all of it, or only data sets that are assigned to them and layers that are theirs.

For blind double reading each reader has an own layer: one that has readers is there for them only. Those who
manage the project see all of it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ...errors import KeyNotFoundError, ParameterError
from ..database import audit
from ..database.engine import Database, alone
from ..database.tables import assignments, members, readers, sights, users
from ..documents import Documents
from .callers import Caller
from .members import Role
from .personal import FIELDS, Pseudonyms
from .users import user_name

Document = dict[str, Any]
PERSONAL = Role.annotator
"""The least role that is told whom images show, where nobody has chosen another one."""
MOST = 10_000
"""Data sets that are assigned at once."""
_WITHHOLDING = 2**31 + 1
"""What `changed` is more for those for whom something is left out: with another role, clients load anew.

One more than when pseudonyms were made without a key: who has those loads anew."""


class Sight:
    """What one caller sees of a project.

    Parameters
    ----------
    database : Database
    project : str
    user_id : int
    assigned_only : bool
        Whether only data sets that are assigned to the user are there.
    hidden : frozenset of str
        Ids of layers that are not there.
    changed : int
        How often this was changed for anybody: clients that have seen another number load the project anew.
    withholds : bool
        Whether it is left out whom images show, and where they lie (`personal`).
    """

    def __init__(
        self,
        database: Database,
        project: str,
        user_id: int,
        assigned_only: bool = False,
        hidden: frozenset[str] = frozenset(),
        changed: int = 0,
        withholds: bool = False,
    ) -> None:
        self._database, self._project, self._user_id = database, project, user_id
        self._assigned_only = assigned_only
        self.hidden = hidden
        self.withholds = withholds
        self.changed = changed + (_WITHHOLDING if withholds else 0)
        self._assigned: frozenset[str] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of the project is there."""
        return not self._assigned_only and not self.hidden

    def sees(self, descriptor: str) -> bool:
        """Whether a data set is there, if it is."""
        if not self._assigned_only or descriptor == "project":
            return True
        if self._assigned is not None:
            return descriptor in self._assigned
        own = (assignments.c.project_id == self._project) & (assignments.c.user_id == self._user_id)
        with self._database.reading() as connection:
            query = select(assignments.c.user_id).where(own, assignments.c.descriptor == descriptor)
            return connection.execute(query).scalar() is not None

    @property
    def only(self) -> frozenset[str] | None:
        """The only data sets that are there; None for all."""
        if not self._assigned_only:
            return None
        if self._assigned is None:
            own = (assignments.c.project_id == self._project) & (assignments.c.user_id == self._user_id)
            with self._database.reading() as connection:
                found = connection.execute(select(assignments.c.descriptor).where(own)).scalars()
                self._assigned = frozenset(found)
        return self._assigned

    def check(self, descriptor: str, layer: str = "") -> None:
        """Refuse a data set or a layer that is not there for the caller, as one that is not there at all.

        Raises
        ------
        KeyNotFoundError
        """
        if not self.sees(descriptor):
            raise KeyNotFoundError(f"There is no data set {descriptor!r} (any more).", remedy="project.sync()")
        if layer in self.hidden:
            raise KeyNotFoundError(f"There is no layer {layer!r} (any more).", remedy="project.sync()")

    def pseudonyms(self, levels: Sequence[str]) -> Pseudonyms:
        """Return what stands for what is left out; `levels` are the titles of the project's groups."""
        key = hmac.digest(self._database.pseudonym_key(), self._project.encode(), "sha256")
        return Pseudonyms(key, levels)

    def document(self, name: str, document: Document, levels: Sequence[str]) -> Document:
        """Return a document without what is not there for the caller; `levels` as for `pseudonyms`."""
        if self.withholds and name != "project":
            document = self.pseudonyms(levels).document(document)
        if not self.hidden:
            return document
        layers = {id: one for id, one in document.get("layers", {}).items() if id not in self.hidden}
        return {**document, "layers": layers}

    def event(self, event: Document) -> Document:
        """Return an event without what is not there for the caller; one of which nothing is left names nobody."""
        if self.is_whole:
            return event
        changes = [change for one in event["changes"] if (change := self._change(one)) is not None]
        left = {**event, "changes": changes}
        return left if changes or not event["changes"] else {**left, "user": "", "client": ""}

    def _change(self, change: Document) -> Document | None:
        if not self.sees(change["name"]):
            return None
        fields = [one for one in change["fields"] if not self.hides(_path(one))]
        return None if change["fields"] and not fields else {**change, "fields": fields}

    def hides(self, path: list[str]) -> bool:
        """Whether a field of a document is not there for the caller, as a whole."""
        return bool(self.hidden) and path[:1] == ["layers"] and (len(path) < 2 or path[1] in self.hidden)

    def alters(self, path: Sequence[str]) -> bool:
        """Whether a field of a document is there for the caller, but not as it is."""
        return self.withholds and path[0] in FIELDS

    def layers(self, ids: Iterable[str]) -> list[str]:
        """Return the layers that are there for the caller."""
        return [id for id in ids if id not in self.hidden]


def seen(name: str, document: Document, sight: Sight, documents: Documents) -> Document:
    """Return a document of a project, of which `documents` has the settings, as it is there for somebody."""
    return sight.document(name, document, documents.settings().grouping_hierarchy if sight.withholds else ())


def _path(field: Any) -> list[str]:
    """Return the path of a field of an event, which may come with its values."""
    return list(field[0]) if field and isinstance(field[0], list) else list(field)


@dataclass(frozen=True)
class Rules:
    """Who sees what in a project.

    Parameters
    ----------
    assigned_only : bool
    readers : mapping
        Names of the readers of layers that have some, by id of the layer.
    personal : Role
        The least that is told whom images show, and where they lie.
    """

    assigned_only: bool
    readers: Mapping[str, tuple[str, ...]]
    personal: Role


class Sights:
    """Who sees what of the projects of a server.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, caller: Caller, project: str, role: Role) -> Sight:
        """Return what a member sees."""
        if role > Role.annotator:
            return Sight(self._database, project, caller.user_id)
        with self._database.reading() as connection:
            rule = connection.execute(select(sights).where(sights.c.project_id == project)).mappings().one_or_none()
            withholds = role < (PERSONAL if rule is None else Role[rule["personal"]])
            if rule is None:
                return Sight(self._database, project, caller.user_id, withholds=withholds)
            rows = connection.execute(
                select(readers.c.layer, readers.c.user_id).where(readers.c.project_id == project)
            ).all()
        own = {layer for layer, user in rows if user == caller.user_id}
        hidden = frozenset(layer for layer, _ in rows) - own
        return Sight(self._database, project, caller.user_id, rule["assigned_only"], hidden, rule["changed"], withholds)

    def rules(self, project: str) -> Rules:
        """Return who sees what."""
        with self._database.reading() as connection:
            own = sights.c.project_id == project
            rule = connection.execute(select(sights.c.assigned_only, sights.c.personal).where(own)).one_or_none()
            query = select(readers.c.layer, users.c.name).join(users, users.c.id == readers.c.user_id)
            rows = connection.execute(query.where(readers.c.project_id == project).order_by(users.c.name)).all()
        found: dict[str, tuple[str, ...]] = {}
        for layer, name in rows:
            found[layer] = (*found.get(layer, ()), name)
        only, personal = (False, PERSONAL) if rule is None else (rule[0], Role[rule[1]])
        return Rules(bool(only), found, personal)

    def tell_personal(self, project: str, role: Role, by: Caller, address: str = "") -> None:
        """Tell members from a role on whom images show and where they lie; maintainers and owners are always told."""
        role = min(role, Role.maintainer)
        with self._database.writing() as connection:
            _note(connection, project, personal=role.name)
            details = {"personal": role.name}
            audit.record(connection, by.name, "sight changed", address=address, project=project, details=details)

    def show_only_assigned(self, project: str, only: bool, by: Caller, address: str = "") -> None:
        """Let annotators and viewers see only data sets that are assigned to them, or all."""
        with self._database.writing() as connection:
            _note(connection, project, assigned_only=only)
            audit.record(
                connection, by.name, "sight changed", address=address, project=project, details={"assigned_only": only}
            )

    def set_readers(self, project: str, layer: str, names: Iterable[str], by: Caller, address: str = "") -> None:
        """Let a layer be there only for these annotators and viewers; for all, where there is no name.

        Raises
        ------
        KeyNotFoundError
            Somebody is no member.
        """
        with self._database.writing() as connection:
            alone(connection, readers)
            ids = _members(connection, project, names)
            own = (readers.c.project_id == project) & (readers.c.layer == layer)
            connection.execute(delete(readers).where(own))
            if ids:
                rows = [{"project_id": project, "layer": layer, "user_id": id} for id in ids.values()]
                connection.execute(insert(readers), rows)
            _note(connection, project)
            details = {"layer": layer, "readers": sorted(ids)}
            audit.record(connection, by.name, "readers changed", address=address, project=project, details=details)

    def assign(
        self, project: str, descriptors: Iterable[str], user: str, by: Caller, address: str = "", *, take: bool = False
    ) -> int:
        """Assign data sets to a member, or take them away again; return how many that changed.

        Raises
        ------
        KeyNotFoundError
            The user is no member.
        ParameterError
            There are too many.
        """
        wanted = set(descriptors)
        if len(wanted) > MOST:
            raise ParameterError(f"These are {len(wanted)} data sets.", remedy=f"at most {MOST} at once")
        with self._database.writing() as connection:
            alone(connection, assignments)
            (name, id), *_ = _members(connection, project, [user]).items()
            own = (assignments.c.project_id == project) & (assignments.c.user_id == id)
            there = set(connection.execute(select(assignments.c.descriptor).where(own)).scalars())
            change = sorted(wanted & there if take else wanted - there)
            for at in range(0, len(change), 500):
                some = change[at : at + 500]
                if take:
                    connection.execute(delete(assignments).where(own, assignments.c.descriptor.in_(some)))
                else:
                    rows = [{"project_id": project, "descriptor": one, "user_id": id} for one in some]
                    connection.execute(insert(assignments), rows)
            if change:
                _note(connection, project)
                details = {"name": name, "count": len(change), "first": change[0]}
                action = "assignment ended" if take else "assigned"
                audit.record(connection, by.name, action, address=address, project=project, details=details)
        return len(change)

    def assigned(self, project: str, descriptors: Iterable[str] | None = None) -> dict[str, list[str]]:
        """Return the names of those to whom data sets are assigned, by identifier; of all, or of these."""
        query = select(assignments.c.descriptor, users.c.name).join(users, users.c.id == assignments.c.user_id)
        query = query.where(assignments.c.project_id == project).order_by(users.c.name)
        if descriptors is not None:
            query = query.where(assignments.c.descriptor.in_(list(descriptors)))
        found: dict[str, list[str]] = {}
        with self._database.reading() as connection:
            for descriptor, name in connection.execute(query):
                found.setdefault(descriptor, []).append(name)
        return found


def _note(connection: Connection, project: str, **values: Any) -> None:
    """Count a change: clients that were there before load the project anew."""
    own = sights.c.project_id == project
    if connection.execute(select(sights.c.project_id).where(own)).scalar() is None:
        connection.execute(
            insert(sights).values(**{"assigned_only": False, **values, "project_id": project, "changed": 1})
        )
    else:
        connection.execute(update(sights).where(own).values(changed=sights.c.changed + 1, **values))


def _members(connection: Connection, project: str, names: Iterable[str]) -> dict[str, int]:
    wanted = [user_name(name) for name in names]
    query = select(users.c.name, users.c.id).join(members, members.c.user_id == users.c.id)
    query = query.where(members.c.project_id == project, users.c.name.in_(wanted))
    found = {name: int(id) for name, id in connection.execute(query).all()}
    for name in wanted:
        if name not in found:
            raise KeyNotFoundError(f"{name!r} is no member.", remedy="look at the list of members")
    return found
