"""How often each pair of labels of two segmentations meets: the sparse table behind every score."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DtypeError, ParameterError
from ..segmentation.objects.pairs import Overlaps, changes


@dataclass(frozen=True)
class ContingencyTable:
    """Overlaps of the labels of two segmentations, without the pairs that never meet.

    Attributes
    ----------
    pairs : numpy.ndarray
        (n_pairs, 2) uint64: label in the first and in the second segmentation, sorted.
    counts : numpy.ndarray
        (n_pairs,) int64: voxels that have both.
    labels_a, labels_b : numpy.ndarray
        uint64: labels of the first and of the second segmentation, sorted.
    sizes_a, sizes_b : numpy.ndarray
        int64: their numbers of voxels.
    n_points : int
        Number of voxels counted.
    """

    pairs: np.ndarray
    counts: np.ndarray
    labels_a: np.ndarray
    sizes_a: np.ndarray
    labels_b: np.ndarray
    sizes_b: np.ndarray
    n_points: int

    @classmethod
    def from_overlaps(cls, pairs: np.ndarray, counts: np.ndarray) -> ContingencyTable:
        """Table of sorted, different `pairs` (n, 2) with their `counts`."""
        pairs = np.asarray(pairs, np.uint64).reshape(-1, 2)
        counts = np.asarray(counts, np.int64)
        labels_a, sizes_a = _marginal(pairs[:, 0], counts)
        labels_b, sizes_b = _marginal(pairs[:, 1], counts)
        return cls(pairs, counts, labels_a, sizes_a, labels_b, sizes_b, int(counts.sum()))

    def as_dicts(self) -> tuple[dict[int, int], dict[int, int]]:
        """Sizes of the labels of the first and of the second segmentation, as ``{label: voxels}``."""
        return (
            dict(zip(self.labels_a.tolist(), self.sizes_a.tolist(), strict=True)),
            dict(zip(self.labels_b.tolist(), self.sizes_b.tolist(), strict=True)),
        )

    def drop_ignore(
        self, ignore_a: int | Sequence[int] | None = None, ignore_b: int | Sequence[int] | None = None
    ) -> ContingencyTable:
        """Table without the voxels that have one of `ignore_a` in the first or one of `ignore_b` in the second."""
        keep = ~(_is_ignored(self.pairs[:, 0], ignore_a) | _is_ignored(self.pairs[:, 1], ignore_b))
        return self if keep.all() else ContingencyTable.from_overlaps(self.pairs[keep], self.counts[keep])

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """For every pair the position of its labels in `labels_a` and `labels_b`."""
        return np.searchsorted(self.labels_a, self.pairs[:, 0]), np.searchsorted(self.labels_b, self.pairs[:, 1])


def _marginal(labels: np.ndarray, counts: np.ndarray) -> Overlaps:
    order = np.argsort(labels, kind="stable")
    labels, counts = labels[order], counts[order]
    starts = np.flatnonzero(changes(labels))
    if starts.size == 0:
        return labels, counts
    return labels[starts], np.add.reduceat(counts, starts)


def _is_ignored(labels: np.ndarray, ignore: int | Sequence[int] | None) -> np.ndarray:
    if ignore is None:
        return np.zeros(labels.size, bool)
    try:
        values = [operator.index(value) for value in np.atleast_1d(np.asarray(ignore, dtype=object))]
    except TypeError:
        raise ParameterError(f"labels to ignore: {ignore!r} are no whole numbers", remedy="ignore_gt=0") from None
    # a negative label never occurs, and would not fit the type
    return np.isin(labels, np.array([value for value in values if 0 <= value < 1 << 64], np.uint64))


def check_labels(dtype: Any, name: str) -> None:
    """Refuse what cannot be a label.

    Raises
    ------
    DtypeError
        If `dtype` is not an integer or boolean type.
    """
    if np.dtype(dtype).kind not in "bui":
        raise DtypeError(
            f"{name} must hold integer labels, its dtype is {np.dtype(dtype)}.",
            remedy=f"convert it first: {name}.astype('uint64') if its values are whole numbers",
        )
