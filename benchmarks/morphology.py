"""Time and memory of `morphology`: the exact distance transform, and properties of many objects.

    python benchmarks/morphology.py distance 512 [--workers 2]
    python benchmarks/morphology.py regionprops 384
    python benchmarks/morphology.py distance 512 --engine scipy      (or edt, peer: in an environment that has it)

Each prints a line of JSON: seconds, and the most memory that the process had (ru_maxrss).
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

CHUNK = 64


def cells(size: int, pitch: int = 8) -> Any:
    """Slabs of a volume of touching cells, one a cube of `pitch` voxels, with gaps: labels."""
    y, x = np.indices((size, size)) // pitch
    many = -(-size // pitch)
    for begin in range(0, size, CHUNK):
        z = np.arange(begin, min(size, begin + CHUNK)) // pitch
        slab = (z[:, None, None] * many * many + y * many + x + 1).astype(np.uint32)
        inner = np.arange(size) % pitch < pitch - 2
        yield begin, slab * (inner[begin : begin + CHUNK, None, None] & inner[:, None] & inner)


def blobs(size: int) -> Any:
    """Slabs of a volume of tubes and hollows: foreground."""
    axis = np.arange(size) / 23.0
    for begin in range(0, size, CHUNK):
        z = axis[begin : begin + CHUNK, None, None]
        yield begin, np.sin(z) + np.cos(axis[:, None] * 1.3) + np.sin(axis * 0.7 + z) > -1.2


def stored(folder: Path, slabs: Any, size: int, dtype: str) -> Any:
    """A zarr array of slabs."""
    shape, chunks = (size,) * 3, (CHUNK,) * 3
    array = zarr.create_array(folder / "in.zarr", shape=shape, chunks=chunks, dtype=dtype)
    for begin, slab in slabs:
        array[begin : begin + CHUNK] = slab
    return array


def distance(engine: str, source: Any, folder: Path, workers: int) -> None:
    """The distance transform of a stored volume, stored."""
    output = zarr.create_array(folder / "out.zarr", shape=source.shape, chunks=source.chunks, dtype="float32")
    if engine in ("ours", "peer"):
        from bioimage_py import morphology

        if engine == "ours":
            how: dict[str, Any] = {"progress": False}
        else:  # exact up to 64 voxels
            how = {"halo": (64,) * 3, "block_shape": (2 * CHUNK,) * 3}
        morphology.distance_transform(source, distances=output, num_workers=workers, **how)
    elif engine == "scipy":
        from scipy.ndimage import distance_transform_edt

        output[...] = distance_transform_edt(source[...])
    else:
        import edt

        output[...] = edt.edt(np.asarray(source[...]), parallel=workers)


def regionprops(engine: str, source: Any, folder: Path, workers: int) -> None:
    """Properties of all objects."""
    if engine == "ours":
        from bioimage_py import morphology

        found = morphology.regionprops(source, num_workers=workers, progress=False)
    elif engine == "peer":
        from bioimage_py import morphology

        table = morphology.morphology(source, num_workers=workers, block_shape=(CHUNK,) * 3)
        found = morphology.regionprops(source, table, num_workers=workers, verbose=False)
    else:
        from skimage.measure import regionprops_table

        names = ("label", "area", "extent", "equivalent_diameter_area", "axis_major_length", "centroid", "bbox")
        found = regionprops_table(np.asarray(source[...]), properties=names)
    print(f"{len(found['label'])} objects")


def main() -> None:
    """Run one work on one engine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["distance", "regionprops"])
    parser.add_argument("size", type=int)
    parser.add_argument("--engine", default="ours", choices=["ours", "peer", "scipy", "edt", "skimage"])
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    run: Callable[..., None] = distance if given.work == "distance" else regionprops
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        if given.work == "distance":
            source = stored(folder, blobs(given.size), given.size, "bool")
        else:
            source = stored(folder, cells(given.size), given.size, "uint32")
        begin = time.perf_counter()
        run(given.engine, source, folder, given.workers)
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({**vars(given), "seconds": round(seconds, 1), "peak_MiB": round(peak)}))


if __name__ == "__main__":
    main()
