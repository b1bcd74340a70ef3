"""Draw the picture of the start page and of the README: `python docs/build_start_picture.py`.

The pictures of the tutorials are what their last steps write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

import bioimage_py as bp

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

FOLDER = Path(__file__).with_name("pictures")
BLOCK, ROWS, COLUMNS = 64, 4, 5
WORKERS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7")


def pane(axes: Any, picture: np.ndarray, title: str) -> None:
    """Draw a plane and the lines between blocks."""
    axes.imshow(picture, cmap="gray", interpolation="nearest")
    axes.set_title(title, fontsize=12)
    axes.set(xticks=[], yticks=[])
    for at in range(BLOCK, BLOCK * COLUMNS, BLOCK):
        axes.axvline(at - 0.5, color="white", linewidth=0.6, alpha=0.6)
    for at in range(BLOCK, BLOCK * ROWS, BLOCK):
        axes.axhline(at - 0.5, color="white", linewidth=0.6, alpha=0.6)


def main() -> None:
    """A volume, blocks under way, and the result, which does not know of blocks."""
    tissue = bp.sample.neurites((32, BLOCK * ROWS, BLOCK * COLUMNS), seed=5)
    bp.workflows.segment(tissue.raw, "start.ome.zarr", block_shape=(32, BLOCK, BLOCK), overwrite=True)
    raw, labels = tissue.raw[16], bp.open_source("start.ome.zarr")[16]
    colors = bp.viz.label_colors(labels)
    done = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) < 11
    seen = np.kron(done, np.ones((BLOCK, BLOCK), bool))
    between = np.where(seen[..., None], colors, np.stack([raw] * 3, axis=-1))
    figure, panes = plt.subplots(1, 3, figsize=(13, 3.65), layout="constrained")
    pane(panes[0], raw, "a volume of any size")
    pane(panes[1], between, "block by block, on a laptop or a cluster")
    for number, worker in zip(range(11, 15), WORKERS, strict=True):
        row, column = divmod(number, COLUMNS)
        place = (column * BLOCK + 1.5, row * BLOCK + 1.5)
        panes[1].add_patch(Rectangle(place, BLOCK - 4, BLOCK - 4, fill=False, edgecolor=worker, linewidth=3))
    pane(panes[2], colors, "one result, whatever the blocks")
    figure.savefig(FOLDER / "start.png", dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    main()
