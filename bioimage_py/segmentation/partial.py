"""Tables of some ids: what becomes of these, while all other ids stay, or all become 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import tables

Array = npt.NDArray[Any]
Others = Literal["stay", "zero"]


def label_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which ids of labels are kept: that of the labels in native order, uint8 for bool."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


@dataclass(frozen=True, eq=False)
class PartialTable:
    """Maps ``keys[i]`` to ``values[i]``, and every other id to itself or to 0.

    Parameters
    ----------
    keys : ndarray of integers, shape (n,)
        Sorted, without repetition, of the type that `label_type` gives for the labels.
    values : ndarray of integers, shape (n,)
    others : {"stay", "zero"}
    """

    keys: Array
    values: Array
    others: Others = "stay"

    def __call__(self, labels: Array) -> Array:
        """Apply to labels of any shape; the result has the type of the labels, or a wider one where values need it."""
        flat = np.ascontiguousarray(labels).reshape(-1)
        starts, lengths = tables.runs(flat)
        ids = flat[starts].astype(self.keys.dtype, copy=False)
        new = np.zeros(len(ids), self.values.dtype)
        if self.others == "stay":
            new = ids.astype(np.promote_types(ids.dtype, self.values.dtype), copy=True)
        if len(self.keys) and len(ids):
            at = np.minimum(np.searchsorted(self.keys, ids), len(self.keys) - 1)
            found = self.keys[at] == ids
            new[found] = self.values[at[found]]
        return np.repeat(new, lengths).reshape(labels.shape)
