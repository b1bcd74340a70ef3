"""The operation `trace`: objects as lines along their middle, in formats that viewers open."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

from ..arguments import number
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import BlocksStage, ItemsStage, OnceStage, run_stages
from ..errors import ParameterError
from ..per_object.choosing import choice_of
from ..per_object.context import Level
from ..per_object.folder import Begin, Publish, output_folder
from ..per_object.listing import ListObjects
from ..per_object.shards import ChooseSharding
from ..per_object.volume import volume_of
from ..runner.planning.build import plan_groups
from .cleaning import Cleaning
from .files import WriteLines, info_of
from .skeleton_blocks import COLUMNS, FindSkeletons, Finished, Table, WriteSkeletons, WriteSkeletonShards
from .tracing import Teasar

if TYPE_CHECKING:
    import pandas as pd

_BLOCK, _AROUND = 256, 16


@operation(
    omit=("mask", "block_ids", "skip_empty", "casting", "debug"),
    axes="space",
    declaration=Declaration("blockwise", "bioimage_cpp.skeleton.distributed, edt", "16, or soma_radius", 30.0),
)
def trace(
    labels: Any,
    output: str | os.PathLike[str],
    *,
    format: Literal["precomputed", "swc"] = "precomputed",
    ids: Sequence[int] | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    scale: float = 1.5,
    constant: float | None = None,
    tick_length: float | None = None,
    min_length: float = 0.0,
    soma_radius: float | None = None,
    sharded: bool = False,
    sampling: float | Sequence[float] | None = None,
    overwrite: bool = False,
    **run: Unpack[RunKeywords],
) -> pd.DataFrame:
    """Write the skeleton of every object: lines along its middle, with the radius at each point.

    Blockwise: where an object passes from one block into the next, both have the same point in the middle of where they
    meet, so a line is never broken; the cable length of neurites is that of the whole array within 3 %. Radii are
    exact up to 16 voxels (or `soma_radius`).

    Parameters
    ----------
    labels : source-like
        Volume of three axes of space, any integer type; 0 is background. Ids up to 2^64 - 1. Axes of one index (a
        channel) are left out.
    output : path
        Local folder, which has its name when everything in it is written.
    format : {"precomputed", "swc"}
        Neuroglancer's skeletons, in nanometers from the corner of the first voxel; or a file ``<id>.swc`` for each
        object, in the unit of the data.
    ids : sequence of int, optional
        These objects only.
    min_size, max_size : int, optional
        Voxels of an object; others are left out.
    scale, constant : float
        A branch is a line of its own where it goes farther from the others than ``scale`` times the radius there, plus
        ``constant`` (in the unit of the data; by default 8 times the smallest size of a voxel).
    tick_length : float, optional
        Ends shorter than this are removed, by default those shorter than `constant`.
    min_length : float, default 0
        Pieces of an object with a shorter cable length are removed.
    soma_radius : float, optional
        Where the radius is this or more lies a soma: one vertex, from which straight lines lead to what leaves it. By
        default somata are nothing special.
    sharded : bool, default False
        Put the objects of "precomputed" into few files.
    sampling : float or sequence of float, optional
        Size of a voxel along each axis that is worked along; by default as the data's axes say. The offset of the
        whole array is 0 then, its unit that of the axes, if they have one in common.
    overwrite : bool, default False
        Replace what such a call has written there before; its folder stays until the new one is whole. Refused where
        other files are in it.

    Returns
    -------
    pandas.DataFrame
        A row an object, sorted by id: ``label`` (uint64), ``cable_length`` (in the unit of the data), ``vertices``,
        ``ends``, ``branches``, ``pieces``, ``largest_radius``.

    Raises
    ------
    ParameterError, ArgumentError, ShapeError, DtypeError
        Bad input, before anything is read; a negative label as cause of a `RunnerError`.

    Notes
    -----
    TEASAR: M. Sato et al. 2000. A run that was killed is continued by the same call.

    Examples
    --------
    >>> import bioimage_py as bp
    >>> bp.skeleton.trace("labels.zarr", "skeletons", format="swc", soma_radius=3.0)  # doctest: +SKIP
    """
    import pandas as pd

    job = Job.of(run)
    if format not in ("precomputed", "swc"):
        raise ParameterError(f"format={format!r} is neither 'precomputed' nor 'swc'", remedy='format="swc"')
    if sharded and format != "precomputed":
        raise ParameterError(f"sharded=True needs format='precomputed', got {format!r}", remedy="sharded=False")
    choice = choice_of(ids, min_size, max_size)
    volume = volume_of(labels, job, sampling, "skeleton.trace")
    steps = volume.place.steps
    constant = 8 * min(steps) if constant is None else float(number("constant", constant, least=0, example=8.0))
    ticks = constant if tick_length is None else float(number("tick_length", tick_length, least=0, example=8.0))
    soma = math.inf if soma_radius is None else float(number("soma_radius", soma_radius, least=0, example=3.0))
    dust = float(number("min_length", min_length, least=0, example=10.0))
    teasar = Teasar(steps, float(number("scale", scale, least=0, example=1.5)), constant)
    folder = output_folder(output, overwrite=overwrite)
    source, shape = volume.source, tuple(volume.source.shape)
    job = replace(job, roi=None)
    if job.block_shape is None:
        job = replace(job, block_shape=tuple(min(_BLOCK, size) for size in shape))
    halo = [max(_AROUND, math.ceil(soma / step) + 1 if soma < math.inf else 0) for step in steps]
    grid = plan_groups(shape, [source], [], job.block_shape, None).grid
    place = volume.place.as_neuroglancer() if format == "precomputed" else volume.place
    info = info_of() if format == "precomputed" else None
    write = WriteLines(format, place, place.steps[0] / steps[0], soma)
    finished = Finished(Cleaning(steps, ticks, dust, soma, teasar.scale, teasar.constant))
    last: Any = (
        WriteSkeletonShards(folder.path, finished, write, grid.n_blocks)
        if sharded
        else WriteSkeletons(folder.path, finished, write)
    )
    stages: list[BlocksStage | ItemsStage | OnceStage] = [
        OnceStage("begin", Begin(folder.path, overwrite)),
        BlocksStage(
            "skeletons",
            FindSkeletons(choice, teasar, shape),
            [source],
            halo=halo,
            returns="each",
            memory_factor=4.0 + 40.0 / source.dtype.itemsize,
            mapped=True,
        ),
        OnceStage("objects", ListObjects("skeletons", choice)),
        *([OnceStage("sharding", ChooseSharding())] if sharded else []),
        ItemsStage("write", last, grid.n_blocks, Level(("skeletons",)), folder=folder),
        OnceStage("table", Table()),
        OnceStage("publish", Publish(folder.path, info, overwrite, place.scale, "sharding" if sharded else None)),
    ]
    labels_of, rows = run_stages("trace", stages, job).results["table"]
    columns = {name: rows[:, n] if n in (0, 5) else rows[:, n].astype("int64") for n, name in enumerate(COLUMNS)}
    return pd.DataFrame({"label": labels_of, **columns})
