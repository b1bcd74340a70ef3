"""Scores of a segmentation from its contingency table: variation of information, Rand, CREMI.

The first segmentation of the table is the one that is scored, the second is the ground truth. Sums run over the sorted
table in float64, so a score does not depend on the blocks that the table came from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .table import ContingencyTable

if TYPE_CHECKING:
    import pandas as pd


def vi_scores(table: ContingencyTable, *, use_log2: bool = True) -> tuple[float, float]:
    """Variation of information (Meila 2003) from a table.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).
    use_log2 : bool, default True
        Bits, else nats.

    Returns
    -------
    split : float
        H(segmentation | ground truth): grows where true objects are cut into several. 0 is perfect.
    merge : float
        H(ground truth | segmentation): grows where true objects are joined. 0 is perfect.
    """
    if table.n_points == 0:
        return 0.0, 0.0
    in_seg, in_gt = table.positions()
    weights = table.counts / table.n_points
    split = -np.sum(weights * _log(table.counts / table.sizes_b[in_gt], use_log2))
    merge = -np.sum(weights * _log(table.counts / table.sizes_a[in_seg], use_log2))
    # -0.0 would be printed for a perfect score
    return float(split) + 0.0, float(merge) + 0.0


def _log(values: np.ndarray, use_log2: bool) -> np.ndarray:
    return np.asarray(np.log2(values) if use_log2 else np.log(values))


def object_vi_scores(table: ContingencyTable, *, use_log2: bool = True) -> pd.DataFrame:
    """Variation of information of each object of the ground truth.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).
    use_log2 : bool, default True
        Bits, else nats.

    Returns
    -------
    pandas.DataFrame
        A row per label of the ground truth: label (uint64), vi_split, vi_merge. Their means weighted by the sizes of
        the objects are the two values of `vi_scores`.
    """
    import pandas as pd

    in_seg, in_gt = table.positions()
    sizes = table.sizes_b[in_gt]
    split = -(table.counts / sizes) * _log(table.counts / sizes, use_log2)
    merge = -(table.counts / sizes) * _log(table.counts / table.sizes_a[in_seg], use_log2)
    objects = table.labels_b.size
    return pd.DataFrame(
        {
            "label": table.labels_b,
            "vi_split": np.bincount(in_gt, weights=split, minlength=objects) + 0.0,
            "vi_merge": np.bincount(in_gt, weights=merge, minlength=objects) + 0.0,
        }
    )


def rand_scores(table: ContingencyTable) -> tuple[float, float]:
    """Adapted Rand error and Rand index from a table.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).

    Returns
    -------
    error : float
        Adapted Rand error, 1 - F-score of the pairs of voxels (Arganda-Carreras et al. 2015); 0 is perfect. A voxel
        counts as a pair with itself, as in the CREMI challenge; ``skimage.metrics.adapted_rand_error`` leaves these
        out.
    index : float
        Share of the pairs of voxels on which both agree (Rand 1971), with the same pairs; 1 is perfect.
    """
    if table.n_points == 0:
        return 0.0, 1.0
    together = _squares(table.counts)
    total = _squares(table.sizes_a) + _squares(table.sizes_b)
    disagreement = (total - 2 * together) / float(table.n_points) ** 2
    return 1.0 - 2 * together / total, 1.0 - disagreement


def _squares(counts: np.ndarray) -> float:
    return float(np.sum(np.square(counts.astype(np.float64))))


def cremi_scores(table: ContingencyTable, *, use_log2: bool = True) -> tuple[float, float, float, float]:
    """Scores of the CREMI challenge from a table.

    Parameters
    ----------
    table : ContingencyTable
        Overlaps of segmentation (first) and ground truth (second).
    use_log2 : bool, default True
        Bits, else nats.

    Returns
    -------
    vi_split, vi_merge : float
        As `vi_scores`.
    error : float
        Adapted Rand error, as `rand_scores`.
    score : float
        Geometric mean of the error and the sum of both VI parts; 0 is perfect.
    """
    split, merge = vi_scores(table, use_log2=use_log2)
    error, _ = rand_scores(table)
    return split, merge, error, math.sqrt(max(error, 0.0) * (split + merge))
