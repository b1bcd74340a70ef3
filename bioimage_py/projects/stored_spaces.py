"""Versions of annotation spaces, read without being kept in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import FormatError
from ..spaces import Ontology, from_document
from ..spaces.changes import Moment, apply_changes
from ..spaces.schema import CHANGES
from ..system.json_text import parse_json
from .storage.session import Session
from .storage.space_ids import clash
from .values.merge import Document
from .values.names import BASE, is_space, space_id
from .values.space_merge import all_known, without_unknown

if TYPE_CHECKING:
    from .descriptor import Descriptor
    from .spaces import Open


def versions(descriptor: Descriptor) -> dict[str, str]:
    """Return the version that is stored of each space, by its id."""
    return {space_id(key): stored.version for key, stored in descriptor._record.layers.items() if is_space(key)}


def read(descriptor: Descriptor, id: str, version: str) -> Any:
    """Return a space as a version has it; see `Descriptor.read_space`."""
    spaces, ontology = descriptor._project._spaces, descriptor._project.ontology
    return spaces._read(descriptor.identifier, id, version, ontology).space


def refuse_taken(session: Session, opened: Iterable[Open], found: Open, names: Sequence[str]) -> None:
    """Refuse ids that something of another data set has; the commit looks again, when nobody else can take one.

    Raises
    ------
    ConflictError
    """
    mine, wanted, changed = found.identifier, set(names), {*session.memory.deleted}
    for other in opened:
        if other.identifier != mine and (session.in_transaction or other.mark.has_steps()):
            changed.add(other.identifier)
            if taken := set[str]().union(*(table.all_known(wanted) for table in other.space._tables.values())):
                raise clash(min(taken), other.identifier, found.space.space_id)
    if session.remote is None:
        with suppress(FormatError):  # the commit mends what is damaged
            if there := session.folder.ids.taken(mine, names, but=changed):
                raise clash(*there, found.space.space_id)


@dataclass(frozen=True)
class Stored:
    """A version that was read.

    Parameters
    ----------
    space : Space
        What it holds of the classes that there are.
    whole : Moment, optional
        The space as the whole document has it that the version is or stands on: since when changes may be told. None
        where that has a record a line, which git compares, or records of a class that is not there any more.
    """

    space: Any
    whole: Moment | None


def read_version(bytes_of: Callable[[str], bytes], where: str, ontology: Ontology) -> Stored:
    """Read a version: a whole document, or changes to one.

    Parameters
    ----------
    bytes_of : callable
        Returns a file of it by its ending: ".json", or `BASE`, what that tells the changes of.
    where : str
        What errors call it.
    ontology : Ontology
        Of the project.

    Raises
    ------
    FormatError
        It is none, or what it stands on is none.
    """
    found = _document(bytes_of(".json"), where)
    changes = found if found.get("schema") == CHANGES else None
    if changes is not None:
        found = _document(bytes_of(BASE), f"What {where} changes")
    known = without_unknown(found, ontology)
    complete = known is found and (changes is None or all_known(changes, ontology))
    try:
        return _read(known, changes, ontology, complete, False)
    except FormatError:  # answers to what is not asked any more?
        return _read(known, changes, ontology, complete, True)


def _read(found: Document, changes: Document | None, ontology: Ontology, complete: bool, fitting: bool) -> Stored:
    """Read a document and changes to it, all answers or those that fit to the ontology."""
    space = from_document(found, ontology, lenient=fitting)
    whole = Moment(space) if complete and not fitting and isinstance(found["objects"], dict) else None
    if changes is not None:
        apply_changes(space, changes, lenient=not complete, fitting=fitting)
    return Stored(space, whole)


def _document(data: bytes, where: str) -> Document:
    try:
        found = parse_json(data, unique=True)
    except ValueError as error:
        raise _none(where, error) from None
    if not (
        isinstance(found, dict)
        and isinstance(found.get("objects"), list | dict)
        and isinstance(found.get("classifications"), list)
        and isinstance(found.get("answers"), dict)
    ):
        raise _none(where, "it has no objects, classifications or answers")
    return found


def _none(where: str, what: object) -> FormatError:
    return FormatError(f"{where} is no space: {what}", remedy="restore it from a backup")
