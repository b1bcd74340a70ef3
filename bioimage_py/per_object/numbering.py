"""Objects of a block by small numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError

Array = npt.NDArray[Any]


def numbered(labels: Array, wanted: Array | None) -> tuple[Array, Array]:
    """The ids in an array, ascending, and the array with their numbers from 1; 0 is what is not wanted.

    Raises
    ------
    ParameterError
        A negative label.
    """
    if labels.dtype.kind == "b":
        labels = labels.astype(np.uint8)
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise ParameterError(
            f"the label {labels.min()} is negative: files of objects have ids from 1 to 2^64 - 1",
            remedy="relabel_consecutive(labels)",
        )
    import fastremap

    native = labels.astype(labels.dtype.newbyteorder("="), copy=False)
    numbers, table = fastremap.renumber(np.ascontiguousarray(native), preserve_zero=True, in_place=False)
    table = {int(old): int(new) for old, new in table.items() if old != 0}
    order = sorted(table)
    if wanted is not None:
        kept = set(order).intersection(wanted.tolist())
        order = [one for one in order if one in kept]
    lookup = np.zeros(max(table.values(), default=0) + 1, np.int32)
    lookup[[table[one] for one in order]] = np.arange(1, len(order) + 1)
    return np.array(order, np.uint64), lookup[numbers]
