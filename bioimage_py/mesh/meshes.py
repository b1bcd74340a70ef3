"""The operation `surfaces`: objects as triangle meshes, in formats that viewers open."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack

from ..arguments import number
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import BlocksStage, ItemsStage, OnceStage, run_stages
from ..errors import ParameterError
from ..extras import need
from ..per_object.choosing import choice_of
from ..per_object.context import Level
from ..per_object.folder import Begin, Publish, output_folder
from ..per_object.listing import ListObjects
from ..per_object.shards import ChooseSharding
from ..per_object.volume import volume_of
from ..runner.planning.build import plan_groups
from .cells import Cells
from .files import WriteFile
from .larger_voxels import ANEW, LARGE, FindLarge
from .levels_of_detail import EncodeObject, WriteShards, WriteUnsharded, bits_of, info_of
from .surface_blocks import FindSurfaces, JoinCells, MakeAnew, WriteObjects

Format = Literal["precomputed", "legacy", "ply", "obj", "stl", "glb"]

_FORMATS = ("precomputed", "legacy", "ply", "obj", "stl", "glb")
_LEVELS = 5
_BLOCK = 128
_LEAST = 2**20


@operation(
    omit=("mask", "block_ids", "skip_empty", "casting", "debug"),
    axes="space",
    declaration=Declaration("exact", "bioimage_cpp.mesh.marching_cubes, pyfqmr", "1", 12.0),
)
def surfaces(
    labels: Any,
    output: str | os.PathLike[str],
    *,
    format: Format = "precomputed",
    ids: Sequence[int] | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    max_error: float = 0.0,
    levels: int | None = None,
    sharded: bool = False,
    fill_holes: bool = False,
    sampling: float | Sequence[float] | None = None,
    overwrite: bool = False,
    **run: Unpack[RunKeywords],
) -> int:
    """Write the surface of every object as a mesh.

    Surfaces are closed, seen from outside, and the same for any blocks where nothing is simplified: seams have the very
    vertices that the surface of the whole array has. Where they are simplified (``max_error``, coarser levels), blocks
    decide which triangles are joined, seams keep fewer vertices, the same ones on both sides, and surfaces stay closed.
    An object may be larger than memory.

    Parameters
    ----------
    labels : source-like
        Volume of three axes of space, any integer type; 0 is background. Ids up to 2^64 - 1. Axes of one index (a
        channel) are left out.
    output : path
        Local folder, which has its name when everything in it is written.
    format : {"precomputed", "legacy", "ply", "obj", "stl", "glb"}
        Neuroglancer's meshes with levels of detail (Draco); its older ones of one level; or a file ``<id>.ply``, ...
        for each object. Positions are x, y, z: in nanometers from the corner of the first voxel for Neuroglancer, else
        in the unit of the data, where the centre of voxel 0 lies at the offset of its axis (0 where there is none).
    ids : sequence of int, optional
        These objects only.
    min_size, max_size : int, optional
        Voxels of an object; others are left out.
    max_error : float, default 0
        How far a simplified surface may be from the planes of the triangles that it replaces, in the unit of the data.
        0 simplifies nothing.
    levels : int, optional
        Levels of detail of "precomputed": each has cells twice as large as the one before, and twice its error, which
        begins with a voxel, or twice `max_error`. By default up to 5, as many as it takes until one cell has all. An
        object that has too many triangles for a cell all the same is made of larger voxels from there on (Notes).
    sharded : bool, default False
        Put the objects of "precomputed" into few files.
    fill_holes : bool, default False
        Leave out the surfaces of cavities.
    sampling : float or sequence of float, optional
        Size of a voxel along each axis that is worked along; by default as the data's axes say. The offset of the
        whole array is 0 then, its unit that of the axes, if they have one in common.
    overwrite : bool, default False
        Replace what such a call has written there before; its folder stays until the new one is whole. Refused where
        other files are in it.

    Returns
    -------
    int
        Number of objects written.

    Raises
    ------
    ParameterError, ArgumentError, ShapeError, DtypeError
        Bad input, before anything is read; a negative label as cause of a `RunnerError`.
    MissingDependencyError
        A library of the extra ``meshes`` is missing.

    Notes
    -----
    Voxels of level ``n`` are ``2 ** (n + 1)`` as wide as those of the labels, and an object's where it has any voxel;
    their surface is within 1.25 of their width of the exact one, 2.1 at the ends of the volume.

    Positions of "precomputed" have 10 bits in each cell where that is less than a 16th of `max_error`, which halves the
    files, else 16.

    Marching cubes: W. Lorensen, H. Cline 1987. Simplification: M. Garland, P. Heckbert 1997. A run that was killed is
    continued by the same call. Pieces of blocks lie in the run's folder until it ends, about 25 bytes a triangle.

    Examples
    --------
    >>> import bioimage_py as bp
    >>> bp.mesh.surfaces("labels.zarr", "meshes", format="ply", min_size=100)  # doctest: +SKIP
    12
    """
    job = Job.of(run)
    if format not in _FORMATS:
        raise ParameterError(f"format={format!r} is none of {_FORMATS}", remedy='format="precomputed"')
    if sharded and format != "precomputed":
        raise ParameterError(f"sharded=True needs format='precomputed', got {format!r}", remedy="sharded=False")
    if levels is not None and (format != "precomputed" or number("levels", levels, least=1) != int(levels)):
        raise ParameterError(f"levels={levels!r} with format={format!r}", remedy="levels=3, format='precomputed'")
    error = float(number("max_error", max_error, least=0.0, example=0.0))
    choice = choice_of(ids, min_size, max_size)
    if format == "precomputed":
        need("DracoPy", "format='precomputed'")
    if error or (format == "precomputed" and levels != 1):
        need("pyfqmr", "simplified meshes")
    volume = volume_of(labels, job, sampling, "mesh.surfaces", padded=True)
    folder = output_folder(output, overwrite=overwrite)
    job = replace(job, roi=None)
    if job.block_shape is None:
        job = replace(job, block_shape=tuple(min(_BLOCK, size) for size in volume.source.shape))
    grid = plan_groups(volume.source.shape, [volume.source], [], job.block_shape, None).grid
    finest = Cells(0, tuple(grid.grid_shape), tuple(grid.block_shape))
    cells = _levels(finest, levels if format == "precomputed" else 1)
    steps = volume.place.steps
    # a plane of the blocks before: near, its chunks are read again; they would take more memory than all else
    far = any(part.remote for part in volume.source.parts)
    begin = 2 * error or min(steps)
    stages: list[BlocksStage | ItemsStage | OnceStage] = [
        OnceStage("begin", Begin(folder.path, overwrite)),
        BlocksStage(
            "surfaces",
            FindSurfaces(choice, error, steps),
            [volume.source],
            halo=int(far),
            returns="each",
            memory_factor=4.0 + 40.0 / volume.source.dtype.itemsize,
            holds_gil=error > 0,  # one thread at a time simplifies
            mapped=True,
        ),
        OnceStage("objects", ListObjects("surfaces", choice)),
    ]
    names = ["surfaces"]
    most = _most(finest)
    for level in cells[1:]:
        coarse = begin * 2 ** (level.level - 1)
        join, anew = JoinCells(level, coarse, steps, most), MakeAnew(level, coarse, steps, volume.source)
        names.append(f"level {level.level}")
        stages.append(ItemsStage(names[-1], join, level.n, Level(tuple(names[:-1])), mapped=True))
        stages.append(OnceStage(LARGE.format(level.level), FindLarge(level, names[-1])))
        stages.append(ItemsStage(ANEW.format(level.level), anew, level.n, anew.setup, mapped=True))
    if sharded:
        stages.append(OnceStage("sharding", ChooseSharding()))
    place = volume.place.as_neuroglancer() if format in ("precomputed", "legacy") else volume.place
    info: dict[str, Any] | None = None
    if format == "precomputed":
        bits = bits_of(finest, error, steps)
        encode = EncodeObject(tuple(cells), place, bits, fill_holes)
        one: WriteShards | WriteUnsharded | WriteObjects
        one = WriteShards(folder.path, encode, finest.n) if sharded else WriteUnsharded(folder.path, encode)
        info = info_of(place, bits)
    else:
        one = WriteObjects(folder.path, finest, WriteFile(format, place), fill_holes)
        info = {"@type": "neuroglancer_legacy_mesh"} if format == "legacy" else None
    stages.append(ItemsStage("write", one, finest.n, Level(tuple(names)), folder=folder))
    publish = Publish(folder.path, info, overwrite, place.scale, "sharding" if sharded else None)
    stages.append(OnceStage("publish", publish))
    return len(run_stages("surfaces", stages, job).results["objects"].ids)


def _levels(finest: Cells, wanted: int | None) -> list[Cells]:
    """The levels of detail: until one cell has all, and at most as many as are wanted."""
    found = [finest]
    while len(found) < (wanted or _LEVELS) and found[-1].n > 1:
        found.append(Cells(len(found), finest.finest, finest.block_shape))
    return found


def _most(finest: Cells) -> int:
    """Bytes that an object may have in eight cells that are joined: this is to take no more than a block does."""
    return max(_LEAST, 4 * math.prod(finest.block_shape))
