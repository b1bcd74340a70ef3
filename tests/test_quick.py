"""`make quick` keeps its promise: a test that starts a process fails, and every table and property is sampled."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .quick import ROWS, evenly, examples_of, fewer_examples, promised, quick


class Item:
    def __init__(self, function: Any, *marks: str) -> None:
        self.function, self.marks = function, marks

    def get_closest_marker(self, mark: str) -> bool | None:
        return mark in self.marks or None


@pytest.mark.parametrize(
    "start",
    [
        lambda: os.system("exit 3"),  # none of these is reached
        lambda: os.posix_spawn("/bin/false", ["false"], {}),
        lambda: os.execv("/bin/false", ["false"]),
        os.fork,
    ],
    ids=["shell", "spawn", "exec", "fork"],
)
def test_a_quick_test_that_starts_a_process_fails(start: Any) -> None:
    with promised(), pytest.raises(pytest.fail.Exception, match=r"os\.\w+ in a test of --quick"):
        start()


def test_a_program_that_a_library_runs_once_a_machine_is_let_through() -> None:
    with promised(), contextlib.suppress(FileNotFoundError):
        subprocess.Popen(["fc-list", "--help"], stdout=subprocess.DEVNULL).wait()


def test_few_rows_of_every_table_are_quick() -> None:
    def one() -> None: ...

    def other() -> None: ...

    table, single, slow = [Item(one) for _ in range(9)], Item(other), Item(other, "slow")
    started = Item(one, "processes")
    assert quick([started, *table, slow, single]) == [*evenly(table, ROWS), single]


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_rows_are_evenly_chosen(number: int) -> None:
    for length in range(20):
        rows = evenly(range(length), number)
        assert len(rows) == len(set(rows)) == min(number, length)
        assert number == 1 or length < 2 or (rows[0], rows[-1]) == (0, length - 1)


@pytest.mark.parametrize("own", [settings(max_examples=30), settings(max_examples=3), None])
def test_a_property_tries_few_examples(own: Any) -> None:
    tried = []

    @given(st.integers())
    def prop(value: int) -> None:
        tried.append(value)

    if own is not None:
        prop = own(prop)
    fewer_examples(prop, 4)
    prop()
    assert len(tried) == min(4, own.max_examples if own else 4)
    assert examples_of(len) == 0
