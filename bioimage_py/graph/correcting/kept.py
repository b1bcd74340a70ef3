"""What is kept of a partition, so that it can be corrected later: its parts, the costs, and how it was solved."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, KeyNotFoundError, SourceNotFoundError
from ...system import swap
from ...system.files import full_disk_told
from ...system.json_text import parse_json
from ..parts import Partition
from ..regions import RegionGraph

FORMAT, _VERSION = "bioimage_py partition", 1
_CHUNK = 2**18


@dataclass(frozen=True)
class KeptPartition:
    """A partition of a region graph.

    Parameters
    ----------
    parts : ndarray of uint64, (regions,)
    costs : ndarray of float64, (edges,)
    min_size : int
        Voxels; smaller parts have been joined to a neighbour.
    """

    parts: npt.NDArray[np.uint64]
    costs: npt.NDArray[np.float64]
    min_size: int = 0

    def of(self, graph: RegionGraph) -> Partition:
        """As a partition of its graph."""
        return Partition(graph.nodes.ids, self.parts)


def save_partition(kept: KeptPartition, path: str | os.PathLike[str]) -> None:
    """Write a partition in the place of another, in one step."""
    from ...io.create import create_array

    place = os.path.abspath(path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    new = swap.beside(place)
    told = {"format": FORMAT, "version": _VERSION, "min_size": kept.min_size}
    try:
        with full_disk_told(place, "a partition"):
            for name, values in (("parts", kept.parts), ("costs", kept.costs)):
                how: dict[str, Any] = {"chunks": (min(_CHUNK, max(1, len(values))),), "format": "zarr"}
                with create_array(new, name, shape=values.shape, dtype=values.dtype, **how) as array:
                    if len(values):
                        array[...] = values
            Path(new, "partition.json").write_text(json.dumps(told))
            swap.put(new, place)
    finally:
        swap.remove(new)


def open_partition(path: str | os.PathLike[str], graph: RegionGraph) -> KeptPartition:
    """Open a partition of a graph.

    Raises
    ------
    SourceNotFoundError
        If nothing is there.
    FormatError
        If it is none, or that of another graph.
    """
    from ...sources.file import open_source

    place = Path(path)
    swap.recover(os.path.abspath(place))
    if not place.exists():
        raise SourceNotFoundError(f"{place} does not exist", remedy="segment(..., keep=folder) makes it")
    try:
        told: Any = parse_json((place / "partition.json").read_bytes())
        whole = isinstance(told, dict) and told.get("format") == FORMAT and told.get("version") == _VERSION
        if not (whole and isinstance(told.get("min_size"), int)):
            raise ValueError("partition.json describes something else")
        with open_source(place, "parts", format="zarr") as parts, open_source(place, "costs", format="zarr") as costs:
            found = KeptPartition(parts[...], costs[...], told["min_size"])
    except (ValueError, OSError, SourceNotFoundError, KeyNotFoundError) as error:
        raise FormatError(f"{place} is no partition: {error}", remedy="segment(..., keep=folder) makes one") from error
    sizes, wanted = (found.parts.shape, found.costs.shape), ((len(graph.nodes),), (len(graph.edges),))
    kinds = found.parts.dtype == np.uint64 and found.costs.dtype == np.float64
    if sizes != wanted or not kinds or not found.parts.all() or not np.isfinite(found.costs).all():
        raise FormatError(
            f"{place} is no partition of a graph of {len(graph.nodes)} regions and {len(graph.edges)} edges: it has"
            f" parts of shape {sizes[0]} and costs of shape {sizes[1]}",
            remedy="segment(..., keep=folder) anew",
        )
    return found
