"""Copies of a server while it runs: all projects and the database at one instant, with the same events in both."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import select, update

from ..errors import FormatError, ParameterError
from ..projects import Project
from ..projects.jobs.validate import validate
from ..projects.storage.events import EVENTS
from ..projects.storage.mutex import holding
from .database import audit
from .database.engine import Database
from .database.tables import projects
from .served import Served
from .site import Site

FORMAT = 1
_DOCUMENTS = ("project.json", "descriptors", EVENTS, "history", "splits")
_DATA = ("annotations", "images")


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
    private = target.with_name(f".{target.name}.part")
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
                about = json.dumps({"format": FORMAT, "projects": ids}).encode()
                entry = tarfile.TarInfo("backup.json")
                entry.size = len(about)
                tar.addfile(entry, io.BytesIO(about))
                tar.add(Path(folder) / "server.db", "server.db")
                for served in held:
                    tar.add(Path(folder) / served.id, f"projects/{served.id}")
                    _add_data(tar, served, Path(folder) / served.id)
            os.replace(private, target)
        finally:
            private.unlink(missing_ok=True)


def _link(root: Path, copy: Path) -> None:
    """Link the documents of a project, which are replaced, never written into."""
    copy.mkdir()
    for name in _DOCUMENTS:
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, copy_function=_linked, ignore=shutil.ignore_patterns(".*"))
        elif (root / name).exists():
            _linked(root / name, copy / name)


def _linked(old: str | Path, new: str | Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # a project on another disk
        shutil.copy2(old, new)


def _add_data(tar: tarfile.TarFile, served: Served, copy: Path) -> None:
    """Add the versions that the documents name, and copies of images."""
    root = served.folder.root
    for path in sorted((copy / "descriptors").glob("*.json")):
        for layer, record in json.loads(path.read_bytes()).get("layers", {}).items():
            for found in served.folder.annotations(path.stem, layer).glob(f"{record['version']}.*"):
                tar.add(found, f"projects/{served.id}/{found.relative_to(root)}")
    if (root / "images").is_dir():
        tar.add(root / "images", f"projects/{served.id}/images")


def restore(source: Path, root: Path) -> None:
    """Make a server's folder of a backup.

    Raises
    ------
    ParameterError
        The folder is not empty.
    FormatError
        The file is no backup, or one of a newer version.
    """
    if root.exists() and any(root.iterdir()):
        raise ParameterError(f"{root} is not empty.", remedy="restore into another folder")
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with tarfile.open(source) as tar:
            about = tar.extractfile("backup.json")
            version = json.load(about).get("format") if about else None
            if version != FORMAT:
                raise FormatError(
                    f"{source} is of the format {version!r}, known is {FORMAT}.", remedy="update bioimage_py"
                )
            tar.extractall(root, filter="data")
    except (tarfile.TarError, KeyError, json.JSONDecodeError) as error:
        raise FormatError(
            f"{source} is no backup of a server.", remedy="give a file that `server backup` wrote"
        ) from error
    (root / "backup.json").unlink()
    database = Database(f"sqlite:///{root.resolve() / 'server.db'}")
    with database.writing() as connection:
        for id in connection.execute(select(projects.c.id)).scalars().all():
            folder = str(root.resolve() / "projects" / id)
            connection.execute(update(projects).where(projects.c.id == id).values(folder=folder))
        audit.record(connection, "server", "restored", details={"from": source.name})
    database.close()


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
