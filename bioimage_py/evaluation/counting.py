"""Counting the overlaps of two segmentations block by block, which most scores begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.reducing import run_reduce
from ..segmentation.objects.pairs import OverlapCounts, merge_overlaps
from ..sources import as_source
from .table import ContingencyTable, check_labels

OMIT = ("block_ids", "resume_from", "casting")
"""Keywords that scores do not take."""

COUNTED = Declaration("exact", "numpy.bincount and numpy.argsort of runs of voxels", memory=2.0)

Labels = int | Sequence[int] | None


def table_of(name: str, a: Any, b: Any, names: tuple[str, str], run: RunKeywords) -> ContingencyTable:
    """The overlaps of two label volumes, counted in a run of this name."""
    job = Job.of(run)
    first, second = as_source(a), as_source(b)
    check_labels(first.dtype, names[0])
    check_labels(second.dtype, names[1])
    found = run_reduce(OverlapCounts(), merge_overlaps, [first, second], job, name=name, memory_factor=2.0)
    if found is None:
        found = np.empty((0, 2), np.uint64), np.empty(0, np.int64)
    return ContingencyTable.from_overlaps(*found)


def scored(
    name: str, seg: Any, gt: Any, run: RunKeywords, ignore_seg: Labels = None, ignore_gt: Labels = None
) -> ContingencyTable:
    """The overlaps of a segmentation and the ground truth, without the voxels of some labels."""
    return table_of(name, seg, gt, ("segmentation", "groundtruth"), run).drop_ignore(ignore_seg, ignore_gt)
