"""What a worker does that copies: voxels as they are."""

from __future__ import annotations

from collections.abc import Sequence

from ..blocks import Block, to_roi
from ..sources import Source
from ..wrapper.reduced import reduced_once


def write_levels(block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: None) -> None:
    """Block function: a block of one level, written to it (as it is stored, if it can be), and reduced to others."""
    roi = to_roi(block)
    first = 1 if inputs[0].encoded(roi) and outputs[0].copy_encoded(roi, inputs[0]) else 0
    if first == len(outputs):
        return
    values = inputs[0].view(roi)
    with reduced_once():
        for output in outputs[first:]:
            output[roi] = values
