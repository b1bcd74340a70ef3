"""The operations `intersect` and `contacts`: which objects share voxels, and which touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...engine.reducing import run_reduce
from ...engine.stages import BlocksStage, run_stages
from ...runner.planning.build import plan_groups
from ...sources import Source, as_source
from ...sources.along import steps_of
from .. import tables
from ..partial import label_type
from .contact_blocks import ContactBlock, Contacts, merge_contacts
from .groups import Apart
from .pairs import OverlapCounts, changes, merge_overlaps

if TYPE_CHECKING:
    import pandas as pd


@operation(
    omit=("casting",),
    declaration=Declaration("exact", "numpy.bincount and numpy.argsort of runs of voxels", memory=2.0),
)
def intersect(a: Any, b: Any, **run: Unpack[RunKeywords]) -> pd.DataFrame:
    """List which objects of two segmentations share voxels, and how many: which nucleus lies in which cell.

    The result is exactly that of the whole arrays, whatever the blocks.

    Parameters
    ----------
    a, b : source-like
        Labels of one shape and any integer types, none negative; 0 is background.

    Returns
    -------
    pandas.DataFrame
        A row per pair that meets, sorted: label_a, label_b (uint64), overlap, size_a, size_b (voxels inside the mask,
        int64), share_a and share_b (overlap / size). An object that meets none has no row.

    Raises
    ------
    DtypeError
        If labels are not integers.
    ParameterError
        If a label is negative.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> nuclei, cells = np.array([0, 1, 1, 0, 2]), np.array([8, 8, 9, 9, 9])
    >>> bp.segmentation.intersect(nuclei, cells, progress=False)[["label_a", "label_b", "overlap", "share_a"]]
       label_a  label_b  overlap  share_a
    0        1        8        1      0.5
    1        1        9        1      0.5
    2        2        9        1      1.0
    """
    import pandas as pd

    job, sources = Job.of(run), [as_source(a), as_source(b)]
    for source, name in zip(sources, ("a", "b"), strict=True):
        tables.check_label_dtype(source.dtype, name)
    found = run_reduce(OverlapCounts(), merge_overlaps, sources, job, name="intersect", memory_factor=2.0)
    pairs, counts = (np.empty((0, 2), np.uint64), np.empty(0, np.int64)) if found is None else found
    sizes = [_sizes(pairs[:, side], counts) for side in (0, 1)]
    both = (pairs != 0).all(axis=1)
    columns = {
        "label_a": pairs[both, 0],
        "label_b": pairs[both, 1],
        "overlap": counts[both],
        "size_a": sizes[0][both],
        "size_b": sizes[1][both],
    }
    return pd.DataFrame(columns).assign(
        share_a=counts[both] / sizes[0][both],
        share_b=counts[both] / sizes[1][both],
    )


def _sizes(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """For every pair the number of voxels of its label."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(changes(labels[order]))
    if not len(starts):
        return counts
    result = np.empty_like(counts)
    result[order] = np.repeat(np.add.reduceat(counts[order], starts), np.diff(starts, append=len(labels)))
    return result


@operation(
    omit=("block_ids", "resume_from", "skip_empty", "casting"),
    axes="space",
    declaration=Declaration("exact", "numpy comparison of neighbours, numpy.lexsort", halo="1", memory=6.0),
)
def contacts(
    input: Any,
    *,
    sampling: Any = None,
    background: bool = False,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> pd.DataFrame:
    """List which objects touch, with the area of their contact.

    The result is exactly that of the whole array, whatever the blocks.

    Parameters
    ----------
    input : source-like
        Labels, any integer type; 0 is background.
    sampling : float or sequence of float, optional
        Distance between neighbouring voxels along the axes of space (or `axes`), by default 1.
    background : bool, default False
        Also list the contacts with background, that is the surface of each object within the volume.
    physical : bool, default False
        Areas are in the units of the input's axes, which say the sizes of voxels instead of `sampling`.

    Returns
    -------
    pandas.DataFrame
        A row per pair of objects that share a face of voxels, sorted: one column for each axis that is kept apart, with
        its name (the channel or the time), ``label_a`` < ``label_b``, ``faces`` (int64, faces of voxels) and ``area``:
        their area (along one axis a number, along two a length), in faces, units of `sampling`, or those of the axes,
        which ``attrs["unit"]`` names then.

    Raises
    ------
    DtypeError
        If labels are not integers.
    ParameterError
        For a sampling that is not positive or doesn't fit the axes.

    Notes
    -----
    Faces to voxels where the mask is 0, and beyond the region, do not count. The area is that of the faces of voxels,
    which for a slanted surface is larger than that of the plane, by up to the square root of 3.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> bp.segmentation.contacts(np.array([[1, 1, 2], [3, 3, 2]]), sampling=(2.0, 0.5), progress=False)
       label_a  label_b  faces  area
    0        1        2      1   2.0
    1        1        3      2   1.0
    2        2        3      1   2.0
    """
    job, source = Job.of(run), as_source(input)
    tables.check_label_dtype(source.dtype, "the input of contacts")
    along = job.along(source)
    steps = steps_of([source.axes[axis] for axis in along], sampling, name="sampling", physical=physical)
    if job.whole([source]):
        job = job.as_one(source.shape)
    region = plan_groups(source.shape, [source], [], job.block_shape, job.roi).grid.roi
    apart = Apart(tuple(source.shape), along)
    stage = BlocksStage(
        "contacts",
        ContactBlock(apart, tuple(region), background),
        [source],
        halo=[int(axis in along) for axis in range(source.ndim)],
        returns="fold",
        merge=merge_contacts,
        memory_factor=6.0,
    )
    found = run_stages("contacts", [stage], job).results["contacts"]
    if found is None:
        empty = np.empty(0, np.int64)
        found = empty, np.empty((0, 2), label_type(source.dtype)), np.empty((0, len(along)), np.int64)
    return _table(found, source, apart, np.array(steps), physical=physical)


def _table(found: Contacts, source: Source, apart: Apart, steps: np.ndarray, *, physical: bool) -> pd.DataFrame:
    import pandas as pd

    groups, pairs, faces = found
    positions = apart.positions(groups)
    columns = {source.axes[axis].name: at for axis, at in zip(apart.axes, positions, strict=True)}
    area = np.prod(steps) / steps
    table = pd.DataFrame(
        {**columns, "label_a": pairs[:, 0], "label_b": pairs[:, 1], "faces": faces.sum(axis=1), "area": faces @ area}
    )
    table.attrs["unit"] = source.axes[apart.along[0]].unit if physical else None
    return table
