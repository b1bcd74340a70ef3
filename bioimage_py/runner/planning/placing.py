"""Where the arrays lie that a run makes for itself: in its folder, or in memory where it has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...run_folder import RunFolder
from ...sources import as_source, from_spec
from ...sources.base import Source
from ...sources.run_array import RunArray
from ...wrapper.base import WrapperSource
from .stage import Plan


def run_arrays(plan: Plan) -> list[RunArray]:
    """The arrays that a run makes for itself, each once."""
    found: dict[str, RunArray] = {}
    for stage in plan.stages:
        for source in stage.sources:
            found.update({part.name: part for part in _inside(source)})
    return list(found.values())


def placed_in_folder(plan: Plan, folder: Path) -> Plan:
    """The plan with the arrays that lie in a run's folder, or where that says."""
    return placed_at(plan, RunFolder(folder).arrays_at)


def placed_at(plan: Plan, place: str) -> Plan:
    """The plan with the arrays that lie in a folder or below a URL."""
    return _placed(plan, lambda array: from_spec(array.in_folder(place)))


def placed_in_memory(plan: Plan) -> Plan:
    """The plan with arrays in this process."""
    return _placed(plan, lambda array: as_source(np.zeros(array.shape, array.dtype)))


def _placed(plan: Plan, place: Callable[[RunArray], Source]) -> Plan:
    arrays = {array.name: place(array) for array in run_arrays(plan)}
    if not arrays:
        return plan

    def change(source: Source) -> Source:
        if isinstance(source, RunArray):
            return arrays[source.name]
        return source.over(change) if isinstance(source, WrapperSource) else source

    return replace(plan, stages=tuple(stage.over(change, change) for stage in plan.stages))


def _inside(source: Source) -> Iterator[RunArray]:
    if isinstance(source, RunArray):
        yield source
    elif isinstance(source, WrapperSource):
        for inner in source.sources:
            yield from _inside(inner)
