"""Region graphs in a zarr group: an array for each column, which `open_source` opens like any other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FormatError, ParameterError, SourceNotFoundError
from ...system import swap
from ...system.files import full_disk_told
from ...system.json_text import parse_json
from ..edge_table import Table
from ..regions import RegionGraph
from .on_disk import TABLES, Place, opened_table
from .writing import CHUNK, write_table

FORMAT = "bioimage_py region graph"
_VERSION = 2


def check_free(path: str | os.PathLike[str], *, replace: bool) -> None:
    """ParameterError where something lies at the path that is not to be replaced."""
    place = Path(path)
    if place.exists() and not (replace and _is_graph(place)):
        what = "a region graph" if _is_graph(place) else "something else"
        remedy = "replace=True" if _is_graph(place) else "another output_path"
        raise ParameterError(f"{place}: {what} is there already", remedy=remedy)


def save(graph: RegionGraph, path: str | os.PathLike[str], *, replace: bool = False) -> None:
    """Write a region graph; it has its name when it is whole.

    Parameters
    ----------
    graph : RegionGraph
    path : str or os.PathLike
        Folder to make, such as "graph.zarr".
    replace : bool, default False
        Put it in the place of another region graph.

    Raises
    ------
    ParameterError
        If something is there.
    """
    place = os.path.abspath(path)
    check_free(place, replace=replace)
    tables = {"nodes": (_parts(graph.nodes), len(graph.nodes)), "edges": (_parts(graph.edges), len(graph.edges))}
    write(tables, place, graph.shape, graph.axes)


def write(
    tables: Mapping[str, tuple[Iterable[Table], int]], place: str, shape: Sequence[int], axes: Sequence[str]
) -> None:
    """Write a graph whose tables, by name, come in parts, with the rows that there are at most; in one step."""
    with hidden(place) as new:
        sums = {name: write_table(new, name, *given) for name, given in tables.items()}
        told = {"format": FORMAT, "version": _VERSION, "shape": list(shape), "axes": list(axes), "checksums": sums}
        Path(new, "graph.json").write_text(json.dumps(told))
        swap.put(new, place)


@contextmanager
def hidden(place: str) -> Iterator[str]:
    """A hidden name beside a place, under which nothing is left; what killed processes have left there goes, too."""
    os.makedirs(os.path.dirname(place), exist_ok=True)
    swap.clear(place)
    new = swap.beside(place)
    try:
        with full_disk_told(place, "a region graph, which takes about twice its size while it is made"):
            yield new
    finally:
        swap.remove(new)


def _parts(table: Table) -> Iterator[Table]:
    """A table, of which no more is in memory at once than a chunk."""
    for begin in range(0, max(1, len(table)), CHUNK):
        yield table.rows(slice(begin, min(begin + CHUNK, len(table))))


def open_graph(path: str | os.PathLike[str]) -> RegionGraph:
    """Open a region graph that `save`, or `region_graph` with an output path, has written.

    It is looked through, but what is measured on its regions and edges stays in the file: a column is read when it is
    asked for.

    Raises
    ------
    SourceNotFoundError
        If nothing is there.
    FormatError
        If it is no region graph, or a damaged one.
    StorageError
        Later, when a column is asked for, if another graph has taken its place.
    """
    place = Path(os.path.abspath(path))
    if not place.exists():
        raise SourceNotFoundError(f"{place} does not exist", remedy="region_graph(labels, boundaries, path) makes it")
    if not _is_graph(place):
        raise FormatError(f"{place} is no region graph", remedy="region_graph(labels, boundaries, path) makes one")
    told, known = _told(place), Place.of(place)
    ndim = len(told["shape"])
    nodes, edges = (opened_table(known, name, ndim, _length(place, name, ndim)) for name in TABLES)
    graph = RegionGraph(nodes, edges, tuple(told["shape"]), tuple(told["axes"]))
    _check(graph, place)
    return graph


def _told(place: Path) -> dict[str, Any]:
    try:
        told = parse_json((place / "graph.json").read_bytes())
        whole = isinstance(told, dict) and told.get("format") == FORMAT and told.get("version") == _VERSION
        shape, axes = (told["shape"], told["axes"]) if whole else ([], [])
        if not (whole and all(type(n) is int and n >= 0 for n in shape) and len(axes) == len(shape) > 0):
            raise ValueError(f"format {told.get('format')!r}, version {told.get('version')!r}")
        return {"shape": shape, "axes": [str(name) for name in axes]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{place / 'graph.json'} does not describe a region graph of version {_VERSION}: {error}",
            remedy="make the graph again with region_graph(labels, boundaries, path)",
        ) from error


def _is_graph(place: Path) -> bool:
    return (place / "graph.json").is_file()


def _length(place: Path, table: str, ndim: int) -> int:
    """The number of rows of a table; FormatError where columns are of other types, or do not fit each other."""
    from ...sources.file import open_source

    lengths = set()
    empty = TABLES[table].empty(ndim)
    for column in empty.names:
        like = getattr(empty, column)
        with open_source(place, f"{table}/{column}", format="zarr") as array:
            if array.dtype != like.dtype or array.shape[1:] != like.shape[1:]:
                raise FormatError(
                    f"{place}/{table}/{column} is {array.dtype} of shape {array.shape}, not {like.dtype} of shape"
                    f" (n, {', '.join(map(str, like.shape[1:]))})",
                    remedy="make the graph again with region_graph(labels, boundaries, path)",
                )
            lengths.add(array.shape[0])
    if len(lengths) > 1:
        raise _damaged(place, f"columns of {sorted(lengths)} rows")
    return int(lengths.pop())


def _check(graph: RegionGraph, place: Path) -> None:
    """FormatError where columns do not fit each other: an index beyond the nodes would crash a solver."""
    nodes = graph.nodes.ids
    if len(nodes) > 1 and not (nodes[1:] > nodes[:-1]).all():
        raise _damaged(place, "ids of nodes that do not ascend")
    before = np.zeros((0, 2), np.uint64)
    for begin in range(0, len(graph.edges), CHUNK):
        span = slice(begin, begin + CHUNK)
        own, count = graph.edges.column("ids", span), graph.edges.column("count", span)
        ids = np.concatenate([before, own])
        if not (_among(own, nodes) and (own[:, 0] < own[:, 1]).all()):
            raise _damaged(place, "edges between ids that are no nodes")
        same = ids[1:, 0] == ids[:-1, 0]
        if not np.where(same, ids[1:, 1] > ids[:-1, 1], ids[1:, 0] > ids[:-1, 0]).all():
            raise _damaged(place, "edges that do not ascend")
        if not (count > 0).all():
            raise _damaged(place, "edges without voxels")
        before = own[-1:]


def _among(ids: Any, nodes: Any) -> bool:
    """Whether ids are some of the ascending ones of nodes."""
    if not len(nodes):
        return False
    return bool((nodes[np.minimum(np.searchsorted(nodes, ids), len(nodes) - 1)] == ids).all())


def _damaged(place: Path, what: str) -> FormatError:
    return FormatError(
        f"{place} is a damaged region graph: it has {what}",
        remedy="make it again with region_graph(labels, boundaries, path)",
    )
