"""A classifier of edges as plain arrays: it predicts without the library that it was trained with."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, ParameterError, ShapeError, SourceNotFoundError
from ...extras import needing
from ...system.files import write_once
from ..regions import RegionGraph
from .inputs import NAMES, inputs_of
from .plain import plain_arrays

_ROWS = 2**16
_FORMAT = "bioimage_py edge classifier 1"


@dataclass(frozen=True)
class EdgeClassifier:
    """Says how likely it is that an edge of a region graph is a boundary: a forest of decision trees.

    From `train_edges`, or read from a file. It holds numbers only, so a file of somebody else can run no code, and the
    same file has the same predictions with any version of any library.

    Parameters
    ----------
    begins : ndarray of int64, (trees,)
        First node of each tree.
    column : ndarray of int32, (nodes,)
        Which input a node looks at; -1 at the end of a branch.
    limit : ndarray of float64, (nodes,)
        Inputs up to it go to the left.
    left, right : ndarray of int32, (nodes,)
        Nodes to go on with.
    share : ndarray of float64, (nodes,)
        Of boundaries among the examples that came here.
    """

    begins: npt.NDArray[np.int64]
    column: npt.NDArray[np.int32]
    limit: npt.NDArray[np.float64]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    share: npt.NDArray[np.float64]

    def probabilities(self, graph: RegionGraph) -> npt.NDArray[np.float64]:
        """That each edge is a boundary, (edges,), for `costs` and `agglomerate`."""
        inputs = inputs_of(graph)
        found = np.zeros(len(inputs), np.float64)
        for first in range(0, len(inputs), _ROWS):
            found[first : first + _ROWS] = self._of(inputs[first : first + _ROWS])
        return found

    def _of(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        total = np.zeros(len(inputs), np.float64)
        for root in self.begins.tolist():
            at = np.full(len(inputs), root, np.int32)
            going = np.flatnonzero(self.column[at] >= 0)
            while len(going):
                node = at[going]
                low = inputs[going, self.column[node]] <= self.limit[node]
                at[going] = np.where(low, self.left[node], self.right[node])
                going = going[self.column[at[going]] >= 0]
            total += self.share[at]
        return total / max(1, len(self.begins))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a file (``.npz``), in one step."""
        held = io.BytesIO()
        np.savez_compressed(held, format=np.array(_FORMAT), inputs=np.array(NAMES), **vars(self))
        write_once(Path(path), held.getvalue())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> EdgeClassifier:
        """Read a file that `write` has written.

        Raises
        ------
        SourceNotFoundError
            If nothing is there.
        FormatError
            If it is something else, or was made for other inputs.
        """
        if not Path(path).is_file():
            raise SourceNotFoundError(
                f"{os.fspath(path)} does not exist", remedy="bp.graph.train_edges(...).write(path)"
            )
        try:
            held = plain_arrays(path)
            if str(held["format"]) != _FORMAT or tuple(held["inputs"].tolist()) != NAMES:
                raise ValueError("its format or inputs are other ones")
            found = cls(**{one.name: held[one.name] for one in fields(cls)})
            found._check()
            return found
        except Exception as error:  # whatever is wrong with a file of somebody else
            raise FormatError(
                f"{os.fspath(path)} is no classifier of edges: {error}", remedy="bp.graph.train_edges(...).write(path)"
            ) from error

    def _check(self) -> None:
        """ValueError for trees that lead nowhere, or in circles."""
        n = len(self.column)
        kinds = {"begins": "i8", "column": "i4", "limit": "f8", "left": "i4", "right": "i4", "share": "f8"}
        for name, kind in kinds.items():
            values = getattr(self, name)
            if values.dtype != np.dtype(kind) or values.ndim != 1 or (name != "begins" and len(values) != n):
                raise ValueError(f"{name} is {values.dtype} of shape {values.shape}")
        inner = self.column >= 0
        for side in (self.left[inner], self.right[inner]):
            if len(side) and not ((side > np.flatnonzero(inner)) & (side < n)).all():
                raise ValueError("a branch that does not lead further down")
        if not len(self.begins) or not ((self.begins >= 0) & (self.begins < n)).all() or not n:
            raise ValueError("no trees")
        if (self.column >= len(NAMES)).any() or not np.isfinite(self.limit).all():
            raise ValueError("numbers out of their range")
        if not ((self.share >= 0) & (self.share <= 1)).all():
            raise ValueError("shares that are not between 0 and 1")


def train_edges(
    examples: Sequence[tuple[RegionGraph, npt.NDArray[np.int8]]], *, trees: int = 100, seed: int = 0
) -> EdgeClassifier:
    """Learn from examples which edges are boundaries.

    Parameters
    ----------
    examples : sequence of (RegionGraph, ndarray of int8)
        Graphs, and what is true of each of their edges: 1 boundary, 0 none, -1 not known; see `edge_truth`.
    trees : int, default 100
    seed : int, default 0
        The same examples and seed have the same trees, with the same version of scikit-learn.

    Returns
    -------
    EdgeClassifier

    Raises
    ------
    MissingDependencyError
        Without scikit-learn (the extra ``learning``).
    ShapeError, ParameterError
        Not one value for each edge, no example of one of both kinds, or no trees.

    Notes
    -----
    Breiman, "Random forests", Machine Learning 2001; as in Andres et al., "3D segmentation of SBFSEM images of neuropil
    by a graphical model over supervoxel boundaries", 2012.
    """
    with needing("sklearn", "train_edges"):
        from sklearn.ensemble import RandomForestClassifier
    if isinstance(trees, bool) or not isinstance(trees, int | np.integer) or trees < 1:
        raise ParameterError(f"trees is a number of trees, got {trees!r}", remedy="trees=100")
    rows, truths = [], []
    for graph, truth in examples:
        values = np.asarray(truth)
        if values.shape != (len(graph.edges),):
            raise ShapeError(
                f"an example has {len(graph.edges)} edges and truth of shape {values.shape}",
                remedy="bp.graph.edge_truth(graph, pieces, truth)",
            )
        rows.append(inputs_of(graph)[values >= 0])
        truths.append(values[values >= 0] > 0)
    wanted = np.concatenate([np.zeros(0, np.bool_), *truths])
    if wanted.all() or not wanted.any():
        raise ParameterError(
            f"of {len(wanted)} edges whose truth is known {int(wanted.sum())} are boundaries: there is nothing to tell"
            " apart",
            remedy="examples with boundaries inside of objects, too: superpixels smaller than the objects",
        )
    forest = RandomForestClassifier(int(trees), min_samples_leaf=5, max_features="sqrt", random_state=seed, n_jobs=1)
    forest.fit(np.concatenate(rows), wanted)
    return _arrays([one.tree_ for one in forest.estimators_])


def _arrays(found: Sequence[Any]) -> EdgeClassifier:
    """The trees of scikit-learn one after the other."""
    counts = np.array([one.node_count for one in found], np.int64)
    begins = np.cumsum(counts) - counts
    inner = [one.children_left >= 0 for one in found]
    column = [np.where(where, one.feature, -1) for one, where in zip(found, inner, strict=True)]
    limit = [np.where(where, one.threshold, 0.0) for one, where in zip(found, inner, strict=True)]
    sides = [
        [np.where(where, side + at, 0) for side, where, at in zip(children, inner, begins, strict=True)]
        for children in ([one.children_left for one in found], [one.children_right for one in found])
    ]
    weights = [one.value[:, 0, :] for one in found]
    share = [one[:, 1] / one.sum(axis=1) for one in weights]
    left, right = (np.concatenate(side).astype(np.int32) for side in sides)
    return EdgeClassifier(
        begins,
        np.concatenate(column).astype(np.int32),
        np.concatenate(limit).astype(np.float64),
        left,
        right,
        np.concatenate(share).astype(np.float64),
    )
