"""What data sets cost: planes and patches of large volumes, a million items, workers; with the targets.

python benchmarks/datasets.py [--side 320] [--out benchmarks/out/datasets.json]

"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import bioimage_py as bp
from bioimage_py.datasets import Annotation, Resource, VolumeDataset, handles
from bioimage_py.io import create_array


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Median of several times."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def volume(side: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 4000, (-(-side // 8),) * 3, dtype=np.uint16)
    fine = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[:side, :side, :side]
    return fine + rng.integers(0, 200, fine.shape, dtype=np.uint16)


def store(path: Path, voxels: np.ndarray) -> Path:
    with create_array(path, shape=voxels.shape, dtype=voxels.dtype, chunks=(64,) * 3, format="zarr") as array:
        bp.copy(voxels, array, job_type="local", progress=False)
    return path


def planes(folder: Path, side: int) -> dict[str, float]:
    """A cold plane from chunks, beside a gzip file of the whole array."""
    voxels = volume(side)
    path = store(folder / "planes.zarr", voxels)
    with gzip.open(folder / "whole.npy.gz", "wb", compresslevel=4) as file:
        np.save(file, voxels)

    def whole() -> np.ndarray:
        with gzip.open(folder / "whole.npy.gz", "rb") as file:
            return np.load(file)[side // 2]

    found = {"gzip of the whole [ms]": 1e3 * seconds(whole, 3)}
    data = VolumeDataset(resources=[path])
    for name in ("axial", "coronal", "sagittal"):
        sliced = data.slice(name)

        def cold(sliced: VolumeDataset = sliced) -> None:
            handles._open.clear()
            sliced[side // 2]

        found[f"{name} [ms]"] = 1e3 * seconds(cold)
    slowest = max(value for name, value in found.items() if not name.startswith("gzip"))
    found["times faster, target 30"] = found["gzip of the whole [ms]"] / slowest
    return found


def patches(folder: Path, side: int) -> dict[str, float]:
    """Patches of 96³ a second, at random and around labels."""
    path = folder / "planes.zarr"
    mask = np.zeros((side,) * 3, bool)
    mask[10:20, 10:20, 10:20] = True
    image = Resource(path, annotations=[Annotation.segmentation("a", mask)])
    found = {}
    for sampler in ("uniform", "label"):
        cut = VolumeDataset(resources=[image], seed=0).patches(96, per_volume=12, sampler=sampler)
        found[f"{sampler} [1/s]"] = 12 / seconds(lambda cut=cut: [cut[i] for i in range(12)], 3)
    return found


def million() -> dict[str, float]:
    """A million planes: numbers, not objects."""

    class Tall(bp.sources.ArraySource):
        shape = (10_000, 4, 4)

    tall = [Resource(Tall(np.zeros((1, 4, 4), "u1")), id=str(i), axes="zyx") for i in range(100)]
    data = VolumeDataset(resources=tall)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    sliced = data.slice()
    parts = sliced.split(train=0.7, val=0.2, test=0.1, seed=0)
    some = sliced.subset(np.random.default_rng(0).permutation(len(sliced)))
    taken = time.perf_counter() - begin
    assert len(some) == sum(map(len, parts.values())) == 10**6
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    kept = sum(part._rows.nbytes for part in (sliced, some, *parts.values())) / 2**20
    return {"len, subset, split [s], target 2": taken, "more memory at its peak [MB]": grown, "five indices [MB]": kept}


def read(data: VolumeDataset, numbers: list[int]) -> float:
    begin = time.perf_counter()
    for number in numbers:
        data[number]
    return time.perf_counter() - begin


def workers(folder: Path, side: int) -> dict[str, float]:
    """Planes a second by one process and by two, each in a process of its own that has begun."""
    sliced = VolumeDataset(resources=[folder / "planes.zarr"]).slice("axial")
    numbers = list(range(0, side, 4))
    rates = {}
    for count in (1, 2):
        with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(read, [sliced] * count, [[0]] * count))
            begin = time.perf_counter()
            list(pool.map(read, [sliced] * count, [numbers[i::count] for i in range(count)]))
            rates[count] = len(numbers) / (time.perf_counter() - begin)
    return {"1 worker [1/s]": rates[1], "2 workers [1/s]": rates[2], "times as many": rates[2] / rates[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["a cold plane"] = planes(folder, arguments.side)
        found["patches of 96³"] = patches(folder, arguments.side)
        found["a million planes"] = million()
        found["workers"] = workers(folder, arguments.side)
    for title, figures in found.items():
        print(title)
        for key, value in figures.items():
            print(f"    {key:40} {value:10.2f}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
