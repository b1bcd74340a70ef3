"""Arrays of a file of numpy (``.npz``) that somebody else may have made: numbers and text, nothing that is run."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

LARGEST = 2**30
"""Bytes of all arrays together, unpacked."""


def plain_arrays(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file by their names.

    Raises
    ------
    ValueError
        Objects, sizes that are not those of what is there, more than `LARGEST` bytes, or a name twice.
    zipfile.BadZipFile, OSError, zlib.error, ...
        A damaged file.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    left = LARGEST
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                content = file.read(left + 1)
            left -= len(content)
            if left < 0:
                raise ValueError(f"more than {LARGEST} bytes")
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise ValueError(f"{name!r} is there twice")
            found[name] = _array(content)
    return found


def _array(content: bytes) -> npt.NDArray[Any]:
    file = io.BytesIO(content)
    if npy.read_magic(file) != (1, 0):
        raise ValueError("a later version of numpy's format")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("objects, which would run code")
    size, there = dtype.itemsize, len(content) - file.tell()
    for length in shape:
        size *= length
    if size != there or not dtype.itemsize:
        raise ValueError(f"{there} bytes where {size} are told")
    values = np.frombuffer(content, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if fortran else "C")
