"""What is true of the edges of a region graph, by labels that are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ParameterError
from ...segmentation import intersect
from ..regions import RegionGraph


def edge_truth(
    graph: RegionGraph, labels: Any, truth: Any, *, overlap: float = 0.5, **run: Any
) -> npt.NDArray[np.int8]:
    """Which edges are boundaries: between regions that lie in different objects.

    Parameters
    ----------
    graph : RegionGraph
    labels : source-like
        Of which the graph was made.
    truth : source-like
        Objects, of the same shape; 0 is not known. An object that a region shares more voxels with than any other has
        it (of two the one with the smaller id).
    overlap : float, default 0.5
        Part of a region that has to lie in its object, 0 to 1; else what is true of its edges is not known.
    **run
        Keywords of `bioimage_py.segmentation.intersect`, which counts.

    Returns
    -------
    ndarray of int8, (edges,)
        1 for boundaries, 0 for edges inside of an object, -1 where it is not known.

    Raises
    ------
    ParameterError
        If `overlap` is not between 0 and 1.
    DtypeError, ShapeError
        See `bioimage_py.segmentation.intersect`.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> graph = bp.graph.region_graph(labels, np.zeros((2, 3), np.float32))
    >>> bp.graph.edge_truth(graph, labels, np.array([[7, 7, 8], [7, 7, 8]])).tolist()
    [1, 0, 1]
    """
    if not 0 <= overlap <= 1:
        raise ParameterError(f"overlap lies between 0 and 1, got {overlap!r}", remedy="overlap=0.5")
    pairs = intersect(labels, truth, **run)
    ids, objects = pairs["label_a"].to_numpy(), pairs["label_b"].to_numpy()
    order = np.lexsort((objects, -pairs["overlap"].to_numpy(), ids))
    ids = ids[order]
    first = order[np.r_[True, ids[1:] != ids[:-1]]] if len(ids) else order
    first = first[pairs["share_a"].to_numpy()[first] >= overlap]
    owner = np.zeros(len(graph.nodes), np.uint64)
    known = np.isin(pairs["label_a"].to_numpy()[first], graph.nodes.ids)
    owner[np.searchsorted(graph.nodes.ids, pairs["label_a"].to_numpy()[first][known])] = objects[first][known]
    ends = owner[graph.pairs]
    return np.where((ends == 0).any(axis=1), -1, ends[:, 0] != ends[:, 1]).astype(np.int8)
