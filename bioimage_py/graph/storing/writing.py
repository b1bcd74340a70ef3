"""Tables as zarr arrays, one for each column, written as many rows at a time as a chunk holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...system.json_text import parse_json
from ..edge_table import Table

CHUNK = 2**18


def write_table(new: str, name: str, parts: Iterable[Table], most: int) -> dict[str, str]:
    """Write a table that comes in parts; returns a checksum of each column.

    Parameters
    ----------
    new : str
        Folder of the graph.
    name : str
        Of the table.
    parts : iterable of Table
        At least one, the first one may be without rows.
    most : int
        Rows that there are at most.
    """
    arrays: dict[str, Any] = {}
    sums: dict[str, Any] = {}
    n = 0
    for rows in _chunks(parts):
        for column in rows.names:
            values = getattr(rows, column)
            if column not in arrays:
                arrays[column] = _created(new, f"{name}/{column}", values, most)
                sums[column] = hashlib.sha256()
            if len(values):
                arrays[column][n : n + len(values)] = values
                sums[column].update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")))
        n += len(rows)
    for column, array in arrays.items():
        array.close()
        _end(Path(new, name, column), n)
    return {column: one.hexdigest() for column, one in sums.items()}


def _created(new: str, key: str, first: Any, most: int) -> Any:
    from ...io.create import create_array

    length = most if len(first) == CHUNK else len(first)
    chunks = (min(CHUNK, max(1, length)), *first.shape[1:])
    return create_array(new, key, shape=(length, *first.shape[1:]), dtype=first.dtype, chunks=chunks, format="zarr")


def _end(array: Path, n: int) -> None:
    """Let an array, which nobody else knows yet, end after n rows."""
    told = parse_json((array / "zarr.json").read_bytes())
    if told["shape"][0] != n:
        told["shape"][0] = n
        (array / "zarr.json").write_text(json.dumps(told, indent=2))


def _chunks(parts: Iterable[Table]) -> Iterator[Table]:
    """The rows of tables, in tables of a chunk each; the last one has what is left, at least if it is the only one."""
    held: list[Table] = []
    missing, any_given = CHUNK, False
    for part in parts:
        begin = 0
        while len(part) - begin >= missing:
            yield _joined([*held, part.rows(slice(begin, begin + missing))])
            held, begin, missing, any_given = [], begin + missing, CHUNK, True
        if begin < len(part) or not (held or any_given):
            held.append(part.rows(slice(begin, len(part))))
            missing -= len(held[-1])
    if held:
        yield _joined(held)


def _joined(tables: list[Table]) -> Table:
    if len(tables) == 1:
        return tables[0]
    columns = ([getattr(table, column) for table in tables] for column in tables[0].names)
    return type(tables[0])(*map(np.concatenate, columns))
