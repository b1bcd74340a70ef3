"""The files of write units: where a zarr or n5 array keeps the chunk or shard of a position.

Names follow the zarr v2 and v3 specifications (``dimension_separator``, ``chunk_key_encoding``) and N5's.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass

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
