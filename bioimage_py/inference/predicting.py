"""The operation `predict`: a model over a volume of any size, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from ..arguments import data_type
from ..blocks import automatic_block_shape, common_lattice
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords, in_memory
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..engine.stages import BlocksStage, run_stages
from ..errors import DtypeError, ParameterError, ShapeError
from ..runner.planning.build import Where, plan_groups
from ..sources import Source, as_source
from ..sources.along import working_axes
from ..wrapper.roi import ChannelSource
from ..wrapper.view import ExpandDimsSource, find_axis
from .devices import Devices
from .given import given_model
from .scaling import merge_found
from .shapes import asked_batch, asked_channels, asked_tiling, check_takes
from .tile_blocks import MEASURE, OpenModel, PredictBlock
from .tiling import Tiling
from .values import asked_rounding, asked_scaling, output_type

_BLEND_BYTES = 18
"""Of a voxel and channel while a block is predicted: the sum, and what is written of it."""


@operation(
    axes="space",
    declaration=Declaration(
        relation="exact", kernel="onnxruntime, torch, any function", halo="tile - 1 at most", memory=9.0
    ),
)
def predict(
    input: Any,
    model: Any,
    output: Any = None,
    *,
    tile: Any = None,
    overlap: Any = None,
    margin: Any = 0,
    channels: int | None = None,
    channel_axis: int | str | None = None,
    normalize: Any = None,
    dtype: Any = None,
    scale: float | None = None,
    batch: int | None = None,
    devices: str | Sequence[str] | None = None,
    setup: Callable[..., Any] | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Run a model over a volume, tile by tile, and blend the tiles.

    Tiles begin every ``tile - overlap`` voxels from the first voxel of the volume; the last one of an axis is moved
    back to end with it. They depend on the shape of the volume only, so the result has the same bits for any blocks,
    region, workers and backend, on machines with the same processor (or GPU) and libraries. Where tiles overlap, their
    weights rise linearly from the border of a tile and sum to one at every voxel, also at the border of the volume.
    With an `overlap` of at least twice the model's reach (half its receptive field), and the reach as `margin`, it is
    the result of the model on the whole volume, up to rounding, where the model does the same at every voxel.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data. Without its channel axis (see `channel_axis`) it is the volume
        that `block_shape`, `mask` and `roi` speak of. NaN is given to the model as it is.
    model : callable, str, os.PathLike, OnnxModel, TorchModel or torch.nn.Module
        A function, or a network in a file. ``model(batch)`` gets float32 of shape (batch, channels, z, y, x) and
        returns numbers of this shape, with its own number of channels; of one channel also (batch, z, y, x). Files:
        ``.onnx`` (needs onnxruntime) and TorchScript (``.pt``, ``.pth``, ``.ts``, ``.torchscript``; needs torch).
    output : source-like, optional
        Shape of the volume, with `channels` in front where there are any; float32 numpy array by default.
    tile : int or sequence of int, optional
        Voxels of a tile along the axes of space (or `axes`). By default what an ONNX file has fixed; else 64 for three
        axes, 256 for two, 4096 for one. An axis that is shorter is mirrored to this length, and the result cut.
    overlap : int or sequence of int, optional
        Voxels that neighbouring tiles share, below `tile`; a quarter of it by default.
    margin : int or sequence of int
        Voxels at the border of a tile whose predictions are not used, except at the border of the volume; at most half
        of `overlap`.
    channels : int, optional
        Channels that the model makes, which become the first axis of the output. By default what an ONNX file says if
        that is more than one; else one, without an axis.
    channel_axis : int or str, optional
        Axis of the input that is given to the model as its channels. By default there is none: channels are kept
        apart, and each is predicted by itself.
    normalize : (float, float), sequence of these, "standard" or Percentiles, optional
        ``(shift, width)``: the model gets ``(voxel - shift) / width``; one pair, or one for each channel. "standard":
        mean and standard deviation, `Percentiles`: two percentiles, of the finite voxels of the whole volume (inside of
        the mask), for each channel, by a pass over it; `roi` and `block_ids` don't change them. Percentiles are exact
        for integers of up to 16 bits, else to 0.1 % of their value.
    dtype : dtype_like, optional
        Of an output that is made here, float32 by default.
    scale : float, optional
        Factor for what is written. By default 1, and the largest value of the type for outputs of unsigned integers,
        so that probabilities fill it. Predictions are blended in float64; integers are then rounded to the nearest, of
        two to the even one, and clipped to their range; float16 and float32 to the nearest, and refused beyond it.
    batch : int, optional
        Tiles that the model gets at a time, by default as many as its file says, else 1; in the last batch of a block
        the last tile is repeated. With more than one the bits are the same only if the model computes a tile alike at
        every place of a batch, as networks do.
    devices : str or sequence of str, optional
        ``"cuda"``: the GPUs that a worker sees (``CUDA_VISIBLE_DEVICES``, as a scheduler sets it), dealt out by its
        number. ``["cuda:0", "cuda:1"]``: these. By default the processor.
    setup : callable, optional
        ``setup()``, or ``setup(device)``, is called once a worker process (and device); the model is then called as
        ``model(batch, context=...)`` with its value.

    Returns
    -------
    source-like
        The output. Voxels outside of the mask stay as they are; tiles without a voxel inside of it are not computed.

    Raises
    ------
    ParameterError, ShapeError, DtypeError
        Arguments that do not fit the volume, the model, or each other.
    MissingDependencyError, SourceNotFoundError, FormatError, AccessError
        The file of a model cannot be used.
    ValueRangeError
        NaN for an output of integers (as cause of a `RunnerError`).

    Examples
    --------
    >>> raw = bioimage_py.open_source("volume.zarr", "raw")
    >>> inference.predict(raw, "boundaries.onnx", "volume.zarr/boundaries", dtype="uint8", tile=96, overlap=32,
    ...                   normalize="standard", num_workers=4)

    Notes
    -----
    A block computes every tile that it needs, so tiles at its border are computed by its neighbours, too; but a worker
    keeps those that reach into the next block, and goes on with them if that is its own. Blocks are large by default
    (up to 256³ voxels), which keeps the rest low; `docs/inference.md` has the factors. `memory` does not know what a
    model needs for itself.
    """
    job = Job.of(run)
    parts, job = _volume(as_source(input), channel_axis, job)
    volume = parts[0]
    dealt = Devices.of(devices)
    given = given_model(model, setup, dealt)
    along = job.along(volume)
    several = asked_batch(batch, given)
    check_takes(given, len(along), len(parts), several)
    tiling = asked_tiling(volume, along, job, tile, overlap, margin, given)
    made, led = asked_channels(channels, given)
    scaling = asked_scaling(normalize, len(parts))
    shape = (made, *volume.shape) if led else volume.shape
    wanted = np.dtype(np.float32) if dtype is None else output_type(data_type(dtype))
    like = ExpandDimsSource(volume, 0) if led else volume
    target, returned = prepare_output(output, shape, wanted, job, source=like)
    if dtype is not None and target.dtype != wanted:
        raise DtypeError(f"the output is {target.dtype}, but dtype={wanted}", remedy="leave out dtype=")
    block = PredictBlock(
        tiling, along, made, led, several, asked_rounding(output_type(target.dtype), scale), job.execution.casting
    )
    opening = OpenModel(given.model, dealt, scaling, tuple(part.dtype for part in parts))
    run_stages("predict", _stages(block, opening, parts, target, job), _placed(job, parts, target, tiling, made))
    return returned


def _stages(
    block: PredictBlock, opening: OpenModel, parts: Sequence[Source], target: Source, job: Job
) -> list[BlocksStage]:
    """Look through the volume where the scaling needs it, and predict."""
    volume = parts[0]
    placed = _placed(job, parts, target, block.tiling, block.channels)
    grid = plan_groups(volume.shape, parts, [target], placed.block_shape, job.roi).grid
    halo = block.tiling.halo(grid)
    moved = sum(part.dtype.itemsize for part in parts) + block.channels * target.dtype.itemsize
    stages = []
    if (measure := opening.scaling.measure) is not None:
        cuts = automatic_block_shape(volume.shape, common_lattice([], volume.shape))
        where = Where(block_shape=cuts, mask=job.mask)
        need = 1 + 24 / volume.dtype.itemsize
        stages.append(
            BlocksStage(MEASURE, measure, parts, returns="fold", merge=merge_found, memory_factor=need, where=where)
        )
    held = math.prod(
        size + axis.tile - 1 for size, axis in zip(grid.block_shape[:-1], block.tiling.axes[:-1], strict=True)
    ) * max((axis.tile for axis in block.tiling.axes), default=1)
    voxels = max(1, math.prod(grid.block_shape))
    factor = 1 + block.channels * (_BLEND_BYTES + 4 * held / voxels) / moved
    stages.append(
        BlocksStage(
            "predict",
            block,
            parts,
            [target],
            halo=halo if any(halo) else None,
            setup=opening,
            memory_factor=factor,
        )
    )
    return stages


def _placed(job: Job, parts: Sequence[Source], target: Source, tiling: Tiling, channels: int) -> Job:
    """The job with the blocks of a prediction, and reading ahead while the model works."""
    if job.block_shape is None:
        shape = parts[0].shape
        lattices = common_lattice([(target.write_chunks, target.grid_origin)], shape)
        job = replace(job, block_shape=tiling.block_shape(lattices, channels))
    if job.execution.read_ahead is None and not all(map(in_memory, parts)):
        job = replace(job, execution=job.execution.updated({"read_ahead": True}))
    return job


def _volume(source: Source, channel_axis: int | str | None, job: Job) -> tuple[list[Source], Job]:
    """Channels of an input as volumes of their own, and the job with the axes of these."""
    if source.dtype.kind not in "buif":
        raise DtypeError(f"predict cannot use dtype {source.dtype}", remedy="pass real numbers, for example array.real")
    if channel_axis is None:
        return [source], job
    axis = find_axis(source.axes, channel_axis)
    if not source.shape[axis]:
        raise ShapeError(
            f"the axis {channel_axis!r} of the channels is empty: {source.shape}", remedy="channel_axis=None"
        )
    if job.axes is not None:
        along = working_axes(source.axes, job.axes)
        if axis in along:
            raise ParameterError(
                f"channel_axis={channel_axis!r} is one of axes={job.axes!r}", remedy="leave it out of axes="
            )
        job = replace(job, axes=[one - (one > axis) for one in along])
    return [ChannelSource(source, number, axis) for number in range(source.shape[axis])], job
