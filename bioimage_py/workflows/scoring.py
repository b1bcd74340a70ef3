"""Scores of a segmentation against the ground truth, all from one pass over the volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..evaluation import contingency_table, rand_scores, vi_scores
from ..runner.execution import Execution, current_execution
from ..sources import as_source

_MEANING = {
    "vi_split": "bits by which true objects are cut into several; 0 is perfect",
    "vi_merge": "bits by which true objects are joined; 0 is perfect",
    "vi_sum": "variation of information, split + merge",
    "adapted_rand_error": "1 - F-score of precision and recall over pairs of voxels; 0 is perfect",
    "rand_precision": "of the pairs of voxels in one segment, the share that is in one true object",
    "rand_recall": "of the pairs of voxels in one true object, the share that is in one segment",
    "n_segments": "objects of the segmentation",
    "n_objects": "objects of the ground truth",
    "voxels": "voxels that were compared",
}


@dataclass(frozen=True)
class Scores:
    """How good a segmentation is.

    Attributes
    ----------
    vi_split, vi_merge, vi_sum : float
        Variation of information in bits (Meila 2003): H(segmentation | truth), H(truth | segmentation), and their sum.
    adapted_rand_error, rand_precision, rand_recall : float
        1 - F-score over pairs of voxels, and its two parts (Arganda-Carreras et al. 2015); a voxel is a pair with
        itself.
    n_segments, n_objects : int
        Different labels in the segmentation and in the ground truth, without 0.
    voxels : int
        Voxels that were compared.
    """

    vi_split: float
    vi_merge: float
    vi_sum: float
    adapted_rand_error: float
    rand_precision: float
    rand_recall: float
    n_segments: int
    n_objects: int
    voxels: int

    def to_dict(self) -> dict[str, float | int]:
        """The scores by name."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str, str]]:
        """Name, value and meaning of every score, as text."""
        return [
            (name, f"{value:.4f}" if isinstance(value, float) else f"{value:,}", _MEANING[name])
            for name, value in self.to_dict().items()
        ]


def evaluate(
    segmentation: Any,
    groundtruth: Any,
    *,
    ignore_seg: int | Sequence[int] | None = None,
    ignore_gt: int | Sequence[int] | None = None,
    block_shape: Any = None,
    execution: Execution | None = None,
) -> Scores:
    """Compare a segmentation with the ground truth.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Labels of one shape, integers.
    ignore_seg, ignore_gt : int or sequence of int, optional
        Labels; voxels that have one of them in the segmentation, or in the ground truth, are not compared.
    block_shape : int or sequence of int, optional
        Voxels of a block; doesn't change the result.
    execution : Execution, optional
        How to run.

    Returns
    -------
    Scores
        With ``plan=True`` in `execution` a plan (`bioimage_py.RunPlan`) instead.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DtypeError
        If labels are not integers.
    """
    first, second = as_source(segmentation), as_source(groundtruth)
    if first.shape != second.shape:
        raise ShapeError(
            f"The segmentation has the shape {first.shape}, the ground truth {second.shape}.",
            remedy="compare the same region of both, for example with bioimage_py.wrapper.RoiSource(groundtruth, roi)",
        )
    how = current_execution(execution)
    counted = contingency_table(first, second, block_shape=block_shape, execution=how)
    if how.plan:
        return counted  # type: ignore[return-value]
    table = counted.drop_ignore(ignore_seg, ignore_gt)
    split, merge = vi_scores(table)
    error, _ = rand_scores(table)
    together, segments, objects = (
        float(np.sum(np.square(counts.astype(np.float64)))) for counts in (table.counts, table.sizes_a, table.sizes_b)
    )
    return Scores(
        split,
        merge,
        split + merge,
        error,
        together / segments if segments else 1.0,
        together / objects if objects else 1.0,
        int(np.count_nonzero(table.labels_a)),
        int(np.count_nonzero(table.labels_b)),
        int(table.n_points),
    )
