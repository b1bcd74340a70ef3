"""Draw the recipes and the effect of parameters for segmentation.md: `python docs/build_segmentation_pictures.py DATA`.

DATA is a folder with `connectomics-512.npy.ckl.gz` (labels of neurons, from which boundaries are made as in
benchmarks/boundaries.py) and `nuclei3d-raw.tif` (`stardist/data/images/img3d.tif` of the StarDist repository).
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import ndimage

import bioimage_py as bp

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from boundaries import LEVELS, boundaries, neurons

mpl.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).with_name("pictures")
SIDE = 128


def segmented(values: Any, **settings: Any) -> Any:
    """What `segment` makes of an array."""
    with TemporaryDirectory() as folder:
        found = bp.workflows.segment(values, Path(folder, "labels.zarr"), progress=False, **settings)
        return np.asarray(bp.open_source(found.path)[...])


def plant() -> tuple[Any, Any]:
    """Cells with a bright membrane, of uneven brightness, and their labels: 64 x 128 x 128 voxels."""
    rng = np.random.default_rng(3)
    shape = (64, 128, 128)
    seeds = np.zeros(shape, np.int32)
    places = rng.integers(0, shape, (60, 3))
    seeds[tuple(places.T)] = np.arange(1, len(places) + 1)
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    labels = seeds[tuple(nearest)]
    edge = np.zeros(shape, bool)
    for axis in range(3):
        a, b = np.moveaxis(edge, axis, 0), np.moveaxis(labels, axis, 0)
        a[1:] |= b[1:] != b[:-1]
    membrane = ndimage.gaussian_filter(edge.astype(np.float32), 1.2)
    uneven = 0.7 + 0.3 * ndimage.gaussian_filter(rng.standard_normal(shape), 12) / 0.006
    raw = 20 + 900 * membrane / membrane.max() * np.clip(uneven, 0.35, 1.2) + rng.normal(0, 60, shape)
    return np.clip(raw, 0, 4095).astype(np.uint16), labels


def recipes(data: Path) -> None:
    """A row for each recipe: the input, superpixels or what lies between, and the objects."""
    figure, panes = plt.subplots(3, 3, figsize=(9, 8.6), layout="constrained")
    truth = neurons(data / "connectomics-512.npy.ckl.gz", (256, 256, 256), SIDE)
    found = np.rint(boundaries(truth, LEVELS["mid"]) * 255).astype(np.uint8)
    pieces = np.asarray(bp.segmentation.distance_watershed(found, progress=False))
    row(
        panes[0],
        ("EM: boundaries", found, pieces.shape[0] // 2),
        ("superpixels", pieces),
        ("multicut", segmented(found, method="multicut")),
    )
    nuclei = np.asarray(bp.imread(data / "nuclei3d-raw.tif"))
    clipped = np.clip(nuclei, 0, np.quantile(nuclei, 0.998))
    plain = segmented(nuclei, sigma=1, threshold=205, seed_distance=2.5, fill=False, min_size=30)
    row(panes[1], ("light sheet: nuclei", clipped, 15), ("one threshold", plain), ("step by step", by_steps(nuclei)))
    raw, _ = plant()
    bright = np.clip(raw / np.float32(np.quantile(raw, 0.98)), 0, 1).astype(np.float32)
    loose = segmented(bright, method="multicut", sigma=1.5, threshold=0.3, beta=0.15)
    cells = segmented(bright, method="multicut", sigma=1.5, threshold=0.3)
    row(panes[2], ("plant: membranes", raw, 32), ("beta=0.15", loose), ("beta=0.5", cells))
    figure.savefig(FOLDER / "segmentation_recipes.png", dpi=90, metadata={"Software": None})


def by_steps(raw: Any) -> Any:
    """The recipe of segmentation.md for nuclei of different brightness."""
    smooth, around = (bp.filters.gaussian_smoothing(raw, sigma, progress=False) for sigma in (1.0, 4.0))
    inside = smooth > around + 5
    distance = np.asarray(bp.morphology.distance_transform(inside, progress=False))
    depth = np.asarray(bp.filters.gaussian_smoothing(distance, 1.5, progress=False))
    seeds = np.zeros(raw.shape, np.uint32)
    for number, place in enumerate(bp.morphology.find_local_maxima(depth, exclude_border=False).tolist(), 1):
        seeds[tuple(place)] = number
    pieces = bp.segmentation.watershed(-depth, seeds, mask=inside, progress=False)
    return np.asarray(bp.segmentation.size_filter(pieces, min_size=30, progress=False))


def row(panes: Any, first: Any, *others: Any) -> None:
    """An image, and labels over it, of one plane."""
    title, image, plane = first
    panes[0].imshow(image[plane], cmap="gray")
    panes[0].set(title=title)
    for pane, (name, labels) in zip(panes[1:], others, strict=True):
        colors = bp.viz.label_colors(labels[plane])
        pane.imshow(image[plane], cmap="gray")
        pane.imshow(np.dstack([colors[..., :3], np.where(labels[plane] > 0, 165, 0).astype(colors.dtype)]))
        pane.set(title=f"{name}: {len(np.unique(labels[labels > 0]))}")
    for pane in panes:
        pane.set(xticks=(), yticks=())


def parameters(data: Path) -> None:
    """Split and merge errors over one parameter at a time."""
    truth = neurons(data / "connectomics-512.npy.ckl.gz", (256, 256, 256), SIDE)
    found = np.rint(boundaries(truth, LEVELS["mid"]) * 255).astype(np.uint8)
    sweeps: dict[str, list[float]] = {
        "beta": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        "threshold": [0.05, 0.1, 0.15, 0.25, 0.35, 0.5],
        "sigma": [0.0, 0.5, 0.7, 1.0, 1.5, 2.0],
        "min_size": [0, 100, 300, 1000, 3000, 10000],
    }
    figure, panes = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained", sharey=True)
    for pane, (name, values) in zip(panes, sweeps.items(), strict=True):
        errors = []
        for value in values:
            labels = segmented(found, method="multicut", **{name: value})
            errors.append(bp.evaluation.variation_of_information(labels, truth))
            print(name, value, *(round(error, 3) for error in errors[-1]), flush=True)
        at = np.arange(len(values))
        split, merge = np.array(errors).T
        pane.plot(at, split, "o-", color="#0072B2", label="split")
        pane.plot(at, merge, "s-", color="#D55E00", label="merge")
        pane.plot(at, split + merge, ":", color="black", label="sum")
        pane.set(title=name, xticks=at, ylim=(0, None))
        pane.set_xticklabels([f"{value:g}" for value in values], fontsize=8)
        pane.grid(alpha=0.3)
    panes[0].set(ylabel="variation of information")
    panes[0].legend(frameon=False)
    figure.savefig(FOLDER / "segmentation_parameters.png", dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    recipes(Path(sys.argv[1]))
    parameters(Path(sys.argv[1]))
