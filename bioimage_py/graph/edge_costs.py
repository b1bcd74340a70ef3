"""From boundaries on edges to what it costs to cut them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from .edge_table import LEVELS
from .regions import RegionGraph

_SURE = 0.001
"""Probabilities nearer than this to 0 or 1 are taken for it: no edge is beyond doubt."""
_INSIDE = 0.7
"""So much of what is seen inside of both regions is no boundary."""
_FAINT = 0.4
"""What stands out by so much is as likely a boundary as not: membranes are seldom as bright as they can be."""
_CONTACT, _USUAL, _LEAST = 0.2, 0.15, 0.01
"""Weight of how large a part of a surface an edge is, the part that says nothing, and the least that counts."""
_ROWS = 2**18


def edge_probabilities(graph: RegionGraph) -> npt.NDArray[np.float64]:
    """How likely it is that each edge of a region graph is a boundary, where nothing has been learned.

    Three things count: the mean boundary of the edge; what is seen inside of its regions, since noise and thick
    membranes raise that too, and only what stands out says something; and which part of the surface of the smaller
    region the edge is, since a piece that lies at another with half of its surface seldom is an object of its own.

    Parameters
    ----------
    graph : RegionGraph

    Returns
    -------
    ndarray of float64, (edges,)
        0 to 1. The log of the odds is that of ``(mean - 0.7 inside) / (1 - 0.7 inside)`` against 0.4, where ``inside``
        is the lower mean of both regions, less 0.2 times the log of ``part / 0.15``, where a part below 0.01 counts as
        0.01. An edge without faces, of long-range affinities alone, is no part of a surface: that term is 0.

    Notes
    -----
    Mean and contact are among the features of Andres et al., "3D segmentation of SBFSEM images of neuropil by a
    graphical model over supervoxel boundaries", 2012. The numbers are those that were best, for all of them together,
    on boundaries of three levels of noise and several cubes of one volume; `train_edges` finds better ones for others.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels, boundaries = np.repeat([[1, 2, 3]], 4, axis=1), np.zeros((1, 12), np.float32)
    >>> boundaries[0, 3:5] = 1
    >>> bp.graph.edge_probabilities(bp.graph.region_graph(labels, boundaries)).round(2).tolist()
    [1.0, 0.0]
    """
    nodes, edges = graph.nodes, graph.edges
    inside = nodes.total / (np.maximum(nodes.size, 1) * float(LEVELS))
    surface = np.zeros(len(nodes), np.int64)
    result = np.zeros(len(edges), np.float64)
    spans = [slice(begin, begin + _ROWS) for begin in range(0, len(edges), _ROWS)]  # of 10^8 edges a column is 800 MB
    for span in spans:
        faces = edges.column("faces", span).sum(axis=1)
        for row in np.searchsorted(nodes.ids, edges.column("ids", span)).T:
            np.add.at(surface, row, faces)
    for span in spans:
        rows = np.searchsorted(nodes.ids, edges.column("ids", span))
        mean = edges.column("total", span) / (np.maximum(edges.column("count", span), 1) * float(LEVELS))
        floor = _INSIDE * inside[rows].min(axis=1)
        out = _sure((mean - floor) / np.maximum(1 - floor, _SURE))
        faces = edges.column("faces", span).sum(axis=1)
        part = faces / np.maximum(surface[rows].min(axis=1), 1)
        contact = np.where(faces > 0, np.log(np.maximum(part, _LEAST) / _USUAL), 0.0)
        odds = np.log(out / (1 - out)) - math.log(_FAINT / (1 - _FAINT)) - _CONTACT * contact
        result[span] = 1 / (1 + np.exp(-odds))
    return result


def _sure(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(np.asarray(values, np.float64), _SURE, 1 - _SURE)


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
        That there is a boundary, 0 to 1; by default `edge_probabilities`. ``graph.mean()`` takes the mean boundary of
        each edge alone, as `agglomerate` does.
    beta : float, default 0.5
        Between 0 and 1: larger cuts more. An edge of the probability ``1 - beta`` is as good cut as kept.
    size_exponent : float, default 0.5
        0 takes all edges alike, 1 weights them by their number of voxels (relative to the mean of all edges).
    quantile : float, optional
        Take this quantile of the boundary alone.

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
        found = edge_probabilities(graph) if quantile is None else graph.quantile(quantile)
    else:
        found = graph.check_edges(probabilities, "probabilities")
    sure = _sure(found)
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
