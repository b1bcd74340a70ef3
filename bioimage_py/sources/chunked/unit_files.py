"""The files (or objects) of write units: where a zarr or n5 array keeps the chunk or shard of a position, encoded.

Names follow the zarr v2 and v3 specifications (``dimension_separator``, ``chunk_key_encoding``) and N5's.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..indexing import Roi
from ..stores.location import Location
from .naming import Naming

Position = tuple[int, ...]

METADATA_FILES = ("zarr.json", ".zarray", ".zattrs", "attributes.json", "info", "header.wkw")


@dataclass(frozen=True)
class UnitFiles:
    """Files (or objects) of the units that a region touches.

    Parameters
    ----------
    place : Location
        The array.
    names : tuple of str
        Paths in it, one a unit; a unit that was never written has no file.
    """

    place: Location
    names: tuple[str, ...]

    @property
    def folder(self) -> str | None:
        """Absolute local path of the array; None where it is in another store."""
        return self.place.folder


def is_whole(roi: Roi, unit: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a region cuts no unit of a grid that begins at 0; the array's end cuts none."""
    return all(
        part.start % size == 0 and (part.stop % size == 0 or part.stop == n)
        for part, size, n in zip(roi, unit, shape, strict=True)
    )


def unit_files(place: Location, driver: str, naming: Naming, unit: Sequence[int], roi: Roi) -> UnitFiles:
    """Files of the write units that a region touches.

    Parameters
    ----------
    place : Location
        The array.
    driver : {"zarr3", "zarr", "n5"}
    naming : Naming
        What `naming_of` returned.
    unit : sequence of int
        Shape of a unit in C order.
    roi : tuple of slice
        Region in voxels of the array.
    """
    return UnitFiles(place, tuple(name_of(driver, naming, position) for position in positions_in(roi, unit)))


def positions_in(roi: Roi, unit: Sequence[int]) -> list[Position]:
    """Positions in the grid of the units that a region touches, in C order."""
    spans = [range(part.start // size, -(-part.stop // size)) for part, size in zip(roi, unit, strict=True)]
    return list(itertools.product(*spans))


def name_of(driver: str, naming: Naming, position: Position) -> str:
    """Name of the file of a unit in its array."""
    return naming.prefix + naming.separator.join(map(str, position[::-1] if driver == "n5" else position))


def stored_units(place: Location, driver: str, naming: Naming, ndim: int) -> npt.NDArray[np.int64] | None:
    """Positions of the units that have a file, shape (n, ndim), in C order of the axes.

    None where what has no file is not zero, and where the store cannot list.
    """
    prefix, separator, _ = naming
    if driver != "n5" and not _zero_filled(place, driver):
        return None
    pattern = re.compile(re.escape(prefix) + re.escape(separator).join([r"(\d+)"] * ndim) + r"\Z")
    names = place.names() if place.folder is None else _walk(place.folder)
    if names is None:
        return None
    found = [[int(part) for part in match.groups()] for name in names if (match := pattern.match(name))]
    positions = np.array(found, np.int64).reshape(-1, ndim)
    return positions[:, ::-1] if driver == "n5" else positions


def _walk(folder: str) -> Iterator[str]:
    for path, folders, names in os.walk(folder):
        relative = os.path.relpath(path, folder)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from names if relative == "." else (f"{relative}/{name}" for name in names)


def _zero_filled(place: Location, driver: str) -> bool:
    fill = place.read_json("zarr.json" if driver == "zarr3" else ".zarray").get("fill_value")
    return fill is None or fill in (0, False)
