"""Time the operations on labels and the scores of objects, in this package or in the peer of the same name.

Run by path, with the Python of either environment:

    python benchmarks/labels.py FOLDER [SIZE]

The folder keeps the volume (SIZE³ voxels, 256 by default, an object per 2,800 voxels), so that both work on the same.
CPU time of the process counts, beside the time on the clock, which other programs change; the second call is taken.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from scipy import ndimage

import bioimage_py as bp

CHUNK, TILE, OVERLAP = 64, 64, 8
OURS = hasattr(bp.segmentation, "contacts")
RUN: dict[str, Any] = {"progress": False} if OURS else {}
BLOCKS: dict[str, Any] = {"block_shape": (CHUNK,) * 3, "num_workers": 2, **RUN}


def volumes(folder: Path, size: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return round cells as zarr, as a segmentation with errors, and tile by tile without common ids."""
    path = folder / f"cells{size}.zarr"
    if not path.exists():
        rng = np.random.default_rng(0)
        n = size**3 // 2800
        points = tuple(rng.integers(0, size, (3, n)))
        apart = np.ones((size,) * 3, bool)
        apart[points] = False
        distance, nearest = ndimage.distance_transform_edt(apart, return_indices=True)
        ids = np.zeros((size,) * 3, "u4")
        ids[points] = np.arange(1, n + 1)
        cells = np.where(distance > 12, 0, ids[tuple(nearest)]).astype("u4")
        zarr.create_array(path, shape=cells.shape, chunks=(CHUNK,) * 3, dtype="u4")[...] = cells
    stored = zarr.open_array(path, mode="r")
    cells = stored[...]
    moved = np.roll(cells, 1, axis=0)
    moved[np.random.default_rng(1).random(cells.shape) < 0.01] = 0
    tiles, used = np.zeros(cells.shape, "u8"), 0
    for at in itertools.product(range(0, size, TILE), repeat=3):
        part = tuple(slice(one, one + TILE) for one in at)
        ids, inverse = np.unique(cells[part], return_inverse=True)
        new = np.arange(len(ids), dtype="u8") + np.uint64(used)
        new[ids == 0] = 0
        tiles[part] = new[inverse].reshape(tiles[part].shape)
        used += len(ids)
    return stored, moved, tiles


def components(tile: np.ndarray, tile_id: int) -> np.ndarray:
    """Return the components of a tile."""
    return np.asarray(ndimage.label(tile > 0)[0], "u8")


def works(stored: Any, moved: np.ndarray, tiles: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the calls."""
    s, e, cells = bp.segmentation, bp.evaluation, stored[...]
    tile, overlap = (TILE,) * 3, (OVERLAP,) * 3
    found: dict[str, Callable[[], Any]] = {
        "stitch_segmentation": lambda: s.stitch_segmentation(stored, components, tile, overlap, num_workers=2, **RUN),
        "stitch_tiled_segmentation": lambda: s.stitch_tiled_segmentation(tiles, tile, num_workers=2, **RUN),
        "matching": lambda: e.matching(moved, cells, **BLOCKS),
        "centroid_matching": lambda: e.centroid_matching(moved, cells, distance_threshold=3, **BLOCKS),
        "object_vi": lambda: e.object_vi(moved, cells, **BLOCKS),
    }
    if OURS:
        found |= {
            "contacts": lambda: s.contacts(stored, **BLOCKS),
            "intersect": lambda: s.intersect(stored, stored, **BLOCKS),
            "keep_largest": lambda: s.keep_largest(stored, n=5, **BLOCKS),
            "remove_border_objects": lambda: s.remove_border_objects(stored, **BLOCKS),
            "split_disconnected": lambda: s.split_disconnected(stored, **BLOCKS),
            "majority 3": lambda: s.majority(stored, size=3, **BLOCKS),
            "majority 5": lambda: s.majority(stored, size=5, **BLOCKS),
            "average_precision": lambda: e.average_precision(moved, cells, **BLOCKS),
            "hausdorff_distance": lambda: e.hausdorff_distance(moved, cells, **BLOCKS),
        }
    return found


def main() -> None:
    """Print a row per call."""
    folder = Path(sys.argv[1])
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    folder.mkdir(parents=True, exist_ok=True)
    for name, call in works(*volumes(folder, size)).items():
        cpu = wall = 0.0
        for _ in range(2):
            begin = time.process_time(), time.perf_counter()
            call()
            cpu, wall = time.process_time() - begin[0], time.perf_counter() - begin[1]
        print(f"{name:28} {cpu:7.2f} s CPU {wall:7.2f} s")


if __name__ == "__main__":
    main()
