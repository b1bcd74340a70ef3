"""Sources made of sources: views, which can be written, and lazy transforms, which cannot.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import WrapperSource, register_wrapper, wrapper_from_spec
    from .cached import CachedSource
    from .cast import CastSource
    from .combine import ConcatenateSource, MultiTransformationSource, StackSource
    from .downsample import DownsampleSource
    from .interpolation.matrices import compute_affine_matrix
    from .normalize import NormalizeSource, StandardizeSource
    from .pad import PadSource
    from .resample import AffineSource, ResizedSource
    from .roi import ChannelSource, RoiSource
    from .transform import (
        SimpleTransformationSource,
        SimpleTransformationWithHaloSource,
        ThresholdSource,
        TransformationSource,
    )
    from .view import AxesSource, ExpandDimsSource, FlipSource, Rotate90Source, TransposeSource
    from .warp import WarpSource
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "AffineSource": ".resample",
            "AxesSource": ".view",
            "CachedSource": ".cached",
            "CastSource": ".cast",
            "ChannelSource": ".roi",
            "ConcatenateSource": ".combine",
            "DownsampleSource": ".downsample",
            "ExpandDimsSource": ".view",
            "FlipSource": ".view",
            "MultiTransformationSource": ".combine",
            "NormalizeSource": ".normalize",
            "PadSource": ".pad",
            "ResizedSource": ".resample",
            "RoiSource": ".roi",
            "Rotate90Source": ".view",
            "SimpleTransformationSource": ".transform",
            "SimpleTransformationWithHaloSource": ".transform",
            "StackSource": ".combine",
            "StandardizeSource": ".normalize",
            "ThresholdSource": ".transform",
            "TransformationSource": ".transform",
            "TransposeSource": ".view",
            "WarpSource": ".warp",
            "WrapperSource": ".base",
            "compute_affine_matrix": ".interpolation.matrices",
            "register_wrapper": ".base",
            "wrapper_from_spec": ".base",
        },
    )

__all__ = [
    "AffineSource",
    "AxesSource",
    "CachedSource",
    "CastSource",
    "ChannelSource",
    "ConcatenateSource",
    "DownsampleSource",
    "ExpandDimsSource",
    "FlipSource",
    "MultiTransformationSource",
    "NormalizeSource",
    "PadSource",
    "ResizedSource",
    "RoiSource",
    "Rotate90Source",
    "SimpleTransformationSource",
    "SimpleTransformationWithHaloSource",
    "StackSource",
    "StandardizeSource",
    "ThresholdSource",
    "TransformationSource",
    "TransposeSource",
    "WarpSource",
    "WrapperSource",
    "compute_affine_matrix",
    "register_wrapper",
    "wrapper_from_spec",
]
