"""Pictures: overviews of segmentations, reports of runs, and volumes in a browser."""

from .overview import label_colors, overview
from .run_report import write_report
from .viewing.links import link
from .viewing.view import View, view

__all__ = ["View", "label_colors", "link", "overview", "view", "write_report"]
