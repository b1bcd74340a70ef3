"""What a worker does for `region_graph`: the tables of a block, and their merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..blocks import BlockWithHalo, to_roi
from ..blocks.boxes import within
from ..runner.ledger.stage_record import Results
from ..sources import Source
from . import edge_table, node_table
from .edge_table import LEVELS, Array, EdgeTable, Evidence, edges_of, of_boundaries, steps
from .node_table import NodeTable, nodes_of
from .regions import RegionGraph
from .storing.sorting import Sorting
from .storing.stored import check_free, hidden, write


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
        tables = (value for _, value in earlier.each("regions") if value is not None)
        if self.path is None:
            return self.graph(list(tables))
        self.write(tables, self.path)
        return None

    def graph(self, tables: Sequence[tuple[NodeTable, EdgeTable]]) -> RegionGraph:
        """The graph of some tables."""
        ndim = len(self.shape)
        nodes = node_table.merged([NodeTable.empty(ndim), *(one for one, _ in tables)])
        edges = edge_table.merged([EdgeTable.empty(ndim), *(one for _, one in tables)])
        return RegionGraph(nodes, self._kept(edges), self.shape, self.axes)

    def write(self, tables: Iterable[tuple[NodeTable, EdgeTable]], path: str) -> None:
        """Write the graph of some tables to a path; however many there are, memory holds only some of them."""
        check_free(path, replace=True)
        ndim = len(self.shape)
        with hidden(path) as scratch:
            nodes = Sorting(node_table.merged, NodeTable.empty(ndim), Path(scratch, "nodes"))
            edges = Sorting(edge_table.merged, EdgeTable.empty(ndim), Path(scratch, "edges"))
            for one, other in tables:
                nodes.add(one)
                edges.add(other)
            parts = map(self._kept, edges.parts())
            write({"nodes": (nodes.parts(), nodes.most), "edges": (parts, edges.most)}, path, self.shape, self.axes)

    def _kept(self, edges: EdgeTable) -> EdgeTable:
        return edges if self.long_range else edges.rows(edges.faces.any(axis=1))
