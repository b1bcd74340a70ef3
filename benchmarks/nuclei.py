"""The recipe for nuclei of docs/segmentation.md on real ones, scored beside the same steps of scikit-image.

`python benchmarks/nuclei.py` ends with 1 where the recipe in blocks is worse than the script on the whole array.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import bioimage_py as bp

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def recipe(raw: Any, **how: Any) -> Any:
    """Labels of nuclei by the operations of this package."""
    smooth = np.asarray(bp.filters.gaussian_smoothing(raw, 1.0, **how))
    around = np.asarray(bp.filters.gaussian_smoothing(raw, 4.0, **how))
    inside = np.asarray(bp.operations.greater(smooth, around + np.float32(5), **how))
    depth = np.asarray(bp.morphology.distance_transform(inside, **how))
    depth = np.asarray(bp.filters.gaussian_smoothing(depth, 1.5, **how))
    places = bp.morphology.find_local_maxima(depth, min_distance=1, exclude_border=False, **how)
    seeds = np.zeros(depth.shape, np.uint32)
    seeds[tuple(places.T)] = np.arange(1, len(places) + 1)
    labels = bp.segmentation.watershed(-depth, seeds, mask=inside, **({"halo": 12} if how else {}), **how)
    return bp.segmentation.size_filter(np.asarray(labels), min_size=30, **how)


def plain(raw: Any) -> Any:
    """The same steps of scikit-image and scipy, on the whole array."""
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.morphology import remove_small_objects
    from skimage.segmentation import watershed

    values = raw.astype(np.float32)
    inside = ndimage.gaussian_filter(values, 1.0) > ndimage.gaussian_filter(values, 4.0) + 5
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(inside), 1.5)
    places = peak_local_max(depth, min_distance=1, exclude_border=False)
    seeds = np.zeros(depth.shape, np.int32)
    seeds[tuple(places.T)] = np.arange(1, len(places) + 1)
    return remove_small_objects(watershed(-depth, seeds, mask=inside), max_size=29)


def scores(labels: Any, truth: Any) -> tuple[int, float, float]:
    """Number of objects, F1 at an overlap of one half, variation of information."""
    found = np.asarray(labels).astype(np.uint64)
    return (
        len(np.unique(found)) - 1,
        float(bp.evaluation.matching(found, truth)["f1"]),
        sum(bp.evaluation.variation_of_information(found, truth)),
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of nuclei3d-raw.tif and nuclei3d-labels.tif")
    folder = parser.parse_args().data
    raw, truth = (np.asarray(bp.imread(folder / f"nuclei3d-{name}.tif")) for name in ("raw", "labels"))
    truth = truth.astype(np.uint64)
    found = {
        "recipe, whole": scores(recipe(raw), truth),
        "recipe, blocks of 24": scores(recipe(raw, block_shape=24, num_workers=2, progress=False), truth),
        "scikit-image": scores(plain(raw), truth),
    }
    print(f"{len(np.unique(truth)) - 1} nuclei\n{'':<22} {'objects':>8} {'F1':>6} {'VI':>6}")
    for name, (n, f1, vi) in found.items():
        print(f"{name:<22} {n:>8} {f1:>6.3f} {vi:>6.3f}")
    return int(found["recipe, blocks of 24"][1] < found["scikit-image"][1] - 0.005)


if __name__ == "__main__":
    sys.exit(main())
