"""From boundaries on edges to what it costs to cut them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from .regions import RegionGraph

_SURE = 0.001
"""Probabilities nearer than this to 0 or 1 are taken for it: no edge is beyond doubt."""


def costs(
    graph: RegionGraph,
    probabilities: npt.NDArray[np.float64] | None = None,
    *,
    beta: float = 0.5,
    size_exponent: float = 0.5,
    quantile: float | None = None,
) -> npt.NDArray[np.float64]:
    """What it costs to cut each edge of a region graph: positive where its regions belong together.

    The cost is ``log((1 - p) / p) + log((1 - beta) / beta)``, times the size of the edge to a power:
    an edge of many voxels is better known than one of few.

    Parameters
    ----------
    graph : RegionGraph
    probabilities : ndarray of float, (edges,), optional
        That there is a boundary, 0 to 1; by default the mean boundary of each edge.
    beta : float, default 0.5
        Between 0 and 1: larger cuts more. An edge of the probability ``1 - beta`` is as good cut as kept.
    size_exponent : float, default 0.5
        0 takes all edges alike, 1 weights them by their number of voxels (relative to the mean of all edges).
    quantile : float, optional
        Take this quantile of the boundary instead of its mean.

    Returns
    -------
    ndarray of float64, (edges,)

    Raises
    ------
    ParameterError
        If beta is not between 0 and 1, or the exponent negative.
    ShapeError
        If there is not one probability for each edge.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> graph = bp.graph.region_graph(labels, np.full((2, 3), 0.9, np.float32))
    >>> bool((bp.graph.costs(graph) < 0).all())
    True
    """
    if not 0 < beta < 1:
        raise ParameterError(f"beta lies between 0 and 1, got {beta!r}", remedy="beta=0.5")
    if not (math.isfinite(size_exponent) and size_exponent >= 0):
        raise ParameterError(f"size_exponent is at least 0, got {size_exponent!r}", remedy="size_exponent=0.5")
    if probabilities is None:
        found = graph.mean() if quantile is None else graph.quantile(quantile)
    else:
        found = graph.check_edges(probabilities, "probabilities")
    sure = np.clip(np.asarray(found, np.float64), _SURE, 1 - _SURE)
    del found  # of 10^8 edges each array is 800 MB
    result: npt.NDArray[np.float64] = np.subtract(1, sure)
    result /= sure
    np.log(result, out=result)
    result += math.log((1 - beta) / beta)
    del sure
    if size_exponent and len(result):
        size = np.maximum(graph.edges.count, 1)
        weight = size / size.mean()
        del size
        weight **= size_exponent
        result *= weight
    return result
