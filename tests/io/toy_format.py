"""A format of somebody else, this file and its one row: voxels as they are, after a line of JSON."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from bioimage_py.errors import FormatError
from bioimage_py.io import register_format


def construct(path: str, mode: str = "r") -> np.memmap[Any, Any]:
    """Map the array of a file."""
    with open(path, "rb") as file:
        head = file.readline(10_000)
        start = file.tell()
    try:
        said = json.loads(head)
        shape, dtype = tuple(said["shape"]), np.dtype(said["dtype"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} does not begin with a toy header: {error}", remedy="check the file") from None
    if os.path.getsize(path) != start + math.prod(shape) * dtype.itemsize:
        raise FormatError(f"{path} is cut off.", remedy="copy the file again")
    return np.memmap(path, dtype, mode, start, shape)  # type: ignore[call-overload, no-any-return]


def create(place: Any, key: str, array: Any) -> None:
    """Make a file whose voxels all have the fill value."""
    head = json.dumps({"shape": array.shape, "dtype": array.dtype.str}).encode() + b"\n"
    values = np.full(array.shape, array.fill_value or 0, array.dtype)
    with open(place.folder, "wb") as file:
        file.write(head + values.tobytes())


def register() -> None:
    """The row."""
    register_format("toy", [".toy"], construct, create=create)
