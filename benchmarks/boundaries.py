"""Boundary maps like those that a network makes of neurons, from a segmentation: what `segment` is judged on.

The borders of the labels are smoothed and scaled to 1, faded in places, and made noisy, at three levels. Nobody has
corrected them and no network was trained, so they say nothing of a microscope; but they are the same for everybody.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import find_boundaries

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Noise:
    """How much worse than the truth a boundary map is: the fading of membranes, and the deviation of the noise."""

    fading: float
    deviation: float


LEVELS = {"low": Noise(0.0, 0.04), "mid": Noise(0.3, 0.1), "high": Noise(0.6, 0.175)}
"""Of the three maps that `make bench-segmentation` scores."""


def boundaries(labels: Array, noise: Noise, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """A boundary map of labels, 0 inside of objects and up to 1 between them.

    Parameters
    ----------
    labels : ndarray of int, any axes
    noise : Noise
    seed : int
        Of fading and noise.

    Returns
    -------
    ndarray of float32, same shape
    """
    rng = np.random.default_rng(seed)
    edges = ndimage.gaussian_filter(find_boundaries(labels).astype(np.float32), 1.0)
    edges /= edges.max() or 1.0
    if noise.fading:
        field = _unit(rng, labels.shape, 6.0)
        edges *= 1.0 - np.minimum(0.9, noise.fading * np.maximum(field - 1.0, 0.0))
    edges += noise.deviation * _unit(rng, labels.shape, 0.8)
    return np.clip(edges, 0.0, 1.0)


def neurons(path: Path, corner: tuple[int, ...] = (0, 0, 0), size: int = 256) -> npt.NDArray[np.uint64]:
    """A cube of the neurons in ``connectomics-512.npy.ckl.gz``, numbered from 1.

    Parameters
    ----------
    path : Path
        The compressed file; its axes are x, y, z.
    corner : tuple of int
        Of the cube, z, y, x.
    size : int
        Edge of the cube, in voxels.
    """
    import crackle
    import fastremap

    whole = crackle.decompress(gzip.decompress(path.read_bytes()))
    part = whole.T[tuple(slice(at, at + size) for at in corner)]
    return fastremap.renumber(np.ascontiguousarray(part).astype(np.uint64) + 1, in_place=False)[0].astype(np.uint64)


def _unit(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> npt.NDArray[np.float32]:
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    return np.asarray(field / field.std(), dtype=np.float32)
