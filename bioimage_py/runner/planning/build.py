"""From a call to a stage: every check that can be made before the first block, and the choice of grid and groups."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...blocks import (
    Groups,
    Halo,
    automatic_block_shape,
    common_lattice,
    normalize_block_shape,
    normalize_halo,
    plan_blocks,
    region_bounds,
)
from ...errors import ParameterError
from ...sources import Source, as_source
from ...sources.to_be import ArrayToBe
from ...wrapper.base import WrapperSource
from .checks import check_aliases, check_block_ids, check_function, check_runs, check_shapes, whole_numbers
from .stage import Stage
from .work_list import Units

MAX_CACHE_BYTES = 256 * 2**20


def as_sources(objects: Any) -> tuple[Source, ...]:
    """Sources of one object or a sequence of objects."""
    many = objects if isinstance(objects, (list, tuple)) else (objects,)
    return tuple(as_source(item) for item in many)


@dataclass(frozen=True)
class Where:
    """Where a call runs.

    Parameters
    ----------
    block_shape : int or sequence of int, optional
        Voxels; chosen from shapes and chunks by default.
    mask : source-like, optional
        Same shape as the inputs; handed to the function.
    block_ids : sequence of int, optional
        Blocks to run, by default all.
    roi : tuple of slice, optional
        Region of the grid.
    skip_empty : bool
        Leave out the blocks for which the mask (without one, the first input) has no stored chunk.
    """

    block_shape: Any = None
    mask: Any = None
    block_ids: Sequence[int] | None = None
    roi: tuple[slice, ...] | None = None
    skip_empty: bool = False


def blocks_stage(
    function: Callable[..., Any],
    inputs: Any,
    outputs: Any = (),
    where: Where = Where(),
    *,
    name: str = "blocks",
    halo: Halo = None,
    returns: Literal["none", "each", "fold"] = "none",
    merge: Callable[[Any, Any], Any] | None = None,
    setup: Callable[[Any], Any] | None = None,
    num_workers: int = 1,
    reads_outputs: bool = True,
    memory_factor: float = 3.0,
    holds_gil: bool = False,
    groups: Groups | None = None,
    mapped: bool = False,
) -> Stage:
    """A checked stage of blocks.

    Parameters
    ----------
    function : callable
        ``function(block, inputs, outputs, mask)``; with ``setup`` also ``context=``.
    inputs, outputs : source-like or sequence of source-like
        Inputs have one shape; an output may have leading (channel) axes in front of it.
    where : Where
    halo : int or sequence of int, optional
        Voxels read around a block; None gives a `Block`, anything else a `BlockWithHalo`.
    reads_outputs : bool
        The function may read what it writes, so that running it twice could matter.
    memory_factor : float
        Peak bytes of the function over the bytes of the blocks that it reads and writes.
    holds_gil : bool
        Most of the function's time is spent in a kernel that lets no other thread of its process run.
    groups : Groups, optional
        The grid and the write groups of several stages, by default those of this one.
    mapped : bool
        Large arrays in its values become files of their own, of which later stages read only what they need.

    Raises
    ------
    ShapeError, BlockShapeError, HaloError, RegionError, AliasError, ReadOnlyError, ParameterError
        Bad input, before anything is run.
    """
    sources, targets = as_sources(inputs), as_sources(outputs)
    mask = None if where.mask is None else as_source(where.mask)
    shape = check_shapes(sources, targets, mask)
    margin = normalize_halo(halo, len(shape))
    in_place = check_aliases(sources, targets, margin, mask)
    check_function(function, 4, context=setup is not None)
    if merge is not None:
        if not callable(merge):
            raise ParameterError(f"reduce={merge!r} cannot be called", remedy="reduce=lambda left, right: left + right")
        check_runs(merge)
    groups = groups or plan_groups(shape, sources, targets, where.block_shape, where.roi)
    ids = check_block_ids(where.block_ids, groups.grid.n_blocks)
    if where.skip_empty:
        ids = without_empty(groups, sources[0] if mask is None else mask, margin, ids)
    units = Units.select(groups.grid.n_blocks, groups, ids)
    if num_workers > 1 and units.n_groups < min(num_workers, units.n_blocks):
        warnings.warn(
            f"{units.n_blocks} blocks share write units so that only {units.n_groups} can run at once, fewer than the"
            f" {num_workers} workers; a block shape made of whole write units avoids that",
            stacklevel=4,
        )
    return Stage(
        name,
        "blocks",
        function,
        units,
        sources,
        targets,
        mask,
        margin,
        returns,
        merge,
        setup,
        cache_bytes=cache_size(sources, groups, margin),
        memory_factor=memory_factor,
        in_place=in_place,
        reads_outputs=reads_outputs and bool(targets),
        holds_gil=holds_gil,
        mapped=mapped,
    )


def with_outputs(stage: Stage) -> Stage:
    """The stage with outputs that are there: those that were not are made now."""
    if not any(isinstance(part, ArrayToBe) for source in stage.sources for part in source.parts):
        return stage
    return stage.over(_made, _made)


def _made(source: Source) -> Source:
    if isinstance(source, ArrayToBe):
        return source.made
    return source.over(_made) if isinstance(source, WrapperSource) else source


def items_stage(
    function: Callable[..., Any],
    n_items: int | None,
    item_ids: Sequence[int] | None,
    *,
    name: str = "items",
    returns: Literal["none", "each", "fold"] = "each",
    merge: Callable[[Any, Any], Any] | None = None,
    setup: Callable[[Any], Any] | None = None,
    outputs: Sequence[Source] = (),
    mapped: bool = False,
) -> Stage:
    """A checked stage over indices: ``function(index)``; with ``setup`` also ``context=``."""
    if n_items is None and item_ids is None:
        raise ParameterError("neither n_items nor item_ids is given", remedy="n_items=10")
    check_function(function, 1, context=setup is not None)
    check_runs(merge)
    ids = whole_numbers(item_ids, "item_ids")
    total = len(ids or ()) if n_items is None else whole_numbers([n_items], "n_items")[0]
    if total < 0:
        raise ParameterError(f"n_items={total} is negative", remedy="n_items=0 or more")
    return Stage(
        name,
        "items",
        function,
        Units.select(total, None, ids),
        outputs=tuple(outputs),
        returns=returns,
        merge=merge,
        setup=setup,
        mapped=mapped,
    )


def once_stage(function: Callable[[Any], Any], *, name: str, outputs: Sequence[Source] = ()) -> Stage:
    """A stage that one worker runs a single time: ``function(earlier)``."""
    return Stage(name, "once", function, Units(1), outputs=tuple(outputs), returns="each")


def without_empty(
    groups: Groups, source: Source, halo: tuple[int, ...] | None, ids: list[int] | None
) -> list[int] | None:
    """Ids of the blocks that see a stored chunk of a source; all where the storage cannot tell."""
    units, shape = source.stored_units(), source.write_chunks
    if units is None or shape is None:
        return ids
    begin = units * np.array(shape) + np.array(source.grid_origin)
    margin = np.array(halo or (0,) * source.ndim)
    seen = groups.grid.touching(begin - margin, begin + np.array(shape) + margin)
    wanted: list[int] = (seen if ids is None else np.array(ids)[np.isin(ids, seen)]).tolist()
    return wanted


def plan_groups(
    shape: tuple[int, ...], inputs: Sequence[Source], outputs: Sequence[Source], block_shape: Any, roi: Any
) -> Groups:
    """Grid and write groups of a run on these sources."""
    bounds = region_bounds(roi, shape)
    lattices = common_lattice([(output.write_chunks, output.grid_origin) for output in outputs], shape)
    if block_shape is not None:
        return plan_blocks(shape, normalize_block_shape(block_shape, len(shape)), bounds, lattices)
    chunked = next((source for source in (*inputs, *outputs) if source.chunks is not None), None)
    chunks = None if chunked is None else chunked.chunks
    return plan_blocks(shape, automatic_block_shape(shape, lattices, chunks), bounds, lattices, anchored=True)


def cache_size(inputs: Sequence[Source], groups: Groups, halo: tuple[int, ...] | None) -> int:
    """Bytes of decoded chunks worth keeping: none where no chunk is read twice, else about two planes of blocks."""
    size = 0
    for source in inputs:
        if source.chunks is None:
            continue
        chunks = source.chunks[-groups.grid.ndim :]
        fits = all(
            b % c == 0 or b >= n for b, c, n in zip(groups.grid.block_shape, chunks, groups.grid.shape, strict=True)
        )
        if fits and not source.rereads and not (halo and any(halo)):
            continue
        margins = halo or (0,) * groups.grid.ndim
        thick = groups.grid.block_shape[0] + 2 * margins[0] + 2 * chunks[0]
        plane = math.prod(stop - start for start, stop in groups.grid.roi[1:])
        size += 2 * min(thick, source.shape[0]) * plane * source.dtype.itemsize
    return min(size, MAX_CACHE_BYTES)
