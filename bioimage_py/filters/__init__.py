"""Filters: one value per voxel from its neighbourhood.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .derivatives import (
        apply_filter,
        gaussian_gradient_magnitude,
        hessian_of_gaussian_eigenvalues,
        laplacian_of_gaussian,
        structure_tensor_eigenvalues,
    )
    from .gaussian import difference_of_gaussians, gaussian_smoothing, normalize_local_contrast
    from .ranking import black_tophat, median, percentile, rank, white_tophat
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "apply_filter": ".derivatives",
            "black_tophat": ".ranking",
            "difference_of_gaussians": ".gaussian",
            "gaussian_gradient_magnitude": ".derivatives",
            "gaussian_smoothing": ".gaussian",
            "hessian_of_gaussian_eigenvalues": ".derivatives",
            "laplacian_of_gaussian": ".derivatives",
            "median": ".ranking",
            "normalize_local_contrast": ".gaussian",
            "percentile": ".ranking",
            "rank": ".ranking",
            "structure_tensor_eigenvalues": ".derivatives",
            "white_tophat": ".ranking",
        },
    )

__all__ = [
    "apply_filter",
    "black_tophat",
    "difference_of_gaussians",
    "gaussian_gradient_magnitude",
    "gaussian_smoothing",
    "hessian_of_gaussian_eigenvalues",
    "laplacian_of_gaussian",
    "median",
    "normalize_local_contrast",
    "percentile",
    "rank",
    "structure_tensor_eigenvalues",
    "white_tophat",
]
