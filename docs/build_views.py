"""Draw the pictures of docs/looking.md: `python docs/build_views.py` (needs Chromium)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bioimage_py as bp

PICTURES = Path(__file__).with_name("pictures")


def neuroglancer(folder: str) -> None:
    """A volume, its segmentation and the ground truth."""
    done = bp.workflows.demo(f"{folder}/demo", (64, 256, 320))
    image = f"{done.folder}/neurites.ome.zarr"
    with bp.viz.view(image, f"{image}/labels/segmentation", names=["raw", "segmentation"]) as page:
        page.screenshot(PICTURES / "neuroglancer.png", (1400, 860))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        neuroglancer(made)
