"""Sources made of sources: views and lazy transforms."""

from .base import WrapperSource, register_wrapper, wrapper_from_spec
from .downsample import DownsampleSource
from .roi import RoiSource

__all__ = ["DownsampleSource", "RoiSource", "WrapperSource", "register_wrapper", "wrapper_from_spec"]
