"""A region graph as a value: regions, edges between those that touch, and what is measured on both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError, ShapeError
from .edge_table import BINS, LEVELS, EdgeTable
from .node_table import NodeTable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RegionGraph:
    """Regions of a label volume and the edges between those that touch.

    Parameters
    ----------
    nodes : NodeTable
        Regions, ascending by id.
    edges : EdgeTable
        Pairs of ids, ascending.
    shape : tuple of int
        Of the volume.
    axes : tuple of str
        Names of its axes.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> graph = bp.graph.region_graph(labels, np.full((2, 3), 0.5, np.float32))
    >>> graph.edges.ids.tolist()
    [[1, 2], [1, 3], [2, 3]]
    """

    nodes: NodeTable
    edges: EdgeTable
    shape: tuple[int, ...]
    axes: tuple[str, ...]

    @property
    def pairs(self) -> npt.NDArray[np.int64]:
        """The edges as rows of `nodes`, (edges, 2), ascending."""
        return np.searchsorted(self.nodes.ids, self.edges.ids).astype(np.int64, copy=False)

    def mean(self) -> npt.NDArray[np.float64]:
        """Mean boundary of each edge, 0 to 1."""
        return np.asarray(self.edges.total / (np.maximum(self.edges.count, 1) * LEVELS), np.float64)

    def variance(self) -> npt.NDArray[np.float64]:
        """Variance of the boundary along each edge."""
        count = np.maximum(self.edges.count, 1)
        squares = self.edges.squares / (count * float(LEVELS) ** 2)
        return np.asarray(np.maximum(squares - self.mean() ** 2, 0.0), np.float64)

    def quantile(self, q: float) -> npt.NDArray[np.float64]:
        """A quantile of the boundary along each edge, by the histogram: within 1 / 16 of the exact one.

        Parameters
        ----------
        q : float
            From 0, the least, to 1, the largest.
        """
        if not 0 <= q <= 1:
            raise ParameterError(f"a quantile lies between 0 and 1, got {q!r}", remedy="q=0.5 is the median")
        edges = self.edges
        low, high = edges.low / LEVELS, edges.high / LEVELS
        if not len(edges):
            return low.astype(np.float64)
        below = np.cumsum(edges.histogram, axis=1, dtype=np.float64)
        wanted = q * below[:, -1:]
        bin_of = np.minimum((below < wanted).sum(axis=1), BINS - 1)
        row = np.arange(len(bin_of))
        inside = edges.histogram[row, bin_of]
        before = below[row, bin_of] - inside
        part = (wanted[:, 0] - before) / np.maximum(inside, 1)
        return np.asarray(np.clip((bin_of + part) / BINS, low, high), np.float64)

    def features(self) -> pd.DataFrame:
        """A row for each edge: its ids, mean, standard deviation, least, largest, quartiles, voxels along each axis."""
        import pandas as pd

        edges = self.edges
        columns = {"u": edges.ids[:, 0], "v": edges.ids[:, 1], "mean": self.mean(), "std": np.sqrt(self.variance())}
        columns |= {"min": edges.low / LEVELS, "max": edges.high / LEVELS}
        columns |= {f"q{round(100 * q)}": self.quantile(q) for q in (0.25, 0.5, 0.75, 0.9)}
        columns |= {"size": edges.count}
        columns |= {f"faces_{name}": edges.faces[:, axis] for axis, name in enumerate(self.axes)}
        return pd.DataFrame(columns)

    def node_features(self) -> pd.DataFrame:
        """A row for each region: id, voxels, mean boundary within, centre and box around it in voxels of the volume."""
        import pandas as pd

        nodes, centers = self.nodes, self.nodes.centers()
        columns = {"id": nodes.ids, "size": nodes.size, "mean": nodes.total / (np.maximum(nodes.size, 1) * LEVELS)}
        for column, values in (("center", centers), ("begin", nodes.begin), ("end", nodes.end)):
            columns |= {f"{column}_{name}": values[:, axis] for axis, name in enumerate(self.axes)}
        return pd.DataFrame(columns)

    def check_edges(self, values: Sequence[float] | npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        """Values of the edges, one finite number for each.

        Raises
        ------
        ShapeError, ParameterError
        """
        found = np.asarray(values, np.float64)
        if found.shape != (len(self.edges),):
            raise ShapeError(
                f"{name} needs one value for each of {len(self.edges)} edges, got shape {found.shape}",
                remedy=f"{name}=bp.graph.costs(graph)",
            )
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found))[0])
            raise ParameterError(
                f"{name} of the edge {self.edges.ids[row].tolist()} is {found[row]}",
                remedy="numpy.nan_to_num, or bp.graph.costs(graph), which gives finite ones",
            )
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RegionGraph):
            return NotImplemented
        tables = [(self.nodes, other.nodes), (self.edges, other.edges)]
        same = (
            np.array_equal(getattr(one, column.name), getattr(two, column.name))
            for one, two in tables
            for column in dataclasses.fields(one)  # type: ignore[arg-type]
        )
        return (self.shape, self.axes) == (other.shape, other.axes) and all(same)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RegionGraph({len(self.nodes)} regions, {len(self.edges)} edges, of {self.shape})"
