"""What loaders of torch get of data sets: beside bare reading, and random planes beside torchio, MONAI and gzip files.

python -m venv /tmp/loaders; /tmp/loaders/bin/pip install ".[medical]" torch torchio monai   # gigabytes, with CUDA
/tmp/loaders/bin/python benchmarks/loaders.py [--count 100] [--side 256] [--planes 60] [--out FILE]

Peers that are not there are left out. All rows of a table are measured in turns, so that load meets them alike.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import multiprocessing
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from datasets import store, volume

from bioimage_py.datasets import Resource, VolumeDataset
from bioimage_py.datasets.opening import handles

DIFFERENT = 2
"""Volumes that are made; the others are copies of them, in files of their own."""
ROUNDS = 3
PATCHES = 64
"""Of a volume in an epoch."""


def made(folder: Path, count: int, side: int) -> tuple[list[Path], list[Path], list[Path]]:
    """Volumes as chunked zarr, as gzip of a numpy array, and as NIfTI."""
    import nibabel

    for number in range(DIFFERENT):
        voxels = volume(side) + np.uint16(number)
        store(folder / f"{number}.zarr", voxels)
        with gzip.open(folder / f"{number}.npy.gz", "wb", compresslevel=4) as file:
            np.save(file, voxels)
        nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4)), folder / f"{number}.nii.gz")
    for number in range(DIFFERENT, count):
        shutil.copytree(folder / f"{number % DIFFERENT}.zarr", folder / f"{number}.zarr")
        for ending in ("npy.gz", "nii.gz"):
            shutil.copy(folder / f"{number % DIFFERENT}.{ending}", folder / f"{number}.{ending}")
    zarr, gz, nifti = ([folder / f"{i}.{e}" for i in range(count)] for e in ("zarr", "npy.gz", "nii.gz"))
    return zarr, gz, nifti


def sliced(paths: Sequence[Path]) -> list[Any]:
    data = VolumeDataset(resources=[Resource(path, axes="zyx") for path in paths])
    return [data.slice(axis) for axis in range(3)]


def random_planes(zarr: list[Path], gz: list[Path], nifti: list[Path], side: int, planes: int) -> dict[str, float]:
    """Milliseconds for a plane of a random volume, axis and index: the median of all."""
    rng = np.random.default_rng(0)
    wanted = np.stack([rng.integers(0, n, planes) for n in (len(zarr), 3, side)], axis=1).tolist()
    sets = sliced(zarr)

    def ours(number: int, axis: int, index: int) -> Any:
        return sets[axis][number * side + index]["image"][0]

    def whole(number: int, axis: int, index: int) -> Any:
        with gzip.open(gz[number], "rb") as file:
            return np.load(file).take(index, axis)

    ways: dict[str, Callable[[int, int, int], Any]] = {"bioimage_py, zarr": ours, "numpy, gzip": whole}
    if importlib.util.find_spec("torchio"):
        import torchio

        subjects = torchio.SubjectsDataset([torchio.Subject(image=torchio.ScalarImage(path)) for path in nifti])
        ways["torchio, NIfTI"] = lambda number, axis, index: subjects[number].image.numpy()[0].T.take(index, axis)
    if importlib.util.find_spec("monai"):
        from monai.data import Dataset
        from monai.transforms import LoadImaged

        images = Dataset([{"image": str(path)} for path in nifti], LoadImaged("image", image_only=True))
        ways["MONAI, NIfTI"] = lambda number, axis, index: images[number]["image"].numpy().T.take(index, axis)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for at in wanted:
        shown = []
        for name, way in ways.items():
            begin = time.perf_counter()
            shown.append(np.asarray(way(*at)))
            taken[name].append(time.perf_counter() - begin)
        assert all(np.array_equal(shown[0], other) for other in shown)
    found = {f"{name} [ms]": 1e3 * float(np.median(values)) for name, values in taken.items()}
    for name in list(ways)[1:]:
        least = ", target 5" if name == "numpy, gzip" else ""
        found[f"times faster than {name}{least}"] = found[f"{name} [ms]"] / found["bioimage_py, zarr [ms]"]
    return found


_bare: OrderedDict[str, Any] = OrderedDict()


def read_bare(paths: list[str], wanted: list[tuple[int, int]]) -> int:
    """Planes by tensorstore and nothing else, from handles that stay open: as many and as large as data sets keep."""
    import tensorstore

    total = 0
    for number, index in wanted:
        path = paths[number]
        if path not in _bare:
            driver = "zarr3" if (Path(path) / "zarr.json").exists() else "zarr"
            spec = {"driver": driver, "kvstore": {"driver": "file", "path": path}}
            cache = {"cache_pool": {"total_bytes_limit": handles.CACHE_BYTES}}  # as much as data sets keep of an array
            _bare[path] = tensorstore.open(spec, context=tensorstore.Context(cache)).result()
        _bare.move_to_end(path)
        while len(_bare) > handles.ALL_BYTES // handles.CACHE_BYTES:
            _bare.popitem(last=False)
        total += _bare[path][index].read().result().nbytes
    return total


class _Turn:
    """A sampler of the planes of a turn."""

    numbers: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)


def feeding(zarr: list[Path], side: int, planes: int) -> dict[str, float]:
    """Planes a second of a DataLoader with 2 workers, beside 2 processes that read the same ones by tensorstore.

    Of all volumes in turns, none twice: what is read has to be decoded, as in an epoch of data that no cache holds.
    """
    order, sampler = np.random.default_rng(1).permutation(len(zarr) * side), _Turn()
    data, paths = sliced(zarr)[0], [str(path) for path in zarr]
    loader = data.get_dataloader(batch_size=8, num_workers=2, persistent_workers=True, sampler=sampler)
    rates: dict[str, list[float]] = {"bare": [], "loader": []}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for turn in range(ROUNDS + 1):  # the first one starts workers and opens handles
            sampler.numbers, order = order[: planes * 8].tolist(), order[planes * 8 :]
            wanted = [(n // side, n % side) for n in sampler.numbers]
            begin = time.perf_counter()
            # As the loader's: batches of 8, in turns.
            parts = [[w for i, w in enumerate(wanted) if i // 8 % 2 == part] for part in range(2)]
            total = sum(pool.map(read_bare, [paths] * 2, parts))
            bare = len(wanted) / (time.perf_counter() - begin)
            begin = time.perf_counter()
            count = sum(len(batch["metainfo"]) for batch in loader)
            fed = count / (time.perf_counter() - begin)
            assert count == len(wanted)
            assert total == count * side * side * 2
            if turn:
                rates["bare"].append(bare)
                rates["loader"].append(fed)
    ratio = float(np.median(np.array(rates["loader"]) / np.array(rates["bare"])))
    bare, fed = (float(np.median(rates[name])) for name in ("bare", "loader"))
    return {"tensorstore, 2 processes [1/s]": bare, "DataLoader, 2 workers [1/s]": fed, "part of it, target 0.8": ratio}


def patches(folder: Path, side: int) -> dict[str, float]:
    """Patches of 96³ of one large volume by a loader without workers, each in a process of its own."""
    import nibabel

    voxels = volume(side)
    store(folder / "large.zarr", voxels)
    nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4)), folder / "large.nii")
    del voxels
    found = {}
    for name, cut in (("bioimage_py", cut_here), ("torchio", cut_by_torchio)):
        if name == "torchio" and not importlib.util.find_spec("torchio"):
            continue
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            rate, more = pool.submit(cut, folder).result()
        found |= {f"{name} [1/s]": rate, f"{name}, more memory at its peak [MB]": more}
    if "torchio [1/s]" in found:
        found["times as many, target 10"] = found["bioimage_py [1/s]"] / found["torchio [1/s]"]
        peaks = [value for name, value in found.items() if "peak" in name]
        found["part of the memory, target 0.1"] = peaks[0] / peaks[1]
    return found


def cut_here(folder: Path) -> tuple[float, float]:
    data = VolumeDataset(resources=[Resource(folder / "large.zarr", axes="zyx")], seed=0)
    return drawn(data.patches(96, per_volume=PATCHES).get_dataloader(4))


def cut_by_torchio(folder: Path) -> tuple[float, float]:
    import torchio

    subjects = torchio.SubjectsDataset([torchio.Subject(image=torchio.ScalarImage(folder / "large.nii"))])
    sampler = torchio.data.UniformSampler(96)
    queue = torchio.Queue(subjects, max_length=PATCHES, samples_per_volume=PATCHES, sampler=sampler, num_workers=0)
    return drawn(torchio.SubjectsLoader(queue, batch_size=4, num_workers=0))


def peak() -> int:
    """Largest memory of this process until now in kB; ru_maxrss would begin with that of its parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def drawn(loader: Any) -> tuple[float, float]:
    """Patches a second of one epoch, and what it adds to the largest memory of this process in MB."""
    before = peak()
    begin = time.perf_counter()
    count = sum(4 for _ in loader)
    taken = time.perf_counter() - begin
    assert count == PATCHES
    return count / taken, (peak() - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--planes", type=int, default=60)
    parser.add_argument("--large", type=int, default=1024, help="side of the volume that patches are cut of")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        zarr, gz, nifti = made(Path(name), arguments.count, arguments.side)
        found["random planes"] = random_planes(zarr, gz, nifti, arguments.side, arguments.planes)
        if importlib.util.find_spec("torch"):
            found["feeding"] = feeding(zarr, arguments.side, arguments.planes)
            found["patches of 96³"] = patches(Path(name), arguments.large)
    for title, figures in found.items():
        print(title)
        for key, value in figures.items():
            print(f"    {key:44} {value:10.2f}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
