"""The projects of a server: folders below its own, and a row in the database for each."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from ..errors import BioimageError, ConflictError, ParameterError
from ..projects.creating import created
from ..projects.storage.events import EVENTS, Origin, numbers
from ..projects.storage.folder import SETTINGS, Folder
from ..projects.storage.mutex import bucket
from ..projects.values.settings import ProjectSettings, parse_settings
from ..system.faults import fault
from ..system.files import write_once
from ..system.processes import server_time
from .accounts.callers import Caller
from .accounts.members import Role, not_there
from .answered import answered, has_removed, note_removed, remember, working
from .database import audit
from .database.engine import Database, alone
from .database.tables import members, projects
from .served import Served, check_claim, claimed_by
from .transfer.marks import LIVES, Marks
from .transfer.room import Disk, Room
from .transfer.unpacking import take_project
from .transfer.uploads import UPLOADS, Uploads
from .values import NAME


@dataclass(frozen=True)
class Entry:
    """A project as a list shows it."""

    id: str
    name: str
    role: Role
    created: float
    last: int
    """Number of its last event."""


class Projects:
    """The projects of a server.

    Parameters
    ----------
    root : Path
        Folder of the server.
    database : Database
    most : int, default 0
        Bytes that a project may take; 0 for as many as the disk has.
    """

    def __init__(self, root: Path, database: Database, most: int = 0) -> None:
        self._root = root / "projects"
        self.most = most
        self._rooms: dict[Path, Room] = {}
        self.disk = Disk(root, self._arrivals)
        self._database = database
        self._open: dict[str, Served] = {}
        self._seen: dict[str, int | None] = {}
        """State of the database when the folder of a project was looked up."""
        self._lock = threading.Lock()
        self._root.mkdir(parents=True, exist_ok=True)

    def create(self, settings: ProjectSettings, caller: Caller, key: str = "", address: str = "") -> str:
        """Make a project, and return its id; the same key makes one.

        Raises
        ------
        ConflictError
            The caller has a project of that name.
        ParameterError
            The key came with other settings before.
        """
        wanted = settings.model_copy(update={"id": ""}).model_dump_json(by_alias=True)
        with self._database.reading() as connection:
            known = answered(connection, caller.name, key, wanted)
        if known is not None:
            return str(known)
        own = settings.model_copy(update={"id": f"project-{secrets.token_hex(12)}"})
        folder = self._root / own.id
        created(own, folder)
        try:
            Folder(folder).serve(0, Origin(caller.name))
            with self._database.writing() as connection:
                alone(connection, projects)
                known = answered(connection, caller.name, key, wanted)
                if known is None:
                    self._enter(connection, own.id, own.name, folder, caller.user_id, 1, 0)
                    remember(connection, caller.name, key, wanted, own.id)
                    record = {"name": own.name}
                    audit.record(
                        connection, caller.name, "project made", address=address, project=own.id, details=record
                    )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if known is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return str(known or own.id)

    def add(self, folder: Path, owner: int, by: str) -> str:
        """Serve a project's folder where it lies, and return its id; of one that was moved, members and events stay.

        Raises
        ------
        ConflictError
            It is served already, or the owner has a project of that name.
        SourceNotFoundError, FormatError
            There is none.
        StorageError
            Another server serves it, with a database of its own.
        """
        found = Folder(Path(os.path.realpath(folder)))
        found.roll_forward()
        document = found.read("project").document
        if document is None:
            raise ParameterError(f"{folder} is no project: it has no project.json.", remedy="give a project's folder")
        settings = parse_settings(document)
        check_claim(found, self._database.identity())
        there = numbers(found.root)
        first = there[0] if there and there[0] > 0 else 1
        with self._database.writing() as connection:
            alone(connection, projects)
            if self._moved(connection, settings.id, found.root):
                audit.record(connection, by, "project moved", project=settings.id, details={"name": settings.name})
            else:
                self._enter(connection, settings.id, settings.name, found.root, owner, first, first - 1)
                audit.record(connection, by, "project added", project=settings.id, details={"name": settings.name})
        found.serve(0, Origin(by))
        return settings.id

    def adopt(self, archive: Path, caller: Caller, address: str = "") -> str:
        """Serve a project that somebody has sent, with its own id, and return it.

        Raises
        ------
        ConflictError
            It is served already, or the caller has a project of that name.
        ParameterError
            It is none.
        """
        private = self._root / f".new-{secrets.token_hex(8)}"
        try:
            settings = take_project(archive, private)
            if not re.fullmatch(NAME, settings.id):
                raise ParameterError(f"{settings.id!r} is no id of a project.", remedy="leave it to the package")
            folder = self._root / settings.id
            if folder.exists():
                served = self.has(settings.id)
                raise ConflictError(
                    f"{settings.id!r} is here already{'' if served else ', but is not served'}.",
                    field="id",
                    remedy="Project.list(url)" if served else "ask an operator: bioimage-py server project add",
                )
            os.sync()
            os.rename(private, folder)
            try:
                with self._database.writing() as connection:
                    alone(connection, projects)
                    self._enter(connection, settings.id, settings.name, folder, caller.user_id, 1, 0)
                    record = {"name": settings.name}
                    audit.record(
                        connection, caller.name, "project sent", address=address, project=settings.id, details=record
                    )
                Folder(folder).serve(0, Origin(caller.name))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        finally:
            shutil.rmtree(private, ignore_errors=True)
        return settings.id

    def delete(self, id: str, caller: Caller, address: str = "") -> None:
        """Delete a project with its files; who asks for it again waits until they are gone, and is answered the same.

        Raises
        ------
        KeyNotFoundError
        StillWorkingError
            Files are still being removed.
        """
        with working(self._root / ".mutex", f"delete-{bucket(id)}"):
            if not self.has_deleted(id, caller):
                self.remove(id, caller.name, address, files=True)

    def has_deleted(self, id: str, caller: Caller) -> bool:
        """Whether somebody has deleted a project within a day."""
        with self._database.reading() as connection:
            return has_removed(connection, caller.name, f"project {id}")

    def remove(self, id: str, by: str, address: str = "", *, files: bool) -> None:
        """Serve a project no more; its folder goes if `files` is True, if it is one of the server's own.

        Raises
        ------
        KeyNotFoundError
        """
        with self._database.writing() as connection:
            alone(connection, projects)
            folder = connection.execute(select(projects.c.folder).where(projects.c.id == id)).scalar()
            if folder is None:
                raise not_there(id)
            own = files and Path(folder).parent == self._root
            if own:  # who is killed before the files are gone leaves this, and `sweep` goes on
                write_once(self._root / f".deleting-{Path(folder).name}", b"")
            note_removed(connection, by, f"project {id}")
            connection.execute(delete(projects).where(projects.c.id == id))
            audit.record(connection, by, "project removed", address=address, project=id, details={"files": files})
        with self._lock:
            self._open.pop(id, None)
        path = Path(folder)
        if not files:
            if claimed_by(Folder(path)) in ("", self._database.identity()):  # else another server goes on with them
                shutil.rmtree(path / EVENTS, ignore_errors=True)
        elif own:
            self._remove_files(path)

    def _remove_files(self, path: Path) -> None:
        fault("server-delete")
        gone = self._root / f".deleted-{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):
            path.rename(gone)
        (self._root / f".deleting-{path.name}").unlink(missing_ok=True)
        shutil.rmtree(gone, ignore_errors=True)

    def rename(self, user: str, new: str) -> None:
        """Let drafts, uploads and events in the folders of projects be of another name."""
        with self._database.reading() as connection:
            ids = connection.execute(select(projects.c.id)).scalars().all()
        for id in ids:
            with suppress(OSError, BioimageError):  # a folder that is away names nobody until it is back
                served = self.served(id)
                served.rename(user, new)
                Marks(served.folder).rename(user, new)
                Uploads(served.folder.root / UPLOADS).rename(user, new)

    def sweep(self, now: float | None = None) -> None:
        """Remove what is left of projects that were being sent, a week ago, or deleted when a process was killed."""
        for mark in self._root.glob(".deleting-*"):
            path = self._root / mark.name.removeprefix(".deleting-")
            with self._database.writing() as connection:
                alone(connection, projects)  # who is about to delete it is waited for
                served = connection.execute(select(projects.c.id).where(projects.c.folder == str(path))).scalar()
            if served is None:
                self._remove_files(path)
            else:
                mark.unlink(missing_ok=True)
        limit = (server_time(self._root) if now is None else now) - LIVES
        for path in (*self._root.glob(".deleted-*"), *self._root.glob(".new-*")):
            with suppress(FileNotFoundError):
                if path.name.startswith(".deleted-") or path.stat().st_mtime < limit:
                    shutil.rmtree(path, ignore_errors=True)

    def opened(self, id: str) -> Served | None:
        """Return a project that was asked for since the database has changed last; None where it was not."""
        version = self._database.version()
        return self._open.get(id) if version is not None and self._seen.get(id) == version else None

    def served(self, id: str) -> Served:
        """Return a project; KeyNotFoundError where there is none."""
        version = self._database.version()
        with self._database.reading() as connection:
            folder = connection.execute(select(projects.c.folder).where(projects.c.id == id)).scalar()
        if folder is None:
            raise not_there(id)
        found = self._open.get(id)
        if found is None or str(found.folder.root) != folder:  # another process may have added it elsewhere
            with self._lock:
                found = self._open[id] = Served(id, Folder(Path(folder)), self._database)
        self._seen[id] = version
        return found

    def room(self, served: Served) -> Room:
        """Return the room of a project, which is kept."""
        root = served.folder.root
        return self._rooms.setdefault(root, Room(root, self.most, self.disk))

    def _arrivals(self) -> list[Path]:
        """Return all folders in which uploads arrive."""
        with self._database.reading() as connection:
            folders = connection.execute(select(projects.c.folder)).scalars().all()
        return [self._root.parent / "uploads", *(Path(folder) / UPLOADS for folder in folders)]

    def has(self, id: str) -> bool:
        """Whether there is such a project."""
        with self._database.reading() as connection:
            return connection.execute(select(projects.c.id).where(projects.c.id == id)).scalar() is not None

    def entry(self, caller: Caller, id: str) -> Entry:
        """Return one of the projects of which somebody is a member; KeyNotFoundError where it is none."""
        with self._database.reading() as connection:
            row = connection.execute(_listing(caller).where(projects.c.id == id)).mappings().one_or_none()
        if row is None:
            raise not_there(id)
        return _entry(row)

    def of(self, caller: Caller, after: str = "", limit: int = 1000) -> list[Entry]:
        """Return the projects of which somebody is a member, in the order of their ids, those after one."""
        query = _listing(caller).where(projects.c.id > after).order_by(projects.c.id).limit(limit)
        with self._database.reading() as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]

    def check_name(self, id: str, name: str) -> None:
        """Refuse a new name of a project that another one of its owner has (ConflictError)."""
        with self._database.reading() as connection:
            owner = connection.execute(select(projects.c.owner_id).where(projects.c.id == id)).scalar()
            same = (projects.c.owner_id == owner) & (projects.c.name == name) & (projects.c.id != id)
            if connection.execute(select(projects.c.id).where(same)).scalar() is not None:
                raise _taken(name)

    def _enter(
        self, connection: Connection, id: str, name: str, folder: Path, owner: int, first: int, last: int
    ) -> None:
        same = (projects.c.id == id) | (projects.c.folder == str(folder))
        if connection.execute(select(projects.c.id).where(same)).scalar() is not None:
            raise ConflictError(
                f"The project {id!r} is served already.", field="id", remedy="look at the list of projects"
            )
        _check_name(connection, name, owner)
        row: dict[str, Any] = {"id": id, "name": name, "owner_id": owner, "folder": str(folder)}
        connection.execute(insert(projects).values(**row, created=time.time(), first=first, last=last))
        connection.execute(insert(members).values(project_id=id, user_id=owner, role=Role.owner.name))

    def _moved(self, connection: Connection, id: str, folder: Path) -> bool:
        """Whether a project was known in a folder that is not there any more; from now on it lies in this one."""
        before = connection.execute(select(projects.c.folder).where(projects.c.id == id)).scalar()
        if before is None or before == str(folder) or (Path(before) / SETTINGS).exists():
            return False
        connection.execute(update(projects).where(projects.c.id == id).values(folder=str(folder)))
        return True


def _check_name(connection: Connection, name: str, owner: int) -> None:
    taken = (projects.c.owner_id == owner) & (projects.c.name == name)
    if connection.execute(select(projects.c.id).where(taken)).scalar() is not None:
        raise _taken(name)


def _taken(name: str) -> ConflictError:
    return ConflictError(f"The owner has a project {name!r} already.", field="name", remedy="choose another name")


def _listing(caller: Caller) -> Select[Any]:
    query = select(projects, members.c.role).join(members, members.c.project_id == projects.c.id)
    query = query.where(members.c.user_id == caller.user_id)
    return query if caller.projects is None else query.where(projects.c.id.in_(caller.projects))


def _entry(row: Any) -> Entry:
    return Entry(row["id"], row["name"], Role[row["role"]], row["created"], row["last"])
