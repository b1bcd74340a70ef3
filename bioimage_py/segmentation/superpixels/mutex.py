"""Superpixels of affinities of one array: the mutex watershed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .fragments import Array, probabilities


@dataclass(frozen=True)
class Mutex:
    """The kernel of `mutex_watershed`, on 2 or 3 axes.

    Parameters
    ----------
    offsets : tuple of tuple of int
        From a voxel to its partner, one for each channel.
    strides : tuple of int
        Of every so many voxels the long-range affinities are looked at.
    """

    offsets: tuple[tuple[int, ...], ...]
    strides: tuple[int, ...]

    def __call__(self, *channels: Array, inside: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.uint32]:
        """Ids 1 .. n of an array; 0 outside of a mask."""
        from bioimage_cpp.segmentation import mutex_watershed

        shape = channels[0].shape
        if not channels[0].size or (inside is not None and not inside.any()):
            return np.zeros(shape, np.uint32)
        short = [number for number, offset in enumerate(self.offsets) if _near(offset)]
        long = [number for number, offset in enumerate(self.offsets) if not _near(offset)]
        affinities = np.empty((len(self.offsets), *shape), np.float32)
        for row, number in enumerate((*short, *long)):
            belongs = probabilities(channels[number], nan=0)
            affinities[row] = belongs if row < len(short) else 1 - belongs
        labels = mutex_watershed(
            affinities,
            [self.offsets[number] for number in (*short, *long)],
            len(short),
            strides=list(self.strides),
            mask=None if inside is None else np.ascontiguousarray(inside),
        )
        return np.asarray(labels, np.uint32)


def _near(offset: tuple[int, ...]) -> bool:
    """Whether an offset leads to a voxel that shares a face: what joins; all others keep apart."""
    return sum(map(abs, offset)) == 1
