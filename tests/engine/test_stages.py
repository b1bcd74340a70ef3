"""Stages with a grid of their own, and the number of a worker."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from bioimage_py.blocks import Block, to_roi
from bioimage_py.engine.job import Job
from bioimage_py.engine.stages import BlocksStage, run_stages
from bioimage_py.runner.planning.build import Where
from bioimage_py.sources import Source, as_source
from bioimage_py.system.worker import worker_number

HERE = threading.Lock()


def seen(block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None) -> list[Any]:
    return [(tuple(block.begin), tuple(block.shape), mask is not None)]


def both(left: list[Any], right: list[Any]) -> list[Any]:
    return left + right


def test_a_reading_stage_has_its_own_grid_and_mask() -> None:
    values, output = np.arange(40.0).reshape(8, 5), np.zeros((8, 5))
    found: list[Any] = []

    def write(
        block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None, *, context: Any
    ) -> None:
        outputs[0][to_roi(block)] = inputs[0][to_roi(block)] + len(context)
        with HERE:
            found.append(tuple(block.begin))

    where = Where(block_shape=(4, 5), mask=as_source(values > 3))
    source, target = as_source(values), as_source(output)
    stages = [
        BlocksStage("look", seen, [source], returns="fold", merge=both, where=where),
        BlocksStage("write", write, [source], [target], setup=lambda earlier: earlier["look"]),
    ]
    job = Job.of({"block_shape": (3, 3), "roi": (slice(2, 8), slice(0, 5)), "progress": False})
    report = run_stages("test", stages, job)
    # all of the volume, not the region
    assert report.results["look"] == [((0, 0), (4, 5), True), ((4, 0), (4, 5), True)]
    assert sorted(found) == [(2, 0), (2, 3), (5, 0), (5, 3)]
    np.testing.assert_array_equal(output[2:], values[2:] + 2)
    assert not output[:2].any()


def test_workers_are_numbered_from_zero() -> None:
    numbers: set[int] = set()
    several = threading.Barrier(3, timeout=60)

    def number(block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None) -> None:
        if worker_number() not in numbers:
            several.wait()
            numbers.add(worker_number())

    job = Job.of({"block_shape": 1, "num_workers": 3, "progress": False})
    run_stages("test", [BlocksStage("number", number, [as_source(np.zeros(30))])], job)
    assert numbers == {0, 1, 2}
    assert worker_number() == 0
