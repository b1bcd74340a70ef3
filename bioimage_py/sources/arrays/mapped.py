"""Files that arrays are mapped from: nobody reads beyond the end of one, or by a name that another has taken."""

from __future__ import annotations

import mmap
import os
from typing import Any

from ...errors import StorageError


def require_whole(array: Any) -> None:
    """Raise `StorageError` if the file of a mapped array is shorter than it was: the system ends who reads there."""
    mapped = getattr(array, "_mmap", None)
    if mapped is None:
        return
    end = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY + len(mapped)
    if (size := mapped.size()) < end:
        raise StorageError(
            f"{array.filename} is shorter than it was when it was opened: {size} bytes, and its voxels end at {end}.",
            remedy="open it again when it is complete; whoever writes it should write another file, and rename that",
        )


def file_of(array: Any) -> tuple[int, int] | None:
    """Return what tells the file of a mapped array from another that takes its name; None for other arrays."""
    name = getattr(array, "filename", None)
    if name is None or getattr(array, "_mmap", None) is None:
        return None
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino
