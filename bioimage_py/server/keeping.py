"""What a project keeps beside what its documents say: backups of edits, and files that nothing points to any more."""

from __future__ import annotations

from typing import Any

from ..errors import BioimageError, ParameterError
from ..projects import Project
from ..projects.jobs import prune as jobs
from ..projects.storage.backups import Backups
from ..projects.storage.events import Origin
from ..projects.values.merge import Document
from ..projects.values.names import plain
from ..projects.values.records import LayerRecord
from ..projects.values.settings import parse_settings
from .database import audit
from .database.engine import Database
from .served import Served
from .transfer.copies import forget_image
from .transfer.marks import Marks
from .transfer.uploads import UPLOADS, Uploads
from .values import checked


def backups_of(served: Served) -> Backups:
    """Return the backups of a project's edits."""
    return Backups(served.folder.history)


def checked_backup(backup: Document) -> Document:
    """Return a backup that a client sends.

    Raises
    ------
    ParameterError
        It is none: what it says becomes settings, and names of files.
    """
    found = checked(backup, "The backup")
    try:
        if set(found) != {"schema", "time", "settings", "layers"} or found["schema"] != 1:
            raise ValueError("it has other fields")
        _, _ = (parse_settings(settings) for settings in found["settings"])
        for layer, changes in found["layers"].items():
            plain(layer)
            for identifier, (before, after) in changes.items():
                plain(identifier)
                for record in (before, after):
                    _check_record(record)
    except (BioimageError, ValueError, TypeError, KeyError, AttributeError) as error:
        told = error.message if isinstance(error, BioimageError) else str(error)
        raise ParameterError(f"That is no backup of an edit: {told}", remedy="send what project.edit() makes") from None
    return dict(found)


def _check_record(record: Any) -> None:
    if record is not None:
        plain(LayerRecord.model_validate(record).version)


def sweep(served: Served, now: float | None = None) -> int:
    """Remove what clients have sent, and not gone on with for a week; return how many drafts and versions that were."""
    count = Marks(served.folder).sweep(now)
    for gone in Uploads(served.folder.root / UPLOADS).sweep(now):
        forget_image(served.folder, str(gone.about.get("descriptor")))
    return count


def prune(served: Served, database: Database, origin: Origin, older_than: float, address: str = "") -> int:
    """Remove files that nothing points to, as `Project.prune` of a folder does, and return their number.

    What clients have sent and not yet saved stays for a week.
    """
    marks, images = Marks(served.folder), Uploads(served.folder.root / UPLOADS)
    count = sweep(served)
    spared = {name for id, mark in marks.all() for name in (id, mark.descriptor if mark else id)}
    spared |= {str(about.get("descriptor")) for about in images.all()}
    project = Project.load(served.folder.root)
    project._session.origin = origin
    count += jobs.prune(project, older_than, spared)
    served.take_over()
    with database.writing() as connection:
        details = {"older_than": older_than, "removed": count}
        audit.record(connection, origin.user, "pruned", address=address, project=served.id, details=details)
    return count
