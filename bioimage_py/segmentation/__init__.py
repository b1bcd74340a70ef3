"""Segmentation of volumes: connected components, watershed, and the ids of labels.

Public names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .filtering import segmentation_filter, size_filter
    from .flooding import distance_seeds, seed_mask
    from .labelling import label
    from .relabelling import relabel, relabel_consecutive
    from .watersheds import watershed

_NAMES = {
    "segmentation_filter": "filtering",
    "size_filter": "filtering",
    "distance_seeds": "flooding",
    "seed_mask": "flooding",
    "label": "labelling",
    "relabel": "relabelling",
    "relabel_consecutive": "relabelling",
    "watershed": "watersheds",
}

__all__ = [
    "distance_seeds",
    "label",
    "relabel",
    "relabel_consecutive",
    "seed_mask",
    "segmentation_filter",
    "size_filter",
    "watershed",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
