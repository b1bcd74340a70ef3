"""Names of documents, layers and versions, which become those of files."""

from __future__ import annotations

import re

from ...errors import FormatError

_PLAIN = re.compile(r"[\w-][\w.-]*", re.ASCII)


_LONGEST = 200
_SPACE = "space."
BASE = ".base"
"""Ending of the whole document beside a version of a space that tells changes: a link to that of the version before."""


def space_key(id: str) -> str:
    """Return the name under which a space is stored among the layers of a data set."""
    return plain(_SPACE + plain(id))


def is_space(layer: str) -> bool:
    """Whether an entry among the layers of a data set is a space."""
    return layer.startswith(_SPACE)


def space_id(layer: str) -> str:
    """Return the id of the space that is stored under a name."""
    return layer.removeprefix(_SPACE)


def plain(name: str) -> str:
    """Return a name of a document, layer or version, which becomes that of a file.

    Raises
    ------
    FormatError
        It has other characters than letters, digits, "-", "_" and ".", or begins with a dot.
    """
    if not is_plain(name):
        raise FormatError(
            f"{name!r} cannot be the name of anything in a project.",
            remedy="letters, digits, '-', '_' and '.' are allowed; mend the file that says so",
        )
    return name


def is_plain(name: object) -> bool:
    """Whether `plain` accepts a name."""
    return isinstance(name, str) and len(name) <= _LONGEST and _PLAIN.fullmatch(name) is not None
