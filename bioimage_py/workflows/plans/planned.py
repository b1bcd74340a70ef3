"""What a segmentation will need, stage by stage, without a block being run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...graph import Partition
from ...io.create import create_array
from ...markup import table
from ...operations.pyramids import pyramid
from ...pipelines.plan import PlanEnds
from ...pipelines.script import planned_pipeline
from ...runner.planning.estimate import RunPlan
from ...sources import Source
from ...sources.file import FileSource
from ...wrapper.downsample import DownsampleSource
from ..pyramids import level_factors
from ..work import Work

_NONE = np.ones(1, np.uint64)
_ON_GRAPHS = {"multicut": Partition(_NONE, _NONE), "agglomerate": Partition(_NONE, _NONE)}
"""Stages of which nothing is known before the graph is there, and what goes on to those after them."""
_VALUES = {"threshold": 0.0}
"""What other stages would have returned; how much is read and written hangs on none of it."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage: the runs that it will make; none where they are known when the stages before it are done."""

    name: str
    runs: tuple[RunPlan, ...]


@dataclass(frozen=True)
class SegmentationPlan:
    """A segmentation before it begins; what ``segment(..., plan=True)`` returns. All bytes are uncompressed.

    Attributes
    ----------
    output_path : str
    stages : tuple of PlannedStage
    output_bytes : int
        Of the labels and their pyramid.
    scratch_bytes : int
        Of what lies between the stages, in ``<output>.scratch``, until the end.
    free_bytes : int
        Where both will lie.
    """

    output_path: str
    stages: tuple[PlannedStage, ...]
    output_bytes: int
    scratch_bytes: int
    free_bytes: int

    @property
    def memory_bytes(self) -> int:
        """Promised for the stage that needs most."""
        return max((run.promised_bytes for stage in self.stages for run in stage.runs), default=0)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "memory_bytes": self.memory_bytes}

    def _rows(self) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for stage in self.stages:
            if not stage.runs:
                rows.append((stage.name, "known when the stages before are done", *[""] * 6))
            for run in stage.runs:
                parts = run.stages
                shapes = [one.block_shape for one in parts if one.block_shape is not None]
                read, written = (sum(getattr(one, n) for one in parts) for n in ("bytes_read", "bytes_written"))
                files, blocks = sum(one.files_written for one in parts), sum(one.n_blocks for one in parts)
                shape = "x".join(map(str, shapes[0])) if shapes else ""
                memory = f"{run.promised_bytes / 2**20:.0f}"
                sizes = (f"{read / 2**20:.1f}", f"{written / 2**20:.1f}", files)
                rows.append((stage.name, run.name, blocks, shape, *sizes, memory))
        return rows

    def __str__(self) -> str:
        rows = [_NAMES, *self._rows()]
        widths = [max(len(str(row[column])) for row in rows) for column in range(len(_NAMES))]
        widths[1] = max(len(str(row[1])) for row in rows if len(row) and row[2] != "")
        lines = [
            "  ".join(
                str(cell).ljust(width) if column < 2 else str(cell).rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        written = f"labels and pyramid {_mebi(self.output_bytes)}, between stages {_mebi(self.scratch_bytes)}"
        return "\n".join(
            [
                *lines,
                f"memory: {_mebi(self.memory_bytes)} at most",
                f"{self.output_path}: {written} (uncompressed), {_mebi(self.free_bytes)} free there",
            ]
        )

    def _repr_html_(self) -> str:
        return table(f"segment {self.output_path}", _NAMES, self._rows())


_NAMES = ("stage", "run", "blocks", "of", "MiB read", "MiB written", "files", "MiB memory")


def _mebi(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


class PlannedWork(Work):
    """A segmentation of which every stage is planned, in a folder that goes with the plan."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.planned: list[PlannedStage] = []
        self.bytes = 0

    def made(self, *given: Any, **settings: Any) -> FileSource:
        """An array like the input, of which nothing but its metadata is made."""
        array = super().made(*given, **settings)
        self.bytes += array.nbytes
        return array

    def value(self, function: Callable[[], Any], planned: Any) -> Any:
        """The stand-in, after the call was noted."""
        with suppress(PlanEnds):
            function()
        return planned

    def stage(self, name: str, function: Callable[[], Any]) -> Any:
        """Note the runs of a stage, and return what stands for its value."""
        before = len(self.pipeline.plan().calls)
        value = _ON_GRAPHS.get(name) or self.value(function, _VALUES.get(name))
        self.planned.append(PlannedStage(name, tuple(one.plan for one in self.pipeline.plan().calls[before:])))
        return value


def planned_segmentation(
    work: Callable[[type[Work], Any, Path], tuple[Work, Source]], output: Path, how: Any
) -> SegmentationPlan:
    """Go through the stages of a segmentation.

    Parameters
    ----------
    work : callable
        ``work(kind, pipeline, folder)`` goes through the stages with a `Work` of that kind, and gives it and the
        array of labels.
    output : Path
    how : Execution
    """
    with tempfile.TemporaryDirectory() as folder, planned_pipeline(Path(folder) / "plan", how) as p:
        done, result = work(PlannedWork, p, Path(folder))
        assert isinstance(done, PlannedWork)
        scratch = done.bytes - result.nbytes
        levels: list[Source] = [result]
        factors = level_factors(result.shape, result.axes)
        for factor in factors:
            levels.append(DownsampleSource(levels[-1], factor, "mode"))
        made = [_level(Path(folder), n, level) for n, level in enumerate(levels[1:], 1)]
        if made:
            done.stage("pyramid", lambda: pyramid(result, factors, made, method="mode", execution=done.job.execution))
        total = sum(level.nbytes for level in levels)
    there = next(one for one in (output, *output.parents) if os.path.isdir(one))
    return SegmentationPlan(str(output), tuple(done.planned), total, scratch, shutil.disk_usage(there).free)


def _level(folder: Path, number: int, level: Source) -> FileSource:
    """An array for a level."""
    return create_array(
        folder / "levels.zarr", str(number), shape=level.shape, dtype=level.dtype, axes=level.axes, format="zarr"
    )
