"""Sources made of sources: views, which can be written, and lazy transforms, which cannot."""

from .base import WrapperSource, register_wrapper, wrapper_from_spec
from .cached import CachedSource
from .cast import CastSource
from .combine import ConcatenateSource, MultiTransformationSource, StackSource
from .downsample import DownsampleSource
from .matrices import compute_affine_matrix
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
from .view import AxesSource, ExpandDimsSource, FlipSource, TransposeSource

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
    "SimpleTransformationSource",
    "SimpleTransformationWithHaloSource",
    "StackSource",
    "StandardizeSource",
    "ThresholdSource",
    "TransformationSource",
    "TransposeSource",
    "WrapperSource",
    "compute_affine_matrix",
    "register_wrapper",
    "wrapper_from_spec",
]

for _thing in map(globals().__getitem__, __all__):
    if isinstance(_thing, type) and _thing is not WrapperSource:
        register_wrapper(_thing)
