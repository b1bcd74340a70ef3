"""What the tests of the conformance suite share: the checks that they belong to, and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
import pytest

from ..sources.axes import Axis, default_axes
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


def same_voxels(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """AssertionError where arrays differ: in shape, data type, or a voxel by more than the tolerance."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if tolerance:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(found, expected)


def example_axes(ndim: int) -> tuple[Axis, ...]:
    """Axes of which each one of space has a scale and an offset of its own."""
    steps = [4.0, 2.0, 0.5, 8.0, 0.25]
    return tuple(
        replace(axis, scale=steps[i], offset=3 * steps[i], unit="nanometer") if axis.kind == "space" else axis
        for i, axis in enumerate(default_axes(ndim))
    )
