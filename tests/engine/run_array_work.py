"""A toy operation of two stages with grids of their own, which hand on an array: sums along both axes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bioimage_py as bp
from bioimage_py.blocks import to_roi
from bioimage_py.engine.job import Job
from bioimage_py.engine.outputs import prepare_output
from bioimage_py.engine.stages import BlocksStage, run_stages
from bioimage_py.runner.planning.build import Where
from bioimage_py.sources import as_source
from bioimage_py.sources.run_array import RunArray

SHAPE = (24, 30)


@dataclass(frozen=True)
class Sums:
    axis: int
    calls: str = ""
    fails: str = ""

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if self.fails and Path(self.fails).exists():
            raise OSError("not now")
        if self.calls:
            with open(self.calls, "a") as file:
                file.write(f"{self.axis} {block.id}\n")
        roi = to_roi(block)
        outputs[0][roi] = np.cumsum(inputs[0][roi], axis=self.axis, dtype=outputs[0].dtype)


def double_sums(data: Any, output: Any = None, calls: str = "", fails: str = "", **run: Any) -> Any:
    """Sums along axis 1, then along axis 0."""
    job = Job.of(run)
    source = as_source(data)
    target, returned = prepare_output(output, source.shape, np.int64, job, source=source)
    rows, columns = (6, source.shape[1]), (source.shape[0], 8)
    between = RunArray("rows", source.shape, np.int64, (6, 8))
    run_stages(
        "sums",
        [
            BlocksStage("rows", Sums(1, calls), [source], [between], where=Where(rows)),
            BlocksStage("columns", Sums(0, calls, fails), [between], [target], where=Where(columns)),
        ],
        job,
    )
    return returned


def expected(data: np.ndarray) -> np.ndarray:
    return data.astype(np.int64).cumsum(0).cumsum(1)


def child() -> None:
    """The call in a process of its own, on the arrays of the current folder."""
    how = {"job_type": sys.argv[1], "num_workers": int(sys.argv[2])}
    output = bp.open_source("out.zarr", "a", mode="r+")
    double_sums(bp.open_source("in.zarr", "a"), output, "calls", progress=False, **how)
