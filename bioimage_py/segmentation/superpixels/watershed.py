"""The operation `distance_watershed`: superpixels from boundaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...errors import DtypeError, ParameterError, ShapeError
from ...filters.windows import normalize_sigma
from ...sources import Source, as_source
from ...sources.along import lengths, per_axis, steps_of
from .fragments import Fragments
from .running import find_in_blocks

_SIGMA, _SEED_SIGMA, _HALO = 0.7, 2.0, 8


@operation(
    omit=("block_ids", "resume_from", "skip_empty"),
    axes="space",
    declaration=Declaration("blockwise", "edt, bioimage_cpp.segmentation.watershed", "8", 10.0),
)
def distance_watershed(
    input: Any,
    output: Any = None,
    *,
    threshold: float = 0.15,
    sigma: float | Sequence[float] | None = None,
    seed_sigma: float | Sequence[float] | None = None,
    alpha: float = 0.8,
    min_size: int = 100,
    sampling: float | Sequence[float] | None = None,
    halo: int | Sequence[int] | None = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Superpixels: pieces of objects that no boundary crosses, for a region graph to be made of.

    Boundaries are smoothed. Seeds are the local maxima of the (smoothed) distance to the nearest boundary; they are
    grown over heights in which boundaries and the nearness of boundaries are mixed. Pieces smaller than `min_size` are
    dropped, and the others grow into their place.

    Each block is flooded once, together with a few voxels around it, and its pieces end at its faces: a region graph
    has edges across these faces, on which there is no boundary, so `multicut` joins them again. Ids are dense, 1 to
    their number, in the order of the blocks; each piece hangs together. The same blocks give the same bits on every
    backend.

    Parameters
    ----------
    input : source-like
        That a voxel lies on a boundary, 0 to 1 (or integers, of which the largest of their type is 1; NaN is a
        boundary). Flooded along 2 or 3 axes: ``axes="yx"`` takes every plane of a stack for itself, as suits data with
        thick sections.
    output : source-like, optional
        Integers of the same shape; by default a uint64 numpy array.
    threshold : float, default 0.15
        Voxels of (smoothed) boundaries from here on have the distance 0. Low, since a fragment too many costs little.
    sigma : float or sequence of float, optional
        Smoothing of the boundaries in voxels, by default 0.7; 0 for none.
    seed_sigma : float or sequence of float, optional
        Smoothing of the distance before its maxima are sought, in voxels, by default 2; larger means fewer pieces. 0
        for none.
    alpha : float, default 0.8
        Part of the boundaries in the heights, 0 to 1.
    min_size : int, default 100
        In voxels; 0 keeps all.
    sampling : float or sequence of float, optional
        Distance between voxels along the axes worked along, default 1.
    halo : int or sequence of int, optional
        Voxels around a block that are flooded with it, default 8.
    physical : bool, default False
        `sigma` and `seed_sigma` are in the units of the input's axes, which say the distance between voxels instead of
        `sampling`. What is not given is, along each axis, as long as so many voxels of the finest one. Thresholds and
        `min_size` stay as they are.

    Returns
    -------
    object
        The output. 0 where the mask is 0.

    Raises
    ------
    ShapeError
        Not 2 or 3 axes to work along.
    DtypeError
        Boundaries that are no numbers, or an output that is not integer.
    ParameterError
        A parameter out of its range; or, where `physical` is set, axes of different units or without one.
    ValueRangeError
        Floats that are not between 0 and 1, such as grey values (as cause of a `RunnerError` when blocks found them).

    Notes
    -----
    After Andres et al., "3D segmentation of SBFSEM images of neuropil by a graphical model over supervoxel
    boundaries", 2012, and Beier et al., "Multicut brings automated neurite segmentation closer to human performance",
    2017. Kernels: edt, scipy, connected-components-3d, bioimage-cpp.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> boundaries = np.zeros((20, 20), np.float32)
    >>> boundaries[:, 10] = 1
    >>> int(bp.segmentation.distance_watershed(boundaries).max())
    2
    """
    job = Job.of(run)
    source = as_source(input)
    along = job.along(source)
    _check(source, along, threshold, alpha, min_size)
    steps = steps_of([source.axes[axis] for axis in along], sampling, name="sampling", physical=physical)
    # distances count in voxels of the finest axis: heights, which mix boundaries with them, do not depend on the unit
    finest = min(steps) if physical else 1.0
    share = [finest / step if physical else 1.0 for step in steps]
    kernel = Fragments(
        float(threshold),
        _sigmas(sigma, [_SIGMA * one for one in share], "sigma", source, job, physical),
        _sigmas(seed_sigma, [_SEED_SIGMA * one for one in share], "seed_sigma", source, job, physical),
        tuple(step / finest for step in steps),
        float(alpha),
        int(min_size),
    )
    margin = per_axis(
        [math.ceil(_HALO * one) for one in share] if halo is None else halo,
        source.axes,
        along,
        name="halo",
        elsewhere=0,
    )
    return find_in_blocks("distance_watershed", kernel, [source], output, job, along, margin)


def _check(source: Source, along: Sequence[int], threshold: Any, alpha: Any, min_size: Any) -> None:
    if len(along) not in (2, 3):
        raise ShapeError(
            f"distance_watershed floods along 2 or 3 axes, not {len(along)} of an input of shape {source.shape}",
            remedy='axes="zyx"',
        )
    if source.dtype.kind not in "buif":
        raise DtypeError(f"boundaries are numbers, got {source.dtype}", remedy="a channel of probabilities")
    for name, value, low, high in (("threshold", threshold, 0, 1), ("alpha", alpha, 0, 1)):
        if isinstance(value, str) or not low <= value <= high:
            raise ParameterError(f"{name} lies between {low} and {high}, got {value!r}", remedy=f"{name}=0.5")
    if isinstance(min_size, bool) or not isinstance(min_size, int | np.integer) or min_size < 0:
        raise ParameterError(f"min_size is a number of voxels, got {min_size!r}", remedy="min_size=100")


def _sigmas(
    sigma: Any, usual: Sequence[float], name: str, source: Source, job: Job, physical: bool
) -> tuple[float, ...]:
    """Smoothing in voxels per axis worked along; empty where there is none."""
    given = None if sigma is None else lengths(sigma, source.axes, job.axes, name=name, physical=physical)
    values = list(usual) if given is None else [given[axis] for axis in job.along(source)]
    if all(np.ndim(value) == 0 and not isinstance(value, str) and value == 0 for value in values):
        return ()
    return normalize_sigma(values, len(values), name)
