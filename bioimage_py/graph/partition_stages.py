"""The stages that divide a graph by cells: for `multicut` and `agglomerate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..blocks.shape import normalize_block_shape
from ..engine.stages import ItemsStage, OnceStage
from ..errors import SourceTypeError
from .decomposition import Cells, levels
from .partition_blocks import Begin, JoinCells, LevelOf, SolveCell, SolveRest
from .regions import RegionGraph
from .solving import Way
from .storing.stored import open_graph

_CELL = 128


def cells_of(graph: RegionGraph, cell_shape: int | Sequence[int] | None) -> list[Cells]:
    """The cells of all levels of a graph; the smallest have 128 voxels along each axis by default."""
    ndim = len(graph.shape)
    return levels(graph.shape, normalize_block_shape(_CELL if cell_shape is None else cell_shape, ndim))


def opened(graph: Any) -> RegionGraph:
    """A graph, or that which lies at a path."""
    if isinstance(graph, RegionGraph):
        return graph
    if isinstance(graph, str | os.PathLike):
        return open_graph(graph)
    raise SourceTypeError(
        f"{type(graph).__name__} is no region graph", remedy="graph=bp.graph.region_graph(labels, boundaries)"
    )


def partition_stages(begin: Begin, cells: Sequence[Cells], way: Way) -> tuple[list[ItemsStage | OnceStage], LevelOf]:
    """The stages of a partition by cells, and where its last level is."""
    stages: list[ItemsStage | OnceStage] = [OnceStage("problem", begin)]
    before = LevelOf("problem")
    for number, level in enumerate(cells):
        name = f"cells {number}"
        stages.append(ItemsStage(name, SolveCell(level, way), level.n, before))
        stages.append(OnceStage(f"join {number}", JoinCells(before, name)))
        before = LevelOf(f"join {number}")
    return [*stages, OnceStage("rest", SolveRest(before, way))], LevelOf("rest")
