"""Tables of a stored graph whose columns are read when they are asked for, and only those."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import StorageError
from ..edge_table import Array, EdgeTable, Table
from ..node_table import NodeTable

TABLES: dict[str, type[NodeTable] | type[EdgeTable]] = {"nodes": NodeTable, "edges": EdgeTable}


@dataclass(frozen=True)
class Place:
    """Where a graph lies, and what it was when it was opened."""

    path: str
    mark: str

    @classmethod
    def of(cls, path: Path) -> Place:
        """That of the graph which is there now."""
        return cls(str(path), mark_of(path))

    def check(self) -> None:
        """StorageError where another graph has taken the place."""
        path = Path(self.path)
        if not (path / "graph.json").is_file() or mark_of(path) != self.mark:
            raise StorageError(
                f"{path} is no longer the region graph that was opened: it was replaced or removed, and its columns are"
                " read when they are asked for",
                remedy=f"bp.graph.open_graph({self.path!r}) again, or another output_path for the new graph",
            )


def mark_of(path: Path) -> str:
    """What tells a stored graph from others: its description, which holds a checksum of all columns."""
    return hashlib.sha256((path / "graph.json").read_bytes()).hexdigest()


class OnDisk(Table):
    """A table in a stored graph. Sent to a worker, or compared with what another run was given, it is its place."""

    _place: Place
    _name: str
    _ndim: int
    _length: int

    def __init__(self, place: Place, name: str, ndim: int, length: int) -> None:
        told = {"_place": place, "_name": name, "_ndim": ndim, "_length": length}
        self.__dict__.update(told)  # the table is frozen

    def __len__(self) -> int:
        return self._length

    def __getattr__(self, column: str) -> Array:
        if column.startswith("_") or column not in self.names:
            raise AttributeError(column)
        return self.column(column, slice(None))

    def column(self, name: str, chosen: Any) -> Array:
        """Some rows of a column; of a slice no others are read."""
        from ...sources.file import open_source

        self._place.check()
        with open_source(self._place.path, f"{self._name}/{name}", format="zarr") as array:
            values: Array = array[chosen] if isinstance(chosen, slice) else array[...][chosen]
        self._place.check()  # another graph may have come in between
        return values

    def rows(self, chosen: Any) -> Any:
        """The table of some of its rows, in memory."""
        return TABLES[self._name](*(self.column(name, chosen) for name in self.names))

    def __reduce__(self) -> tuple[Any, ...]:
        return opened_table, (self._place, self._name, self._ndim, len(self))


class EdgesOnDisk(OnDisk, EdgeTable):
    """Edges of a stored graph."""


class NodesOnDisk(OnDisk, NodeTable):
    """Regions of a stored graph."""


def opened_table(place: Place, name: str, ndim: int, length: int) -> Any:
    """A table of a stored graph that has been checked before."""
    place.check()
    kind = EdgesOnDisk if name == "edges" else NodesOnDisk
    return kind(place, name, ndim, length)
