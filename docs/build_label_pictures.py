"""Draw the picture of docs/labels.md, from what its operations do: `python docs/build_label_pictures.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import ndimage

import bioimage_py as bp

mpl.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).with_name("pictures")
SHAPE = (72, 108)
TILE, OVERLAP = 36, 6
BLOCKS: dict[str, Any] = {"block_shape": 24, "progress": False}


def image() -> np.ndarray:
    """Return bright things, some of which touch, over noise."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    raw = np.zeros(SHAPE)
    for row in range(5):
        for column in range(7):
            cy, cx = row * 16 + 4 + rng.normal(0, 2), column * 17 + 3 + rng.normal(0, 2)
            height, width = rng.uniform(5.5, 8.5, 2)
            raw[((y - cy) / height) ** 2 + ((x - cx) / width) ** 2 < 1] = rng.uniform(0.7, 1)
    return ndimage.gaussian_filter(raw, 0.8) + rng.normal(0, 0.12, SHAPE)


def segmented(tile: np.ndarray, tile_id: int) -> np.ndarray:
    """Return the objects of a tile."""
    inside = ndimage.gaussian_filter(tile, 0.8) > 0.4
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(inside), 1)
    seeds = bp.segmentation.label(distance > 4.3, progress=False)
    return np.asarray(bp.segmentation.watershed(-distance, seeds, mask=inside, progress=False))


def shown(pane: Any, labels: np.ndarray, title: str, *, tiles: bool = False) -> None:
    """Draw labels, each in a colour of its own."""
    colors = np.random.default_rng(5).permutation(256)
    picture = np.ma.masked_where(labels == 0, colors[labels.astype(np.int64) % 256])
    pane.imshow(picture, cmap="gist_ncar", vmin=-10, vmax=290, interpolation="nearest")
    pane.set(title=title, xticks=[], yticks=[])
    if tiles:
        for at in range(TILE, SHAPE[0], TILE):
            pane.axhline(at - 0.5, color="black", linewidth=0.8, linestyle="--")
        for at in range(TILE, SHAPE[1], TILE):
            pane.axvline(at - 0.5, color="black", linewidth=0.8, linestyle="--")


def labels() -> None:
    """Tiles, what joins them, and what can be made of the objects."""
    raw = image()
    objects, before = bp.segmentation.stitch_segmentation(
        raw, segmented, TILE, OVERLAP, return_before_stitching=True, progress=False
    )
    figure, panes = plt.subplots(2, 4, figsize=(12, 4.6), layout="constrained")
    panes = panes.ravel()
    panes[0].imshow(raw, cmap="gray")
    panes[0].set(title="image", xticks=[], yticks=[])
    shown(panes[1], before, "tiles, each for itself", tiles=True)
    shown(panes[2], objects, "stitch_segmentation", tiles=True)
    shown(panes[3], bp.segmentation.remove_border_objects(objects, **BLOCKS), "remove_border_objects")
    shown(panes[4], bp.segmentation.majority(objects, size=9, **BLOCKS), "majority, size=9")
    touching = bp.segmentation.contacts(objects, **BLOCKS)
    merged = bp.segmentation.merge_labels(objects, touching[touching["area"] >= 7], **BLOCKS)
    shown(panes[5], merged, "merge_labels of long contacts")
    shown(panes[6], bp.segmentation.keep_largest(merged, n=5, **BLOCKS), "keep_largest, n=5")
    gaps = np.where(np.arange(SHAPE[1]) % 27 < 2, 0, objects)
    shown(panes[7], bp.segmentation.split_disconnected(gaps, **BLOCKS), "split_disconnected, after cuts")
    figure.savefig(FOLDER / "labels.png", dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    labels()
