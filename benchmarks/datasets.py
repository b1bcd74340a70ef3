"""What data sets cost: planes and patches of large volumes, a million items, workers; with the targets.

python benchmarks/datasets.py [--side 320] [--resources 100000] [--out benchmarks/out/datasets.json]

"""

from __future__ import annotations

import argparse
import ctypes
import gzip
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import bioimage_py as bp
from bioimage_py.datasets import Annotation, Resource, VolumeDataset
from bioimage_py.datasets.opening import handles
from bioimage_py.datasets.opening.cache import VARIABLE
from bioimage_py.io import create_array


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Median of several times."""
    return in_turns({"": work}, times, time.perf_counter)[""]


def in_turns(
    works: dict[str, Callable[[], object]], times: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median seconds of each, by default of the processor; in turns, so that load meets them alike."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            begin = clock()
            work()
            taken[name].append(clock() - begin)
    return {name: float(np.median(values)) for name, values in taken.items()}


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
    """A cold plane from chunks, and of a NIfTI file by its copy in the cache, beside a gzip file of the whole array."""
    import nibabel

    voxels = volume(side)
    path = store(folder / "planes.zarr", voxels)
    with gzip.open(folder / "whole.npy.gz", "wb", compresslevel=4) as file:
        np.save(file, voxels)

    def whole() -> np.ndarray:
        with gzip.open(folder / "whole.npy.gz", "rb") as file:
            return np.load(file)[side // 2]

    nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4)), folder / "planes.nii.gz")
    slow, data = (VolumeDataset(resources=[Resource(p, axes="zyx")]) for p in (folder / "planes.nii.gz", path))
    with mock.patch.dict(os.environ, {VARIABLE: str(folder / "cache")}):
        slow.prefetch(progress=False)
        works: dict[str, Callable[[], object]] = {"gzip of the whole": whole}
        for axis in range(3):
            works[f"axis {axis} of 64³"] = partial(cold, data.slice(axis), side // 2)
            works[f"axis {axis} of 64³, by tensorstore alone"] = partial(bare_plane, str(path), axis, side // 2)
            works[f"axis {axis} of the copy"] = partial(cold, slow.slice(axis), side // 2)
        works["all of 64³"] = partial(cold, data, 0)
        works["all of the copy"] = partial(cold, slow, 0)
        taken = in_turns(works, 9)
        assert np.array_equal(slow.slice(2)[3]["image"][0], voxels[:, :, 3])
    found = {f"{name} [ms of the processor]": 1e3 * value for name, value in taken.items()}
    for way, target in (("of the copy", ", target 30"), ("of 64³", ""), ("of 64³, by tensorstore alone", "")):
        slowest = max(value for name, value in taken.items() if name.startswith("axis") and name.endswith(way))
        found[f"times faster {way}{target}"] = taken["gzip of the whole"] / slowest
    found["all of the copy, times as long, most 1.3"] = taken["all of the copy"] / taken["all of 64³"]
    return found


def cold(data: VolumeDataset, index: int) -> None:
    """An item of a file that this process has not open."""
    handles._open.clear()
    data[index]


def bare_plane(path: str, axis: int, index: int) -> np.ndarray:
    """A plane from an array that is opened for it."""
    import tensorstore

    driver = "zarr3" if (Path(path) / "zarr.json").exists() else "zarr"
    array = tensorstore.open({"driver": driver, "kvstore": {"driver": "file", "path": path}}).result()
    return np.asarray(array[(slice(None),) * axis + (index,)].read().result())


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
    """Seconds of the processor."""
    begin = time.process_time()
    for number in numbers:
        data[number]
    return time.process_time() - begin


def read_bare(path: str, numbers: list[int]) -> float:
    """Planes by tensorstore and nothing else, with as large a cache as data sets have; seconds of the processor."""
    import tensorstore

    begin = time.process_time()

    driver = "zarr3" if (Path(path) / "zarr.json").exists() else "zarr"
    cache = tensorstore.Context({"cache_pool": {"total_bytes_limit": handles.CACHE_BYTES}})
    array = tensorstore.open({"driver": driver, "kvstore": {"driver": "file", "path": path}}, context=cache).result()
    for number in numbers:
        array[number].read().result()
    return time.process_time() - begin


def _all(used: list[float], pool: ProcessPoolExecutor, work: Callable[..., float], *given: list[Any]) -> None:
    used.append(sum(pool.map(work, *given)))


def workers(folder: Path, side: int) -> dict[str, float]:
    """Planes a second by one process and by two that have begun, beside two that read with tensorstore alone."""
    path = folder / "planes.zarr"
    sliced = VolumeDataset(resources=[path]).slice("axial")
    numbers = list(range(0, side, 4))
    rates: dict[str, float] = {}
    used: dict[str, list[float]] = {}
    for count in (1, 2):
        parts = [numbers[i::count] for i in range(count)]
        with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(read, [sliced] * count, [[0]] * count))
            list(pool.map(read_bare, [str(path)] * count, [[0]] * count))
            used = {"ours": [], "bare": []}
            works: dict[str, Callable[[], object]] = {
                "ours": partial(_all, used["ours"], pool, read, [sliced] * count, parts),
                "bare": partial(_all, used["bare"], pool, read_bare, [str(path)] * count, parts),
            }
            taken = in_turns(works, 5, time.perf_counter)
            rates |= {f"{name} {count}": len(numbers) / value for name, value in taken.items()}
    return {
        "1 worker [1/s]": rates["ours 1"],
        "2 workers [1/s]": rates["ours 2"],
        "times as many": rates["ours 2"] / rates["ours 1"],
        "2 processes of tensorstore alone [1/s]": rates["bare 2"],
        "part of it, target 0.8": rates["ours 2"] / rates["bare 2"],
        "the same by time of the processor": float(np.median(used["bare"]) / np.median(used["ours"])),
    }


def epochs(folder: Path, side: int) -> dict[str, float]:
    """The memory of a process that reads planes with masks, after 5 epochs and after 20, without what was freed."""
    mask = np.zeros((side,) * 3, bool)
    mask[: side // 2, 10:20, 10:20] = True
    image = Resource(folder / "planes.zarr", annotations=[Annotation.segmentation("a", mask)])
    sliced = VolumeDataset(resources=[image], seed=0).slice("axial")
    after = {}
    for epoch in range(1, 21):
        sliced.set_epoch(epoch)
        read(sliced, np.random.default_rng(epoch).permutation(side).tolist())
        if epoch in (5, 20):
            ctypes.CDLL(None).malloc_trim(0)
            after[epoch] = _memory()
    return {
        "after 5 [MB]": after[5],
        "after 20 [MB]": after[20],
        "times as much, target 0.95 to 1.05": after[20] / after[5],
    }


def many(folder: Path, count: int) -> dict[str, float]:
    """A project of many resources: what each look at one adds to the memory, at first and at last."""
    from bioimage_py.projects import Project, ProjectSettings

    image, place = store(folder / "image.zarr", np.zeros((8, 8, 8), "u1")), folder / "project"
    project = Project.create(ProjectSettings("many"), place)
    first = project.add_descriptor(image, "image 0").identifier
    project.save()
    (file,) = (place / "descriptors").glob("*.json")
    text = file.read_text()
    for n in range(1, count):  # the same image each time
        id = f"{first}{n:06}"
        (file.parent / f"{id}.json").write_text(text.replace(first, id).replace("image 0", f"image {n}"))
    before = _memory()
    data = VolumeDataset(place)
    made, grown = _memory() - before, []
    for part in np.array_split(np.arange(0, count, 3), 4):
        for number in part.tolist():
            resource_ = data.get_resource(number)
            resource_.annotations(data._layout(resource_))
        grown.append(_memory() - before)
    return {"more memory when it is made [MB]": made, **{f"after {i} / 4 of them": g for i, g in enumerate(grown, 1)}}


def _memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--resources", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["a cold plane"] = planes(folder, arguments.side)
        found["patches of 96³"] = patches(folder, arguments.side)
        found["a million planes"] = million()
        found["workers"] = workers(folder, arguments.side)
        found["20 epochs"] = epochs(folder, arguments.side)
        found[f"a project of {arguments.resources} resources"] = many(folder, arguments.resources)
    for title, figures in found.items():
        print(title)
        for key, value in figures.items():
            print(f"    {key:40} {value:10.2f}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
