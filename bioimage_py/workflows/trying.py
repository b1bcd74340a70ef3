"""What a conversion would lose, found by writing a few voxels elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import StorageError
from ..io.details import Image
from ..io.table import Format
from ..io.v3.functions import imwrite
from ..io.written.read_back import changed
from ..sources.to_be import ArrayToBe


def tried(image: Image, path: str, entry: Format, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the format loses of a small image like this one; what it cannot hold of the image is an error.

    Parameters
    ----------
    image : Image
    path : str
        Where the image itself would be written, which nothing is.
    entry : Format
        Its format.
    options : mapping
        Of `imwrite`.
    """
    _check(image, path, options)
    axes = list(zip(image.array.shape, image.axes, strict=True))
    channels = {size for size, axis in axes if axis.kind == "channel"}
    small = small_sizes([size for size in image.array.shape if size not in channels], avoided=channels)
    small |= {size: size for size in channels}
    shape = tuple(small[size] for size, _ in axes)
    dtype = np.dtype(image.array.dtype)
    voxels = np.random.default_rng(0).integers(0, 2 if dtype.kind == "b" else 251, shape).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, os.path.basename(path))
        report = imwrite(place, voxels, axes=image.axes, report=True, **options)
        told = changed(place, entry, image.axes, shape)
        meant = changed(place, entry, image.axes, shape, {there: size for size, there in small.items()})
    return tuple(dict(zip(told, meant, strict=True)).get(what, what) for what in report.lost)


def _check(image: Image, path: str, options: Mapping[str, Any]) -> None:
    """Write the image itself as far as to the first voxel that is asked for: what is refused before is an error."""
    asked: list[bool] = []

    def ask() -> None:
        asked.append(True)
        raise StorageError("A trial reads no voxels.", remedy="write it")

    unread = ArrayToBe(image.array.shape, image.array.dtype, axes=image.axes)
    unread.pending = ask
    with tempfile.TemporaryDirectory() as folder:
        try:
            imwrite(os.path.join(folder, os.path.basename(path)), unread, axes=image.axes, **options)
        except StorageError:  # such as the disk of the trial
            return
        except Exception:
            if not asked:
                raise


def small_sizes(sizes: list[int], avoided: set[int]) -> dict[int, int]:
    """Return a small size for each of these, of its parity; different ones for different ones, 1 for 1.

    Examples
    --------
    >>> small_sizes([500, 1, 512, 41, 500], set())
    {1: 1, 41: 3, 500: 4, 512: 6}
    """
    found: dict[int, int] = {}
    last = 1
    for size in sorted(set(sizes)):
        at = min(last + 1, size)
        while at < size and (at % 2 != size % 2 or at in avoided):
            at += 1
        found[size] = last = at
    return found
