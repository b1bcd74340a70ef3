"""Speed of every kind of source against the bare library, on the same data in the same run.

Blocks of 64^3 (128^3 for shards) of a volume of 16-bit voxels are read, then written, one after the other in one
thread, by turns through the source and through the library; the median of the rounds counts. "halo" reads blocks with a
halo of 8 from a source with a chunk cache, as a run does. The page cache is warm. Results: benchmarks/out/sources.md.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bioimage_py.sources import Source, as_source, open_cloudvolume, open_source, open_webknossos
from bioimage_py.wrapper.cached import with_cache

CHUNK, SHARD, HALO = 64, 128, 8
CACHE_BYTES = 64 << 20
Box = tuple[slice, ...]
Read = Callable[[Box], np.ndarray]
Write = Callable[[Box, np.ndarray], Any]


@dataclass(frozen=True)
class Kind:
    """A kind of source and its library: `make` creates an empty array, the others open it."""

    name: str
    library: str
    make: Callable[[Path, np.ndarray], Any]
    source: Callable[[Path, str], Source]
    bare: Callable[[Path, str], tuple[Read, Write | None]]
    block: int = CHUNK


def indexed(array: Any) -> tuple[Read, Write]:
    """Reading and writing of an array-like by its own indexing."""
    return lambda box: np.asarray(array[box]), array.__setitem__


def zarr_kind(name: str, **options: Any) -> Kind:
    import zarr

    def make(path: Path, volume: np.ndarray) -> None:
        zarr.create_array(path, name="a", shape=volume.shape, dtype=volume.dtype, chunks=(CHUNK,) * 3, **options)

    def bare(path: Path, mode: str) -> tuple[Read, Write]:
        return indexed(zarr.open_array(path, path="a", mode=mode))

    block = SHARD if "shards" in options else CHUNK
    return Kind(name, "zarr-python", make, lambda path, mode: open_source(path, "a", mode=mode), bare, block)


def tensorstore_kind() -> Kind:
    import tensorstore
    import zarr

    def make(path: Path, volume: np.ndarray) -> None:
        zarr.create_array(path, name="a", shape=volume.shape, dtype=volume.dtype, chunks=(CHUNK,) * 3)

    def bare(path: Path, mode: str) -> tuple[Read, Write]:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/a/"}}
        context = tensorstore.Context({"data_copy_concurrency": {"limit": 1}, "file_io_sync": False})
        store = tensorstore.open(spec, open=True, context=context).result()
        return lambda box: store[box].read().result(), lambda box, value: store[box].write(value).result()

    return Kind("zarr v3", "tensorstore", make, lambda path, mode: open_source(path, "a", mode=mode), bare)


def n5_kind() -> Kind:
    import z5py

    def make(path: Path, volume: np.ndarray) -> None:
        with z5py.File(path.with_suffix(".n5"), "a") as file:
            file.create_dataset("a", shape=volume.shape, dtype=volume.dtype, chunks=(CHUNK,) * 3, compression="gzip")

    def bare(path: Path, mode: str) -> tuple[Read, Write]:
        return indexed(z5py.File(path.with_suffix(".n5"), mode)["a"])

    return Kind("n5", "z5py", make, lambda path, mode: open_source(path.with_suffix(".n5"), "a", mode=mode), bare)


def hdf5_kind() -> Kind:
    import h5py

    def make(path: Path, volume: np.ndarray) -> None:
        with h5py.File(path.with_suffix(".h5"), "w") as file:
            file.create_dataset("a", shape=volume.shape, dtype=volume.dtype, chunks=(CHUNK,) * 3, compression="gzip")

    def bare(path: Path, mode: str) -> tuple[Read, Write]:
        array = h5py.File(path.with_suffix(".h5"), mode)["a"]

        def write(box: Box, value: np.ndarray) -> None:
            array[box] = value
            array.file.flush()

        return lambda box: np.asarray(array[box]), write

    return Kind("hdf5", "h5py", make, lambda path, mode: open_source(path.with_suffix(".h5"), "a", mode=mode), bare)


def cloudvolume_kind() -> Kind:
    from cloudvolume import CloudVolume

    def make(path: Path, volume: np.ndarray) -> None:
        info = CloudVolume.create_new_info(
            num_channels=1,
            layer_type="image",
            data_type=volume.dtype.name,
            encoding="raw",
            resolution=[4, 4, 40],
            voxel_offset=[0, 0, 0],
            volume_size=list(volume.shape[::-1]),
            chunk_size=[CHUNK] * 3,
        )
        CloudVolume(f"file://{path}", info=info, progress=False).commit_info()

    def bare(path: Path, mode: str) -> tuple[Read, Write]:
        layer = CloudVolume(f"file://{path}", progress=False, fill_missing=True)

        def write(box: Box, value: np.ndarray) -> None:
            layer[box[::-1]] = value.T[..., None]

        return lambda box: np.asarray(layer[box[::-1]])[..., 0].T, write

    def source(path: Path, mode: str) -> Source:
        return open_cloudvolume(f"file://{path}", fill_missing=True)

    return Kind("precomputed", "cloud-volume", make, source, bare)


def webknossos_kind(data_format: str) -> Kind:
    import webknossos as wk

    def make(path: Path, volume: np.ndarray) -> None:
        box = wk.BoundingBox((0, 0, 0), volume.shape[::-1])
        layer = wk.Dataset(path, voxel_size=(4, 4, 40)).add_layer(
            "color", "color", dtype=volume.dtype.name, data_format=data_format, bounding_box=box
        )
        layer.add_mag(1, chunk_shape=CHUNK // 2, shard_shape=SHARD, compress=True)

    def bare(path: Path, mode: str) -> tuple[Read, Write]:
        view = wk.Dataset.open(path).get_layer("color").get_mag(1)

        def write(box: Box, value: np.ndarray) -> None:
            view.write(value.T[None], absolute_offset=[part.start for part in box[::-1]])

        def read(box: Box) -> np.ndarray:
            size = [part.stop - part.start for part in box[::-1]]
            return np.asarray(view.read(absolute_offset=[part.start for part in box[::-1]], size=size))[0].T

        return read, write

    def source(path: Path, mode: str) -> Source:
        return open_webknossos(path, layer_name="color", mode=mode)

    return Kind(f"webknossos ({data_format})", "webknossos", make, source, bare, SHARD)


def numpy_kind() -> Kind:
    def make(path: Path, volume: np.ndarray) -> None:
        np.save(path.with_suffix(".npy"), np.zeros_like(volume))

    def mapped(path: Path, mode: str) -> np.ndarray:
        return np.asarray(np.load(path.with_suffix(".npy"), mmap_mode=mode))

    def bare(path: Path, mode: str) -> tuple[Read, Write]:
        array = mapped(path, mode)
        return lambda box: array[box].copy(), array.__setitem__

    return Kind("numpy", "numpy", make, lambda path, mode: as_source(mapped(path, mode)), bare)


def tif_kind() -> Kind:
    import tifffile

    def make(path: Path, volume: np.ndarray) -> None:
        tifffile.imwrite(path.with_suffix(".tif"), volume, compression="zlib", photometric="minisblack")

    def bare(path: Path, mode: str) -> tuple[Read, None]:
        def read(box: Box) -> np.ndarray:
            planes = tifffile.imread(path.with_suffix(".tif"), key=range(box[0].start, box[0].stop))
            return np.asarray(planes)[(slice(None), *box[1:])]

        return read, None

    return Kind("tif stack (read)", "tifffile", make, lambda path, mode: open_source(path.with_suffix(".tif")), bare)


def kinds() -> list[Kind]:
    """Every kind whose library is installed here."""
    return [
        numpy_kind(),
        tensorstore_kind(),
        zarr_kind("zarr v3"),
        zarr_kind("zarr v2", zarr_format=2),
        zarr_kind("zarr sharded", shards=(SHARD,) * 3),
        n5_kind(),
        hdf5_kind(),
        tif_kind(),
        cloudvolume_kind(),
        webknossos_kind("wkw"),
        webknossos_kind("zarr3"),
    ]


def boxes(size: int, block: int, halo: int = 0) -> list[Box]:
    """Blocks of a cube, in C order, with a halo where there is room."""
    starts = range(0, size, block)
    return [
        tuple(slice(max(0, begin - halo), min(size, begin + block + halo)) for begin in corner)
        for corner in itertools.product(starts, repeat=3)
    ]


def seconds(work: Callable[[], Any]) -> float:
    """How long something takes."""
    begin = perf_counter()
    work()
    return perf_counter() - begin


def write_blocks(source: Source, volume: np.ndarray, blocks: list[Box]) -> None:
    """Write blocks, and close the source, by which everything is handed to the system."""
    with source:
        for box in blocks:
            source[box] = volume[box]


def measure(kind: Kind, folder: Path, volume: np.ndarray, rounds: int) -> tuple[str, ...]:
    """One row of the table; AssertionError where the source and its library read different voxels."""
    size = len(volume)
    plain, wide = boxes(size, kind.block), boxes(size, kind.block, HALO)
    times: dict[str, list[float]] = {
        name: [] for name in ("write", "bare write", "read", "bare read", "halo", "bare halo")
    }
    for number in range(rounds):
        ours, theirs = folder / f"ours{number}", folder / f"bare{number}"
        kind.make(ours, volume)
        kind.make(theirs, volume)
        _, write = kind.bare(theirs, "r+")
        if write is not None:
            times["write"].append(seconds(lambda: write_blocks(kind.source(ours, "r+"), volume, plain)))  # noqa: B023
            times["bare write"].append(seconds(lambda: [write(box, volume[box]) for box in plain]))  # noqa: B023
            del write
        read, _ = kind.bare(ours, "r")
        with kind.source(ours, "r").fresh(cache_bytes=0) as source:
            assert all(np.array_equal(source[box], read(box)) for box in plain[:: max(1, len(plain) // 4)])
            times["read"].append(seconds(lambda: [source[box] for box in plain]))
        times["bare read"].append(seconds(lambda: [read(box) for box in plain]))  # noqa: B023
        with with_cache(kind.source(ours, "r"), CACHE_BYTES) as source:
            times["halo"].append(seconds(lambda: [source[box] for box in wide]))
        times["bare halo"].append(seconds(lambda: [read(box) for box in wide]))  # noqa: B023
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    row = [kind.name, kind.library]
    for name in ("read", "write", "halo"):
        if not times[name]:
            row += ["–", "–", "–"]
            continue
        own, other = statistics.median(times[name]), statistics.median(times[f"bare {name}"])
        row += [f"{volume.nbytes / 2**20 / own:.0f}", f"{volume.nbytes / 2**20 / other:.0f}", f"{other / own:.2f}"]
    return tuple(row)


def main() -> int:
    """Measure all kinds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="edge of the volume in voxels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of kinds, by default all")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    ramp = np.add.outer(np.add.outer(np.arange(options.size), np.arange(options.size)), np.arange(options.size))
    volume = (ramp + generator.integers(0, 64, ramp.shape)).astype(np.uint16)
    lines = [
        "MiB a second, one thread; ratio: how many times as fast as the library.",
        "",
        "| kind | library | read | library | ratio | write | library | ratio | halo, cached | library | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds():
        if options.only and kind.name not in options.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            lines.append("| " + " | ".join(measure(kind, Path(folder), volume, options.rounds)) + " |")
        print(lines[-1], flush=True)
    out = Path(__file__).parent / "out" / "sources.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\nwritten to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
