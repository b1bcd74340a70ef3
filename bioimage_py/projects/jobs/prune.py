"""Removing files that nothing points to any more."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.files import remove_whole
from ...system.processes import server_time
from ..values.merge import Document
from ..values.names import BASE, is_space

if TYPE_CHECKING:
    from ..project import Project


def prune(project: Project, older_than: float, spared: Collection[str] = ()) -> int:
    """Remove files that nothing points to and that are old enough; return how many.

    Parameters
    ----------
    project : Project
        In a folder.
    older_than : float
        Seconds.
    spared : collection of str
        Drafts and versions that stay, and data sets that are not saved yet whose annotations do.
    """
    session = project._session
    folder = session.folder
    session.sync()  # what others have added is no rubbish
    limit = server_time(folder.root) - older_than
    session.backups.forget(limit)
    kept = [session.backups.read(name) for name in session.backups.names()]
    count = _forget(project, kept)
    for path in _unused(project, kept, limit):
        name = path.name.removeprefix(".draft-")[: len(_STAMP)]
        folder.inside(path.parent / "any")
        if name not in spared and _newest(path) < limit:
            whole = path.is_dir() and not path.is_symlink()
            remove_whole(path) if whole else path.unlink(missing_ok=True)
            count += 1
    return count


def _forget(project: Project, backups: list[Document]) -> int:
    """Drop values of tags and data of layers that were deleted, where no backup can bring them back."""
    session = project._session
    known = [session.settings.to_document(), *(state for backup in backups for state in backup["settings"])]
    tags = {id for settings in known for id in settings["tags"]}
    layers = {id for settings in known for id in settings["layers"]}
    count = 0
    for name, summary in session.summaries(session.identifiers()):
        gone_tags = set(summary.tags) - tags
        gone_layers = {id for id in summary.layers if id not in layers and not is_space(id)}
        if gone_tags or gone_layers:
            record = session.record(name)
            for id in gone_tags:
                del record.tags[id]
            for id in gone_layers:
                del record.layers[id]
            count += 1
    if count:
        session.save()
    return count


def _unused(project: Project, backups: list[Document], limit: float) -> Iterator[Path]:
    root, identifiers = project._session.folder.root, set(project._session.identifiers())
    for place in ("images", "thumbnails", "locks"):
        for path in root.glob(f"{place}/*"):
            known = path.name[: len(_STAMP)] in identifiers
            if not known and (path.is_file() or path.suffix == ".zarr"):
                yield path
    for folder in root.glob("annotations/*"):
        if folder.name in identifiers:
            yield from _unused_versions(project, folder, backups, limit)
        else:
            yield folder
    yield from root.glob("descriptors/.*")
    yield from root.glob(".*.json.*")


def _unused_versions(project: Project, folder: Path, backups: list[Document], limit: float) -> Iterator[Path]:
    session, name = project._session, folder.name
    with session.folder.guarding([name]):  # who is about to name one is waited for
        saved = session.folder.read(name)
        recent = saved.stamp is not None and saved.stamp[0] >= limit * 1e9
        used = {entry["version"] for entry in (saved.document or {"layers": {}})["layers"].values()}
        if name in session.memory.states:
            used |= {entry.version for entry in session.record(name).layers.values()}
        for backup in backups:
            for changes in backup["layers"].values():
                used |= {entry["version"] for entry in changes.get(name, []) if entry}
        for path in folder.glob("*/*"):
            # after a recent edit somebody may still read the version before
            if path.name.startswith(".") or not (recent or path.stem in used):
                yield path


_STAMP = "20260101-000000-000000-abcdef"


def _newest(path: Path) -> float:
    """Time of the last change of a file, or of anything in a folder; now, where it is not there any more."""
    try:
        status = path.lstat()
        times = [status.st_ctime if path.suffix == BASE else status.st_mtime]  # a link is as new as its last name
        for inner, _, names in os.walk(path):
            times += [os.lstat(os.path.join(inner, name)).st_mtime for name in (".", *names)]
    except FileNotFoundError:  # somebody else removes it just now
        return float("inf")
    return max(times)
