"""Making project folders, and data sets in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FormatError, ParameterError, SourceTypeError
from ..sources import Axis, Source
from ..sources.file import FileSource, absolute_path
from ..sources.stores.paths import is_url
from ..system.files import write_once
from .images import check_data_type, image_axes, opened_image, record_image
from .remote.whole.images import send_image
from .storage.folder import SETTINGS, new_stamp, to_text
from .values.grouping import checked_grouping
from .values.models import Group, ImageInfo
from .values.records import DescriptorRecord, now
from .values.settings import ProjectSettings

if TYPE_CHECKING:
    from .project import Project

IGNORED = "index.json\nlocks/\ntransactions/\nthumbnails/\n.*\n!.gitignore\n!.ids/\n"
"""What version control need not keep."""


def folder_of(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a project's folder; FormatError for a URL."""
    text = absolute_path(path)
    if is_url(text):
        raise FormatError(f"{text} is a URL, and projects lie in folders.", remedy="give the path of a folder")
    return Path(text)


def created(settings: ProjectSettings, path: str | os.PathLike[str]) -> Path:
    """Make a project's folder, and return its absolute path; ParameterError where something is there."""
    if not os.fspath(path):
        raise ParameterError("A project needs a folder.", remedy="Project.create(settings, 'path/of/an/empty/folder')")
    root = folder_of(path)
    root.mkdir(parents=True, exist_ok=True)
    if any(not entry.name.startswith(".") for entry in os.scandir(root)):
        raise ParameterError(
            f"{root} is not empty.", remedy="Project.load(path) opens a project; give another path for a new one"
        )
    write_once(root / SETTINGS, to_text(settings.with_ids().to_document()).encode(), sync=True)
    if not (root / ".gitignore").exists():
        (root / ".gitignore").write_text(IGNORED)
    return root


def new_record(
    project: Project,
    image: Any,
    title: str,
    own_copy: bool,
    grouping: Sequence[str | Group],
    axes: Iterable[Axis | str] | None,
    image_info: ImageInfo | None,
    original_data_path: str,
) -> DescriptorRecord:
    """Return the record of a new data set, after checking its image and copying it where that is asked for."""
    source = opened_image(image)
    found = image_axes(source, axes)
    title = title or _title(source)
    check_data_type(project.data_type, found, source.shape, title)
    groups = checked_grouping(grouping, project.grouping_hierarchy)
    identifier, time = new_stamp(), now()
    original = original_data_path or (source.path if isinstance(source, FileSource) else "")
    remote, root = project._session.remote, project._session.folder.root
    if remote is None:
        image_record = record_image(source, found, root, identifier, own_copy, original)
    else:
        image_record = send_image(remote, source, found, identifier, own_copy, original)
    return DescriptorRecord(
        identifier=identifier,
        name=title,
        import_time=time,
        edit_time=time,
        grouping=groups,
        info=image_info or ImageInfo(),
        image=image_record,
    )


def add_arguments(args: Sequence[Any], image: Any, name: str | None, own_copy: bool | None) -> tuple[Any, str, bool]:
    """Sort out both orders of arguments: the name is a string, the image is none."""
    rest = list(args)
    if image is None:
        at = 1 if len(rest) > 1 and isinstance(rest[0], str) and not isinstance(rest[1], bool) else 0
        image = rest.pop(at) if at < len(rest) else None
    if rest and name is None:
        name = rest.pop(0)
    if rest and own_copy is None:
        own_copy = rest.pop(0)
    if image is None or rest or not isinstance(name or "", str) or not isinstance(own_copy or False, bool):
        raise SourceTypeError(
            f"add_descriptor got {[type(arg).__name__ for arg in args]}.",
            remedy="add_descriptor(image, name, own_copy=False)",
        )
    return image, name or "", bool(own_copy)


def _title(source: Source) -> str:
    if isinstance(source, FileSource):
        return os.path.basename(source.path.rstrip("/")) + (f":{source.internal_path}" if source.internal_path else "")
    return "image"
