"""Draw pictures of pages: `python docs/build_views.py [neuroglancer] [surfaces] [live]` (needs Chromium)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import bioimage_py as bp
from bioimage_py.viz.live.server import RunServer
from bioimage_py.viz.viewing.browser import picture_of

PICTURES = Path(__file__).with_name("pictures")


def neuroglancer(folder: str) -> None:
    """A volume, its segmentation and the ground truth."""
    done = bp.workflows.demo(f"{folder}/demo", (64, 256, 320))
    image = f"{done.folder}/neurites.ome.zarr"
    with bp.viz.view(image, f"{image}/labels/segmentation", names=["raw", "segmentation"]) as page:
        page.screenshot(PICTURES / "neuroglancer.png", (1400, 860))


def surfaces(folder: str) -> None:
    """A few objects with their surfaces and lines."""
    volume = bp.sample.neurites((96, 192, 192), seed=4)
    labels = volume.labels
    bp.mesh.surfaces(labels, f"{folder}/meshes", max_error=5, progress=False)
    bp.skeleton.trace(labels, f"{folder}/skeletons", progress=False)
    have = {int(path.name) for path in Path(folder, "skeletons").iterdir() if path.name.isdigit()}
    ids, sizes = np.unique(labels[...], return_counts=True)
    chosen = [one for one in ids[np.argsort(-sizes)].tolist() if one in have][3:13]
    how = {"meshes": f"{folder}/meshes", "skeletons": f"{folder}/skeletons", "segments": chosen}
    with bp.viz.view(volume.raw, labels, names=["raw", "labels"], **how) as page:
        with page._viewer.txn() as state:
            state.layers[1].layer.object_alpha = 0.6
            state.projection_scale = 1.1 * state.projection_scale
        page.screenshot(PICTURES / "surfaces.png", (1400, 860))


_SCRIPT = """
import time
import bioimage_py as bp

def enhance(block, inputs, outputs, mask):
    time.sleep(0.6 + 1.5 * (block.id % 29 == 0))
    if block.id in (31, 52):
        raise ValueError("no voxel of this block is above the threshold")
    outputs[0][bp.to_roi(block)] = 1

out = bp.io.create_array("volume.zarr", "enhanced", shape=(32, 512, 640), chunks=(32, 32, 32), dtype="u1")
bp.map_blocks(
    enhance, [out], [out], block_shape=32, name="enhance", job_type="subprocess", num_workers=6, retries=0,
    progress=False,
)
"""


def live(folder: str) -> None:
    """A run in the middle of its work."""
    inside = Path(folder) / "data"  # runs beside a place are shown too
    inside.mkdir()
    (inside / "script.py").write_text(_SCRIPT)
    run = subprocess.Popen([sys.executable, "script.py"], cwd=inside, stderr=subprocess.DEVNULL)
    try:
        with RunServer([str(inside)]) as server:
            look = server.runs.look
            # no reader wants to know the names of the machine that drew it
            server.runs.look = lambda: [  # type: ignore[method-assign]
                {**one, "folder": one["folder"].replace(folder, ""), "host": "ws12"} for one in look()
            ]
            while not any(sum(one["done"] for one in run_["stages"]) > 60 for run_ in server.runs.look()):
                time.sleep(0.5)
            picture_of(server.url, str(PICTURES / "live.png"), (1100, 900))
    finally:
        run.terminate()
        run.wait()


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["neuroglancer", "surfaces", "live"]
    for name in wanted:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
            {"neuroglancer": neuroglancer, "surfaces": surfaces, "live": live}[name](made)
