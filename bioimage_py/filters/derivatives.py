"""Filters of derivatives of Gaussians: edges, blobs, lines and textures."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..errors import ParameterError
from ..sources import as_source
from .applying import Along
from .derivative_kernels import (
    Channel,
    Derivatives,
    GradientMagnitude,
    HessianEigenvalues,
    Laplacian,
    StructureTensorEigenvalues,
)
from .gaussian import smoothed
from .gaussian_kernel import Gaussian
from .separable import smoothed_dtype
from .windows import normalize_sigma

SECOND_DERIVATIVE = "ceil(4 sigma)"
GRADIENT = Declaration("tolerance", "cv2.sepFilter2D", "ceil(3.5 sigma)", 3.5)
LAPLACIAN = Declaration("tolerance", "cv2.sepFilter2D", SECOND_DERIVATIVE, 3.0)
HESSIAN = Declaration("tolerance", "cv2.sepFilter2D, closed form", SECOND_DERIVATIVE, 3.0)
TENSOR = Declaration("tolerance", "cv2.sepFilter2D, closed form", "ceil(3.5 sigma) + ceil(3 outer_scale)", 4.0)
ANY = Declaration("tolerance", "that of the filter", "that of the filter", 4.0)

FILTERS: dict[str, tuple[Callable[..., Any], Declaration]] = {
    "gaussian_gradient_magnitude": (GradientMagnitude, GRADIENT),
    "laplacian_of_gaussian": (Laplacian, LAPLACIAN),
    "hessian_of_gaussian_eigenvalues": (HessianEigenvalues, HESSIAN),
    "structure_tensor_eigenvalues": (StructureTensorEigenvalues, TENSOR),
}
SEVERAL = ("hessian_of_gaussian_eigenvalues", "structure_tensor_eigenvalues")
"""Filters with a channel for every axis."""


@operation(axes="space", declaration=ANY)
def apply_filter(
    input: Any,
    filter_name: str,
    sigma: float | Sequence[float],
    output: Any = None,
    *,
    outer_scale: float | Sequence[float] | None = None,
    return_channel: int | None = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Apply a filter by its name.

    The name is that of a function of this package: ``"gaussian_smoothing"``, ``"gaussian_gradient_magnitude"``,
    ``"laplacian_of_gaussian"``, ``"hessian_of_gaussian_eigenvalues"`` or ``"structure_tensor_eigenvalues"``; it does
    what that function does, and differs from the whole-array result as that does: by rounding only.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    filter_name : str
        The filter.
    sigma : float or sequence of float
        Standard deviation, above 0: one for the axes of space (or `axes`), one for each of them, or one for every axis
        of the input in array order.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. May not share storage with the input where blocks are
        used.
    outer_scale : float or sequence of float, optional
        Of the structure tensor, which needs it: standard deviation with which products of derivatives are smoothed.
    return_channel : int, optional
        Only this eigenvalue, 0 for the largest, -1 for the smallest. By default all, along a new first axis.
    physical : bool, default False
        `sigma` and `outer_scale` count in the units of the input's axes instead of voxels, and derivatives are per
        unit.

    Returns
    -------
    source-like
        `output`, or a float32 array (float64 for float64 input).

    Raises
    ------
    ParameterError
        For an unknown name, a missing `outer_scale`, a channel that the filter does not have, or a sigma that is not
        positive and finite.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> bp.filters.apply_filter(raw, "hessian_of_gaussian_eigenvalues", 2.0, return_channel=0)  # doctest: +SKIP
    """
    if filter_name == "gaussian_smoothing":
        _check_channel(filter_name, return_channel, 0)
        return smoothed(input, sigma, output, physical=physical, run=run)
    return _apply(
        input, filter_name, sigma, output, outer_scale=outer_scale, channel=return_channel, physical=physical, run=run
    )


@operation(axes="space", declaration=GRADIENT)
def gaussian_gradient_magnitude(
    input: Any,
    sigma: float | Sequence[float],
    output: Any = None,
    *,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Length of the gradient of the smoothed volume: high at edges.

    First derivatives of a Gaussian, sampled up to ``ceil(3.5 sigma)`` voxels to each side and normalised so that the
    slope of a ramp is found as it is; the border is mirrored as for `gaussian_smoothing`. Block by block it differs
    from the whole-array result by rounding only: at most 2e-6 times the largest magnitude of the input for float32
    results, over sigma where that is below 1. A NaN makes NaN of all that its window reaches.

    Parameters
    ----------
    input, sigma, output
        See `gaussian_smoothing`.
    physical : bool, default False
        `sigma` counts in the units of the input's axes instead of voxels, and the result is per unit.

    Returns
    -------
    source-like
        `output`, or a float32 array of the input's shape (float64 for float64 input).

    Raises
    ------
    ParameterError
        If sigma is not positive and finite.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> edges = bp.filters.gaussian_gradient_magnitude(raw, 1.5)  # doctest: +SKIP
    """
    return _apply(input, "gaussian_gradient_magnitude", sigma, output, physical=physical, run=run)


@operation(axes="space", declaration=LAPLACIAN)
def laplacian_of_gaussian(
    input: Any,
    sigma: float | Sequence[float],
    output: Any = None,
    *,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Sum of the second derivatives of the smoothed volume: low in bright blobs, high in dark ones.

    Second derivatives of a Gaussian, sampled up to ``ceil(4 sigma)`` voxels to each side, without answer to constants
    and ramps, and normalised so that the curvature of a parabola is found as it is; the border is mirrored as for
    `gaussian_smoothing`. Block by block it differs from the whole-array result by rounding only: at most 4e-6 times the
    largest magnitude of the input for float32 results, over sigma² where that is below 1. A NaN makes NaN of all that
    its window reaches.

    Parameters
    ----------
    input, sigma, output
        See `gaussian_smoothing`. Values have both signs.
    physical : bool, default False
        `sigma` counts in the units of the input's axes instead of voxels, and the result is per unit².

    Returns
    -------
    source-like
        `output`, or a float32 array of the input's shape (float64 for float64 input).

    Raises
    ------
    ParameterError
        If sigma is not positive and finite.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> blobs = bp.filters.laplacian_of_gaussian(raw, 4.0)  # doctest: +SKIP
    """
    return _apply(input, "laplacian_of_gaussian", sigma, output, physical=physical, run=run)


@operation(axes="space", declaration=HESSIAN)
def hessian_of_gaussian_eigenvalues(
    input: Any,
    sigma: float | Sequence[float],
    output: Any = None,
    *,
    return_channel: int | None = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Eigenvalues of the matrix of second derivatives of the smoothed volume, which tell blobs, lines and sheets.

    In a bright line two of three are strongly negative, in a bright sheet one. Windows, border and NaN are those of
    `laplacian_of_gaussian`, with ``ceil(4 sigma)`` voxels to each side. The eigenvalues are exact to the precision of
    the result, also where two are equal. Block by block they differ from the whole-array result by rounding only: at
    most 4e-6 times the largest magnitude of the input for float32 results, over sigma² where that is below 1.

    Parameters
    ----------
    input, sigma
        See `gaussian_smoothing`.
    output : source-like, optional
        With a first axis of a channel for each of the axes filtered along, unless `return_channel` is given.
    return_channel : int, optional
        Only this eigenvalue, 0 for the largest, -1 for the smallest.
    physical : bool, default False
        `sigma` counts in the units of the input's axes instead of voxels, and the result is per unit².

    Returns
    -------
    source-like
        `output`, or a float32 array (float64 for float64 input), the largest eigenvalue first.

    Raises
    ------
    ParameterError
        If sigma is not positive and finite, or there is no such channel.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> lines = bp.filters.hessian_of_gaussian_eigenvalues(raw, 2.0, return_channel=1)  # doctest: +SKIP
    """
    return _apply(
        input, "hessian_of_gaussian_eigenvalues", sigma, output, channel=return_channel, physical=physical, run=run
    )


@operation(axes="space", declaration=TENSOR)
def structure_tensor_eigenvalues(
    input: Any,
    sigma: float | Sequence[float],
    outer_scale: float | Sequence[float],
    output: Any = None,
    *,
    return_channel: int | None = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Eigenvalues of the structure tensor: how much a volume changes around each voxel, along three directions.

    Products of first derivatives (windows of `gaussian_gradient_magnitude`), smoothed with `outer_scale` (window of
    `gaussian_smoothing`). Block by block they differ from the whole-array result by rounding only: at most 4e-6 times
    the square of the largest magnitude of the input for float32 results, over sigma² where that is below 1. A NaN makes
    NaN of all that both windows reach.

    Parameters
    ----------
    input, sigma
        See `gaussian_smoothing`.
    outer_scale : float or sequence of float
        Standard deviation with which the products are smoothed.
    output, return_channel
        See `hessian_of_gaussian_eigenvalues`.
    physical : bool, default False
        Both count in the units of the input's axes instead of voxels, and the result is per unit².

    Returns
    -------
    source-like
        `output`, or a float32 array (float64 for float64 input), the largest eigenvalue first.

    Raises
    ------
    ParameterError
        If one is not positive and finite, or there is no such channel.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> corners = bp.filters.structure_tensor_eigenvalues(raw, 1.0, 2.0, return_channel=-1)  # doctest: +SKIP
    """
    return _apply(
        input,
        "structure_tensor_eigenvalues",
        sigma,
        output,
        outer_scale=outer_scale,
        channel=return_channel,
        physical=physical,
        run=run,
    )


def _apply(
    input: Any,
    name: str,
    sigma: Any,
    output: Any,
    *,
    outer_scale: Any = None,
    channel: Any = None,
    physical: bool,
    run: RunKeywords,
) -> Any:
    """Run the filter of that name."""
    if not isinstance(name, str) or name not in FILTERS:
        names = ["gaussian_smoothing", *FILTERS]
        raise ParameterError(f"there is no filter {name!r}", remedy=f"filter_name={names[0]!r}; there are {names}")
    source, job = as_source(input), Job.of(run)
    dtype = smoothed_dtype(source.dtype, name)
    along = Along.of(source, job, sigma, "sigma")
    make, declaration = FILTERS[name]
    ndim = len(along.axes)
    given: list[Any] = [
        normalize_sigma(along.lengths(sigma, "sigma", physical=physical), ndim),
        along.spacing("sigma", physical=physical),
    ]
    if name == "structure_tensor_eigenvalues":
        if outer_scale is None:
            raise ParameterError(f"{name} needs outer_scale=", remedy="outer_scale=2.0, about twice sigma")
        outer = along.lengths(outer_scale, "outer_scale", physical=physical)
        given.append(Gaussian(normalize_sigma(outer, ndim, "outer_scale")))
    kernel: Derivatives | Channel = make(*given)
    channels = ndim if name in SEVERAL else None
    _check_channel(name, channel, channels or 0)
    if channel is not None:
        kernel, channels = Channel(kernel, channel), None  # type: ignore[arg-type]
    return along.run(
        kernel,
        kernel.halo,
        output,
        name=name,
        dtype=dtype,
        channels=channels,
        declaration=declaration,
        holds_gil=name in SEVERAL,  # eigenvalues take many short steps
    )


def _check_channel(name: str, channel: Any, channels: int) -> None:
    """ParameterError where a filter of so many channels has no such channel."""
    if channel is None:
        return
    try:
        found = not isinstance(channel, bool) and -channels <= operator.index(channel) < channels
    except TypeError:
        found = False
    if not found:
        has = f"the channels 0 to {channels - 1}" if channels else "one channel"
        raise ParameterError(
            f"return_channel={channel!r}, but {name} has {has}", remedy=f"return_channel={0 if channels else None}"
        )
