"""Sample volumes with known ground truth, of any size."""

from .neurites import Neurites, neurites

__all__ = ["Neurites", "neurites"]
