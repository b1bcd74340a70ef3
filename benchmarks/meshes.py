"""Meshes beside igneous-pipeline: `python benchmarks/meshes.py LABELS.npy --igneous PYTHON [--size 256]`.

LABELS are integers, z, y, x. PYTHON is the interpreter of an environment of its own with igneous-pipeline (GPL), which
this project neither brings nor imports. Both write unsharded meshes with levels of detail of the same cube, simplified
within the same error, with one process (igneous leaves coarser levels out for what is less than 512 voxels wide along
an axis); the table has CPU time, wall time, peak memory, size of the output, and how far their surfaces are from the
exact ones, in voxels.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

STEP, ERROR, BLOCK, LEVELS = 16, 40, 128, 3
"""Nanometers of a voxel, and of the error; voxels of a block."""

OURS = f"""
import sys, bioimage_py as bp
bp.mesh.surfaces(bp.open_source(sys.argv[1], "labels"), sys.argv[2], sampling={STEP}, max_error={ERROR},
                 levels={LEVELS}, block_shape={BLOCK}, num_workers=1, progress=False)
"""
IGNEOUS = f"""
import sys
import igneous.task_creation as tc
from taskqueue import LocalTaskQueue
queue = LocalTaskQueue(parallel=1, progress=False)
layer = "file://" + sys.argv[1]
queue.insert(tc.create_meshing_tasks(layer, mip=0, shape=({BLOCK},) * 3, simplification=True,
             max_simplification_error={ERROR}, mesh_dir="mesh", sharded=False, dust_threshold=0,
             object_ids=None, progress=False))
queue.execute()
queue.insert(tc.create_unsharded_multires_mesh_tasks(layer, num_lod={LEVELS - 1}, mesh_dir="mesh"))
queue.execute()
"""
PEAK = """
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""
"""What both print at their end: the kernel counts the memory of whoever has started a process too."""


def measured(command: list[str]) -> dict[str, Any]:
    """CPU seconds, wall seconds and peak MB of a command and its children."""
    begin = time.perf_counter()
    process = subprocess.Popen([*command[:2], command[2] + PEAK, *command[3:]], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} ended with {status}")
    seconds = time.perf_counter() - begin
    return {"cpu": usage.ru_utime + usage.ru_stime, "wall": seconds, "peak_mb": int(told[-1]) / 1024}


def surface_points(vertices: np.ndarray, faces: np.ndarray, per_area: float) -> np.ndarray:
    """Points on a surface: its vertices, and some on each triangle."""
    corners = vertices[faces]
    sides = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(*sides), axis=1) / 2
    owner = np.repeat(np.arange(len(faces)), np.ceil(area * per_area).astype(int))
    one, two = np.random.default_rng(0).random((2, len(owner)))
    flip = one + two > 1
    one[flip], two[flip] = 1 - one[flip], 1 - two[flip]
    inside = corners[owner, 0] + one[:, None] * sides[0][owner] + two[:, None] * sides[1][owner]
    return np.concatenate([vertices, inside])


def distances(layer: Path, labels: np.ndarray, ids: list[int]) -> tuple[float, float]:
    """Largest and mean distance of the exact surfaces to the finest written ones and back, in voxels."""
    from cloudvolume import CloudVolume
    from scipy.spatial import cKDTree

    from bioimage_py.mesh.marching import surfaces_of

    mesh = CloudVolume(f"file://{layer}", progress=False).mesh
    largest, sums = 0.0, []
    for object_id in ids:
        ((_, (exact, faces)),) = surfaces_of(np.pad(labels == object_id, 1).astype(np.int32), 1)
        exact = surface_points(exact[:, ::-1] - 0.5, faces, 4)
        found = mesh.get(object_id, lod=0)
        found = found[object_id] if isinstance(found, dict) else found
        points = surface_points(np.asarray(found.vertices) / STEP, np.asarray(found.faces), 4)
        for one, other in ((exact, points), (points, exact)):
            away = cKDTree(one).query(other)[0]
            largest = max(largest, float(np.percentile(away, 99.9)))
            sums.append(float(away.mean()))
    return largest, float(np.mean(sums))


def main() -> None:
    """Run both and print the table as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels")
    parser.add_argument("--igneous", required=True)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    from cloudvolume import CloudVolume

    import bioimage_py as bp

    volume = np.load(given.labels, mmap_mode="r")
    labels = volume[tuple(slice((n - given.size) // 2, (n + given.size) // 2) for n in volume.shape)].copy()
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bp.copy(labels, place / "a.zarr/labels", chunks=(64, 64, 64), progress=False)
        for name in ("ours", "igneous"):
            info = CloudVolume.create_new_info(
                1, "segmentation", str(labels.dtype), "raw", (STEP,) * 3, (0, 0, 0), labels.shape[::-1], mesh="mesh",
                chunk_size=(64, 64, 64),
            )  # fmt: skip
            volume = CloudVolume(f"file://{place / name}", info=info, progress=False)
            volume.commit_info()
            volume[:] = labels.T
        commands = {
            "ours": [sys.executable, "-c", OURS, f"{place}/a.zarr", f"{place}/ours/mesh"],
            "igneous": [given.igneous, "-c", IGNEOUS, f"{place}/igneous"],
        }
        told = {name: measured(command) for name, command in commands.items()}
        written = [{path.name for path in (place / name / "mesh").glob("*.index")} for name in commands]
        both = [one for one in ids[np.argsort(-counts)].tolist() if all(f"{one}.index" in names for names in written)]
        for (name, row), there in zip(told.items(), written, strict=True):
            # without what igneous leaves of its first pass
            files = [path for path in (place / name / "mesh").iterdir() if path.name.split(".")[0].isdigit()]
            row |= {"objects": len(there), "output_mb": sum(path.stat().st_size for path in files) / 1e6}
            row["largest_voxels"], row["mean_voxels"] = distances(place / name, labels, both[:10])
            print(json.dumps({"what": name, **{key: round(value, 3) for key, value in row.items()}}), flush=True)
        shutil.rmtree(place / ".bioimage_py", ignore_errors=True)


if __name__ == "__main__":
    main()
