"""Copies of a server while it runs: all projects and the database at one instant, with the same events in both."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import select, update

from ..errors import FormatError, ParameterError, StorageError
from ..projects import Project
from ..projects.jobs.validate import validate
from ..projects.storage.events import EVENTS
from ..projects.storage.mutex import holding
from ..system.files import sync_folder
from .database import audit
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

    Commits wait while documents are linked and the database is copied; label maps, which never change once they are
    published, are read afterwards.

    Raises
    ------
    ParameterError
        The file is there already, or the database is PostgreSQL.
    """
    if target.exists():
        raise ParameterError(f"{target} is there already.", remedy="give another name")
    with site.database.reading() as connection:
        ids = sorted(connection.execute(select(projects.c.id)).scalars())
    held = [site.projects.served(id) for id in ids]
    private = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=site.root) as folder:
        with ExitStack() as stack:
            for served in sorted(held, key=lambda one: str(one.folder.root)):
                stack.enter_context(holding(served.folder.locks / "mutex", [EVENTS]))
                served.folder.roll_forward()
                served.take_over_held()
            for served in held:
                _link(served.folder.root, Path(folder) / served.id)
            site.database.backup(Path(folder) / "server.db")
        try:
            with tarfile.open(private, "w") as tar:
                _add_text(tar, "backup.json", {"format": FORMAT, "projects": ids})
                tar.add(Path(folder) / "server.db", "server.db")
                for served in held:
                    tar.add(Path(folder) / served.id, f"projects/{served.id}")
                    _add_data(tar, served, Path(folder) / served.id)
                _add_text(tar, _END, {"files": len(tar.getmembers())})
            with open(private, "rb") as written:
                os.fsync(written.fileno())
            os.replace(private, target)
            sync_folder(target.parent)
        finally:
            private.unlink(missing_ok=True)


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


def restore(source: Path, root: Path) -> None:
    """Make a server's folder of a backup; it appears whole.

    Raises
    ------
    ParameterError
        The folder is not empty.
    FormatError
        The file is no backup, was cut off, or is one of a newer version.
    """
    if root.exists() and any(root.iterdir()):
        raise ParameterError(f"{root} is not empty.", remedy="restore into another folder")
    root = root.resolve()
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as folder:
        private = Path(folder) / "site"
        private.mkdir(mode=0o700)
        _unpack(source, private)
        database = Database(f"sqlite:///{private / 'server.db'}")
        with database.writing() as connection:
            for id in connection.execute(select(projects.c.id)).scalars().all():
                where = str(root / "projects" / id)
                connection.execute(update(projects).where(projects.c.id == id).values(folder=where))
            audit.record(connection, "server", "restored", details={"from": source.name})
        database.close()
        os.sync()
        os.rename(private, root)
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
