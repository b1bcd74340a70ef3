"""The operations `stitch_segmentation` and `stitch_tiled_segmentation`: one segmentation made of that of tiles."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from ...arguments import number
from ...blocks import region_bounds
from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...engine.outputs import prepare_output
from ...engine.stages import BlocksStage, OnceStage, run_stages
from ...errors import ParameterError, ShapeError
from ...runner.planning.build import Where
from ...runner.planning.checks import check_function
from ...sources import Source, as_source
from ...sources.along import per_axis
from ...sources.run_array import RunArray
from ...wrapper.combine import MultiTransformationSource
from ...wrapper.roi import RoiSource
from .. import tables
from .joining import Criterion, JoinTiles, WriteStitched, stitched
from .tile_blocks import CompareTile, SegmentTile, inside_only
from .tiles import Slots, SlotSource, TiledSource, Tiling

_OMIT = ("block_ids", "resume_from", "skip_empty")


@operation(
    omit=_OMIT,
    axes="space",
    declaration=Declaration(
        "blockwise", "segmentation_function, bioimage_cpp.graph.multicut", halo="tile_overlap", memory=4.0
    ),
)
def stitch_segmentation(
    input: Any,
    segmentation_function: Callable[..., Any],
    tile_shape: Any,
    tile_overlap: Any,
    output: Any = None,
    *,
    beta: float = 0.5,
    shape: Sequence[int] | None = None,
    with_background: bool = True,
    return_before_stitching: bool = False,
    criterion: Criterion = "multicut",
    threshold: float = 0.5,
    **run: Unpack[RunKeywords],
) -> Any:
    """Segment a volume tile by tile with a function of one's own, and join the objects that tiles have in common.

    Every tile is segmented together with its surroundings, so that two neighbours both have labels of the voxels
    around the border between them; objects that agree there become one.

    Parameters
    ----------
    input : source-like
        The volume.
    segmentation_function : callable
        ``segmentation_function(tile, tile_id) -> labels``: gets an array and returns integers >= 0 of its shape along
        the axes of space (or `axes`). Ids count within the tile; they may be any up to 2^64 - 1.
    tile_shape, tile_overlap : int or sequence of int
        Voxels of a tile, and of its surroundings to each side (as far as the volume goes), along the axes of space.
    output : source-like, optional
        Integers; allocated as uint64 numpy array by default.
    beta : float, default 0.5
        For "multicut": above 0, below 1; larger ones join less.
    shape : sequence of int, optional
        Shape of the result, where the input has more axes (channels) behind or in front of these; the function gets
        all channels of its tile at once.
    with_background : bool, default True
        Label 0 is background. With False it is an object like any other.
    return_before_stitching : bool, default False
        Also return what the tiles held, with different ids in different tiles. Not with workers in other processes.
    criterion : {"multicut", "iou", "max_overlap"}
        When objects of neighbouring tiles that touch at their border are one. "multicut": by what is best on the whole,
        from the share of the later tile's object that the other covers, while objects that touch within a tile repel
        each other. "iou", "max_overlap": where their overlap over the union, or over the smaller of the two, is at
        least `threshold`; everything is counted in the voxels that both tiles have labels of.
    threshold : float, default 0.5
        For "iou" and "max_overlap": above 0, at most 1.

    Returns
    -------
    object or tuple
        The output, objects numbered 1..n in the order of tiles, 0 where the mask is 0. Tiles of which the mask leaves
        nothing are not segmented. With ``return_before_stitching`` a pair.

    Raises
    ------
    ShapeError, ParameterError
        Tiles, a shape or a criterion that make no sense; labels of another shape than the tile (as cause of a
        `RunnerError`).
    DtypeError
        An output that is not integer; labels that are none (as cause of a `RunnerError`).
    ValueRangeError
        More objects than the output's type can number (as cause of a `RunnerError`); nothing has been written then.

    Notes
    -----
    With `roi` the region is treated as a volume of its own. The tiles' labels are kept in the run's folder, so that
    an unfinished call that is repeated segments only the tiles that are missing. The result depends on the tiles,
    not on blocks, workers or the backend. Channels and times are segmented each for themselves unless `shape` or
    `axes` say otherwise.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> image = np.repeat([0, 1, 1, 1, 0, 1], 2)
    >>> bp.segmentation.stitch_segmentation(
    ...     image, lambda tile, tile_id: bp.segmentation.label(tile), 4, 2, progress=False
    ... )
    array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 2, 2], dtype=uint64)
    """
    job, source = Job.of(run), as_source(input)
    check_function(segmentation_function, 2)
    parts, lead, trail = _parts(source, shape)
    volume = parts[0]
    along, region = job.along(volume), _region(job, volume)
    parts = [_within(part, region) for part in parts]
    tile = _per_axis(tile_shape, volume, job, "tile_shape", 1, 1)
    overlap = _per_axis(tile_overlap, volume, job, "tile_overlap", 0, 0)
    tiling = Slots(tuple(parts[0].shape), _fitting(tile, parts[0]), overlap)
    mask = _mask(job, volume, with_background)
    if mask is not None:
        mask = SlotSource(_within(mask, region), tiling.tile, tiling.overlap)
    slots = RunArray("tiles", tiling.stored_shape, np.uint64, tiling.chunks)
    kept = tuple(axis for axis in range(volume.ndim) if axis not in along)
    segment = BlocksStage(
        "segment",
        SegmentTile(segmentation_function, tiling, kept, lead, trail),
        [SlotSource(part, tiling.tile, tiling.overlap) for part in parts],
        [slots],
        where=Where(block_shape=tiling.pitch, mask=mask),
        memory_factor=4.0,
    )
    view = TiledSource(slots, tiling.shape, tiling.tile, tiling.overlap)
    how = _Joining(criterion, beta, threshold, False, with_background)
    return _stitched(
        "stitch_segmentation",
        [segment],
        (slots, view),
        tiling,
        along,
        how,
        output,
        job,
        volume,
        before=return_before_stitching,
    )


@operation(
    omit=_OMIT,
    axes="space",
    declaration=Declaration("blockwise", "bioimage_cpp.graph.multicut", halo="overlap", memory=4.0),
)
def stitch_tiled_segmentation(
    segmentation: Any,
    tile_shape: Any,
    output: Any = None,
    *,
    overlap: int = 1,
    with_background: bool = True,
    beta: float = 0.5,
    criterion: Criterion = "multicut",
    threshold: float = 0.5,
    unique: bool = True,
    **run: Unpack[RunKeywords],
) -> Any:
    """Join the objects of a segmentation that was made tile by tile, without overlap.

    Parameters
    ----------
    segmentation : source-like
        Labels >= 0, any integer type.
    tile_shape : int or sequence of int
        Voxels of a tile along the axes of space (or `axes`).
    output : source-like, optional
        Integers; allocated as uint64 numpy array by default; may be the input.
    overlap : int, default 1
        So many planes at each side of a border are laid onto each other and compared.
    with_background, beta, criterion, threshold
        As for `stitch_segmentation`.
    unique : bool, default True
        Ids are those of the volume: one that occurs in several tiles is one object. With False every tile has numbered
        its own.

    Returns
    -------
    object
        The output, objects numbered 1..n in the order of tiles, 0 where the mask is 0.

    Raises
    ------
    ShapeError, ParameterError, DtypeError, ValueRangeError
        As `stitch_segmentation`.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> tiles = np.array([[0, 1, 5, 5], [0, 1, 5, 0], [2, 2, 0, 0]])
    >>> bp.segmentation.stitch_tiled_segmentation(tiles, (3, 2), progress=False)
    array([[0, 1, 1, 1],
           [0, 1, 1, 0],
           [2, 2, 0, 0]], dtype=uint64)
    """
    job, source = Job.of(run), as_source(segmentation)
    tables.check_label_dtype(source.dtype, "the segmentation")
    along = job.along(source)
    depth = tables.whole_number(overlap, "overlap")
    if not depth:
        raise ParameterError("overlap=0: there is nothing to compare", remedy="overlap=1")
    region = _region(job, source)
    inside = _within(source, region)
    tile = _fitting(_per_axis(tile_shape, source, job, "tile_shape", 1, 1), inside)
    tiling = Tiling(tuple(inside.shape), tile, (depth,) * source.ndim)
    how = _Joining(criterion, beta, threshold, unique, with_background)
    if (mask := _mask(job, source, with_background)) is not None:
        inside = MultiTransformationSource(inside_only, inside, _within(mask, region), dtype=source.dtype)
    return _stitched(
        "stitch_tiled_segmentation", [], (inside, inside), tiling, along, how, output, job, source, before=False
    )


@dataclass(frozen=True)
class _Joining:
    """How objects are joined, checked."""

    criterion: Criterion
    beta: float
    threshold: float
    unique: bool
    with_background: bool

    def __post_init__(self) -> None:
        if self.criterion not in ("multicut", "iou", "max_overlap"):
            raise ParameterError(
                f"criterion={self.criterion!r} is unknown", remedy='criterion="multicut", "iou" or "max_overlap"'
            )
        if not 0 < number("beta", self.beta, example=0.5) < 1:
            raise ParameterError(f"beta={self.beta!r} is not above 0 and below 1", remedy="beta=0.5")
        if not 0 < number("threshold", self.threshold, example=0.5) <= 1:
            raise ParameterError(f"threshold={self.threshold!r} is not above 0 and at most 1", remedy="threshold=0.5")


def _stitched(
    name: str,
    first: list[BlocksStage],
    labels: tuple[Source, Source],
    tiling: Tiling,
    along: tuple[int, ...],
    how: _Joining,
    output: Any,
    job: Job,
    volume: Source,
    *,
    before: bool,
) -> Any:
    """Compare tiles, join, and write: ``labels`` are those of the tiles as they are stored, and as a volume."""
    target, returned = prepare_output(output, tuple(volume.shape), np.uint64, job, source=volume)
    tables.check_output_dtype(target.dtype, name)
    targets, more = [target], None
    if before:
        other, more = prepare_output(None, tuple(volume.shape), np.uint64, replace(job, chunks=None, shards=None))
        targets.append(other)
    targets = [_within(one, _region(job, volume)) for one in targets]
    limit = target.dtype if job.execution.casting == "checked" else None
    step = tiling.pitch if isinstance(tiling, Slots) else tiling.tile
    stages: list[BlocksStage | OnceStage] = [
        *first,
        BlocksStage(
            "compared",
            CompareTile(tiling, along, how.with_background),
            [labels[0]],
            where=Where(block_shape=step),
            returns="each",
            memory_factor=4.0,
        ),
        OnceStage("join", JoinTiles(how.criterion, how.beta, how.threshold, how.unique, limit)),
        BlocksStage("write", WriteStitched(tiling), [labels[1]], targets, setup=stitched, memory_factor=3.0),
    ]
    run_stages(name, stages, replace(job, mask=None, roi=None))
    return (returned, more) if before else returned


def _mask(job: Job, volume: Source, with_background: bool) -> Source | None:
    if job.mask is None:
        return None
    mask = as_source(job.mask)
    if mask.shape != volume.shape:
        raise ShapeError(
            f"the mask has the shape {mask.shape}, the volume {volume.shape}", remedy=f"a mask of shape {volume.shape}"
        )
    if not with_background:
        raise ParameterError("what lies outside of a mask is background", remedy="with_background=True")
    return mask


def _region(job: Job, volume: Source) -> tuple[slice, ...] | None:
    """What the call works on, as if it were a volume of its own; None for all of it."""
    if job.roi is None:
        return None
    return tuple(slice(begin, end) for begin, end in region_bounds(job.roi, volume.shape))


def _within(source: Source, region: tuple[slice, ...] | None) -> Source:
    return source if region is None else RoiSource(source, region)


def _fitting(tile: tuple[int, ...], volume: Source) -> tuple[int, ...]:
    return tuple(min(one, max(1, size)) for one, size in zip(tile, volume.shape, strict=True))


def _per_axis(value: Any, source: Source, job: Job, name: str, elsewhere: int, least: int) -> tuple[int, ...]:
    given = per_axis(value, source.axes, job.axes, name=name, elsewhere=elsewhere)
    values = list(given) if hasattr(given, "__len__") else [given] * source.ndim
    if len(values) != source.ndim:
        raise ShapeError(
            f"{name}={value!r} has {len(values)} entries for {source.ndim} axes",
            remedy=f"{name}={(least,) * source.ndim}",
        )
    sizes = tuple(tables.whole_number(one, name) for one in values)
    if min(sizes, default=least) < least:
        raise ParameterError(f"{name}={value!r} has an entry below {least}", remedy=f"{name}={(32,) * len(values)}")
    return sizes


def _parts(source: Source, shape: Sequence[int] | None) -> tuple[list[Source], tuple[int, ...], tuple[int, ...]]:
    """The channels of an input as volumes of a shape, and the sizes of the axes in front of and behind these."""
    try:
        wanted = source.shape if shape is None else tuple(map(operator.index, shape))
    except TypeError:
        raise ParameterError(f"shape={shape!r} is not made of whole numbers", remedy=f"shape={source.shape}") from None
    more = source.ndim - len(wanted)
    if source.shape == wanted:
        return [source], (), ()
    behind, front = source.shape[len(wanted) :], source.shape[:more]
    if more > 0 and 0 not in behind and source.shape[: len(wanted)] == wanted:
        space = (slice(None),) * len(wanted)
        return [RoiSource(source, (*space, *index), squeeze=True) for index in np.ndindex(*behind)], (), behind
    if more > 0 and 0 not in front and source.shape[more:] == wanted:
        return [RoiSource(source, index, squeeze=True) for index in np.ndindex(*front)], front, ()
    raise ShapeError(
        f"shape={wanted} is neither the begin nor the end of the input's shape {source.shape}",
        remedy=f"shape={source.shape[:2]}, for channels behind two axes of space",
    )
