"""What clients may commit: fields of documents, looked at after they were merged and before they count."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import BioimageError, ConflictError, FormatError, ParameterError
from ..projects.storage.events import Origin
from ..projects.storage.folder import Change, Pair
from ..projects.storage.leases import check_lease
from ..projects.values.grouping import checked_grouping
from ..projects.values.merge import MISSING, Document, differences, digest, value_at, with_value
from ..projects.values.names import is_space
from ..projects.values.records import DescriptorRecord
from ..projects.values.settings import ProjectSettings, parse_settings
from ..sources import Axis, SourceSpec
from ..sources.stores.paths import is_url
from .accounts.members import Role
from .accounts.sights import Sight
from .projects import Projects
from .refusals import NotAllowedError
from .sealed import Place, check_named
from .served import Answer, Served

ANNOTATORS = {"comments", "tags", "frames", "layers", "edit_time"}
"""Fields of a descriptor that its annotators may change."""
_MOST_AXES, _LARGEST = 16, 2**53


class Field(NamedTuple):
    """A field that a client changes: where, what it was when the client read it, and what it becomes."""

    path: tuple[str, ...]
    old: Any
    new: Any


@dataclass(frozen=True)
class Wish:
    """What a client wants of one document: another value of fields, a new document, or none any more.

    Parameters
    ----------
    name : str
        "project", or the identifier of a descriptor.
    fields : sequence of Field
    document : dict, optional
        A new one.
    remove : bool
    etag : str
        Of the document that is removed; "" for whatever it is.
    """

    name: str
    fields: tuple[Field, ...] = ()
    document: Document | None = None
    remove: bool = False
    etag: str = ""

    @property
    def concerns_data(self) -> bool:
        """Whether a lock of somebody else forbids it."""
        return self.remove or any(not one.path or one.path[0] == "layers" for one in self.fields)


@dataclass(frozen=True)
class Commit:
    """A commit of a client.

    Parameters
    ----------
    wishes : sequence of Wish
        At most one of each document.
    locks : mapping
        Tokens of the locks that the client holds, by identifier.
    """

    wishes: tuple[Wish, ...]
    locks: Mapping[str, str] = field(default_factory=dict)


def commit(projects: Projects, served: Served, wanted: Commit, role: Role, origin: Origin) -> Answer:
    """Do what a client wants, all of it or nothing.

    Raises
    ------
    ConflictError
        Somebody else has changed a field since, or removed the document.
    LockError
        Somebody else has locked a data set whose annotations it changes.
    NotAllowedError
        The role is not enough.
    ParameterError
        A document would not be valid.
    """
    names = [wish.name for wish in wanted.wishes]
    if len(set(names)) < len(names):
        raise ParameterError("A document occurs twice in the commit.", remedy="send one change of each")

    def check() -> None:
        for wish in wanted.wishes:
            if wish.concerns_data and wish.name != "project":
                check_lease(served.folder, wish.name, wanted.locks.get(wish.name, ""))

    def accept(written: dict[str, Pair]) -> None:
        _Checks(projects, served, role, written).all()

    try:
        changes = [_change(served, wish) for wish in wanted.wishes]
    except ConflictError:  # perhaps with what the same commit has done already
        done = served.done(origin)
        if done is None:
            raise
        return done
    return served.commit(changes, origin, check, [name for name in names if name != "project"], accept)


def check_sight(sight: Sight, wanted: Commit) -> None:
    """Refuse changes of what is not there for who wants them, as of what is not there at all.

    Raises
    ------
    ConflictError
    """
    for wish in wanted.wishes:
        if not sight.sees(wish.name):
            raise _no_document(wish.name)
        for one in wish.fields:
            if sight.hides(list(one.path)):
                raise _no_layer(one.path[1] if len(one.path) > 1 else "")


def _no_document(name: str) -> ConflictError:
    return ConflictError(
        f"There is no document {name!r} (any more).", field=f"descriptors.{name}", remedy="project.sync()"
    )


def _no_layer(id: str) -> ConflictError:
    return ConflictError(f"The project has no layer {id!r} (any more).", field=f"layers.{id}", remedy="project.sync()")


def _change(served: Served, wish: Wish) -> Change:
    saved = served.folder.read(wish.name).document
    if wish.document is not None:
        return Change(wish.name, None, wish.document)
    if saved is None:
        raise _no_document(wish.name)
    if wish.remove:
        if wish.etag and wish.etag != digest(saved):
            raise ConflictError(
                f"{wish.name!r} was changed since it was read.",
                field=f"descriptors.{wish.name}",
                remedy="project.sync()",
            )
        return Change(wish.name, saved, None)
    base = mine = saved
    for one in wish.fields:
        base, mine = _put(base, one.path, one.old), _put(mine, one.path, one.new)
    return Change(wish.name, base, mine)


def _put(document: Document, path: tuple[str, ...], value: Any) -> Document:
    for length in range(1, len(path)):
        found = value_at(document, path[:length])
        if found is not MISSING and not isinstance(found, dict):
            raise ParameterError(f"{'.'.join(path[:length])} has no fields.", remedy="name a field of an object")
    return with_value(document, path, value)


class _Checks:
    """What must be true of the documents that a commit writes."""

    def __init__(self, projects: Projects, served: Served, role: Role, written: dict[str, Pair]) -> None:
        self._projects = projects
        self._served = served
        self._role = role
        self._written = written

    def all(self) -> None:
        """Check every document."""
        settings = self._settings()
        for name, (before, after) in self._written.items():
            if name == "project":
                continue
            if after is None or before is None:
                self._needs(Role.maintainer, "To add and remove data sets")
            else:
                changed = {path[0] for path in differences(before, after)}
                if changed - ANNOTATORS:
                    self._needs(Role.maintainer, f"To change {', '.join(sorted(changed - ANNOTATORS))} of a data set")
            if after is not None:
                self._descriptor(name, before, after, settings)

    def _needs(self, role: Role, what: str) -> None:
        if self._role < role:
            raise NotAllowedError(f"{what} takes the role of {role.name}.", remedy="ask an owner of the project")

    def _settings(self) -> ProjectSettings:
        if "project" not in self._written:
            document = self._served.folder.read("project").document
            return parse_settings(document or {})
        before, after = self._written["project"]
        self._needs(Role.maintainer, "To change the settings")
        if before is None or after is None or after.get("id") != before.get("id"):
            raise ParameterError("The settings keep the id of the project.", remedy="leave it as it is")
        try:
            found = parse_settings(after)
        except FormatError as error:
            raise ParameterError(error.message, remedy="look at the field that it names") from None
        if found.to_document() != after:
            raise ParameterError("The settings have fields in another form.", remedy="send what to_document() gives")
        self._projects.check_name(self._served.id, found.name)
        return found

    def _descriptor(self, name: str, before: Document | None, after: Document, settings: ProjectSettings) -> None:
        record = described(name, after)
        if before is None or before["image"] != after["image"]:
            check_image(record)
        self._values(record, before or {}, settings)
        old, new = {} if before is None else before["layers"], after["layers"]
        layers = {layer.id: layer for layer in settings.layers}
        for id in {*old, *new}:
            if old.get(id) == new.get(id) or id not in new:
                continue
            if is_space(id) or id not in layers:
                raise _no_layer(id)
            check_named(Place(self._served.folder, name, layers[id]), record, old.get(id), new[id])

    def _values(self, record: DescriptorRecord, before: Document, settings: ProjectSettings) -> None:
        """Check tags and groups that are new; others may be older than the settings."""
        tags, old = {tag.id: tag for tag in settings.tags}, before.get("tags", {})
        for id, value in record.tags.items():
            if id in old and old[id] == value:
                continue
            if id not in tags:
                raise ConflictError(
                    f"The project has no tag {id!r} (any more).", field=f"tags.{id}", remedy="project.sync()"
                )
            tags[id].check(value)
        if before.get("grouping") != record.to_document()["grouping"]:
            checked_grouping(record.grouping, settings.grouping_hierarchy)


def new_record(name: str, document: Document) -> DescriptorRecord:
    """Return the record of a data set that a client is about to add.

    Raises
    ------
    ParameterError
        It is none, or not of this name.
    """
    record = described(name, document)
    check_image(record)
    return record


def described(name: str, document: Document) -> DescriptorRecord:
    """Return the record of a document; errors as of `new_record`."""
    try:
        record = DescriptorRecord.parse(document)
    except FormatError as error:
        raise ParameterError(error.message, remedy="look at the field that it names") from None
    if {**record.to_document(), "edit_time": ""} != {**document, "edit_time": ""}:
        raise ParameterError(f"{name!r} has fields in another form.", remedy="send what to_document() gives")
    if record.identifier != name:
        raise ParameterError(f"{name!r} says that it is {record.identifier!r}.", remedy="the identifier stays")
    return record


def check_image(record: DescriptorRecord) -> None:
    """Refuse an image that only the client's program could open, or that is of no possible size.

    Raises
    ------
    ParameterError
    """
    image = record.image
    if not 1 <= len(image.shape) <= _MOST_AXES or len(image.axes) != len(image.shape):
        raise ParameterError("The image has not one axis for each size.", remedy="look at image.shape and image.axes")
    if not all(0 <= size <= _LARGEST for size in image.shape):
        raise ParameterError(f"The image has the shape {image.shape}.", remedy="sizes are 0 or more")
    try:
        _check_axes(image.axis_values())
        if np.dtype(image.dtype).kind not in "buifc":
            raise ValueError("dtype")
        spec = SourceSpec.from_json(image.spec)
    except (ValueError, TypeError, KeyError, ImportError) as error:
        what = error.message if isinstance(error, BioimageError) else type(error).__name__
        raise ParameterError(
            f"The image cannot be described so: {what}", remedy="send what a local project has"
        ) from None
    if image.own_copy:
        raise ParameterError("Copies of images cannot be sent to a server yet.", remedy="own_copy=False")
    inner: SourceSpec | None = spec
    while inner is not None:
        if inner.path is not None and not is_url(inner.path) and not inner.path.startswith("/"):
            raise ParameterError("The image has a path inside the project.", remedy="give an absolute path, or a URL")
        inner = inner.wrapped


def _check_axes(axes: tuple[Axis, ...]) -> None:
    for axis in axes:
        words, numbers = (axis.name, axis.kind, axis.unit or ""), (axis.scale, axis.offset)
        if not all(isinstance(word, str) for word in words):
            raise TypeError("words")
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers) or axis.scale <= 0:
            raise ValueError("numbers")
    names = sorted(axis.name.lower() for axis in axes if axis.kind == "space")
    if names not in (["x", "y"], ["x", "y", "z"]) or len({axis.name for axis in axes}) != len(axes):
        raise ValueError("names")
