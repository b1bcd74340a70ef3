"""The files of write units: where a zarr or n5 array keeps the chunk or shard of a position.

Names follow the zarr v2 and v3 specifications (``dimension_separator``, ``chunk_key_encoding``) and N5's.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .index import Roi
from .metadata import read_json

METADATA_FILES = ("zarr.json", ".zarray", ".zattrs", "attributes.json")


@dataclass(frozen=True)
class UnitFiles:
    """Files of the units that a region touches.

    Parameters
    ----------
    folder : str
        Absolute path of the array.
    names : tuple of str
        Paths in it, one a unit; a unit that was never written has no file.
    """

    folder: str
    names: tuple[str, ...]


def unit_files(folder: str, driver: str, unit: Sequence[int], roi: Roi) -> UnitFiles:
    """Files of the write units that a region touches.

    Parameters
    ----------
    folder : str
        Absolute path of the array.
    driver : {"zarr3", "zarr", "n5"}
    unit : sequence of int
        Shape of a unit in C order.
    roi : tuple of slice
        Region in voxels of the array.
    """
    spans = [range(part.start // size, -(-part.stop // size)) for part, size in zip(roi, unit, strict=True)]
    prefix, separator = _naming(folder, driver)
    positions = itertools.product(*spans)
    turned = (position[::-1] for position in positions) if driver == "n5" else positions
    return UnitFiles(folder, tuple(prefix + separator.join(map(str, position)) for position in turned))


def _naming(folder: str, driver: str) -> tuple[str, str]:
    if driver == "n5":
        return "", "/"
    if driver == "zarr":
        return "", str(read_json(os.path.join(folder, ".zarray")).get("dimension_separator", "."))
    encoding = read_json(os.path.join(folder, "zarr.json")).get("chunk_key_encoding", {})
    v2 = encoding.get("name") == "v2"
    separator = str(encoding.get("configuration", {}).get("separator", "." if v2 else "/"))
    return ("" if v2 else f"c{separator}"), separator


def stored_units(folder: str, driver: str, ndim: int) -> npt.NDArray[np.int64] | None:
    """Positions of the units that have a file, shape (n, ndim), in C order of the axes.

    None where what has no file is not zero.
    """
    prefix, separator = _naming(folder, driver)
    if driver != "n5" and not _zero_filled(folder, driver):
        return None
    pattern = re.compile(re.escape(prefix) + re.escape(separator).join([r"(\d+)"] * ndim) + r"\Z")
    found = []
    for path, folders, names in os.walk(folder):
        relative = os.path.relpath(path, folder)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if match := pattern.match(name if relative == "." else f"{relative}/{name}"):
                found.append([int(part) for part in match.groups()])
    positions = np.array(found, np.int64).reshape(-1, ndim)
    return positions[:, ::-1] if driver == "n5" else positions


def _zero_filled(folder: str, driver: str) -> bool:
    metadata = read_json(os.path.join(folder, "zarr.json" if driver == "zarr3" else ".zarray"))
    fill = metadata.get("fill_value")
    return fill is None or fill in (0, False)
