"""Objects as lines along their middle.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .skeletons import trace
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(__name__, {"trace": ".skeletons"})

__all__ = ["trace"]
