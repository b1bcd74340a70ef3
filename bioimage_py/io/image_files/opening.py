"""What opening a file has in common for all formats: checks before anything is allocated, and errors of ours."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...errors import (
    AccessError,
    BioimageError,
    FormatError,
    KeyNotFoundError,
    MemoryBudgetError,
    ParameterError,
    ReadOnlyError,
    SourceNotFoundError,
    StorageError,
)
from ...sources.axes import Axis
from ...system.memory import available_bytes
from ..formats import keep_local

AGAIN = "copy the file again, or restore it"
MOST_AXES = 32
"""Of numpy before version 2."""


def only_image(path: str, key: str | None, mode: str, name: str, arguments: Mapping[str, Any] | None = None) -> None:
    """Refuse what makes no sense for a local file that is one image, and is only read.

    Raises
    ------
    FormatError
        If it is a URL.
    ReadOnlyError
        If the mode is one of writing.
    KeyNotFoundError
        If a key is given.
    ParameterError
        If there are further arguments.
    """
    keep_local(path, name)
    if mode != "r":
        raise ReadOnlyError(f"{path}: {name} files are read only.", remedy="write a whole new one, or to a zarr array")
    if key:
        raise KeyNotFoundError(f"{path} is one image and has no key {key!r}.", remedy=f"open_source({path!r})")
    if arguments:
        raise ParameterError(f"{name} files take no {', '.join(arguments)}.", remedy="leave it out")


@contextmanager
def reading(path: str, name: str) -> Iterator[None]:
    """Raise errors of ours where a library fails over a file: it raises whatever it runs into.

    Parameters
    ----------
    path : str
        File, for the message.
    name : str
        Name of its format, for the message.
    """
    try:
        yield
    except BioimageError:
        raise
    except PermissionError as error:
        raise AccessError(f"Cannot open {path}: {error}", remedy=f"check the permissions: ls -l {path}") from error
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{path} does not exist: {error}", remedy="check the path") from error
    except IsADirectoryError as error:
        raise FormatError(f"{path} is a folder, and {name} a file.", remedy="name a file in it") from error
    except MemoryError as error:
        raise MemoryBudgetError(f"{path} needs more memory than there is.", remedy=BY_REGION) from error
    except OSError as error:
        if error.errno is None:
            raise FormatError(f"{path} makes no sense as {name}: {error}", remedy=AGAIN) from error
        raise StorageError(f"Cannot read {path}: {error}", remedy="check the file and the disk") from error
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise FormatError(f"{path} makes no sense as {name}: {said}", remedy=AGAIN) from error


BY_REGION = "read it by region: roi=..., or source[:10]; if the file should be small, its header is damaged"


def head_of(path: str, size: int) -> bytes:
    """Return the first bytes of a file, fewer where it is shorter."""
    with open(path, "rb") as file:
        return file.read(size)


def no_such(path: str, name: str, found: bytes) -> FormatError:
    """Return the error for a file of another kind than its name says."""
    begins = "it is empty (0 bytes)" if not found else f"it begins with {found[:8]!r}"
    return FormatError(f"{path} is no {name} file: {begins}.", remedy="pass format=... if it is something else")


def checked_shape(path: str, sizes: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape that a header says.

    Raises
    ------
    FormatError
        If there is no axis, or too many, or a size below 1.
    """
    shape = tuple(int(size) for size in sizes)
    if not 0 < len(shape) <= MOST_AXES or min(shape) < 1:
        shown = f"{shape[:MOST_AXES]}".removesuffix(")") + (", ...)" if len(shape) > MOST_AXES else ")")
        raise FormatError(f"{path} says that its image has the shape {shown}, which cannot be.", remedy=AGAIN)
    return shape


def size_in_bytes(shape: Sequence[int], dtype: np.dtype) -> int:
    """Return how much memory an array takes."""
    return math.prod(shape) * dtype.itemsize


def require_bytes(path: str, offset: int, shape: Sequence[int], dtype: np.dtype) -> None:
    """FormatError where a file is too short for the voxels that its header announces."""
    end, size = offset + size_in_bytes(shape, dtype), os.path.getsize(path)
    if offset < 0 or end > size:
        raise FormatError(
            f"{path} is cut off, or its header is damaged: its voxels {tuple(shape)} {dtype} lie from byte {offset} to"
            f" {end}, the file ends at byte {size}.",
            remedy=AGAIN,
        )


def require_memory(path: str, needed: int) -> None:
    """MemoryBudgetError where what a file announces does not fit into memory; to be called before it is allocated."""
    if needed > (there := available_bytes()):
        raise MemoryBudgetError(
            f"{path} ({os.path.getsize(path)} bytes) announces {needed} bytes of voxels that are read at once; there"
            f" are {there} bytes of memory.",
            remedy=BY_REGION,
        )


def pixel_sizes(axes: Sequence[Axis]) -> dict[str, list[Any]]:
    """Return size and unit of a voxel along the axes that have a unit, as `Details.standard` holds them."""
    return {axis.name: [float(axis.scale), axis.unit] for axis in axes if axis.unit is not None}


def known(path: str, what: str, value: Any, table: Mapping[Any, Any]) -> Any:
    """Return what a table says of a value in a header; FormatError with those that are known where it has none."""
    if value not in table:
        shown = ", ".join(map(str, table))
        raise FormatError(f"{path} has the {what} {value!r}; known are {shown}.", remedy="convert it to another one")
    return table[value]


def note(path: str, fields: dict[str, str], name: str, value: str) -> None:
    """Keep what a header says of a field; FormatError where it has said something else of it before."""
    if fields.setdefault(name, value) != value:
        raise FormatError(
            f"{path} says {name!r} twice: {fields[name]!r:.80} and {value!r:.80}.", remedy="repair the header"
        )


def one_of_several(path: str, key: str | None, keys: Sequence[str], what: str) -> str:
    """Return the key that is meant: the given one, or the first, with a warning where that leaves others out."""
    import warnings

    if not key:
        if len(keys) > 1:
            warnings.warn(
                f"{path} holds {len(keys)} {what}, of which the first is opened; the next is"
                f" open_source({path!r}, {keys[1]!r}).",
                stacklevel=4,
            )
        return keys[0]
    if key not in keys:
        shown = ", ".join(keys[:20]) + (", ..." if len(keys) > 20 else "")
        raise KeyNotFoundError(
            f"{path} has no {key!r} among its {what}: {shown}.", remedy=f"open_source({path!r}, {keys[0]!r})"
        )
    return key


def level_among(path: str, level: Any, count: int) -> int:
    """Return the number of a resolution level; None stands for the finest.

    Raises
    ------
    KeyNotFoundError
        If there is none of that number.
    """
    if level is None:
        return 0
    number = int(level) if isinstance(level, int | np.integer) or str(level).isdecimal() else count
    if not -count <= number < count:
        raise KeyNotFoundError(
            f"{path} has no level {level!r}; it has {count}, the finest is 0.", remedy=f"level={count - 1}, or less"
        )
    return number % count


def split_level(key: str | None, level: Any, keys: Sequence[str]) -> tuple[str | None, Any]:
    """Return key and level, also where the key has both: "1/s2" is level 2 of the image "1", as `with_level` names it.

    Parameters
    ----------
    key : str, optional
        Key of an image, or of a level of one.
    level : int or str, optional
        Level; where it is given, the key is that of an image.
    keys : sequence of str
        Keys of the images, which are never taken for those of levels.
    """
    found = re.fullmatch(r"(?:(.*)/)?s(\d+)", key or "")
    if level is not None or found is None or key in keys:
        return key, level
    return found[1], int(found[2])


def with_level(key: str, level: int) -> str:
    """Return the key by which a level is opened again; that of the image for the finest one."""
    return f"{key}/s{level}".lstrip("/") if level else key
