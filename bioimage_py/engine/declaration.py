"""What an operation promises and what it costs, as a value; `docs/build_operations.py` makes the table of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Relation = Literal["exact", "tolerance", "partition", "blockwise"]


@dataclass(frozen=True)
class Declaration:
    """The facts of an operation that the table of operations shows and its tests take up.

    Parameters
    ----------
    relation : {"exact", "tolerance", "partition", "blockwise"}
        To the result of the kernel on the whole array: the same bits; equal up to a stated difference; the same
        objects under other ids; or another result, which the docstring describes.
    kernel : str
        What computes a block, as one would look it up: ``"scipy.ndimage.median_filter"``.
    halo : str
        Voxels that a block reads beyond itself, in words of the parameters: ``"none"``, ``"ceil(4 sigma)"``.
    memory : float
        Peak bytes of a block over the bytes that it reads and writes.
    outputs : tuple of str
        Parameters that say where a result is written; the first that an operation has is its command's OUTPUT.
    """

    relation: Relation
    kernel: str
    halo: str = "none"
    memory: float = 3.0
    outputs: tuple[str, ...] = field(default=("output", "outputs"), compare=False)
