"""Annotation spaces that clients send: looked at, stored as versions, named by a commit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import BioimageError, ConflictError, KeyNotFoundError, ParameterError
from ...projects.storage.folder import Folder, new_stamp
from ...projects.stored_spaces import read_version
from ...projects.values.names import BASE, plain, space_id
from ...projects.values.records import LayerRecord
from ...projects.values.space_merge import without_unknown
from ...spaces import Ontology, from_document
from ...spaces.document import count_of
from ...spaces.schema import CHANGES
from ...system.files import write_once
from ...system.json_text import parse_json


def path_of(folder: Folder, identifier: str, key: str, version: str) -> Path:
    """Path of a version of a space, by its name among the layers of a data set; or of what one stands on."""
    return folder.annotations(identifier, key) / f"{plain(version)}{'' if version.endswith(BASE) else '.json'}"


def put_space(
    folder: Folder, identifier: str, key: str, data: bytes, ontology: Ontology, base: str = ""
) -> LayerRecord:
    """Store a version of a space, and return what a document has to say of it.

    Parameters
    ----------
    folder : Folder
    identifier, key : str
        Data set, and name of the space among its layers.
    data : bytes
        A whole document, or changes to what the version `base` stands on.
    ontology : Ontology
    base : str, default ""

    Raises
    ------
    ParameterError
        It is none, or of another name.
    KeyNotFoundError
        The version that it changes is not there (any more).
    """
    whole = _whole(folder, identifier, key, base) if base else None
    try:
        document = parse_json(data, unique=True)
        if (document["schema"] == CHANGES) != (whole is not None):
            raise ParameterError("changes go with the version that they change, whole documents without.", remedy="")
        if whole is None:
            space = from_document(without_unknown(document, ontology), ontology)
        else:
            parts = {".json": data, BASE: whole.read_bytes()}
            space = read_version(parts.__getitem__, "what was sent", ontology).space
    except FileNotFoundError:
        raise _gone(base) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = error.message if isinstance(error, BioimageError) else type(error).__name__
        raise ParameterError(f"That is no space: {told}", remedy="send what a local project stores") from None
    if space.space_id != space_id(key):
        raise ParameterError(f"The space says that it is {space.space_id!r}, not {space_id(key)!r}.", remedy="")
    record = LayerRecord(version=new_stamp(), units=count_of(document))
    path = path_of(folder, identifier, key, record.version)
    if whole is not None:
        try:
            os.link(whole, path.with_suffix(BASE))
        except FileNotFoundError:
            raise _gone(base) from None
        except OSError:  # no links there, or no more
            write_once(path.with_suffix(BASE), parts[BASE], sync=True)
    write_once(path, data, sync=True)
    return record


def _whole(folder: Folder, identifier: str, key: str, version: str) -> Path:
    """Path of the whole document that a version is or stands on."""
    path = path_of(folder, identifier, key, version)
    found = next((one for one in (path.with_suffix(BASE), path) if folder.inside(one).is_file()), None)
    if found is None:
        raise _gone(version)
    return found


def _gone(version: str) -> KeyNotFoundError:
    return KeyNotFoundError(f"There is no version {version!r} (any more).", remedy="send the whole space")


def check_space(folder: Folder, identifier: str, key: str, new: dict[str, Any]) -> None:
    """Refuse that a document names a version of a space that is not there, or says something else of it.

    Raises
    ------
    ConflictError
    """
    try:
        path = path_of(folder, identifier, key, str(new.get("version")))
        document = parse_json(path.read_bytes())
        if document["schema"] == CHANGES:
            path.with_suffix(BASE).stat()
        found = LayerRecord(version=str(new.get("version")), units=count_of(document)).model_dump()
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != new:
        raise ConflictError(
            f"The version {new.get('version')!r} of the space {space_id(key)!r} is not stored as the document says.",
            field=f"layers.{key}",
            remedy="send the space, and commit what that answers",
        )
