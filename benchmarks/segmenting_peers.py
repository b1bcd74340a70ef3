"""What else segments the same boundaries, for `segmenting.py`: scripts of libraries, and the peer package's operations.

The numbers of the scripts are those that score best on another cube (``python segmenting_peers.py``).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

BLOCK, WORKERS, CHUNK = 128, 2, 64
TUNED = (1.5, 0.26, 2.0, 10)
CONNECTED = (1.0, 0.15, 500)


def scikit_image(place: Path, output: Path) -> None:
    """The whole array in memory: distance seeds and a watershed."""
    import zarr
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    values = zarr.open_array(place / "raw", mode="r")[...] / np.float32(255)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(values < 0.3), 2.0)
    seeds = np.zeros(values.shape, np.int32)
    places = tuple(peak_local_max(distance, min_distance=5).T)
    seeds[places] = np.arange(1, len(places[0]) + 1)
    zarr.create_array(output / "0", data=watershed(values, seeds).astype(np.uint64), chunks=(CHUNK,) * 3)


def tuned(place: Path, output: Path) -> None:
    """The same with its numbers chosen on another cube of the same noise: `segmenting_peers.py` prints which."""
    import zarr

    values = zarr.open_array(place / "raw", mode="r")[...] / np.float32(255)
    zarr.create_array(output / "0", data=seeded(values, *TUNED).astype(np.uint64), chunks=(CHUNK,) * 3)


def seeded(values: Any, sigma: float, threshold: float, seed_sigma: float, apart: int) -> Any:
    """Smoothed boundaries, seeds where the distance to them is largest, a watershed."""
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    smooth = ndimage.gaussian_filter(values, sigma)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(smooth < threshold), seed_sigma)
    places = tuple(peak_local_max(distance, min_distance=apart, exclude_border=False).T)
    seeds = np.zeros(values.shape, np.int32)
    seeds[places] = np.arange(1, len(places[0]) + 1)
    return watershed(smooth, seeds)


def components(place: Path, output: Path) -> None:
    """What igneous does with a threshold: components by cc3d; boundary voxels then go to the nearest component."""
    import zarr

    values = zarr.open_array(place / "raw", mode="r")[...] / np.float32(255)
    zarr.create_array(output / "0", data=connected(values, *CONNECTED).astype(np.uint64), chunks=(CHUNK,) * 3)


def connected(values: Any, sigma: float, threshold: float, dust: int) -> Any:
    """Components of what lies below a threshold, without small ones, grown to the nearest voxels."""
    import cc3d
    from scipy import ndimage

    found = cc3d.connected_components(ndimage.gaussian_filter(values, sigma) < threshold, connectivity=6)
    found = cc3d.dust(found, threshold=dust, connectivity=6)
    if not found.any():
        return found
    nearest = ndimage.distance_transform_edt(found == 0, return_distances=False, return_indices=True)
    return found[tuple(nearest)]


def peer(place: Path, output: Path) -> None:
    """The peer package: its blockwise smoothing, labels, watershed with a halo, in its own environment."""
    import zarr

    import bioimage_py as other

    how: dict[str, Any] = {"num_workers": WORKERS, "block_shape": (BLOCK,) * 3}

    def made(name: str, dtype: str) -> Any:
        shape = raw.shape
        return zarr.create_array(output / name, shape=shape, chunks=(CHUNK,) * 3, dtype=dtype, overwrite=True)

    raw = zarr.open_array(place / "raw", mode="r")
    threshold = 66.4  # that which ours finds
    smooth, inside = made("smooth", "f4"), made("inside", "u1")
    distance, deep, seeds, labels = made("distance", "f4"), made("deep", "u1"), made("seeds", "u8"), made("0", "u8")
    other.filters.gaussian_smoothing(raw, 1.5, smooth, **how)
    other.operations.less(smooth, threshold, inside, **how)
    other.morphology.distance_transform(inside, distances=distance, halo=(8,) * 3, **how)
    other.operations.greater(distance, 3.0, deep, **how)
    other.segmentation.label(deep, seeds, **how)
    other.segmentation.watershed(smooth, seeds, labels, halo=(32,) * 3, **how)


def stitched(place: Path, output: Path) -> None:
    """The peer package: a watershed in tiles with 32 voxels around, and its stitching by their overlaps."""
    import zarr

    import bioimage_py as other

    raw = zarr.open_array(place / "raw", mode="r")
    labels = zarr.create_array(output / "0", shape=raw.shape, chunks=(CHUNK,) * 3, dtype="u8", overwrite=True)
    how: dict[str, Any] = {"tile_shape": (BLOCK,) * 3, "tile_overlap": (32,) * 3, "num_workers": WORKERS}
    other.segmentation.stitch_segmentation(raw, _tile, output=labels, with_background=False, **how)


def _tile(values: Any, _: int) -> Any:
    from bioimage_cpp.segmentation import watershed
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(values.astype(np.float32), 1.5)
    seeds = ndimage.label(ndimage.distance_transform_edt(smooth < 66.4) > 3.0)[0]
    return watershed(smooth, seeds.astype(np.uint32)).astype(np.uint64)


PEERS: dict[str, Any] = {
    "scikit-image": scikit_image,
    "tuned": tuned,
    "components": components,
    "peer": peer,
    "stitched": stitched,
}
OF_THE_PEER = ("peer", "stitched")
"""Those that run in the environment of the peer package."""


def main() -> None:
    """Which numbers suit the scripts best, on a cube that is none of those that are scored."""
    from boundaries import LEVELS, boundaries, neurons

    import bioimage_py as bp

    data = Path(__file__).resolve().parents[2] / "shared" / "data" / "connectomics-512.npy.ckl.gz"
    truth = neurons(data, (256, 256, 0), 128)
    values = boundaries(truth, LEVELS["mid"], seed=100)
    ways = {
        "tuned": (seeded, itertools.product((1.0, 1.5, 2.0), (0.15, 0.2, 0.26), (1.0, 2.0), (5, 10))),
        "components": (connected, itertools.product((1.0, 1.5), (0.08, 0.11, 0.15, 0.2, 0.26), (20, 500))),
    }
    for name, (function, choices) in ways.items():
        found = [(sum(bp.evaluation.variation_of_information(function(values, *one), truth)), one) for one in choices]
        print(name, *(f"{one}: {score:.3f}" for score, one in sorted(found)[:4]), sep="\n    ", flush=True)


if __name__ == "__main__":
    main()
