"""Smoothing of volumes of any size, and what is made of smoothed volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

from ..arguments import number
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..errors import ParameterError
from ..sources import as_source
from .applying import Along
from .gaussian_kernel import DifferenceOfGaussians, Gaussian, LocalContrast
from .separable import smoothed_dtype
from .windows import normalize_sigma

SMOOTHING = Declaration("tolerance", "cv2.sepFilter2D", "ceil(3 sigma)", 2.5)
DIFFERENCE = Declaration("tolerance", "cv2.sepFilter2D", "ceil(3 high_sigma)", 3.5)
CONTRAST = Declaration("tolerance", "cv2.sepFilter2D", "2 ceil(3 sigma)", 7.0)


@operation(axes="space", declaration=SMOOTHING)
def gaussian_smoothing(
    input: Any,
    sigma: float | Sequence[float],
    output: Any = None,
    *,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Smooth with a Gaussian.

    The window is the sampled Gaussian up to ``ceil(3 sigma)`` voxels to each side, normalised to one. Beyond the volume
    the values are mirrored about the centre of the border voxel (``d c b | a b c d | c b a``, scipy's
    ``mode="mirror"``). Block by block it differs from the whole-array result by rounding only: at most 1e-6 times the
    largest magnitude of the input for float32 results, 1e-14 times it for float64. A NaN makes NaN of all that its
    window reaches.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    sigma : float or sequence of float
        Standard deviation, above 0: one for the axes of space (or `axes`), one for each of them, or one for every axis
        of the input in array order.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. Integer outputs get truncated values. May not share
        storage with the input where blocks are used.
    physical : bool, default False
        `sigma` counts in the units of the input's axes instead of voxels.

    Returns
    -------
    source-like
        `output`, or a float32 array of the input's shape (float64 for float64 input).

    Raises
    ------
    ParameterError
        If sigma is not positive and finite, or has the wrong number of values, or `physical` is set and the axes of the
        input have no scale.
    DtypeError
        For complex and other non-numeric data.
    """
    return smoothed(input, sigma, output, physical=physical, run=run)


@operation(axes="space", declaration=DIFFERENCE)
def difference_of_gaussians(
    input: Any,
    low_sigma: float | Sequence[float],
    high_sigma: float | Sequence[float] | None = None,
    output: Any = None,
    *,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Smooth with two Gaussians and subtract: a band-pass that keeps structures between both widths.

    Named as in scikit-image. Windows, border, NaN and the relation to the whole-array result are those of
    `gaussian_smoothing`: it differs by rounding only, at most 2e-6 times the largest magnitude of the input.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    low_sigma : float or sequence of float
        Standard deviation of the narrower Gaussian, see `gaussian_smoothing`.
    high_sigma : float or sequence of float, optional
        Of the wider one, not below `low_sigma` along any axis; by default 1.6 times `low_sigma`, which comes close to
        the Laplacian of the Gaussian.
    output : source-like, optional
        By default a numpy array is allocated. Values have both signs.
    physical : bool, default False
        Both count in the units of the input's axes instead of voxels.

    Returns
    -------
    source-like
        `output`, or a float32 array of the input's shape (float64 for float64 input).

    Raises
    ------
    ParameterError
        If one is not positive and finite, or the high one is below the low one.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> bp.filters.difference_of_gaussians("raw.zarr", 1.0, 3.0, "spots.zarr/data")  # doctest: +SKIP
    """
    source, job = as_source(input), Job.of(run)
    along = Along.of(source, job, low_sigma, "low_sigma")
    low = _gaussian(along, low_sigma, "low_sigma", physical=physical)
    if high_sigma is None:
        high = Gaussian(tuple(1.6 * value for value in low.sigma))
    else:
        high = _gaussian(along, high_sigma, "high_sigma", physical=physical)
    if any(wide < narrow for narrow, wide in zip(low.sigma, high.sigma, strict=True)):
        raise ParameterError(
            f"high_sigma={high_sigma!r} is below low_sigma={low_sigma!r}",
            remedy=f"low_sigma={high_sigma!r}, high_sigma={low_sigma!r}, and the other sign",
        )
    kernel = DifferenceOfGaussians(low, high)
    dtype = smoothed_dtype(source.dtype, "difference_of_gaussians")
    return along.run(kernel, kernel.halo, output, name="difference_of_gaussians", dtype=dtype, declaration=DIFFERENCE)


@operation(axes="space", declaration=CONTRAST)
def normalize_local_contrast(
    input: Any,
    sigma: float | Sequence[float],
    output: Any = None,
    *,
    epsilon: float = 1e-6,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Subtract the mean around every voxel and divide by the standard deviation around it.

    Both are means with Gaussian weights: ``d = input - G(input)``, result ``d / (sqrt(G(d²)) + epsilon)``
    (Sage and Unser, "Easy Java programming for teaching image-processing", 2001). Evens out slow changes of brightness
    and contrast, as of a stain that fades with depth; values are about -3 to 3. Windows, border and NaN are those of
    `gaussian_smoothing`. Computed in double precision; block by block it differs from the whole-array result by
    rounding only, less than 1e-6 of the largest value where the image isn't flat.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    sigma : float or sequence of float
        Standard deviation of the Gaussian, see `gaussian_smoothing`: several times the size of the structures to keep.
    output : source-like, optional
        By default a numpy array is allocated. Values have both signs.
    epsilon : float, default 1e-6
        In units of the data, above 0. Where the image varies less than this, the result tends to 0; set it to the
        standard deviation of the noise where noise in dark regions should not become contrast.
    physical : bool, default False
        `sigma` counts in the units of the input's axes instead of voxels.

    Returns
    -------
    source-like
        `output`, or a float32 array of the input's shape (float64 for float64 input).

    Raises
    ------
    ParameterError
        If sigma or epsilon is not positive and finite.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> bp.filters.normalize_local_contrast("raw.zarr", 20.0, "even.zarr/data")  # doctest: +SKIP
    """
    source, job = as_source(input), Job.of(run)
    along = Along.of(source, job, sigma, "sigma")
    if not 0 < number("epsilon", epsilon, example=1e-6) < math.inf:
        raise ParameterError(f"epsilon must be positive and finite, got {epsilon!r}", remedy="epsilon=1e-6")
    kernel = LocalContrast(_gaussian(along, sigma, "sigma", physical=physical), float(epsilon))
    dtype = smoothed_dtype(source.dtype, "normalize_local_contrast")
    return along.run(kernel, kernel.halo, output, name="normalize_local_contrast", dtype=dtype, declaration=CONTRAST)


def smoothed(input: Any, sigma: Any, output: Any, *, physical: bool, run: RunKeywords) -> Any:
    """What `gaussian_smoothing` does; `apply_filter` does it under another name."""
    source, job = as_source(input), Job.of(run)
    along = Along.of(source, job, sigma, "sigma")
    kernel = _gaussian(along, sigma, "sigma", physical=physical)
    dtype = smoothed_dtype(source.dtype)
    return along.run(kernel, kernel.halo, output, name="gaussian_smoothing", dtype=dtype, declaration=SMOOTHING)


def _gaussian(along: Along, sigma: Any, name: str, *, physical: bool) -> Gaussian:
    return Gaussian(normalize_sigma(along.lengths(sigma, name, physical=physical), len(along.axes), name))
