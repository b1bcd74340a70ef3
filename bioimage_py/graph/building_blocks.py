"""What a worker does for `region_graph`: the tables of a block, and their merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..blocks import BlockWithHalo, to_roi
from ..blocks.boxes import within
from ..runner.ledger.stage_record import Results
from ..sources import Source
from . import edge_table, node_table
from .edge_table import LEVELS, Array, EdgeTable, Evidence, edges_of, of_boundaries, steps
from .node_table import NodeTable, nodes_of
from .regions import RegionGraph
from .stored import save


@dataclass(frozen=True)
class Measure:
    """Edges and regions of an array of labels.

    Parameters
    ----------
    offsets : tuple of tuple of int
        Of affinities; none: boundaries.
    """

    offsets: tuple[tuple[int, ...], ...] = ()

    def __call__(
        self, labels: Array, evidence: Sequence[Array], inner: tuple[slice, ...], begin: Sequence[int]
    ) -> tuple[NodeTable, EdgeTable]:
        """The tables of the part of an array that begins at a position of the volume."""
        if self.offsets:
            values = [LEVELS - steps(one, nan=0) for one in evidence]
            given = [Evidence(offset, one, False) for offset, one in zip(self.offsets, values, strict=True)]
        else:
            values = [steps(evidence[0])]
            given = of_boundaries(values[0])
        return nodes_of(labels[inner], values[0][inner], begin), edges_of(labels, given, inner)


@dataclass(frozen=True)
class MeasureBlock:
    """The block function: labels and evidence of a block, and of the voxels around it that offsets reach."""

    measure: Measure

    def __call__(
        self, block: BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> tuple[NodeTable, EdgeTable] | None:
        """The tables of a block; None where it has no region."""
        inner, outer = to_roi(block.inner_block), to_roi(block.outer_block)
        labels = inputs[0].view(outer)
        if mask is not None:
            labels = labels * (mask[outer] != 0)
        if not labels.any():
            return None
        evidence = [source.view(outer) for source in inputs[1:]]
        return self.measure(labels, evidence, within(inner, outer), block.inner_block.begin)


@dataclass(frozen=True)
class MergeTables:
    """After the blocks: one graph of all tables, kept in a file or returned."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    long_range: bool
    path: str | None

    def __call__(self, earlier: Results) -> RegionGraph | None:
        """The graph of all blocks; None where it has been written to the path."""
        return self.keep(self.graph([value for _, value in earlier.each("regions") if value is not None]))

    def graph(self, tables: Sequence[tuple[NodeTable, EdgeTable]]) -> RegionGraph:
        """The graph of some tables."""
        ndim = len(self.shape)
        nodes = node_table.merged([NodeTable.empty(ndim), *(one for one, _ in tables)])
        edges = edge_table.merged([EdgeTable.empty(ndim), *(one for _, one in tables)])
        if not self.long_range:
            edges = edges.rows(edges.faces.any(axis=1))
        return RegionGraph(nodes, edges, self.shape, self.axes)

    def keep(self, graph: RegionGraph) -> RegionGraph | None:
        """Write the graph to the path, if there is one."""
        if self.path is None:
            return graph
        save(graph, self.path, replace=True)
        return None
