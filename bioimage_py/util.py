"""Small functions for scripts that work block by block, under the names that existing scripts import."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import blocks
from .blocks import Block, BlockWithHalo, Grid, to_roi
from .errors import ConfigError, HaloError, ParameterError
from .sources.base import Source

__all__ = [
    "BlockDescriptor",
    "Blocking",
    "ComputeFn",
    "check_direct",
    "check_rerun_args",
    "derive_block_shape",
    "downscale_shape",
    "full_roi",
    "get_blocking",
    "group_blocks_by_shard",
    "is_direct",
    "maybe_warn_imbalance",
    "normalize_halo",
    "same_array",
    "sigma_to_halo",
    "take_mapping",
    "to_roi",
]

BlockDescriptor = Block | BlockWithHalo
"""What a block function gets: a `BlockWithHalo` where a halo was asked for."""

ComputeFn = Callable[[BlockDescriptor, Sequence[Source], Sequence[Source], Source | None], Any]
"""A block function: ``function(block, inputs, outputs, mask)``."""

UNEVEN_LOAD = 1.5
"""A warning is due where a worker gets this many times the mean load."""


class Blocking(Grid):
    """A `Grid` under the names of bioimage-cpp: ``number_of_blocks``, ``blocks_per_axis``, ``get_block``, ..."""

    @property
    def number_of_blocks(self) -> int:
        """Number of blocks."""
        return self.n_blocks

    @property
    def blocks_per_axis(self) -> list[int]:
        """Number of blocks per axis."""
        return list(self.grid_shape)

    @property
    def roi_begin(self) -> list[int]:
        """First voxel of the region."""
        return [begin for begin, _ in self.roi]

    @property
    def roi_end(self) -> list[int]:
        """One past the last voxel of the region."""
        return [end for _, end in self.roi]

    def get_block(self, block_id: int) -> Block:
        """The block with an id."""
        return self[operator.index(block_id)]

    def get_block_with_halo(self, block_id: int, halo: int | Sequence[int]) -> BlockWithHalo:
        """The block with an id and its surroundings, clipped at the volume's edge."""
        return self.with_halo(operator.index(block_id), normalize_halo(halo, self.ndim))

    def block_grid_position(self, block_id: int) -> list[int]:
        """Position of a block on the grid."""
        return list(self.position(block_id))


def get_blocking(
    shape: Sequence[int], block_shape: int | Sequence[int], roi: tuple[slice, ...] | None = None
) -> Blocking:
    """Blocks over a volume, numbered in C order from the region's begin.

    Parameters
    ----------
    shape : sequence of int
        Shape of the volume.
    block_shape : int or sequence of int
        Shape of a block; one number serves all axes.
    roi : tuple of slice, optional
        Region; axes that it leaves out are whole.

    Raises
    ------
    BlockShapeError, RegionError
        A block shape below 1 or of the wrong length, a region outside the volume or with steps.
    """
    size = tuple(operator.index(n) for n in shape)
    return Blocking(size, blocks.normalize_block_shape(block_shape, len(size)), blocks.region_bounds(roi, size))


def full_roi(ndim: int) -> tuple[slice, ...]:
    """Index of a whole volume with so many axes."""
    return (slice(None),) * ndim


def normalize_halo(halo: int | Sequence[int], ndim: int) -> list[int]:
    """Halo per axis, in voxels.

    Raises
    ------
    HaloError
        None, negative, fractional, or of the wrong length.
    """
    values = blocks.normalize_halo(halo, ndim)
    if values is None:
        raise HaloError("halo None is not a number of voxels", remedy=f"halo={(0,) * ndim}")
    return list(values)


def sigma_to_halo(sigma: float | Sequence[float], order: int) -> int | list[int]:
    """A halo that is enough for a Gaussian or its derivatives: ``2 * ceil(3 * sigma + order / 2 + 0.5)`` voxels.

    `bioimage_py.filters` read less than that, what each kernel needs.

    Parameters
    ----------
    sigma : float or sequence of float
        Standard deviation in voxels.
    order : int
        Order of the derivative.

    Raises
    ------
    ParameterError
        A sigma that is negative or not finite.
    """
    if isinstance(sigma, Iterable):
        return [_halo_of(value, order) for value in sigma]
    return _halo_of(sigma, order)


def _halo_of(sigma: float, order: int) -> int:
    if not 0 <= sigma < math.inf:
        raise ParameterError(f"sigma={sigma!r} is not a width in voxels", remedy="sigma=1.0")
    return 2 * math.ceil(3.0 * sigma + 0.5 * order + 0.5)


def downscale_shape(shape: Sequence[int], scale_factor: int | Sequence[int], ceil_mode: bool = True) -> tuple[int, ...]:
    """Shape of a volume after downscaling.

    Parameters
    ----------
    shape : sequence of int
    scale_factor : int or sequence of int
        At least 1; one number serves all axes.
    ceil_mode : bool
        Whether voxels at the end that do not fill a factor make a voxel of their own.

    Raises
    ------
    ParameterError
        A factor below 1, fractional, or of the wrong length.
    """
    given = scale_factor if isinstance(scale_factor, Iterable) else (scale_factor,) * len(shape)
    try:
        factors = [operator.index(factor) for factor in given]
    except TypeError:
        raise ParameterError(f"scale_factor {scale_factor!r} is not made of whole numbers", remedy="2") from None
    if len(factors) != len(shape) or min(factors, default=1) < 1:
        raise ParameterError(
            f"scale_factor {scale_factor!r} does not give a factor of at least 1 for each axis of {tuple(shape)}",
            remedy=f"scale_factor={(2,) * len(shape)}",
        )
    return tuple(-(-n // f) if ceil_mode else n // f for n, f in zip(shape, factors, strict=True))


def derive_block_shape(source: Source, block_shape: int | Sequence[int] | None) -> tuple[int, ...]:
    """The block shape that is given, else the chunks of the source.

    Operations without ``block_shape`` choose larger blocks: see `bioimage_py.blocks.automatic_block_shape`.

    Raises
    ------
    BlockShapeError
        A block shape below 1 or of the wrong length.
    ConfigError
        Neither a block shape nor chunks.
    """
    if block_shape is not None:
        return blocks.normalize_block_shape(block_shape, source.ndim)
    if source.chunks is None:
        raise ConfigError(
            f"{source!r} has no chunks to take a block shape from", remedy=f"block_shape={(64,) * source.ndim}"
        )
    return source.chunks


def same_array(a: Source, b: Source) -> bool:
    """Whether two sources share their storage, also through views, wrappers and second handles."""
    from .sources import as_source

    return bool(as_source(a).identity == as_source(b).identity)


def is_direct(job_type: str, num_workers: int, block_shape: Any) -> bool:
    """Whether these settings ask for no blocks; what then runs as a whole also depends on the input."""
    return job_type.lower() == "local" and num_workers == 1 and block_shape is None


def check_direct(job_type: str, num_workers: int, block_shape: Any, mask: Any, block_ids: Any) -> bool:
    """`is_direct`, for code that cannot take a mask or block ids then.

    Raises
    ------
    ConfigError
        A mask or block ids without blocks.
    """
    direct = is_direct(job_type, num_workers, block_shape)
    if direct and (mask is not None or block_ids is not None):
        raise ConfigError("mask and block_ids need blocks", remedy="block_shape=(64, 64, 64)")
    return direct


def check_rerun_args(
    job_type: str, resume_from: Any, subset: Sequence[int] | None, *, subset_name: str = "block_ids"
) -> None:
    """Refuse to resume a run and to choose its blocks at the same time, or to resume a local run.

    Raises
    ------
    ConfigError
    """
    if resume_from is None:
        return
    if subset is not None:
        raise ConfigError(f"resume_from and {subset_name} exclude each other", remedy="drop one of them")
    if job_type.lower() == "local":
        raise ConfigError("a local run keeps no run folder to resume from", remedy=f"{subset_name}=[...]")


def group_blocks_by_shard(
    blocking: Grid, outputs: Sequence[Source], block_ids: Sequence[int]
) -> list[list[int]] | None:
    """Blocks that share shards or chunks of the outputs, which have to be written one after the other.

    Returns
    -------
    list of list of int or None
        None where no two blocks share any.
    """
    units = [(output.write_chunks, output.grid_origin) for output in outputs]
    lattices = blocks.common_lattice(units, blocking.shape)
    groups = blocks.Groups.of(blocking, lattices)
    if groups.trivial:
        return None
    ids = np.asarray(block_ids, dtype=np.int64)
    of = groups.of_blocks(ids)
    return [ids[of == group].tolist() for group in dict.fromkeys(of.tolist())]


def maybe_warn_imbalance(loads: Sequence[int], num_workers: int, n_groups: int, name: str) -> None:
    """Warn where blocks that share write units leave workers idle or with far more blocks than others."""
    busy = [load for load in loads if load > 0]
    if not busy or num_workers < 2:
        return
    if n_groups < num_workers:
        warnings.warn(
            f"{name!r}: only {n_groups} groups of blocks can run at once on {num_workers} workers; a block shape made"
            " of whole write units avoids that",
            stacklevel=2,
        )
    elif max(busy) > UNEVEN_LOAD * sum(busy) / len(busy):
        warnings.warn(f"{name!r}: workers get between {min(busy)} and {max(busy)} blocks", stacklevel=2)


def take_mapping(mapping: Mapping[int, int], seg: npt.ArrayLike) -> npt.NDArray[Any]:
    """Replace the ids of a label array.

    Parameters
    ----------
    mapping : mapping of int to int
        New id of every id that occurs.
    seg : array_like of int
        Any integer type, which the result keeps.

    Raises
    ------
    IndexingError
        An id without an entry.
    DtypeError
        Labels that are not integer.
    ValueRangeError
        A new id that the type cannot hold.
    """
    from .segmentation.tables import as_table, check_label_dtype
    from .sources.casting import convert_values

    labels = np.asarray(seg)
    check_label_dtype(labels.dtype, "seg")
    return convert_values(as_table(mapping, labels.dtype)(labels), labels.dtype)
