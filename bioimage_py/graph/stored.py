"""Region graphs in a zarr group: an array for each column, which `open_source` opens like any other."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, ParameterError, SourceNotFoundError
from ..system import swap
from ..system.json_text import parse_json
from .edge_table import BINS, EdgeTable
from .node_table import NodeTable
from .regions import RegionGraph

FORMAT = "bioimage_py region graph"
_VERSION = 2
_CHUNK = 2**18
_TABLES: tuple[tuple[str, type[NodeTable] | type[EdgeTable]], ...] = (("nodes", NodeTable), ("edges", EdgeTable))


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
    from ..io.create import create_array

    place = os.path.abspath(path)
    check_free(place, replace=replace)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    new = swap.beside(place)
    for table, kind in _TABLES:
        for column in fields(kind):
            values = getattr(getattr(graph, table), column.name)
            chunks = (min(_CHUNK, max(1, len(values))), *values.shape[1:])
            key = f"{table}/{column.name}"
            with create_array(new, key, shape=values.shape, dtype=values.dtype, chunks=chunks, format="zarr") as array:
                if len(values):
                    array[...] = values
    told = {"format": FORMAT, "version": _VERSION, "shape": list(graph.shape), "axes": list(graph.axes)}
    Path(new, "graph.json").write_text(json.dumps(told))
    swap.put(new, place)


def open_graph(path: str | os.PathLike[str]) -> RegionGraph:
    """Open a region graph that `save`, or `region_graph` with an output path, has written.

    Raises
    ------
    SourceNotFoundError
        If nothing is there.
    FormatError
        If it is no region graph, or a damaged one.
    """
    place = Path(path)
    if not place.exists():
        raise SourceNotFoundError(f"{place} does not exist", remedy="region_graph(labels, boundaries, path) makes it")
    if not _is_graph(place):
        raise FormatError(f"{place} is no region graph", remedy="region_graph(labels, boundaries, path) makes one")
    told = _told(place)
    nodes, edges = (_table(place, table, kind, len(told["shape"])) for table, kind in _TABLES)
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


def _table(place: Path, table: str, kind: type[Any], ndim: int) -> Any:
    from ..sources.file import open_source

    columns = {}
    for column, empty in ((one.name, getattr(kind.empty(ndim), one.name)) for one in fields(kind)):
        with open_source(place, f"{table}/{column}", format="zarr") as array:
            if array.dtype != empty.dtype or array.shape[1:] != empty.shape[1:]:
                raise FormatError(
                    f"{place}/{table}/{column} is {array.dtype} of shape {array.shape}, not {empty.dtype} of shape"
                    f" (n, {', '.join(map(str, empty.shape[1:]))})",
                    remedy="make the graph again with region_graph(labels, boundaries, path)",
                )
            columns[column] = array[...]
    return kind(**columns)


def _check(graph: RegionGraph, place: Path) -> None:
    """FormatError where columns do not fit each other: an index beyond the nodes would crash a solver."""
    for table in (graph.nodes, graph.edges):
        lengths = {len(getattr(table, column.name)) for column in fields(table)}
        if len(lengths) > 1:
            raise _damaged(place, f"columns of {sorted(lengths)} rows")
    ids, nodes = graph.edges.ids, graph.nodes.ids
    if len(nodes) > 1 and not (nodes[1:] > nodes[:-1]).all():
        raise _damaged(place, "ids of nodes that do not ascend")
    if len(ids) and not (np.isin(ids, nodes).all() and (ids[:, 0] < ids[:, 1]).all()):
        raise _damaged(place, "edges between ids that are no nodes")
    rows = ids[1:] != ids[:-1]
    later = np.where(rows[:, 0], ids[1:, 0] > ids[:-1, 0], ids[1:, 1] > ids[:-1, 1])
    if not later.all():
        raise _damaged(place, "edges that do not ascend")
    if len(ids) and not (graph.edges.histogram.shape[1] == BINS and (graph.edges.count > 0).all()):
        raise _damaged(place, "edges without voxels")


def _damaged(place: Path, what: str) -> FormatError:
    return FormatError(
        f"{place} is a damaged region graph: it has {what}",
        remedy="make it again with region_graph(labels, boundaries, path)",
    )
