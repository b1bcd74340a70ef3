"""From an image to a label volume with its pyramid, block by block."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from .. import __version__, stats
from ..blocks.shape import normalize_block_shape
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..errors import (
    BioimageError,
    ConfigError,
    NotReopenableError,
    ResumeConflict,
    RunnerError,
    RunningError,
    StorageError,
)
from ..graph import EdgeClassifier
from ..io.ome import read_multiscales, write_multiscales
from ..io.v3.replacing import refuse_own_levels
from ..pipelines.call import as_one_call, within_pipeline
from ..pipelines.script import Pipeline, job_pipeline
from ..runner.identity.fingerprints import fingerprints
from ..runner.planning.build import once_stage
from ..sources import Source, as_source
from ..sources.file import FileSource, open_source
from ..sources.spec import SourceSpec
from ..sources.to_be import ArrayToBe
from ..system.memory import peak_bytes
from ..wrapper import RoiSource
from .corrections.keeping import KeptFolder
from .methods.by_graph import by_agglomeration, by_multicut, by_mutex
from .methods.by_threshold import components, watershed
from .network import Network
from .place import ResultPlace, check_output
from .plans.planned import planned_segmentation
from .pyramids import write_pyramid
from .segmentation import Segmentation
from .settings import Method, Settings, check_settings
from .work import Work, volume_of

_LOG = logging.getLogger("bioimage_py")

_METHODS: dict[str, Callable[[Work, Source], float | None]] = {
    "components": components,
    "watershed": watershed,
    "multicut": by_multicut,
    "agglomerate": by_agglomeration,
    "mutex": by_mutex,
}
_SMALLEST_CHUNK, _LARGEST_CHUNK = 16, 64


@operation(omit=("mask", "block_ids", "resume_from", "skip_empty", "casting", "debug"))
def segment(
    input: Any,
    output_path: Any,
    *,
    method: Method = "watershed",
    threshold: float | None = None,
    sigma: float | Sequence[float] | None = None,
    seed_distance: float | None = None,
    min_size: int | None = None,
    objects: Literal["bright", "dark"] = "bright",
    fill: bool | None = None,
    halo: int | Sequence[int] | None = None,
    beta: float | None = None,
    offsets: Sequence[Sequence[int]] | None = None,
    classifier: str | os.PathLike[str] | None = None,
    model: Any = None,
    network: Mapping[str, Any] | None = None,
    keep: str | os.PathLike[str] | None = None,
    name: str | None = None,
    overwrite: bool = False,
    **run: Unpack[RunKeywords],
) -> Segmentation:
    """Segment a volume block by block, and write the labels as OME-Zarr with their pyramid.

    The image is smoothed, and the voxels above a threshold are the inside of objects. "components" takes their
    connected components. "watershed" takes as seeds the components of what lies deep inside, further than
    `seed_distance` from any voxel below the threshold, and grows them over the smoothed image, dark voxels last: so
    objects that touch, or are joined by a small gap in a membrane, are told apart.

    "multicut" and "agglomerate" take boundaries instead, as a network predicts them (0 to 1, or integers of which the
    largest of their type is 1): they cut the volume into superpixels, and join those between which there is none.
    "multicut" weighs all boundaries of an object against each other; "agglomerate" joins two parts after the other as
    long as the mean boundary between them is below ``1 - beta``. "mutex" takes affinities and their `offsets` (see
    `bioimage_py.segmentation.mutex_watershed`), and joins its pieces across blocks by multicut.

    Arrays between the stages lie in a folder ``<output>.scratch`` beside the output. It is removed at the end, when
    the result has got its name; if the call is interrupted, the folder stays, and the same call goes on in it.

    Parameters
    ----------
    input : source-like
        Image with 2 or 3 axes of space, numbers. Its axes say how anisotropic it is.
    output_path : str or os.PathLike
        OME-Zarr (0.5) to make, such as "labels.ome.zarr"; or a path into one, such as "a.ome.zarr/labels/cells".
    method : {"watershed", "components", "multicut", "agglomerate", "mutex"}, default "watershed"
    threshold : float, optional
        Grey value of the smoothed image; by default Otsu's, from the histogram of the region. "multicut" and
        "agglomerate": from here on a voxel is a boundary, for the seeds of superpixels; default 0.15.
    sigma : float or sequence of float, optional
        Smoothing; 0 for none. A number counts in voxels of the finest axis and is the same physical length along all
        axes; a sequence is in voxels, per axis. Default 1.5; 0.7 for "multicut" and "agglomerate".
    seed_distance : float, optional
        "watershed": in voxels of the finest axis, physically the same along all axes. Larger means more and smaller
        objects. Default 3.
    min_size : int, optional
        Smaller objects, in voxels, are removed; with `fill`, the others grow into their place. "multicut",
        "agglomerate": joined to the neighbour from which the least boundary divides them. Default 0 for "watershed" and
        "mutex", else 100, so that no rim of a superpixel that ends at the face of a block is an object.
    objects : {"bright", "dark"}, default "bright"
        Whether objects are brighter or darker than what is between them.
    fill : bool, optional
        "watershed": give every voxel to an object (default), as in tissue without gaps. False leaves what is below
        the threshold to the background, 0, as "components" always does.
    halo : int or sequence of int, optional
        Voxels around a block that are flooded with it. Default 8 for "multicut" and "agglomerate". "watershed": by
        default 0, which floods every voxel once, see `bioimage_py.segmentation.watershed`.
    beta : float, optional
        "multicut", "agglomerate", "mutex": between 0 and 1; larger cuts more. Default 0.5.
    offsets : sequence of sequence of int, optional
        "mutex": from a voxel to its partner, one for each channel of the input, which is its first axis.
    classifier : path, optional
        "multicut", "agglomerate", "mutex": what has been learned of boundaries between superpixels, a file of
        `bioimage_py.graph.EdgeClassifier`, in the place of their mean.
    model : str, os.PathLike or as for `bioimage_py.inference.predict`, optional
        "multicut", "agglomerate", "mutex": network that makes boundaries (or affinities, a channel for each of the
        offsets) of the input, which is a raw image then. Such as "net.onnx". They are stored as bytes.
    network : dict, optional
        How it is called: ``tile``, ``overlap``, ``margin``, ``normalize``, ``channel_axis``, ``batch``, ``devices``,
        ``setup`` of `bioimage_py.inference.predict`. With `roi`, the region is the volume for these, too.
    keep : path, optional
        "multicut", "agglomerate", "mutex": folder in which superpixels (``superpixels.zarr``), their graph
        (``graph.zarr``, see `bioimage_py.graph.open_graph`), what belongs together (``partition.zarr``) and what a
        network said (``network.zarr``) are kept, to be corrected (`bioimage_py.workflows.correct`) or to go on with.
        They come there at the end, in the place of what was kept before.
    name : str, optional
        Name of the image in its metadata; by default that of the output.
    overwrite : bool, default False
        Replace an existing label image.

    Returns
    -------
    Segmentation
        Number of objects, settings found, times. Labels are uint64, 1 to the number of objects; with ``roi`` the
        volume is that region, and its axes say where it lies. With ``plan=True`` a `SegmentationPlan`; nothing is
        written.

    Raises
    ------
    ShapeError, DtypeError, ParameterError, FormatError
        Bad input, before anything is written.
    AliasError
        The input is made of what the output, or what is kept, would take the place of.
    RunningError
        Another process works on the same output, or with the same `keep`.
    RunnerError
        If blocks failed.

    Notes
    -----
    "components" does not depend on the blocks, "watershed" only where two seeds are equally near. The others do, near
    the borders of blocks; the same grid and halo give the same bits on every backend.
    """
    job = Job.of(run)
    if job.execution.debug:
        raise ConfigError(
            "segment runs several operations, each on the result of the one before: it can't be debugged.",
            remedy="drop debug, or call the operations one by one",
        )
    given = as_source(input)
    net = Network.of(model, network, method, offsets)
    if job.roi is not None:
        given = RoiSource(given, _region(given, job.roi, method, net))
        job = replace(job, roi=None)
    source = volume_of(given, method) if net is None else net.volume(given)
    settings = check_settings(
        source, method, threshold, sigma, seed_distance, min_size, objects, fill, halo, beta, offsets, classifier
    )
    chunks = _chunks(job.block_shape, source.shape)
    if settings.classifier is not None:
        EdgeClassifier.read(settings.classifier)
    if net is not None and not within_pipeline():
        net.check(given, job)
    shape = None if job.block_shape is None else normalize_block_shape(job.block_shape, source.ndim)
    does = _Does(settings, shape, net, keep is not None)
    place = ResultPlace.of(output_path, overwrite=overwrite or within_pipeline())
    refuse_own_levels(str(place.output), [given])
    kept = KeptFolder.of(keep, method)
    if kept is not None:
        kept.check(str(place.output), given)
    titled = name or _stem(place.output)
    if job.execution.plan:
        check_output(output_path, overwrite=overwrite)
        job = replace(job, execution=job.execution.updated({"plan": False}))

        def stages(kind: type[Work], p: Pipeline, folder: Path) -> tuple[Work, Source]:
            planned = kind(given, settings, job, p, chunks, False, source)
            return planned, _labelled(planned, net, folder / "result.zarr")[0]

        return planned_segmentation(stages, place.output, job.execution)  # type: ignore[return-value]

    def segmented() -> Segmentation:
        check_output(output_path, overwrite=overwrite)
        own = nullcontext() if kept is None else kept.locked()
        with own, job_pipeline(place.folder, _purpose(given, does), job.execution) as p:
            try:
                work = Work(given, settings, job, p, chunks, kept is not None, source)
                return _segmented(work, net, place, kept, titled)
            except (RunnerError, RunningError, ResumeConflict, StorageError):
                raise  # what has been computed stays, and may be somebody else's
            except BioimageError:
                p.discard()  # Bad input: going on makes no sense, so nothing is left behind.
                raise

    spec = SourceSpec("file", str(place.output), "0", {"format": "zarr", "mode": "r+"})
    finest = ArrayToBe(source.shape, np.uint64, chunks, axes=source.axes, spec=spec)
    return as_one_call("segment", does, [given], [finest], job.execution, segmented)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Does:
    """What a segmentation computes."""

    settings: Settings
    block_shape: tuple[int, ...] | None
    network: Network | None
    keeps: bool

    def __call__(self, earlier: Any) -> None:
        raise NotImplementedError("it stands for a segmentation, and is none")


def _segmented(work: Work, net: Network | None, place: ResultPlace, kept: KeptFolder | None, name: str) -> Segmentation:
    """The stages of one call, in order."""
    settings, how = work.settings, work.job.execution
    result, threshold = _labelled(work, net, place.result)
    found = work.stage("count", lambda: int(stats.max(result, execution=how)))

    def pyramid() -> None:
        for level in write_pyramid(place.result, method="mode", name=name, label=True, execution=how):
            level.close()

    work.stage("pyramid", pyramid)
    if kept is not None:
        kept.take(work.pipeline.folder / "scratch")
    levels = _publish(place, name)
    return Segmentation(
        str(place.output),
        settings.method,
        found,
        work.source.shape,
        tuple(level.shape for level in levels),
        threshold,
        settings.shown(),
        tuple(work.stages),
        how.num_workers,
        peak_bytes(),
    )


def _labelled(work: Work, net: Network | None, path: Path) -> tuple[Source, float | None]:
    """The array of labels, and the threshold that was found."""
    result = work.made(path, "0", np.uint64)
    if net is not None:
        work.take(net.run(work))
    return result, _METHODS[work.settings.method](work, result)


def _region(given: Source, roi: tuple[slice, ...], method: str, net: Network | None) -> tuple[slice, ...]:
    """A region of the volume as one of the input, with all of its channels."""
    channel = (0 if method == "mutex" else None) if net is None else net.channel_axis(given)
    return roi if channel is None else (*roi[:channel], slice(None), *roi[channel:])


def _publish(place: ResultPlace, name: str) -> list[FileSource]:
    """Put the result in its place, and return its levels."""
    (image,) = read_multiscales(place.result)
    place.publish()
    if place.key and Path(place.key).parent.name == "labels":
        # Once more in its place, for the list of labels in the group above.
        write_multiscales(
            place.container, place.key, levels=image.levels, name=name, method="mode", label=True, source="../../"
        )
    return [open_source(place.output, level, format="zarr") for level, _ in image.levels]


def _chunks(block_shape: Any, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Chunks of which blocks of a shape are made, so that all blocks can run at once; None for the default ones."""
    if block_shape is None:
        return None
    sizes = normalize_block_shape(block_shape, len(shape))
    return tuple(_chunk(size) for size in sizes)


def _chunk(size: int) -> int:
    best = max(n for n in range(1, min(size, _LARGEST_CHUNK) + 1) if size % n == 0)
    return best if best >= _SMALLEST_CHUNK else min(size, 2 * _LARGEST_CHUNK)


def _read_only(told: Any) -> Any:
    """A spec as JSON, without the modes in which its files are open: an input is only read."""
    if isinstance(told, dict):
        return {name: _read_only(value) for name, value in told.items() if name != "mode"}
    return [_read_only(one) for one in told] if isinstance(told, list | tuple) else told


def _purpose(source: Source, does: _Does) -> str | None:
    """What must be equal for a call to go on where another was interrupted; None for an input that can't be told."""
    try:
        spec = source.to_spec()
    except NotReopenableError:
        return None
    told = {
        "input": _read_only(spec.to_dict()),
        "fingerprint": fingerprints([replace(once_stage(does, name="segment"), inputs=(source,))]),
        "settings": asdict(does.settings),
        "block_shape": does.block_shape,
        "version": __version__,
    }
    return json.dumps(told, sort_keys=True)


def _stem(output: Path) -> str:
    return output.name.split(".")[0]
