"""Proofs for what others write: a source that passes `SourceConformance` is right. Needs pytest and hypothesis."""

import pytest

pytest.register_assert_rewrite("bioimage_py.testing.conformance", "bioimage_py.testing.checks")

from .checks import CHECKS, MakeSource  # noqa: E402 - pytest has to know of the modules before their import
from .conformance import SourceConformance  # noqa: E402

__all__ = ["CHECKS", "MakeSource", "SourceConformance"]
