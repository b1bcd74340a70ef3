"""The operation `merge_labels`: objects that belong together get one id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.mapping import run_map
from ...engine.operation import operation
from ...errors import DtypeError, ShapeError, ValueRangeError
from ...sources import as_source
from .. import tables
from ..partial import PartialTable, label_type
from ..relabelling_blocks import ApplyTable

Array = npt.NDArray[Any]


@operation(declaration=Declaration("exact", "bioimage_cpp.utils.UnionFind, then numpy.searchsorted", memory=2.5))
def merge_labels(input: Any, table: Any, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Give objects that belong together one id, the smallest of theirs; all other ids stay.

    The result is exactly that of the whole array, whatever the blocks.

    Parameters
    ----------
    input : source-like
        Labels, any integer type.
    table : array_like of integers, shape (n, 2), or mapping of int to int, or pandas.DataFrame
        Pairs of ids that are one object, also over several pairs (1 with 2 and 2 with 5 joins all three). Of a
        DataFrame the first two columns that are called ``label_a`` and ``label_b`` (as of `contacts`). Ids that do not
        occur do no harm; who pairs an object with 0 removes it.
    output : source-like, optional
        Allocated as numpy array of the input's type by default; may be the input.

    Returns
    -------
    object
        The output.

    Raises
    ------
    DtypeError
        If labels or ids are not integers.
    ShapeError
        If the table is not made of pairs.
    ValueRangeError
        If an id does not fit 64 bits, or the output's type (as cause of a `RunnerError` when run in blocks).

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> bp.segmentation.merge_labels(np.array([1, 2, 0, 5, 9]), [(2, 1), (5, 2)], progress=False)
    array([1, 1, 0, 1, 9])
    """
    job, source = Job.of(run), as_source(input)
    tables.check_label_dtype(source.dtype, "the input of merge_labels")
    kernel = ApplyTable(merging_table(_pairs(table), source.dtype))
    masks = [] if job.mask is None else [as_source(job.mask)]
    return run_map(kernel, [source, *masks], output, job, name="merge_labels", dtype=source.dtype, memory_factor=2.5)


def merging_table(pairs: Array, dtype: np.dtype[Any]) -> PartialTable:
    """The smallest id of those that pairs join, by id, for labels of a type.

    Parameters
    ----------
    pairs : ndarray of int64 or uint64, shape (n, 2)
    dtype : numpy.dtype
        Ids that it cannot hold join others as any id does, but are never the one that stays.
    """
    from bioimage_cpp.utils import UnionFind

    ids, inverse = np.unique(pairs, return_inverse=True)
    union = UnionFind(max(1, len(ids)))
    if len(pairs):
        union.merge(np.ascontiguousarray(inverse.reshape(-1, 2), np.uint64))
    roots = union.element_labeling().astype(np.int64)[: len(ids)]
    own = label_type(dtype)
    limits = np.iinfo(own)
    if ids.dtype.kind == "u":
        fits = ids <= np.uint64(limits.max)
    else:
        fits = (ids >= max(limits.min, np.iinfo(np.int64).min)) & (ids <= min(limits.max, np.iinfo(np.int64).max))
    ids, roots = ids[fits].astype(own), roots[fits]
    # ids ascend: the first one of a root is the smallest
    _, first, of = np.unique(roots, return_index=True, return_inverse=True)
    values = ids[first][of.reshape(-1)] if len(ids) else ids
    changed = values != ids
    return PartialTable(ids[changed], values[changed])


def _pairs(table: Any) -> Array:
    remedy = "table=[(1, 2), (2, 5)]"
    if hasattr(table, "columns"):
        if not {"label_a", "label_b"} <= set(table.columns):
            raise ShapeError(
                f"a table of pairs has the columns label_a and label_b, this one {list(table.columns)}", remedy=remedy
            )
        table = np.stack([table["label_a"].to_numpy(), table["label_b"].to_numpy()], axis=1)
    elif isinstance(table, Mapping):
        table = list(table.items())
    given = np.asarray(table) if isinstance(table, np.ndarray) else _whole(table, remedy)
    if given.size == 0 and given.ndim <= 2:
        return np.empty((0, 2), np.int64)
    if given.ndim != 2 or given.shape[1] != 2:
        raise ShapeError(f"a table of pairs has the shape (n, 2), this one {given.shape}", remedy=remedy)
    if given.dtype.kind not in "iu":
        raise DtypeError(f"ids of pairs are integers, these {given.dtype}", remedy="table.astype('uint64')")
    return given.astype(np.uint64 if given.dtype.kind == "u" else np.int64)


def _whole(table: Any, remedy: str) -> Array:
    # numpy makes floats of lists with ids on both sides of 2^63
    plain = np.array(table, dtype=object)
    for dtype in (np.int64, np.uint64):
        try:
            return tables.exact(plain.reshape(-1).tolist(), plain.size, np.dtype(dtype)).reshape(plain.shape)
        except OverflowError:
            continue
    raise ValueRangeError("ids of pairs fit neither int64 nor uint64", remedy=remedy)
