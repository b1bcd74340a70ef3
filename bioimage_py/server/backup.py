"""Copies of a server while it runs: all projects and the database at one instant, with the same events in both."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from sqlalchemy import Connection, select, update

from ..errors import FormatError, ParameterError, StorageError
from ..projects import Project
from ..projects.jobs.validate import validate
from ..projects.storage.events import EVENTS
from ..projects.storage.mutex import holding
from ..system.alone import private
from ..system.files import sync_folder
from .database import audit
from .database.copies import check_empty, fill, save
from .database.engine import Database
from .database.tables import projects
from .served import Served
from .site import Site

FORMAT = 2
_LATER = {"annotations", "images"}
"""Read after the instant of the backup: what it names there never changes."""
_LEFT_OUT = {"locks", "transactions", "index.json"}
"""Caches, and what is of this moment only."""
_END = "end.json"


def backup(site: Site, target: Path) -> None:
    """Write all projects and the database into a tar file, which appears whole.

    Commits wait while documents are linked and a transaction of the database begins; its rows, and label maps, which
    never change once they are published, are read afterwards. The database is a file of SQLite there, whichever kind
    the server has.

    Raises
    ------
    ParameterError
        The file is there already, or the database has nobody: it is not the one of this server.
    """
    if target.exists():
        raise ParameterError(f"{target} is there already.", remedy="give another name")
    if site.users.is_empty():
        raise ParameterError(_nobody(site), remedy="--database with the URL that `server run` has")
    with private(site.root, "backup") as folder, private(target.parent, f"{target.name}.part") as unfinished:
        folder.mkdir(mode=0o700)
        with ExitStack() as opened:
            held, rows = _at_one_instant(site, folder, opened)
            save(rows, folder / "server.db")
        unfinished.touch(mode=0o600)  # it holds what the database does
        with tarfile.open(unfinished, "w") as tar:
            _add_text(tar, "backup.json", {"format": FORMAT, "projects": [served.id for served in held]})
            for path in sorted(folder.glob("server.db*")):
                tar.add(path, path.name)
            for served in held:
                tar.add(folder / served.id, f"projects/{served.id}")
                _add_data(tar, served, folder / served.id)
            _add_text(tar, _END, {"files": len(tar.getmembers())})
        with open(unfinished, "rb") as written:
            os.fsync(written.fileno())
        os.replace(unfinished, target)
        sync_folder(target.parent)


def _at_one_instant(site: Site, folder: Path, opened: ExitStack) -> tuple[list[Served], Connection]:
    """Link all projects, and open a transaction of the database as it is at the same instant."""
    linked: dict[str, Served] = {}
    # one backup at a time, as each comes to hold all projects
    with holding(site.root, [".backup"]), ExitStack() as guards:
        while True:
            rows = opened.enter_context(site.database.frozen())
            ids = set(rows.execute(select(projects.c.id)).scalars())
            if ids <= linked.keys():
                return [linked[id] for id in sorted(ids)], rows
            opened.close()
            for id in sorted(ids - linked.keys()):  # the second time, those that were made meanwhile
                try:
                    linked[id] = _held(site, id, guards)
                    _link(linked[id].folder.root, folder / id)
                except (StorageError, OSError, KeyError):
                    if site.projects.has(id):
                        raise
                    linked.pop(id, None)  # it was removed meanwhile


def _held(site: Site, id: str, guards: ExitStack) -> Served:
    """Let commits of a project wait, when those before are whole."""
    served = site.projects.served(id)
    guards.enter_context(holding(served.folder.locks / "mutex", [EVENTS]))
    served.folder.roll_forward()
    served.take_over_held()
    return served


def _nobody(site: Site) -> str:
    name = site.database.engine.url.render_as_string(hide_password=True)
    return f"{name} is not the database of the server in {site.root}: it has no users."


def _add_text(tar: tarfile.TarFile, name: str, value: object) -> None:
    text = json.dumps(value).encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(text)
    tar.addfile(entry, io.BytesIO(text))


def _link(root: Path, copy: Path) -> None:
    """Link all of a project but its data: documents are replaced, never written into."""
    copy.mkdir()
    for path in root.iterdir():
        if path.name in _LATER | _LEFT_OUT or (path.name.startswith(".") and path.name != ".gitignore"):
            continue
        if path.is_dir():
            shutil.copytree(path, copy / path.name, copy_function=_linked, ignore=shutil.ignore_patterns(".*"))
        else:
            _linked(path, copy / path.name)


def _linked(old: str | Path, new: str | Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # a project on another disk
        shutil.copy2(old, new)


def _add_data(tar: tarfile.TarFile, served: Served, copy: Path) -> None:
    """Add the versions that the documents name, and those that an undone edit would name again; copies of images."""
    root = served.folder.root
    named = dict.fromkeys(_of_backups(copy / "history"), True)
    for path in sorted((copy / "descriptors").glob("*.json")):
        for layer, record in json.loads(path.read_bytes()).get("layers", {}).items():
            named[path.stem, layer, record["version"]] = False
    for (identifier, layer, version), perhaps in sorted(named.items()):
        found = sorted(served.folder.annotations(identifier, layer).glob(f"{version}.*"))
        if not found and not perhaps:
            raise StorageError(
                f"{root}: the version {version} of the layer {layer} of {identifier} is not there.",
                remedy="bioimage-py server check; restore it from an older backup",
            )
        for one in found:
            tar.add(one, f"projects/{served.id}/{one.relative_to(root)}")
    if (root / "images").is_dir():
        tar.add(root / "images", f"projects/{served.id}/images", filter=_visible)


def _of_backups(history: Path) -> Iterator[tuple[str, str, str]]:
    for path in history.glob("[!.]*.json"):
        for layer, changes in json.loads(path.read_bytes()).get("layers", {}).items():
            for identifier, pair in changes.items():
                yield from ((identifier, layer, entry["version"]) for entry in pair if entry)


def _visible(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name.startswith(".new-") else entry


def restore(source: Path, root: Path, url: str = "") -> None:
    """Make a server's folder of a backup; it appears whole.

    Parameters
    ----------
    source : Path
        A backup of a server with either kind of database.
    root : Path
        A folder that is empty, or not there.
    url : str, optional
        Of an empty database; "" for SQLite in the folder.

    Raises
    ------
    ParameterError
        The folder or the database is not empty.
    FormatError
        The file is no backup, was cut off, or is one of a newer version.
    """
    root = root.resolve()
    if root.exists() and any(root.iterdir()):
        raise ParameterError(f"{root} is not empty.", remedy="restore into another folder")
    with ExitStack() as opened, private(root.parent, f"{root.name}.restored") as folder:
        other = opened.enter_context(closing(Database(url))) if url else None
        if other is not None:  # before the long part
            with other.writing() as connection:
                check_empty(connection)
        folder.mkdir(mode=0o700)
        _unpack(source, folder)
        saved = opened.enter_context(closing(Database(f"sqlite:///{folder / 'server.db'}")))
        if other is None:
            with saved.writing() as connection:
                _settle(connection, root, source)
            saved.close()
            _appear(folder, root)
            return
        try:
            with other.writing() as connection:
                with saved.reading() as rows:
                    fill(rows, connection)
                saved.close()
                for path in folder.glob("server.db*"):
                    path.unlink()
                _settle(connection, root, source)
                _appear(folder, root)
        except BaseException:
            if not folder.exists():  # the database did not take it
                os.rename(root, folder)
            raise


def _settle(connection: Connection, root: Path, source: Path) -> None:
    for id in connection.execute(select(projects.c.id)).scalars().all():
        where = str(root / "projects" / id)
        connection.execute(update(projects).where(projects.c.id == id).values(folder=where))
    audit.record(connection, "server", "restored", details={"from": source.name})


def _appear(folder: Path, root: Path) -> None:
    os.sync()
    os.rename(folder, root)
    sync_folder(root.parent)


def _unpack(source: Path, folder: Path) -> None:
    try:
        with tarfile.open(source) as tar:
            about = tar.extractfile("backup.json")
            version = json.load(about).get("format") if about else None
            if version not in (1, FORMAT):
                raise FormatError(
                    f"{source} is of the format {version!r}, known is {FORMAT}.", remedy="update bioimage_py"
                )
            names = tar.getnames()
            tar.extractall(folder, filter="data")
        if version == FORMAT and _END not in names[-1:]:  # a tar file that ends early may look like a whole one
            raise FormatError(f"{source} was cut off.", remedy="give another backup")
        told = {"files": len(names) - 1} if version == 1 else json.loads((folder / _END).read_bytes())
    except (tarfile.TarError, KeyError, EOFError, json.JSONDecodeError) as error:
        raise FormatError(
            f"{source} is no backup of a server, or was cut off.", remedy="give a file that `server backup` wrote"
        ) from error
    if told["files"] != len(names) - 1:
        raise FormatError(f"{source} lacks files.", remedy="give another backup")
    for name in ("backup.json", _END):
        (folder / name).unlink(missing_ok=True)


def check(site: Site) -> Iterator[str]:
    """Tell what is wrong with files, database and events of a server; commits that were cut off are ended first."""
    if site.users.is_empty():
        yield _nobody(site)
    with site.database.reading() as connection:
        broken = audit.broken(connection)
        ids = connection.execute(select(projects.c.id)).scalars().all()
    if broken is not None:
        yield f"audit: row {broken} does not follow from those before it"
    for id in ids:
        try:
            served = site.projects.served(id)
            served.take_over()
            problems = validate(Project.load(served.folder.root))
            yield from (f"{id}: {problem}" for problem in problems)
        except (ValueError, OSError, KeyError) as error:
            yield f"{id}: {error}"
