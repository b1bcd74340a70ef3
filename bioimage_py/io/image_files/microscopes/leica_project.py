"""Projects of Leica (.xlef, with .xlcf and .xlif): which files they are made of, checked before one is opened."""

from __future__ import annotations

import os
from urllib.parse import unquote
from xml.etree import ElementTree

from ....errors import FormatError, SourceNotFoundError
from ..detached import beside
from ..opening import head_of, no_such

ENDINGS = (".xlef", ".xlcf", ".xlif")
_NAME = "Leica project"
_MOST_BYTES = 1 << 26
_MOST_FILES = 100_000
_STARTS = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<\0", b"<\0")


def is_project(path: str) -> bool:
    """Whether a file is one that only refers to others, by its name."""
    return path.lower().endswith(ENDINGS)


def files_of(path: str) -> list[str]:
    """Return the files that a project refers to, directly or not.

    Raises
    ------
    FormatError
        If one lies outside of the folder of the project, also by way of a link, or refers back.
    SourceNotFoundError
        If one is missing.
    """
    root = os.path.abspath(path)
    found: dict[str, None] = {root: None}
    waiting = [root]
    while waiting:
        description = waiting.pop()
        for name in _named(description):
            part = os.path.normpath(os.path.join(os.path.dirname(description), name))
            try:
                beside(root, os.path.relpath(part, os.path.dirname(root)))
            except SourceNotFoundError as error:
                raise SourceNotFoundError(
                    f"{description} refers to {part}, which does not exist.", remedy="copy the folder as a whole"
                ) from error
            if is_project(part):
                if part in found:
                    raise FormatError(f"{path} refers to {part} twice.", remedy="export the images as LIF")
                waiting.append(part)
            found[part] = None
            if len(found) > _MOST_FILES:
                raise FormatError(f"{path} refers to more than {_MOST_FILES} files.", remedy="open its parts")
    return list(found)


def _named(description: str) -> list[str]:
    """The files that one description names."""
    content = head_of(description, _MOST_BYTES + 1)
    if not content.startswith(_STARTS) or len(content) > _MOST_BYTES:
        raise no_such(description, _NAME, content)
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise FormatError(f"{description} is damaged: {error}", remedy="copy the file again, or restore it") from error
    named = [
        one.get("File") for tag in ("./Element/Children/Reference", "./Element/Memory/*") for one in root.findall(tag)
    ]
    return [os.path.normpath(unquote(name).replace("\\", "/")) for name in named if name]
