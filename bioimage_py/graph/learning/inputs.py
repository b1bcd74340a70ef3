"""What a classifier sees of an edge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..edge_table import LEVELS
from ..regions import RegionGraph

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
NAMES = (
    *("mean", "deviation", "least", "largest"),
    *(f"quantile {q}" for q in QUANTILES),
    *("size", "flat", "smaller region", "larger region", "lower mean", "higher mean", "contact"),
)
"""Of the columns, in order."""


def inputs_of(graph: RegionGraph) -> npt.NDArray[np.float32]:
    """A row for each edge, a column for each of `NAMES`.

    Sizes are logarithms. Nothing depends on the number of axes, or on where in the volume an edge is.
    """
    edges, nodes = graph.edges, graph.nodes
    size = nodes.size[graph.pairs].astype(np.float64)
    inside = (nodes.total / (np.maximum(nodes.size, 1) * float(LEVELS)))[graph.pairs]
    count = np.maximum(edges.count, 1).astype(np.float64)
    columns = [graph.mean(), np.sqrt(graph.variance()), edges.low / LEVELS, edges.high / LEVELS]
    columns += [graph.quantile(q) for q in QUANTILES]
    columns += [np.log(count), edges.faces.max(axis=1, initial=0) / count]
    columns += [np.log(size.min(axis=1)), np.log(size.max(axis=1)), inside.min(axis=1), inside.max(axis=1)]
    dimensions = max(1, len(graph.shape))
    columns += [np.log(count) - np.log(size.min(axis=1)) * (dimensions - 1) / dimensions]
    return np.stack(columns, axis=1).astype(np.float32)
