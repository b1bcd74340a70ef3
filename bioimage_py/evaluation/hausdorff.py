"""The score `hausdorff_distance`: how far the surfaces of objects are from those of the segments that found them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import BlocksStage, OnceStage, run_stages
from ..errors import DtypeError, ShapeError
from ..runner.planning.build import plan_groups
from ..sources import as_source
from ..sources.along import steps_of
from .objects import background_of
from .surfaces import ChoosePairs, MeasureBlock, Meeting, chosen_pairs, merge_measured, merge_meetings
from .table import check_labels

if TYPE_CHECKING:
    import pandas as pd


@operation(
    omit=("block_ids", "resume_from", "skip_empty", "casting"),
    declaration=Declaration(
        "exact", "scipy.spatial.cKDTree of the surfaces", halo="the objects of a block", memory=4.0
    ),
)
def hausdorff_distance(
    segmentation: Any,
    groundtruth: Any,
    *,
    pairs: Any = None,
    sampling: Any = None,
    ignore_label: int | None = 0,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> pd.DataFrame:
    """Distances between the surfaces of true objects and of the segments that found them, object by object.

    The result is exactly that of the whole arrays, whatever the blocks.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape, any integer types, none negative.
    pairs : array_like of int, shape (n, 2), optional
        (segment, object) to compare; by default each object with the segment of the largest overlap over union.
    sampling : float or sequence of float, optional
        Distance between neighbouring voxels along each axis of the arrays, by default 1.
    ignore_label : int, optional
        Background of both; None if there is none.
    physical : bool, default False
        Distances are in the units of the ground truth's axes, which say the sizes of voxels instead of `sampling`.

    Returns
    -------
    pandas.DataFrame
        A row per object (or given pair), sorted by object: label_seg (0 where no segment meets it), label_gt (uint64),
        iou, and in voxels (or the units that are asked for) hausdorff (the largest distance from a voxel of one surface
        to the other surface), hausdorff_95 (the 95th percentile instead, of both directions the larger one) and
        mean_distance (over the voxels of both surfaces). Infinite where one of the two is nowhere.

    Raises
    ------
    DtypeError
        If the labels are not integers.
    ParameterError
        If a label is negative (as cause of a `RunnerError` when run in blocks), or for a sampling that is not positive.
    ShapeError
        If the pairs have another shape.

    Notes
    -----
    The surface of an object are its voxels with a face towards something else or towards the edge of the array; voxels
    outside of the mask are something else. The box of an object is read piece by piece, and only its surface is kept:
    memory is that of two surfaces for each worker, whatever the size of an object or of the volume. Objects are shared
    out by the block in which they begin.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> a, b = np.array([0, 5, 5, 0, 0, 0]), np.array([0, 0, 7, 7, 7, 0])
    >>> bp.evaluation.hausdorff_distance(a, b, progress=False)[["label_seg", "label_gt", "hausdorff"]]
       label_seg  label_gt  hausdorff
    0          5         7        2.0
    """
    import pandas as pd

    job, sources = Job.of(run), [as_source(segmentation), as_source(groundtruth)]
    for source, name in zip(sources, ("segmentation", "groundtruth"), strict=True):
        check_labels(source.dtype, name)
    background_of(ignore_label)
    steps = steps_of(sources[1].axes, sampling, name="sampling", physical=physical)
    given = None if pairs is None else _given(pairs)
    if job.whole(sources):
        job = job.as_one(sources[0].shape)
    region = plan_groups(sources[0].shape, sources, [], job.block_shape, job.roi).grid.roi
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage("objects", Meeting(), sources, returns="fold", merge=merge_meetings, memory_factor=4.0),
        OnceStage("pairs", ChoosePairs(ignore_label, given)),
        BlocksStage(
            "distances",
            MeasureBlock(steps, tuple(region)),
            sources,
            returns="fold",
            merge=merge_measured,
            setup=chosen_pairs,
            memory_factor=4.0,
        ),
    ]
    results = run_stages("hausdorff_distance", stages, job).results
    compared, measured = results["pairs"], results["distances"]
    labels = np.empty((0, 2), np.uint64) if compared is None else compared.labels
    rows = np.full((len(labels), 3), np.inf)
    if measured is not None:
        rows[measured[0]] = measured[1]
    iou = np.empty(0) if compared is None else compared.iou
    columns = {"label_seg": labels[:, 0], "label_gt": labels[:, 1], "iou": iou}
    names = ("hausdorff", "hausdorff_95", "mean_distance")
    return pd.DataFrame({**columns, **{name: rows[:, number] for number, name in enumerate(names)}})


def _given(pairs: Any) -> np.ndarray:
    try:
        array = np.asarray(pairs)
    except ValueError:  # rows of several lengths
        array = np.empty((1,))
    if array.size == 0:
        return np.empty((0, 2), np.uint64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ShapeError(f"pairs have the shape (n, 2), these {array.shape}", remedy="pairs=[(segment, object), ...]")
    if array.dtype.kind not in "iu" or array.min() < 0:
        raise DtypeError(f"pairs are labels >= 0, these {array.dtype}", remedy="pairs=numpy.array([...], 'uint64')")
    return array.astype(np.uint64)
