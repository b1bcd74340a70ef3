"""One call on which the drop-in promise is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = (6, 10, 8)
BLOCKED: dict[str, Any] = {"block_shape": BLOCK, "num_workers": 2}
VARIANTS: dict[str, dict[str, Any]] = {"direct": {}, "blocked": BLOCKED}


@dataclass(frozen=True)
class Case:
    """One call; `call(part, folder)` gets a function from a module's name to that module of the package asked.

    Floats agree within `tolerance`; labels where `ranked` is set agree up to their numbering.
    """

    name: str
    call: Callable[[Callable[[str], Any], Path], Any]
    tolerance: float = 0.0
    ranked: bool = False
