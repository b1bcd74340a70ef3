"""The arrays that an object is made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from ..sharing import Extent

_LIBRARIES = ("zarr", "z5py", "h5py", "tensorstore", "numpy")


_DEEP = 4
"""How far objects are looked into for the arrays that they stand on; the graph of a lazy array as a whole."""


def of_object(value: Any) -> tuple[Extent, ...]:
    """What an object stands on, as far as it says: the arrays among its parts, or in its graph if it is lazy."""
    graph = value.__dask_graph__() if hasattr(value, "__dask_graph__") else None
    start = vars(value) if graph is None and hasattr(value, "__dict__") else graph
    return tuple(dict.fromkeys(_inside(start, set(), math.inf if graph is not None else _DEEP)))


def _inside(value: Any, seen: set[int], deep: float) -> Iterator[Extent]:
    from ..base import Source
    from ..registry import as_source

    stack: list[tuple[Any, float]] = [(value, deep)]
    while stack:
        item, left = stack.pop()
        if item is None or isinstance(item, (str, bytes, int, float, type)) or id(item) in seen or left < 0:
            continue
        seen.add(id(item))
        library = type(item).__module__.partition(".")[0]
        if isinstance(item, Source) or (library in _LIBRARIES and hasattr(item, "shape") and hasattr(item, "dtype")):
            with suppress(Exception):  # an object that only looks like an array
                yield from as_source(item).extents()
            continue
        if isinstance(item, (list, tuple, set, frozenset)):
            parts: Iterable[Any] = item
        elif hasattr(item, "values") and hasattr(item, "keys"):
            parts = item.values()
        else:
            parts = [*getattr(item, "__dict__", {}).values(), *_slots(item)]
        stack += [(part, left - 1) for part in parts]


def _slots(value: Any) -> Iterator[Any]:
    for base in type(value).__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            with suppress(AttributeError):
                yield getattr(value, name)
