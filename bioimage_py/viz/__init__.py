"""Pictures: overviews of segmentations, and reports of runs."""

from .overview import label_colors, overview
from .run_report import write_report

__all__ = ["label_colors", "overview", "write_report"]
