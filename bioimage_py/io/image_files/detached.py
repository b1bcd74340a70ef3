"""Voxels that lie in other files than their header: found beside it, and nowhere else."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence

import numpy as np

from ...errors import FormatError, SourceNotFoundError
from ..tif.pages import Pages

_NUMBERED = re.compile(r"^[^%]*%0?\d{0,2}[di][^%]*$")


def beside(path: str, name: str) -> str:
    """Return the file that a header names.

    Raises
    ------
    FormatError
        If it lies outside of the folder of the header, also by way of a link.
    SourceNotFoundError
        If there is none.
    """
    folder = os.path.dirname(os.path.abspath(path))
    there = os.path.join(folder, name)
    inside = os.path.realpath(folder)
    if "\0" in name or os.path.commonpath([inside, os.path.realpath(there)]) != inside:
        raise FormatError(
            f"{path} says that its voxels are in {name!r}, which lies outside of its folder.",
            remedy="put both into one folder, and the bare name of the file into the header",
        )
    if not os.path.isfile(there):
        raise SourceNotFoundError(
            f"{path} says that its voxels are in {name!r}, which does not exist.", remedy=f"copy {name} to {folder}"
        )
    return there


def numbered(path: str, pattern: str, numbers: Sequence[str], count: int) -> list[str]:
    """Return names by a pattern of C ("slice%03d.raw") and its first, last and step, of which `count` are wanted.

    Raises
    ------
    FormatError
        If the pattern is another one, or gives another number of names.
    """
    try:
        first, last, step = (int(number) for number in (*numbers, "1")[:3])
        names = range(first, last + (1 if step > 0 else -1), step)
    except ValueError as error:
        raise FormatError(f"{path} numbers its files by {numbers!r}: {error}", remedy="repair the header") from error
    if not _NUMBERED.match(pattern) or len(names) != count:
        raise FormatError(
            f"{path} names {len(names)} files by the pattern {pattern!r}, for {count} parts of the image.",
            remedy="repair the header: one %d, and as many numbers as the last axis has positions",
        )
    return [pattern % number for number in names]


def stacked(
    path: str,
    names: Sequence[str],
    shape: tuple[int, ...],
    dtype: np.dtype,
    load: Callable[[str, tuple[int, ...]], np.ndarray],
) -> Pages:
    """Return an image whose slices along the slowest axes are files.

    Parameters
    ----------
    path : str
        Header.
    names : sequence of str
        Names of the files, in their order.
    shape : tuple of int
        Shape of the image.
    dtype : numpy.dtype
        Data type of the image, in native order.
    load : callable
        ``load(file, shape)`` returns the slice that a file holds.

    Raises
    ------
    FormatError
        If the number of files is not that of any slices.
    SourceNotFoundError
        If one is missing.
    """
    split = next((n for n in range(len(shape)) if math.prod(shape[:n]) == len(names)), None)
    if split is None:
        raise FormatError(
            f"{path} names {len(names)} files of voxels for an image of shape {shape}.",
            remedy="repair the header: one file for each position of its last axes",
        )
    files = [beside(path, name) for name in names]
    inner = shape[split:]
    return Pages(shape[:split], inner, dtype, lambda n: load(files[n], inner), lambda: None, files.__getitem__)
