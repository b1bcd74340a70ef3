"""Grids of blocks, halos, write units and safe block shapes: arithmetic without any input or output."""

from .grid import Block, BlockWithHalo, Grid, Halo, normalize_halo, region_bounds, to_roi
from .groups import MAX_GROUP, Groups, Runs, plan_blocks
from .lattice import Lattice, common_lattice
from .shape import automatic_block_shape, nearest_block_shape, normalize_block_shape

__all__ = [
    "MAX_GROUP",
    "Block",
    "BlockWithHalo",
    "Grid",
    "Groups",
    "Halo",
    "Lattice",
    "Runs",
    "automatic_block_shape",
    "common_lattice",
    "nearest_block_shape",
    "normalize_block_shape",
    "normalize_halo",
    "plan_blocks",
    "region_bounds",
    "to_roi",
]
