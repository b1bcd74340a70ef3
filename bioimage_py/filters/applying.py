"""From a length and a kernel to a run: what all filters share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.declaration import Declaration
from ..engine.job import Job
from ..engine.mapping import run_map
from ..sources import Source
from ..sources.along import lengths, per_axis, voxel_sizes


@dataclass(frozen=True)
class Along:
    """The axes of a source that a call filters along, ascending."""

    source: Source
    job: Job
    axes: tuple[int, ...]

    @classmethod
    def of(cls, source: Source, job: Job, length: Any, name: str) -> Along:
        """Those of the job, and those that `length` has a value for."""
        given = lengths(length, source.axes, job.axes, name=name)
        worked = job.along(source)
        return cls(source, job, tuple(axis for axis, one in enumerate(given) if axis in worked or one is not None))

    def lengths(self, value: Any, name: str, *, physical: bool) -> tuple[Any, ...]:
        """A length in voxels for each of the axes."""
        given = lengths(value, self.source.axes, self.job.axes, name=name, physical=physical)
        return tuple(given[axis] for axis in self.axes)

    def spacing(self, name: str, *, physical: bool) -> tuple[float, ...]:
        """Distance of the voxels along each of the axes: 1 where lengths count in voxels."""
        if not physical:
            return (1.0,) * len(self.axes)
        axes = [self.source.axes[axis] for axis in self.axes]
        sizes = voxel_sizes(axes, name=name)
        return tuple(sizes[axis.name] for axis in axes)

    def run(
        self,
        kernel: Callable[..., Any],
        halo: Sequence[int],
        output: Any,
        *,
        name: str,
        dtype: Any,
        declaration: Declaration,
        channels: int | None = None,
        holds_gil: bool = False,
    ) -> Any:
        """Run a kernel that needs `halo` voxels along the axes."""
        return run_map(
            kernel,
            [self.source],
            output,
            self.job,
            name=name,
            dtype=dtype,
            channels=channels,
            halo=per_axis(halo, self.source.axes, self.axes or None, name="halo", elsewhere=0),
            memory_factor=declaration.memory,
            along=self.axes,
            holds_gil=holds_gil,
        )
