"""What `pytest --quick` (`make quick`) runs: few rows of every table and few examples of every property.

It leaves out the tests that start processes or servers, as their text says (starting.py), and those that are marked
``slow``. One that starts a process all the same fails.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import settings

ROWS = 2
"""Rows of a table, evenly chosen; the formats that inherit a test are the rows of one."""
EXAMPLES = 5
"""Examples of a property."""
MOST = 50
"""Examples of a property in `make test`; `make test-long` tries as many as the property has."""
_LEFT_OUT = ("processes", "slow", "slurm", "long")
_SETTINGS = "_hypothesis_internal_use_settings"  # a property that has settings takes no second ones
_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}

_promised = False


def quick(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The tests of `items` that are quick, in their order."""
    tables: dict[Any, list[pytest.Item]] = {}
    for item in items:
        if not any(item.get_closest_marker(mark) for mark in _LEFT_OUT):
            tables.setdefault(getattr(item, "function", item), []).append(item)
    kept = {row for rows in tables.values() for row in evenly(rows, ROWS)}
    return [item for item in items if item in kept]


def evenly(rows: Sequence[Any], number: int) -> list[Any]:
    """So many rows, the first and the last among them; all where there are no more.

    Examples
    --------
    >>> evenly(range(11), 3)
    [0, 5, 10]
    """
    if len(rows) <= number:
        return list(rows)
    return [rows[round(step * (len(rows) - 1) / max(1, number - 1))] for step in range(number)]


def examples_of(function: Any) -> int:
    """How many examples a property tries; 0 for other tests."""
    chosen = getattr(function, _SETTINGS, None) or settings.default
    return chosen.max_examples if hasattr(function, "hypothesis") and chosen is not None else 0


def fewer_examples(function: Any, number: int) -> None:
    """Let a property try at most so many examples."""
    if examples_of(function) > number:
        setattr(function, _SETTINGS, settings(getattr(function, _SETTINGS, None), max_examples=number))


@contextlib.contextmanager
def promised() -> Iterator[None]:
    """Inside, whatever starts a process fails."""
    global _promised
    _listen()
    before, _promised = _promised, True
    try:
        yield
    finally:
        _promised = before


def _refuse(event: str, started: Any) -> None:
    fonts = started[:1] == ("fc-list",)  # which matplotlib runs where it is imported for the first time
    if event in _STARTS and _promised and not fonts:
        pytest.fail(f"{event} in a test of --quick: @pytest.mark.processes, or a word of it in tests/starting.py")


@cache
def _listen() -> None:
    sys.addaudithook(_refuse)  # which no one can take back
