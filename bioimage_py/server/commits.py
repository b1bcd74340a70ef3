"""What clients may commit: fields of documents, looked at after they were merged and before they count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import BioimageError, ConflictError, FormatError, ParameterError
from ..projects.storage.events import Origin
from ..projects.storage.folder import Change, Pair
from ..projects.storage.leases import check_lease
from ..projects.values.grouping import checked_grouping
from ..projects.values.merge import MISSING, Document, differences, digest, value_at, with_order, with_value
from ..projects.values.names import is_plain, is_space
from ..projects.values.records import DescriptorRecord
from ..projects.values.settings import ProjectSettings, parse_settings
from .accounts.members import Role
from .accounts.sights import Sight
from .projects import Projects
from .refusals import NotAllowedError
from .sealed import Place, check_named
from .served import Answer, Served
from .transfer.copies import check_copy
from .transfer.marks import Marks
from .transfer.records import check_image, described
from .transfer.spaces import check_space

ANNOTATORS = {"comments", "tags", "frames", "layers", "edit_time"}
"""Fields of a descriptor that its annotators may change."""


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
    orders: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    """Keys of mappings in their order, where new ones do not come last."""

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
    guarded: tuple[str, ...] = ()
    """Further data sets that nobody else may have locked."""


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
        for name in wanted.guarded:
            check_lease(served.folder, name, wanted.locks.get(name, ""))

    def accept(written: dict[str, Pair]) -> None:
        _Checks(projects, served, role, written).all()

    try:
        changes = [_change(served, wish) for wish in wanted.wishes]
    except BioimageError:  # perhaps because of what the same commit has done already
        done = served.done(origin)
        if done is None:
            raise
        return done
    answer = served.commit(
        changes, origin, check, [name for name in (*names, *wanted.guarded) if name != "project"], accept
    )
    marks = Marks(served.folder)
    for wish in wanted.wishes:
        for version in _versions_of(wish):
            marks.forget(version)
    return answer


def _versions_of(wish: Wish) -> Iterator[str]:
    """Versions that a document names if a wish came true."""
    layers = [one.new for one in wish.fields if one.path[:1] == ("layers",)]
    layers += list((wish.document or {}).get("layers", {}).values())
    for layer in layers:
        if isinstance(layer, dict) and is_plain(layer.get("version")):
            yield layer["version"]


def check_sight(sight: Sight, wanted: Commit) -> None:
    """Refuse changes of what is not there for who wants them, as of what is not there at all.

    Raises
    ------
    ConflictError
    NotAllowedError
        It takes a role for which nothing is hidden or left out.
    """
    for wish in wanted.wishes:
        if not sight.sees(wish.name):
            raise _no_document(wish.name)
        if (sight.withholds or sight.hidden) and wish.name != "project" and wish.document is not None:
            raise _no_right("To add data sets")
        for one in wish.fields:
            if sight.alters(one.path) and wish.name != "project":
                raise _no_right(f"To change {one.path[0]} of a data set")
            if sight.hides(list(one.path)):
                raise _no_layer(one.path[1] if len(one.path) > 1 else "")


def _no_right(what: str, role: Role = Role.maintainer) -> NotAllowedError:
    return NotAllowedError(f"{what} takes the role of {role.name}.", remedy="ask an owner of the project")


def _no_document(name: str) -> ConflictError:
    return ConflictError(
        f"There is no document {name!r} (any more): elsewhere it has become nothing (removed).",
        field=f"descriptors.{name}",
        remedy="project.sync()",
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
    for path, keys in wish.orders:
        mine = with_order(mine, path, keys)
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
            raise _no_right(what, role)

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
            if record.image.own_copy:
                check_copy(self._served.folder, name, record.image)
        self._values(record, before or {}, settings)
        old, new = {} if before is None else before["layers"], after["layers"]
        layers = {layer.id: layer for layer in settings.layers}
        for id in {*old, *new}:
            if old.get(id) == new.get(id) or id not in new:
                continue
            if is_space(id):
                check_space(self._served.folder, name, id, new[id])
                continue
            if id not in layers:
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
