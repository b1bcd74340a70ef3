"""The jobs of the soak, each run by a process of its own: ``python soak_work.py JOB BACKEND FOLDER [RESUME]``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from scipy.ndimage import gaussian_filter

import bioimage_py as bp
from bioimage_py.runner import RunnerConfig

SIDE = 128
CHUNK = 16
BLOCK = (32, 16, 16)
LABELS = 1000


def make(folder: Path, seed: int) -> None:
    """Write the inputs: an image, labels, and the outputs that are still empty."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 1000, (SIDE,) * 3, "u2")
    array(folder, "image", "u2")[...] = image
    array(folder, "labels", "u4")[...] = rng.integers(0, LABELS, (SIDE,) * 3, "u4")
    zarr.create_array(folder / "copy.zarr", shape=(SIDE,) * 3, chunks=(CHUNK,) * 3, shards=(2 * CHUNK,) * 3, dtype="u2")
    array(folder, "components", "u8")
    rough = np.random.default_rng(seed).standard_normal((SIDE,) * 3, "f4")
    smooth = np.abs(gaussian_filter(rough, 3.0))  # cells, between which it is 0
    array(folder, "boundaries", "u1")[...] = np.clip(255 - 255 * smooth / np.quantile(smooth, 0.3), 0, 255)


def array(folder: Path, name: str, dtype: str) -> Any:
    """A new array in chunks."""
    return zarr.create_array(folder / f"{name}.zarr", shape=(SIDE,) * 3, chunks=(CHUNK,) * 3, dtype=dtype)


def opened(folder: Path, name: str) -> Any:
    """An array of the soak, to be changed."""
    return zarr.open_array(folder / (name if "/" in name else f"{name}.zarr"), mode="r+")


def copy(folder: Path, how: dict[str, Any]) -> None:
    """Copy to shards, several blocks of which share a shard."""
    bp.copy(opened(folder, "image"), opened(folder, "copy"), **how)


def add(folder: Path, how: dict[str, Any]) -> None:
    """Add in place: done twice, it shows."""
    image = opened(folder, "image")
    bp.operations.add(image, 7, image, **how)


def relabel(folder: Path, how: dict[str, Any]) -> None:
    """Permute labels in place: done twice, it shows."""
    labels = opened(folder, "labels")
    bp.segmentation.relabel(labels, np.roll(np.arange(LABELS, dtype=np.uint32), 17), labels, **how)


def label(folder: Path, how: dict[str, Any]) -> None:
    """Connected components: two stages of blocks and a merge."""
    bp.segmentation.label(opened(folder, "image"), opened(folder, "components"), threshold=600, **how)


def segment(folder: Path, how: dict[str, Any]) -> None:
    """From boundaries to objects: superpixels, graph, multicut, labels, pyramid, each of several stages."""
    how = {**how, "block_shape": (SIDE // 2, SIDE // 2, SIDE // 4)}
    bp.workflows.segment(
        bp.open_source(folder / "boundaries.zarr"), folder / "objects.zarr", method="multicut", overwrite=True, **how
    )


def weighted(block: Any, inputs: Any, outputs: Any, mask: Any) -> float:
    """A float whose sum depends on the order of summing."""
    return float(inputs[0][bp.to_roi(block)].sum()) * 10.0 ** (block.id % 17 - 8)


def plus(left: float, right: float) -> float:
    """The sum of two partial values."""
    return left + right


def reduction(folder: Path, how: dict[str, Any]) -> None:
    """Fold floats; the bits of the result go to a file."""
    config = RunnerConfig(tmp_root=folder / "runs")
    report = bp.map_blocks(weighted, [opened(folder, "image")], reduce=plus, name="reduction", job_config=config, **how)
    (folder / "result.txt").write_text(report.results.hex())


JOBS: dict[str, tuple[Callable[[Path, dict[str, Any]], None], str]] = {
    "copy": (copy, "copy"),
    "add": (add, "image"),
    "relabel": (relabel, "labels"),
    "label": (label, "components"),
    "reduction": (reduction, ""),
    "segment": (segment, "objects.zarr/0"),
}
"""What runs, and the array that it writes."""


def result(folder: Path, job: str) -> Any:
    """What a job has made."""
    name = JOBS[job][1]
    return (folder / "result.txt").read_text() if not name else opened(folder, name)[...]


if __name__ == "__main__":
    job, backend, where, *resume = sys.argv[1:]
    keywords: dict[str, Any] = {"block_shape": BLOCK, "job_type": backend, "num_workers": 2, "progress": False}
    if resume:
        keywords["resume"] = resume[0]
    print("begin", flush=True)
    JOBS[job][0](Path(where), keywords)
    print("done", flush=True)
