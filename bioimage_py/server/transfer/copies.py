"""Copies of images that clients send."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np

from ...errors import ConflictError, FormatError, ParameterError
from ...projects.storage.contents import unpack
from ...projects.storage.folder import Folder, new_stamp, parse
from ...projects.storage.packs import ARRAY
from ...projects.storage.versions import chunk_files
from ...projects.values.names import is_plain
from ...projects.values.records import ImageRecord
from ...system.files import remove_whole, sync_folder
from .chunks import Grid, decoded

_COPY = re.compile(rf"zarr\.json|{ARRAY}/(?:zarr\.json|c/[0-9/]+)")


def take_image(folder: Folder, identifier: str, archive: Path) -> None:
    """Put the copy of an image of a data set in its place.

    Raises
    ------
    ParameterError
        The archive is none of a copy.
    ConflictError
        The data set is saved, so that others read its image.
    """
    images = folder.root / "images"
    final, private = folder.inside(images / f"{identifier}.zarr"), images / f".new-{new_stamp()}.zarr"
    if folder.read(identifier).document is not None:
        raise ConflictError(f"{identifier} is there already.", field="image", remedy="add another data set")
    try:
        private.mkdir(parents=True)
        unpacked(archive, private)
        for name in (path.relative_to(private).as_posix() for path in private.rglob("*") if path.is_file()):
            if not _COPY.fullmatch(name):
                raise ParameterError(f"{name!r} is no part of a copy.", remedy="send what a local project makes")
        check_chunks(private)
        shutil.rmtree(final, ignore_errors=True)
        os.sync()
        os.rename(private, final)
        sync_folder(images)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def forget_image(folder: Folder, identifier: str) -> None:
    """Remove a copy, unless its data set was saved."""
    if is_plain(identifier) and folder.read(identifier).document is None:
        remove_whole(folder.inside(folder.root / "images" / f"{identifier}.zarr"))


def check_copy(folder: Folder, identifier: str, image: ImageRecord) -> None:
    """Refuse that a data set names a copy of its image that is not there (ConflictError)."""
    array = folder.root / "images" / f"{identifier}.zarr" / ARRAY
    try:
        grid = Grid.of(folder.inside(array))
        same = list(grid.shape) == image.shape and dtype_of(array) == np.dtype(image.dtype)
    except (OSError, ParameterError):
        same = False
    if not same:
        raise ConflictError(
            f"The copy of the image of {identifier} is not there, or another one.",
            field="image",
            remedy="send it first",
        )


def dtype_of(array: Path) -> np.dtype:
    """Data type of an array that `Grid` knows."""
    return np.dtype(str(parse((array / "zarr.json").read_bytes(), array)["data_type"]))


def check_chunks(group: Path) -> int:
    """Refuse chunks of an array that do not decode to what they should be; return how many there are."""
    grid, count = Grid.of(group / ARRAY), 0
    for name in chunk_files(group / ARRAY):
        grid.check_key(f"{ARRAY}/{name}")
        path = group / ARRAY / name
        if path.stat().st_size > grid.most:
            raise ParameterError(f"The chunk {name} is too large.", remedy="send it as zarr stores it")
        decoded(path.read_bytes(), grid.size)
        count += 1
    return count


def unpacked(archive: Path, folder: Path) -> None:
    """Unpack what a client has sent; ParameterError where that is no archive."""
    try:
        unpack(archive, folder)
    except FormatError as error:
        raise ParameterError(error.message, remedy=error.remedy) from None
