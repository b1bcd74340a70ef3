"""Whole jobs made of operations: convert a file, segment a volume, write a pyramid, score it, the demonstration.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .converting import Conversion, convert
    from .corrections.correcting import Correction, correct
    from .demonstration import Demo, demo
    from .plans.planned import SegmentationPlan
    from .pyramids import write_pyramid
    from .scoring import Scores, evaluate
    from .segmentation import Segmentation
    from .segmenting import segment
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "Conversion": ".converting",
            "Correction": ".corrections.correcting",
            "Demo": ".demonstration",
            "Scores": ".scoring",
            "Segmentation": ".segmentation",
            "SegmentationPlan": ".plans.planned",
            "convert": ".converting",
            "correct": ".corrections.correcting",
            "demo": ".demonstration",
            "evaluate": ".scoring",
            "segment": ".segmenting",
            "write_pyramid": ".pyramids",
        },
    )

__all__ = [
    "Conversion",
    "Correction",
    "Demo",
    "Scores",
    "Segmentation",
    "SegmentationPlan",
    "convert",
    "correct",
    "demo",
    "evaluate",
    "segment",
    "write_pyramid",
]
