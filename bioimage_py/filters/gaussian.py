"""Gaussian smoothing of volumes of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from ..engine.job import Job, RunKeywords
from ..engine.mapping import run_map
from ..engine.operation import operation
from ..sources import as_source
from ..sources.along import per_axis
from .gaussian_kernel import Gaussian, normalize_sigma, smoothed_dtype


@operation(axes="space")
def gaussian_smoothing(
    input: Any, sigma: float | Sequence[float], output: Any = None, **run: Unpack[RunKeywords]
) -> Any:
    """Smooth with a Gaussian.

    The window is the sampled Gaussian up to ``ceil(3 sigma)`` voxels to each side, normalised to one. Beyond the volume
    the values are mirrored about the centre of the border voxel (``d c b | a b c d | c b a``, scipy's
    ``mode="mirror"``). Block by block it differs from the whole-array result by rounding only: at most 1e-6 times the
    largest magnitude of the input for float32 results, 1e-14 times it for float64.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    sigma : float or sequence of float
        Standard deviation in voxels, above 0: one for the axes of space (or `axes`), one for each of them, or one for
        every axis of the input in array order.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. Integer outputs get truncated values. May not share
        storage with the input where blocks are used.

    Returns
    -------
    source-like
        `output`, or a float32 array of the input's shape (float64 for float64 input).

    Raises
    ------
    ParameterError
        If sigma is not positive and finite, or has the wrong number of values.
    DtypeError
        For complex and other non-numeric data.
    """
    job = Job.of(run)
    source = as_source(input)
    along: Sequence[int] = job.along(source)
    sigmas = per_axis(sigma, source.axes, job.axes, name="sigma", elsewhere=None)
    if len(along) < source.ndim:
        along = [axis for axis, value in enumerate(sigmas) if axis in along or value is not None]
        sigmas = [sigmas[axis] for axis in along]
    kernel = Gaussian(normalize_sigma(sigmas, len(along)))
    dtype = smoothed_dtype(source.dtype)
    return run_map(
        kernel,
        [source],
        output,
        job,
        name="gaussian_smoothing",
        dtype=dtype,
        halo=per_axis(kernel.halo, source.axes, along, name="halo", elsewhere=0),
        memory_factor=2.5,
        along=along,
    )
