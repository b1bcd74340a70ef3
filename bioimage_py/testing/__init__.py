"""Proofs for what others write: a source that passes `SourceConformance` is right. Needs pytest and hypothesis.

Public names are imported on first use: the other processes of a test do without pytest.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite("bioimage_py.testing.conformance", "bioimage_py.testing.checks")

if TYPE_CHECKING:
    from .checks import CHECKS, MakeSource
    from .conformance import SourceConformance
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "CHECKS": ".checks",
            "MakeSource": ".checks",
            "SourceConformance": ".conformance",
        },
    )

__all__ = ["CHECKS", "MakeSource", "SourceConformance"]
