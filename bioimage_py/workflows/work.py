"""What the methods of `segment` work with: the input, arrays between stages, and the stages that are timed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..engine.job import Job
from ..engine.mapping import run_map
from ..io.create import create_array
from ..pipelines.script import Pipeline
from ..sources import Axis, Source
from ..sources.file import FileSource
from ..wrapper import RoiSource
from .segmentation import StageTime
from .settings import Settings

_LOG = logging.getLogger("bioimage_py")


def volume_of(given: Source, method: str) -> Source:
    """What has the shape of the result: the input, or the first channel of affinities."""
    if method != "mutex" or given.ndim < 2 or not given.shape[0]:
        return given
    return RoiSource(given, (0, *(slice(0, size) for size in given.shape[1:])), squeeze=True)


class Work:
    """One call of `segment`.

    Parameters
    ----------
    given : Source
        The image, the boundaries, or affinities, (channel, ...).
    settings : Settings
    job : Job
    pipeline : Pipeline
        Of the call: it knows what is done already, and owns the arrays between stages.
    chunks : tuple of int, optional
        Of all arrays.
    keep : bool
        Whether what lies between the stages is kept.
    volume : Source, optional
        What has the shape of the result, where that is not told by the method.
    """

    def __init__(
        self,
        given: Source,
        settings: Settings,
        job: Job,
        pipeline: Pipeline,
        chunks: tuple[int, ...] | None,
        keep: bool = False,
        volume: Source | None = None,
    ) -> None:
        self.given, self.source = given, volume_of(given, settings.method) if volume is None else volume
        self.settings, self.job, self.pipeline = settings, job, pipeline
        self.chunks, self.keep = chunks, keep
        self.stages: list[StageTime] = []
        self.how: dict[str, Any] = {"execution": job.execution, "block_shape": job.block_shape}

    def array(self, name: str, dtype: Any) -> FileSource:
        """An array between stages."""
        return self.made(self.pipeline.scratch(name), "", dtype)

    def made(
        self, path: Path, key: str, dtype: Any, leading: tuple[int, ...] = (), axes: Sequence[Axis] | None = None
    ) -> FileSource:
        """An array like the input, with some channels in front."""
        like = self.source
        chunks = self.chunks
        if leading and chunks is not None:
            chunks = (*(1,) * len(leading), *chunks)
        return create_array(
            path,
            key,
            shape=(*leading, *like.shape),
            dtype=dtype,
            chunks=chunks,
            axes=like.axes if axes is None else axes,
            format="zarr",
        )

    def take(self, given: Source) -> None:
        """Go on with what a network has made of the input."""
        self.given, self.source = given, volume_of(given, self.settings.method)

    def run(self, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """Call an operation, on the workers and blocks of the call."""
        return function(*arguments, **settings, **self.how)

    def on(self, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """Call what has no blocks of voxels, on the workers of the call."""
        return function(*arguments, **settings, execution=self.job.execution)

    def map(self, kernel: Any, inputs: Sequence[Source], output: Source, *, halo: Any, factor: float = 5.0) -> None:
        """Call a kernel block by block."""
        if halo is not None:
            halo = tuple(min(margin, size) for margin, size in zip(halo, output.shape, strict=True))
        run_map(
            kernel,
            inputs,
            output,
            self.job,
            name=type(kernel).__name__.lower(),
            dtype=output.dtype,
            halo=halo,
            memory_factor=factor,
        )

    def value(self, function: Callable[[], Any], planned: Any) -> Any:
        """What a function returns; a plan goes on with another value."""
        return function()

    def stage(self, name: str, function: Callable[[], Any]) -> Any:
        """The value of a stage; one that was made before the call was interrupted took what it took then."""
        before = len(self.pipeline.explain())
        value = function()
        seconds = sum(call.seconds for call in self.pipeline.explain()[before:])
        self.stages.append(StageTime(name, seconds, self.source.size))
        _LOG.info("segment: %s took %.2f s", name, seconds)
        return value
