"""An image written as OME-Zarr with all its levels: each block is read once, and gives its part of every level."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BioimageError
from ..io.create import create_array
from ..io.details import Image
from ..io.keys import array_keys
from ..io.ome import mark_unfinished
from ..io.v3.replacing import refuse_same
from ..io.written.array_images import coarser_axes, describe_image
from ..io.written.blocks import grown, units_of, whole_pieces
from ..operations.copying import copy
from ..operations.pyramids import pyramid
from ..runner.execution import Execution
from ..sources.arrays.tensorstore import detect_driver
from ..sources.axes import Axis
from ..sources.base import Source
from ..sources.file import FileSource, open_source
from ..sources.registry import as_source
from ..sources.stores.location import locate
from ..system.swap import remove
from ..wrapper.downsample import DownsampleSource
from ..wrapper.reduced import ReducedOutput
from .pyramids import level_factors

_ROW_BYTES = 16 * 2**20
"""Of a block that is read in long rows."""
_BLOCKS = 16
"""That an image has at least, for several workers."""


def write_ome_image(
    image: Image, container: str, levels: bool, options: Mapping[str, Any], overwrite: bool, how: Execution
) -> None:
    """Write an image and, on demand, its coarser levels (`level_factors`) into a zarr container of its own.

    The result has the bits of `copy` and a call of `downsample` a level. While it is being written the group says so,
    and the same call goes on.

    Parameters
    ----------
    image : Image
    container : str
        Path or URL.
    levels : bool
        Whether there are coarser ones.
    options : mapping
        ``chunks``, ``shards``, ``compression``; see `create_array`.
    overwrite : bool
        Replace arrays that are there.
    how : Execution
    """
    method = image.reduced_by
    source = as_source(image.array)
    factors = level_factors(source.shape, image.axes) if levels else []
    views: list[Source] = [source]
    for factor in factors:
        views.append(DownsampleSource(views[-1], factor, method))
    root, new = locate(container), not os.path.lexists(container)
    local = root.folder is not None and not root.archive  # elsewhere nothing is continued
    if local:
        if overwrite and detect_driver(root) is not None:  # an array, of which no group can be made
            with open_source(container, "", format="zarr") as there:
                refuse_same(container, there, [source])
            shutil.rmtree(os.path.realpath(container))  # it may be a link, which stays
            os.makedirs(os.path.realpath(container))
        mark_unfinished(container)
    axes = tuple(image.axes)
    made: list[FileSource] = []
    try:
        for number, view in enumerate(views):
            axes = coarser_axes(axes, factors[number - 1]) if number else axes
            made.append(_created(container, str(number), view, axes, options, overwrite))
    except BioimageError:
        if local and new:
            shutil.rmtree(container)
        raise
    if local and overwrite:
        _remove_levels(container, len(views))
    if factors:
        ones = (1,) * source.ndim
        block = block_of(source, [made[0], ReducedOutput(made[1], factors[0], source.shape, method)], how)
        pyramid(source, [ones, *factors], made, method=method, block_shape=block, execution=how)
    else:
        copy(source, made[0], block_shape=block_of(source, made, how), execution=how)
    describe_image(container, "", image, [(str(number), level.axes) for number, level in enumerate(made)])
    if local:
        mark_unfinished(container, False)


def block_of(source: Source, outputs: Sequence[Source], how: Execution) -> tuple[int, ...] | None:
    """Blocks in which a source is read as it lies.

    None of its large pieces is read twice, such as the compressed pages of a stack; what lies in one piece is read in
    long rows, as long as there are some blocks. None: what a run chooses by itself.
    """
    unit = units_of(outputs)
    if source.chunks is not None:
        return whole_pieces(source, unit)
    if how.memory is not None:
        return None
    nbytes = min(_ROW_BYTES, source.nbytes // _BLOCKS)  # whoever continues it may have other workers
    block = grown(unit, source.shape, nbytes // source.dtype.itemsize)
    return None if block == unit else block


def _created(
    container: str, key: str, view: Source, axes: Sequence[Axis], options: Mapping[str, Any], overwrite: bool
) -> FileSource:
    return create_array(
        container,
        key,
        shape=view.shape,
        dtype=view.dtype,
        chunks=options.get("chunks"),
        shards=options.get("shards"),
        compressor=options.get("compression"),
        format="zarr",
        axes=axes,
        overwrite=overwrite,
    )


def _remove_levels(container: str, count: int) -> None:
    """Remove the levels of an image that had more."""
    for key in array_keys(locate(container)):
        if key.isdecimal() and int(key) >= count:
            remove(os.path.join(container, key))
