"""Copying volumes of any size."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from ..sources import as_source
from .engine import Job, RunKeywords, operation, run_map


def same(array: np.ndarray) -> np.ndarray:
    """Kernel: the block as it is."""
    return array


@operation()
def copy(input: Any, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Copy block by block: to another format, other chunks, another data type, or a lazy view to storage.

    The result does not depend on the blocks.

    Parameters
    ----------
    input : source-like
        What to copy, with any number of axes.
    output : source-like, optional
        Where to, of the same shape; by default a numpy array is allocated. Floats are cut towards zero for integer
        outputs.

    Returns
    -------
    source-like
        `output`, or a numpy array of the shape and dtype of the input.

    Raises
    ------
    ShapeError
        If the shapes differ.
    ValueRangeError
        If the output cannot hold a value (unless ``casting="unsafe"``).
    """
    source = as_source(input)
    return run_map(same, [source], output, Job.of(run), name="copy", dtype=source.dtype, memory_factor=1.2)
