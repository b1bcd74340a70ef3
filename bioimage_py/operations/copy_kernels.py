"""What a worker does that copies: voxels as they are."""

from __future__ import annotations

from collections.abc import Sequence

from ..blocks import Block, to_roi
from ..sources import Source


def write_levels(block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: None) -> None:
    """Block function: a block of one level, written to it and, reduced, to those that follow."""
    values = inputs[0].view(to_roi(block))
    for output in outputs:
        output[to_roi(block)] = values
