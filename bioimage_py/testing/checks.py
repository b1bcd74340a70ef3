"""What the tests of the conformance suite share: the checks that they belong to, and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np
import pytest

from ..sources.axes import Axis
from ..sources.base import Source
from ..sources.spec import FrozenParams, SourceSpec

CHECKS = ("read", "write", "reopen", "threads", "axes", "foreign")
"""The columns of the table of sources; a kind may declare some of them impossible."""

THREADS = 8

F = TypeVar("F", bound=Callable[..., None])


class MakeSource(Protocol):
    """What the fixture ``make_source`` gives."""

    def __call__(self, content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
        """Store the content in a new place and open it."""


def check(*names: str) -> Callable[[F], F]:
    """Say which checks a test belongs to; it is skipped where one of them is impossible, and counts for the first."""

    def mark(test: F) -> F:
        test.__dict__["checks"] = names
        return test

    return mark


def together(work: Callable[[int], None]) -> None:
    """Run ``work(0)`` to ``work(THREADS - 1)`` in threads of their own; the first exception is raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, worker) for worker in range(THREADS)]:
            done.result(120)


def modes(spec: SourceSpec) -> Iterator[Any]:
    """All values of parameters called "mode", of inner specs too."""
    pending: list[Any] = [spec]
    while pending:
        value = pending.pop()
        if isinstance(value, SourceSpec):
            pending += [value.params, value.wrapped]
        elif isinstance(value, FrozenParams):
            if isinstance(value.get("mode"), str) and "class" not in value:  # a wrapper's mode is its own affair
                yield value["mode"]
            pending += value.values()
        elif isinstance(value, tuple):
            pending += value


def same_axes(found: tuple[Axis, ...], expected: tuple[Axis, ...]) -> None:
    """AssertionError where axes differ by more than rounding."""
    for one, other in zip(found, expected, strict=True):
        assert (one.name, one.kind, one.unit) == (other.name, other.kind, other.unit)
        assert (one.scale, one.offset) == pytest.approx((other.scale, other.offset))
