"""The operation `morphology`, and the pass over all blocks that it shares with `regionprops`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ...blocks import region_bounds
from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...engine.stages import BlocksStage, run_stages
from ...errors import DtypeError
from ...sources import Source, as_source
from .measuring_blocks import MeasureBlock
from .objects import Objects, empty, merged

if TYPE_CHECKING:
    import pandas as pd

POSITIONAL = ("num_workers", "block_shape", "job_type", "job_config", "mask", "block_ids", "resume_from")


@operation(
    positional=(*POSITIONAL, "pre_cleanup"),
    omit=("casting",),
    axes="space",
    declaration=Declaration("exact", "numpy, over runs of equal ids", memory=6.0),
)
def morphology(
    input: Any, *, pre_cleanup: Callable[[str], None] | None = None, **run: Unpack[RunKeywords]
) -> pd.DataFrame:
    """Size, centre of mass and bounding box of every object.

    Exact: the same for any blocks. An object may be larger than memory; what is kept of it is a row.

    Parameters
    ----------
    input : source-like
        Labels, any integer type or bool; 0 is background. Ids up to 2^64 - 1 are kept exactly.
    pre_cleanup : callable, optional
        Called with the run folder before it is removed.

    Returns
    -------
    pandas.DataFrame
        A row an object, sorted by id, with ``label``, ``size`` (voxels), ``com_z``, ... (in voxels, by the names of the
        axes), ``bb_min_z``, ... and ``bb_max_z``, ... (exclusive). Where axes are kept apart, an object at each of
        their indices has a row of its own, and a column says which (such as ``t``).

    Raises
    ------
    DtypeError
        Labels that are not integers.

    Examples
    --------
    >>> morphology(np.array([[0, 7, 7], [0, 0, 7]]))
       label  size     com_y     com_x  bb_min_y  bb_min_x  bb_max_y  bb_max_x
    0      7     3  0.333333  1.666667         0         1         2         3
    """
    job, source = Job.of(run), as_labels(input, "morphology")
    found = measured("morphology", source, job, pre_cleanup=pre_cleanup)
    names = axis_names(source, job)
    columns: dict[str, Any] = {**places(found, source, job), "label": label_column(found), "size": found.count}
    columns.update(per_axis_columns("com", names, found.mean()))
    columns.update(per_axis_columns("bb_min", names, found.low))
    columns.update(per_axis_columns("bb_max", names, found.high))
    return table_of(columns)


def as_labels(input: Any, what: str) -> Source:
    """The source of labels; DtypeError where these are no integers."""
    source = as_source(input)
    if source.dtype.kind not in "biu":
        raise DtypeError(
            f"{what} needs labels of an integer type, got {source.dtype}",
            remedy="segmentation.label makes labels of an image; or array.astype('uint64')",
        )
    return source


def measured(
    name: str,
    source: Source,
    job: Job,
    *,
    intensities: Sequence[Source] = (),
    moments: bool = False,
    spacing: tuple[float, ...] | None = None,
    percentiles: bool = False,
    pre_cleanup: Callable[[str], None] | None = None,
) -> Objects:
    """The objects of a volume, in one pass over its blocks."""
    along = job.along(source)
    kernel = MeasureBlock(
        along,
        tuple(source.shape),
        tuple(region_bounds(job.roi, source.shape)),
        moments,
        spacing,  # type: ignore[arg-type]
        percentiles,
    )
    inputs = [source, *intensities]
    if job.whole(inputs):
        job = job.as_one(source.shape)
    halo = None if spacing is None else [int(axis in along) for axis in range(source.ndim)]
    factor = 4.0 + 40 / sum(one.dtype.itemsize for one in inputs)
    stage = BlocksStage(name, kernel, inputs, halo=halo, returns="fold", merge=merged, memory_factor=factor)
    report = run_stages(name, [stage], job, pre_cleanup=pre_cleanup)
    found = report.results[name]
    if found is None:
        return empty(len(along), source.dtype, [one.dtype for one in intensities], surface=spacing is not None)
    return found  # type: ignore[no-any-return]


def axis_names(source: Source, job: Job) -> list[str]:
    """Names of the axes along which objects extend."""
    return [source.axes[axis].name for axis in job.along(source)]


def label_column(found: Objects) -> np.ndarray:
    """Ids as 64-bit integers, none of which becomes another."""
    return found.ids.astype(np.int64 if found.ids.dtype.kind == "i" and (found.ids < 0).any() else np.uint64)


def places(found: Objects, source: Source, job: Job) -> dict[str, Any]:
    """A column for each axis that is kept apart."""
    along = job.along(source)
    apart = [axis for axis in range(source.ndim) if axis not in along]
    if not apart:
        return {}
    indices = np.unravel_index(found.place, [source.shape[axis] for axis in apart])
    return {source.axes[axis].name: index for axis, index in zip(apart, indices, strict=True)}


def per_axis_columns(prefix: str, names: Sequence[str], values: np.ndarray) -> dict[str, Any]:
    """A column for each axis."""
    return {f"{prefix}_{name}": values[:, axis] for axis, name in enumerate(names)}


def table_of(columns: dict[str, Any]) -> pd.DataFrame:
    """A data frame, imported when it is needed."""
    import pandas as pd

    return pd.DataFrame(columns)
