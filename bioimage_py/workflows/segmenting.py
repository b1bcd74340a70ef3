"""From an image to a label volume with its pyramid, block by block."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from .. import __version__, stats
from ..blocks.shape import normalize_block_shape
from ..engine.job import Job, RunKeywords
from ..engine.mapping import run_map
from ..engine.operation import operation
from ..engine.reducing import run_reduce
from ..errors import (
    BioimageError,
    ConfigError,
    NotReopenableError,
    ParameterError,
    ResumeConflict,
    RunnerError,
    RunningError,
)
from ..io.create import create_array
from ..io.ome import read_multiscales, write_multiscales
from ..pipelines.call import as_one_call, within_pipeline
from ..pipelines.script import Pipeline, job_pipeline
from ..runner.identity.fingerprints import fingerprints
from ..runner.planning.build import once_stage
from ..segmentation import label, size_filter
from ..sources import Source, as_source
from ..sources.file import FileSource, open_source
from ..sources.spec import SourceSpec
from ..sources.to_be import ArrayToBe
from ..system.memory import peak_bytes
from ..wrapper import RoiSource
from .place import ResultPlace, check_output
from .pyramids import write_pyramid
from .segmentation import Segmentation, StageTime
from .segmentation_kernels import Brightness, Flood, Histogram, SeedMask, add, otsu
from .settings import Settings, check_settings

_LOG = logging.getLogger("bioimage_py")

_SMALLEST_CHUNK, _LARGEST_CHUNK = 16, 64


@operation(omit=("mask", "block_ids", "resume_from", "skip_empty", "casting", "plan", "debug"))
def segment(
    input: Any,
    output_path: Any,
    *,
    method: Literal["components", "watershed"] = "watershed",
    threshold: float | None = None,
    sigma: float | Sequence[float] | None = None,
    seed_distance: float | None = None,
    min_size: int | None = None,
    objects: Literal["bright", "dark"] = "bright",
    fill: bool | None = None,
    halo: int | Sequence[int] | None = None,
    name: str | None = None,
    overwrite: bool = False,
    **run: Unpack[RunKeywords],
) -> Segmentation:
    """Segment a volume block by block, and write the labels as OME-Zarr with their pyramid.

    The image is smoothed, and the voxels above a threshold are the inside of objects. "components" takes their
    connected components. "watershed" takes as seeds the components of what lies deep inside, further than
    `seed_distance` from any voxel below the threshold, and grows them over the smoothed image, dark voxels last: so
    objects that touch, or are joined by a small gap in a membrane, are told apart.

    Arrays between the stages lie in a folder ``<output>.scratch`` beside the output. It is removed at the end, when
    the result has got its name; if the call is interrupted, the folder stays, and the same call goes on in it.

    Parameters
    ----------
    input : source-like
        Image with 2 or 3 axes of space, numbers. Its axes say how anisotropic it is.
    output_path : str or os.PathLike
        OME-Zarr (0.5) to make, such as "labels.ome.zarr"; or a path into one, such as "a.ome.zarr/labels/cells".
    method : {"watershed", "components"}, default "watershed"
    threshold : float, optional
        Grey value of the smoothed image; by default Otsu's, from the histogram of the region.
    sigma : float or sequence of float, optional
        Smoothing; 0 for none. A number counts in voxels of the finest axis and is the same physical length along all
        axes; a sequence is in voxels, per axis. Default 1.5.
    seed_distance : float, optional
        "watershed": in voxels of the finest axis, physically the same along all axes. Larger means more and smaller
        objects. Default 3.
    min_size : int, optional
        Smaller objects, in voxels, are removed; with `fill`, the others grow into their place. Default 0 for
        "watershed", 100 for "components".
    objects : {"bright", "dark"}, default "bright"
        Whether objects are brighter or darker than what is between them.
    fill : bool, optional
        "watershed": give every voxel to an object (default), as in tissue without gaps. False leaves what is below
        the threshold to the background, 0, as "components" always does.
    halo : int or sequence of int, optional
        "watershed": voxels around a block that are flooded with it. Default 32 voxels of the finest axis.
    name : str, optional
        Name of the image in its metadata; by default that of the output.
    overwrite : bool, default False
        Replace an existing label image.

    Returns
    -------
    Segmentation
        Number of objects, settings found, times. Labels are uint64, 1 to the number of objects; with ``roi`` the
        volume is that region, and its axes say where it lies.

    Raises
    ------
    ShapeError, DtypeError, ParameterError, FormatError
        Bad input, before anything is written.
    RunnerError
        If blocks failed.

    Notes
    -----
    "components" does not depend on the blocks. "watershed" does, near their borders; the same grid and halo give the
    same bits on every backend.
    """
    job = Job.of(run)
    if job.execution.plan or job.execution.debug:
        raise ConfigError(
            "segment runs several operations, each on the result of the one before: it can't be planned or debugged.",
            remedy="drop plan and debug, or call the operations one by one",
        )
    source = as_source(input)
    if job.roi is not None:
        source = RoiSource(source, job.roi)
        job = replace(job, roi=None)
    settings = check_settings(source, method, threshold, sigma, seed_distance, min_size, objects, fill, halo)
    chunks = _chunks(job.block_shape, source.shape)
    does = _Does(settings, None if job.block_shape is None else normalize_block_shape(job.block_shape, source.ndim))
    place = ResultPlace.of(output_path, overwrite=overwrite or within_pipeline())
    titled = name or _stem(place.output)

    def work() -> Segmentation:
        check_output(output_path, overwrite=overwrite)
        with job_pipeline(place.folder, _purpose(source, does), job.execution) as p:
            try:
                return _Run(source, settings, job, p, place, chunks, titled).segmentation()
            except (RunnerError, RunningError, ResumeConflict):
                raise  # what has been computed stays, and may be somebody else's
            except BioimageError:
                p.discard()  # Bad input: going on makes no sense, so nothing is left behind.
                raise

    spec = SourceSpec("file", str(place.output), "0", {"format": "zarr", "mode": "r+"})
    finest = ArrayToBe(source.shape, np.uint64, chunks, axes=source.axes, spec=spec)
    return as_one_call("segment", does, [source], [finest], job.execution, work)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Does:
    """What a segmentation computes."""

    settings: Settings
    block_shape: tuple[int, ...] | None

    def __call__(self, earlier: Any) -> None:
        raise NotImplementedError("it stands for a segmentation, and is none")


class _Run:
    """The stages of one call, in order."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        job: Job,
        pipeline: Pipeline,
        place: ResultPlace,
        chunks: tuple[int, ...] | None,
        name: str,
    ) -> None:
        self.source, self.settings, self.job, self.name = source, settings, job, name
        self.pipeline, self.place, self.chunks = pipeline, place, chunks
        self.stages: list[StageTime] = []
        self.bright = Brightness(source.dtype.str, settings.sigma, settings.objects == "dark")
        self.how: dict[str, Any] = {"execution": job.execution, "block_shape": job.block_shape}

    def segmentation(self) -> Segmentation:
        smooth = self._array("smooth", self.bright.kept)
        self._stage("smooth", lambda: self._map(self.bright, [self.source], smooth, halo=self.bright.halo))
        if self.settings.threshold is None:
            kept = float(self._stage("threshold", lambda: self._otsu(smooth)))
        else:
            kept = self.bright.keep(self.settings.threshold)
        result = self._made(self.place.result, "0", np.uint64)
        make = self._components if self.settings.method == "components" else self._watershed
        make(smooth, kept, result)
        found = self._stage("count", lambda: int(stats.max(result, execution=self.job.execution)))
        self._stage("pyramid", self._pyramid)
        levels = self._publish()
        return Segmentation(
            str(self.place.output),
            self.settings.method,
            found,
            self.source.shape,
            tuple(level.shape for level in levels),
            self.bright.show(kept),
            self.settings.shown(),
            tuple(self.stages),
            self.job.execution.num_workers,
            peak_bytes(),
        )

    def _components(self, smooth: Source, threshold: float, result: Source) -> None:
        filtered = self.settings.min_size > 1
        target = self._array("components", np.uint64) if filtered else result
        self._stage("components", lambda: self._run(label, smooth, target, threshold=threshold))
        if filtered:
            self._stage("filter", lambda: self._run(size_filter, target, result, min_size=self.settings.min_size))

    def _watershed(self, smooth: Source, threshold: float, result: Source) -> None:
        settings = self.settings
        mask = self._array("seed_mask", np.bool_)
        seeds = self._array("seeds", np.uint64)
        inside = SeedMask(threshold, settings.sampling, settings.seed_distance)
        self._stage("seed mask", lambda: self._map(inside, [smooth], mask, halo=inside.halo, factor=8.0))
        self._stage("seeds", lambda: self._run(label, mask, seeds))
        flood = Flood(None if settings.fill else threshold)
        filtered = settings.min_size > 1
        flooded = self._array("flooded", np.uint64) if filtered else result
        self._stage("watershed", lambda: self._map(flood, [smooth, seeds], flooded, halo=settings.halo, factor=4.0))
        if not filtered:
            return
        kept = self._array("kept", np.uint64) if settings.fill else result
        self._stage("filter", lambda: self._run(size_filter, flooded, kept, min_size=settings.min_size))
        if settings.fill:
            self._stage("refill", lambda: self._map(flood, [smooth, kept], result, halo=settings.halo, factor=4.0))

    def _pyramid(self) -> None:
        path, how = self.place.result, self.job.execution
        for level in write_pyramid(path, method="mode", name=self.name, label=True, execution=how):
            level.close()

    def _array(self, name: str, dtype: Any) -> FileSource:
        """An array between stages."""
        return self._made(self.pipeline.scratch(name), "", dtype)

    def _made(self, path: Path, key: str, dtype: Any) -> FileSource:
        like = self.source
        return create_array(path, key, shape=like.shape, dtype=dtype, chunks=self.chunks, axes=like.axes, format="zarr")

    def _run(self, function: Callable[..., Any], *arguments: Any, **settings: Any) -> None:
        function(*arguments, **settings, **self.how)

    def _map(self, kernel: Any, inputs: Sequence[Source], output: Source, *, halo: Any, factor: float = 5.0) -> None:
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

    def _otsu(self, smooth: Source) -> float:
        low, high = (0, 65536) if self.bright.fixed else stats.min_and_max(smooth, **self.how)
        if not np.isfinite([low, high]).all():
            raise ParameterError("The image has NaN or infinite values.", remedy="replace them with numpy.nan_to_num")
        histogram = Histogram(float(low), float(max(high, np.nextafter(low, np.inf))))
        counts = run_reduce(histogram, add, [smooth], self.job, name="histogram", memory_factor=12.0)
        return otsu(histogram, counts)

    def _publish(self) -> list[FileSource]:
        """Put the result in its place, and return its levels."""
        (image,) = read_multiscales(self.place.result)
        self.place.publish()
        container, key = self.place.container, self.place.key
        if key and Path(key).parent.name == "labels":
            # Once more in its place, for the list of labels in the group above.
            write_multiscales(
                container, key, levels=image.levels, name=self.name, method="mode", label=True, source="../../"
            )
        return [open_source(self.place.output, name, format="zarr") for name, _ in image.levels]

    def _stage(self, name: str, function: Callable[[], Any]) -> Any:
        before = len(self.pipeline.explain())
        value = function()
        # that of a call that was made before it was interrupted is what it took then
        seconds = sum(call.seconds for call in self.pipeline.explain()[before:])
        self.stages.append(StageTime(name, seconds, self.source.size))
        _LOG.info("segment: %s took %.2f s", name, seconds)
        return value


def _chunks(block_shape: Any, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Chunks of which blocks of a shape are made, so that all blocks can run at once; None for the default ones."""
    if block_shape is None:
        return None
    sizes = normalize_block_shape(block_shape, len(shape))
    return tuple(_chunk(size) for size in sizes)


def _chunk(size: int) -> int:
    best = max(n for n in range(1, min(size, _LARGEST_CHUNK) + 1) if size % n == 0)
    return best if best >= _SMALLEST_CHUNK else min(size, 2 * _LARGEST_CHUNK)


def _purpose(source: Source, does: _Does) -> str | None:
    """What must be equal for a call to go on where another was interrupted; None for an input that can't be told."""
    try:
        spec = source.to_spec()
    except NotReopenableError:
        return None
    told = {
        "input": spec.to_dict(),
        "fingerprint": fingerprints([replace(once_stage(does, name="segment"), inputs=(source,))]),
        **asdict(does),
        "version": __version__,
    }
    return json.dumps(told, sort_keys=True)


def _stem(output: Path) -> str:
    return output.name.split(".")[0]
