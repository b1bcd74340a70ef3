"""Folders of slices: tif files, or else pictures of one kind, one for each z."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import DtypeError, FormatError, ParameterError, ReadOnlyError, ShapeError
from ...extras import need
from ...sources.axes import Axis
from ...sources.file import Opened
from ..formats import format_named, keep_local
from ..tif import stacks
from ..tif.pages import Pages
from ..tif.whole import warn_of_gaps
from .pictures import decoded, header_of

KINDS = ("png", "jpeg", "bmp", "webp")


def construct(path: str, mode: str = "r", pattern: str | None = None) -> stacks.ImageStack:
    """Open all slices of a folder as one array, sorted by the numbers in their names.

    Parameters
    ----------
    path : str
        Folder.
    mode : str, default "r"
        Folders are only read.
    pattern : str, optional
        Take only the files that match, such as "raw_*.png".

    Raises
    ------
    FormatError
        If there are no slices, or pictures of several kinds.
    ShapeError, DtypeError
        If they differ in shape or data type.
    """
    keep_local(path, "folder")
    pictures = pictures_in(path, pattern)
    if not pictures or any(name.lower().endswith(stacks.ENDINGS) for name in os.listdir(path)):
        need("tifffile", "A folder of tif slices")
        return stacks.construct(path, mode, pattern)
    if mode != "r":
        raise ReadOnlyError(f"{path}: folders of pictures are read only.", remedy="write to a zarr array")
    pictures.sort(key=stacks.natural_key)
    warn_of_gaps(path, pictures)
    first = header_of(os.path.join(path, pictures[0]))
    for name in pictures[1:]:
        other = header_of(os.path.join(path, name))
        for what, kind in (("shape", ShapeError), ("dtype", DtypeError)):
            if getattr(other, what) != getattr(first, what):
                found = f"{name} has {what} {getattr(other, what)}, {pictures[0]} has {getattr(first, what)}"
                raise kind(
                    f"{found} (folder {path}).",
                    remedy="keep slices of one shape and data type in a folder, or select them: 'raw_*.png'",
                )

    def load(number: int) -> np.ndarray:
        return decoded(os.path.join(path, pictures[number]))

    def file_of(number: int) -> str:
        return os.path.join(os.path.abspath(path), pictures[number])

    pages = Pages((len(pictures),), first.shape, first.dtype, load, lambda: None, file_of)
    return stacks.ImageStack(pages, (Axis("z"), *first.axes))


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the stack; the key is a pattern of file names."""
    arguments = dict(kwargs)
    unknown = [name for name in arguments if name != "pattern"]
    if unknown:
        raise ParameterError(f"Folders take no {', '.join(unknown)}.", remedy="leave it out; pattern='raw_*' is known")
    stack = construct(path, mode, **{"pattern": key or None, **arguments})
    return Opened(stack[""], key or "", stack.axes, stack)


def pictures_in(path: str, pattern: str | None = None) -> list[str]:
    """Return the names of the pictures in a folder; FormatError if they are of several kinds."""
    endings = {ending: kind for kind in KINDS for ending in format_named(kind).extensions}
    names = [entry.name for entry in os.scandir(path) if entry.is_file()]
    if pattern is not None:
        names = fnmatch.filter(names, pattern)
    kinds = {name: endings.get(os.path.splitext(name)[1].lower()) for name in names}
    found = sorted({kind for kind in kinds.values() if kind})
    if len(found) > 1:
        raise FormatError(f"{path} has pictures of the kinds {', '.join(found)}.", remedy="select one: pattern='*.png'")
    return [name for name, kind in kinds.items() if kind]
