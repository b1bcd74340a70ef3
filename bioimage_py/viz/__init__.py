"""Pictures: overviews of segmentations."""

from .overview import label_colors, overview

__all__ = ["label_colors", "overview"]
