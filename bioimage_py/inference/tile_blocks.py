"""What a worker does for `predict`: the tiles of a block, their predictions, and the blend of these."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blocks import Block, BlockWithHalo, to_roi
from ..blocks.boxes import within
from ..engine.block_functions import write_inside
from ..errors import ShapeError
from ..runner.ledger.stage_record import Results
from ..sources import Source
from ..sources.casting import Casting
from ..sources.indexing import Roi
from .devices import Devices, PerDevice
from .models import Model
from .scaling import Pair, Scaling, scaled
from .tiling import Tiling, Weights

MEASURE = "measure"
"""Name of the stage that looks through the volume first."""

_PIECE = 1 << 15
"""Voxels that are rounded at a time: they fit the cache."""

Tile = tuple[int, ...]


@dataclass(frozen=True)
class Rounding:
    """How a prediction becomes a value of the output.

    Floating point outputs get the nearest value, of two that are as near the even one. Integer outputs get the nearest
    whole number to ``scale * prediction``, of two the even one, and at most what they can hold.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the output.
    scale : float
    """

    dtype: np.dtype[Any]
    scale: float = 1.0

    def __call__(self, values: npt.NDArray[np.float64]) -> np.ndarray:
        """Round a contiguous array, which is changed; NaN, and all of a floating point type, is left to the writing."""
        if self.dtype.kind == "f":
            return values if self.scale == 1.0 else np.multiply(values, self.scale, out=values)
        info = np.iinfo(self.dtype)
        low, high = float(info.min), float(info.max)
        if int(high) > info.max:  # the largest int64 and uint64 are no floats: what is nearest to them would run over
            high = float(np.nextafter(high, 0))
        result, unknown = np.empty(values.shape, self.dtype), False
        flat, rounded = values.reshape(-1), result.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            np.multiply(piece, self.scale, out=piece)
            np.clip(np.rint(piece, out=piece), low, high, out=piece)
            unknown = unknown or bool(np.isnan(piece).any())
            with np.errstate(invalid="ignore"):
                rounded[start : start + _PIECE] = piece
        return values if unknown else result


class Kept(threading.local):
    """Predictions of the block that a worker has done last, of the tiles that reach into the one after it."""

    def __init__(self) -> None:
        self.tiles: dict[Tile, np.ndarray] = {}


@dataclass(frozen=True)
class Open:
    """What the workers of a process share: the model on each device, and the numbers of the scaling.

    ``kept`` is each worker's own.
    """

    models: PerDevice
    pairs: tuple[Pair, ...] | None
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True)
class OpenModel:
    """Once a process: the model on a device, as soon as a worker asks for it, and what the first pass has found."""

    model: Model
    devices: Devices
    scaling: Scaling
    dtypes: tuple[np.dtype[Any], ...]

    def __call__(self, earlier: Results) -> Open:
        """Get ready."""
        found = None if self.scaling.measure is None else earlier[MEASURE]
        return Open(PerDevice(self.devices, self.model.open), self.scaling.pairs(found, self.dtypes))


@dataclass(frozen=True)
class PredictBlock:
    """The block function: predict all tiles that a block needs, and write their blend.

    Every voxel adds its tiles up in their C order, in float64, so its value is the same in any block.

    Parameters
    ----------
    tiling : Tiling
    along : tuple of int
        Axes that the model works along, ascending; the others have tiles of one voxel.
    channels : int
        Channels that the model makes.
    led : bool
        The output has an axis of channels in front.
    batch : int
        Tiles that the model gets at a time: always so many, the last one repeated where there are fewer, so that a
        tile is computed in the same way wherever the block begins.
    rounding : Rounding
    casting : {"checked", "unsafe"}
    """

    tiling: Tiling
    along: tuple[int, ...]
    channels: int
    led: bool
    batch: int
    rounding: Rounding
    casting: Casting

    def __call__(
        self,
        block: Block | BlockWithHalo,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        *,
        context: Open,
    ) -> None:
        """Run one block."""
        inner = to_roi(block.inner_block if isinstance(block, BlockWithHalo) else block)
        outer = to_roi(block.outer_block) if isinstance(block, BlockWithHalo) else inner
        inside = None if mask is None else mask[inner].astype(bool, copy=False)
        if inside is not None and not inside.any():
            return
        blend = Blend(self.tiling, inner, self.channels)
        voxels = [source.view(outer) for source in inputs]
        predict, kept = context.models.mine(), context.kept.tiles
        context.kept.tiles = {}
        for several in self._batches(blend.needed(inside), kept):
            missing = [tile for tile in several if tile not in kept]
            if missing:
                full = missing + missing[-1:] * (self.batch - len(missing))
                batch = np.stack([self._read(tile, voxels, outer, context.pairs) for tile in full])
                kept.update(zip(missing, self._checked(predict(batch), batch.shape), strict=False))
            for tile in several:
                prediction = kept.pop(tile)
                blend.add(tile, prediction)
                if blend.goes_on(tile):
                    context.kept.tiles[tile] = prediction.copy()  # a model may use its memory again
        result = self.rounding(blend.total)
        write_inside(outputs[0], inner, result if self.led else result[0], inside, self.casting)

    def _batches(self, tiles: Iterator[Tile], kept: Mapping[Tile, np.ndarray]) -> Iterator[list[Tile]]:
        """Tiles in their order, as many at a time as leave one batch for the model."""
        several: list[Tile] = []
        n_missing = 0
        for tile in tiles:
            several.append(tile)
            n_missing += tile not in kept
            if n_missing == self.batch:
                yield several
                several, n_missing = [], 0
        if several:
            yield several

    def _read(
        self, tile: Tile, voxels: Sequence[np.ndarray], outer: Roi, pairs: tuple[Pair, ...] | None
    ) -> npt.NDArray[np.float32]:
        """A tile as the model gets it, (channels, *tile); mirrored where the volume is shorter than a tile."""
        axes = [(self.tiling.axes[axis], tile[axis], outer[axis].start) for axis in range(len(tile))]
        where = tuple(
            slice(one.begin(index) - start, min(one.begin(index) + one.tile, one.size) - start)
            for one, index, start in axes
        )
        shape = [self.tiling.axes[axis].tile for axis in self.along]
        cut = np.stack(
            [
                scaled(channel[where], None if pairs is None else pairs[number]).reshape(
                    [part.stop - part.start for axis, part in enumerate(where) if axis in self.along]
                )
                for number, channel in enumerate(voxels)
            ]
        )
        missing = [(0, full - there) for full, there in zip(shape, cut.shape[1:], strict=True)]
        return np.pad(cut, [(0, 0), *missing], mode="reflect") if any(more for _, more in missing) else cut

    def _checked(self, prediction: Any, batch: tuple[int, ...]) -> npt.NDArray[Any]:
        """What the model has returned, (batch, channels, *block); ShapeError where it is of another shape."""
        found = np.asarray(prediction)
        wanted = (batch[0], self.channels, *batch[2:])
        if self.channels == 1 and found.shape == (batch[0], *batch[2:]):
            found = found[:, np.newaxis]
        if found.shape != wanted or found.dtype.kind not in "buif":
            raise ShapeError(
                f"the model made {found.dtype} of shape {found.shape} of a batch of shape {batch}, not numbers of shape"
                f" {wanted}: batch, channels, and the tile",
                remedy=f"channels={found.shape[1]}"
                if found.ndim == len(batch) and found.shape[2:] == batch[2:]
                else "a model that gives a value for every voxel of a tile",
            )
        return found.reshape(*wanted[:2], *(one.tile for one in self.tiling.axes))


class Blend:
    """The values of a block, to which its tiles are added one after the other."""

    def __init__(self, tiling: Tiling, inner: Roi, channels: int) -> None:
        self.total = np.zeros((channels, *(part.stop - part.start for part in inner)))
        self._tiling = tiling
        self._inner = inner
        self._weights: list[dict[int, Weights]] = [{} for _ in inner]

    def needed(self, inside: np.ndarray | None) -> Iterator[Tile]:
        """Tiles that give a value for a voxel of the block inside of the mask, in C order."""
        touching = (
            axis.touching(part.start, part.stop) for axis, part in zip(self._tiling.axes, self._inner, strict=True)
        )
        for tile in itertools.product(*touching):
            if inside is None or inside[within(self._used(tile), self._inner)].any():
                yield tile

    def add(self, tile: Tile, prediction: np.ndarray) -> None:
        """Add the share of a tile; its prediction has the shape (channels, *tile)."""
        used = self._used(tile)
        begins = [axis.begin(index) for axis, index in zip(self._tiling.axes, tile, strict=True)]
        own = tuple(slice(part.start - b, part.stop - b) for part, b in zip(used, begins, strict=True))
        share = prediction[(slice(None), *own)].astype(np.float64)
        for axis, part in enumerate(used):
            first = self._tiling.axes[axis].used(tile[axis])[0]
            weights = self._weights_of(axis, tile[axis])[part.start - first : part.stop - first]
            for part_of in _ramps(weights):
                there = (slice(None),) * (axis + 1)
                share[(*there, part_of)] *= weights[part_of].reshape(-1, *(1,) * (len(used) - axis - 1))
        self.total[(slice(None), *within(used, self._inner))] += share

    def goes_on(self, tile: Tile) -> bool:
        """Whether a tile reaches into the block that follows in C order, along the last axis that has several."""
        for axis, part, index in reversed(list(zip(self._tiling.axes, self._inner, tile, strict=True))):
            if part.start > 0 or part.stop < axis.size:
                return bool(axis.used(index)[1] > part.stop)
        return False

    def _used(self, tile: Tile) -> Roi:
        """The part of the block that a tile gives values for."""
        ranges = [axis.used(index) for axis, index in zip(self._tiling.axes, tile, strict=True)]
        return tuple(
            slice(max(low, part.start), min(high, part.stop))
            for (low, high), part in zip(ranges, self._inner, strict=True)
        )

    def _weights_of(self, axis: int, index: int) -> Weights:
        known = self._weights[axis]
        if index not in known:
            known[index] = self._tiling.axes[axis].weights(index)
        return known[index]


def _ramps(weights: Weights) -> list[slice]:
    """Parts of weights that are not one: those at both ends, in most cases."""
    level = np.flatnonzero(weights == 1.0)
    if not level.size or level[-1] - level[0] >= level.size:
        return [slice(None)]
    return [part for part in (slice(0, level[0]), slice(level[-1] + 1, len(weights))) if part.start < part.stop]
