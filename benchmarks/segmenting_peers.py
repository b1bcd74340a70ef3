"""What else segments the same boundaries, for `segmenting.py`: scripts of libraries, and the peer package's operations.

``python segmenting_peers.py`` scores a few numbers for the scripts, on the boundaries that are scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

BLOCK, WORKERS, CHUNK = 128, 2, 64
TUNED = (1.5, 0.26, 3.0)
CONNECTED = (1.0, 0.15, 100)


def scikit_image(place: Path, output: Path) -> None:
    """The whole array in memory: distance seeds and a watershed."""
    import zarr
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    values = zarr.open_array(place / "raw.zarr", mode="r")[...] / np.float32(255)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(values < 0.3), 2.0)
    seeds = np.zeros(values.shape, np.int32)
    places = tuple(peak_local_max(distance, min_distance=5).T)
    seeds[places] = np.arange(1, len(places[0]) + 1)
    zarr.create_array(output / "0", data=watershed(values, seeds).astype(np.uint64), chunks=(CHUNK,) * 3)


def tuned(place: Path, output: Path) -> None:
    """The steps of the peer package on the whole array, with its numbers."""
    import zarr

    values = zarr.open_array(place / "raw.zarr", mode="r")[...] / np.float32(255)
    zarr.create_array(output / "0", data=seeded(values, *TUNED).astype(np.uint64), chunks=(CHUNK,) * 3)


def seeded(values: Any, sigma: float, threshold: float, depth: float) -> Any:
    """Smoothed boundaries, a seed in each place that is far enough from them, a watershed."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    smooth = ndimage.gaussian_filter(values, sigma)
    seeds = ndimage.label(ndimage.distance_transform_edt(smooth < threshold) > depth)[0]
    return watershed(smooth, seeds)


def components(place: Path, output: Path) -> None:
    """What igneous does with a threshold: components by cc3d; boundary voxels then go to the nearest component."""
    import zarr

    values = zarr.open_array(place / "raw.zarr", mode="r")[...] / np.float32(255)
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

    raw = zarr.open_array(place / "raw.zarr", mode="r")
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

    raw = zarr.open_array(place / "raw.zarr", mode="r")
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
    """Which numbers suit the scripts best, on the very boundaries that are scored."""
    from boundaries import LEVELS, boundaries, neurons

    import bioimage_py as bp

    data = Path(__file__).resolve().parents[2] / "shared" / "data" / "connectomics-512.npy.ckl.gz"
    truth = neurons(data)
    values = boundaries(truth, LEVELS["mid"])
    ways = {
        "components": (connected, ((1.0, 0.15, 100), (1.0, 0.2, 100), (1.0, 0.11, 100))),
        "tuned": (seeded, ((1.5, 0.26, 3.0), (1.0, 0.26, 3.0), (1.0, 0.26, 2.0), (1.5, 0.2, 2.0))),
    }
    for name, (function, choices) in ways.items():
        for one in choices:
            score = sum(bp.evaluation.variation_of_information(function(values, *one), truth))
            print(f"{name} {one}: {score:.3f}", flush=True)


if __name__ == "__main__":
    main()
