"""Sources made of sources: views and lazy transforms."""

from .base import WrapperSource, register_wrapper, wrapper_from_spec
from .roi import RoiSource

__all__ = ["RoiSource", "WrapperSource", "register_wrapper", "wrapper_from_spec"]
