"""Objects as surfaces.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .meshes import surfaces
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(__name__, {"surfaces": ".meshes"})

__all__ = ["surfaces"]
