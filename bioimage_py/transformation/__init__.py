"""Affine transforms, resampling, deformation, and turning, cutting and padding arrays.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..wrapper.interpolation.matrices import compute_affine_matrix
    from .affine_transform import affine
    from .coordinates import transform_coordinate, transform_roi_with_affine
    from .deforming import warp
    from .resampling import resample
    from .subvolumes import transform_subvolume_affine, transform_subvolume_coordinates
    from .turning import crop, flip, pad, rotate90, transpose
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "affine": ".affine_transform",
            "compute_affine_matrix": "..wrapper.interpolation.matrices",
            "crop": ".turning",
            "flip": ".turning",
            "pad": ".turning",
            "resample": ".resampling",
            "rotate90": ".turning",
            "transform_coordinate": ".coordinates",
            "transform_roi_with_affine": ".coordinates",
            "transform_subvolume_affine": ".subvolumes",
            "transform_subvolume_coordinates": ".subvolumes",
            "transpose": ".turning",
            "warp": ".deforming",
        },
    )

__all__ = [
    "affine",
    "compute_affine_matrix",
    "crop",
    "flip",
    "pad",
    "resample",
    "rotate90",
    "transform_coordinate",
    "transform_roi_with_affine",
    "transform_subvolume_affine",
    "transform_subvolume_coordinates",
    "transpose",
    "warp",
]
