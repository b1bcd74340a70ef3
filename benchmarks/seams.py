"""How a watershed in blocks is mended at their faces: quality and CPU time of each way, on boundaries of real neurons.

Seeds are those of `segment(method="watershed")`, found in the whole volume. The ways, in blocks of 128³ voxels:

- whole: the volume at once;
- halo: each block with 32 voxels around it;
- chequerboard: every second block with a halo, the others from the borders that those have left;
- nothing: each block alone;
- forest: what `bioimage_py.segmentation.watershed` does without a halo.

CPU seconds are the least of the rounds, which go through all ways in turn.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from boundaries import LEVELS, boundaries, neurons
from segmentation import DATA, scores
from skimage.filters import threshold_otsu

import bioimage_py as bp
from bioimage_py.blocks.boxes import within
from bioimage_py.segmentation.flooding import Watershed, seed_mask
from bioimage_py.workflows.segmentation_kernels import Brightness

BLOCK = 128


def boxes(shape: tuple[int, ...]) -> Any:
    """The blocks of a volume and whether each is one of the first colour."""
    for begin in itertools.product(*(range(0, size, BLOCK) for size in shape)):
        box = tuple(slice(at, min(at + BLOCK, size)) for at, size in zip(begin, shape, strict=True))
        yield box, sum(begin) // BLOCK % 2 == 0


def wider(box: Any, by: int, shape: tuple[int, ...]) -> Any:
    """A box with so many voxels around it."""
    return tuple(
        slice(max(0, part.start - by), min(size, part.stop + by)) for part, size in zip(box, shape, strict=True)
    )


def with_halo(height: Any, seeds: Any, halo: int) -> Any:
    """Each block with a halo."""
    found = np.zeros(height.shape, np.uint64)
    for box, _ in boxes(height.shape):
        outer = wider(box, halo, height.shape)
        found[box] = Watershed()(height[outer], seeds[outer])[within(box, outer)]
    return found


def chequered(height: Any, seeds: Any, halo: int) -> Any:
    """The first colour with a halo, the second from what it has left."""
    found = np.zeros(height.shape, np.uint64)
    for box, first in sorted(boxes(height.shape), key=lambda one: not one[1]):
        outer = wider(box, halo if first else 1, height.shape)
        marks = seeds[outer] if first else np.where(found[outer] != 0, found[outer], seeds[outer])
        found[box] = Watershed()(height[outer], marks)[within(box, outer)]
    return found


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "whole": lambda height, seeds: Watershed()(height, seeds),
    "halo 32": lambda height, seeds: with_halo(height, seeds, 32),
    "chequerboard 32": lambda height, seeds: chequered(height, seeds, 32),
    "chequerboard 8": lambda height, seeds: chequered(height, seeds, 8),
    "nothing": lambda height, seeds: with_halo(height, seeds, 0),
    "forest": lambda height, seeds: bp.segmentation.watershed(height, seeds, block_shape=BLOCK, progress=False),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    truth = neurons(given.data, (0, 0, 0), given.size)
    print(f"{'noise':>6} {'way':>16} {'VI':>7} {'split':>7} {'merge':>7} {'ARE':>8} {'not as whole':>13} {'CPU s':>6}")
    for level, noise in LEVELS.items():
        values = np.rint(boundaries(truth, noise) * 255).astype(np.uint8)
        smooth = Brightness("|u1", (1.5,) * 3, dark=True)(values)
        seeds = bp.segmentation.label(seed_mask(smooth > threshold_otsu(smooth), min_distance=3.0))
        height = np.iinfo(np.uint16).max - smooth
        seconds = dict.fromkeys(WAYS, np.inf)
        for _ in range(given.rounds):
            found = {}
            for name, way in WAYS.items():
                begin = time.process_time()
                found[name] = way(height, seeds)
                seconds[name] = min(seconds[name], time.process_time() - begin)
        for name, labels in found.items():
            split, merge, error = scores(labels, truth)
            other = np.mean(labels != found["whole"])
            print(
                f"{level:>6} {name:>16} {split + merge:7.4f} {split:7.4f} {merge:7.4f} {error:8.5f} {other:13.5f}"
                f" {seconds[name]:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
