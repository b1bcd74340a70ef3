"""Proofs for what others write: a source that passes `SourceConformance`, a backend that passes `BackendConformance`.

They need pytest and hypothesis.

Public names are imported on first use: the other processes of a test do without pytest.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(
        "bioimage_py.testing.backends", "bioimage_py.testing.checks", "bioimage_py.testing.conformance"
    )

if TYPE_CHECKING:
    from .backends import BACKEND_CHECKS, BackendConformance
    from .checks import CHECKS, MakeSource
    from .conformance import SourceConformance
    from .failures import Failure
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "BACKEND_CHECKS": ".backends",
            "BackendConformance": ".backends",
            "CHECKS": ".checks",
            "Failure": ".failures",
            "MakeSource": ".checks",
            "SourceConformance": ".conformance",
        },
    )

__all__ = ["BACKEND_CHECKS", "CHECKS", "BackendConformance", "Failure", "MakeSource", "SourceConformance"]
