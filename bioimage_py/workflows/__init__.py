"""Whole jobs made of operations: segment a volume, write a pyramid, score a segmentation, the demonstration.

Public names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .demonstration import Demo, demo
    from .pyramids import write_pyramid
    from .scoring import Scores, evaluate
    from .segmenting import Segmentation, segment

_NAMES = {
    "Demo": "demonstration",
    "demo": "demonstration",
    "write_pyramid": "pyramids",
    "Scores": "scoring",
    "evaluate": "scoring",
    "Segmentation": "segmenting",
    "segment": "segmenting",
}

__all__ = ["Demo", "Scores", "Segmentation", "demo", "evaluate", "segment", "write_pyramid"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
