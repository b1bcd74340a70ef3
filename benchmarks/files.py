"""Speed of reading image files against the libraries below, on the same files in the same run, and what it must reach.

    python benchmarks/files.py [--rounds 7] [--small] [--check]

Each read is done by turns with the package, the library below and imageio, and the median of the rounds counts; the
page cache is warm. What takes milliseconds is measured in time of the processor, which others on the machine do not
change. Files larger than the disk are made of holes. A row passes where its ratio (or value) is at most its target;
with --check the exit status is 1 where one does not.

"First look" forgets before each read what the package remembers of files that have not changed (`io.tif.known`). A
page of ours is one of an image, for which all pages have to be found; that of the library is the seventh of the file,
and in the row below it the seventh of the image.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import fuzz_corpus
import imageio.v3
import numpy as np
import tifffile
import zarr
from sparse_tif import sparse_tif

import bioimage_py.io.v3 as iio
from bioimage_py.io.tif.known import forget

Read = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """A work: who does it how, and what ours must reach.

    Parameters
    ----------
    name : str
    ours, library : callable
        The read; the same with the library below.
    target : float
        Of the ratio of their times.
    imageio : callable, optional
        For comparison.
    short : bool, default True
        Milliseconds: many rounds.
    threads : bool, default False
        It is done by several threads: the time on the wall counts, not that of the processor.
    """

    name: str
    ours: Read
    library: Read
    target: float
    imageio: Read | None = None
    short: bool = True
    threads: bool = False

    def measured(self, rounds: int) -> tuple[float, float, float | None]:
        """Return the median seconds of ours, the library and imageio, done by turns."""
        clock = perf_counter if self.threads else process_time
        reads = [read for read in (self.ours, self.library, self.imageio) if read is not None]
        times: list[list[float]] = [[] for _ in reads]
        for number in range(rounds * (20 if self.short else 1) + 1):
            for read, found in zip(reads, times, strict=True):
                begun = clock()
                read()
                if number:  # the first round warms the page cache
                    found.append(clock() - begun)
        ours, library, *more = map(statistics.median, times)
        return ours, library, more[0] if more else None


def first(read: Read) -> Read:
    """The same read by who knows nothing of the file."""

    def forgetful() -> Any:
        forget()
        return read()

    return forgetful


def page_of(path: Path, number: int = 7) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        return file.pages[number].asarray()


def page_of_series(path: Path, number: int = 7) -> np.ndarray:
    """The page by its number in the image, for which the library has to know which pages are one."""
    with tifffile.TiffFile(path) as file:
        return file.series[0].pages[number].asarray()


def told_of(path: Path) -> tuple[Any, ...]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        return series.shape, series.dtype, series.axes


def region_of(path: Path, box: tuple[slice, ...]) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        found: Any = zarr.open(file.aszarr(), mode="r")
        return np.asarray(found[box])


def settle(path: Path) -> None:
    """Wait until a file is old enough to be remembered."""
    from bioimage_py.io.tif.known import state_of

    while state_of(str(path)) is None:
        process_time()


def stacks(folder: Path, size: int) -> Iterator[Row]:
    """Yield the works on a stack and a tiled file."""
    generator = np.random.default_rng(0)
    stack = generator.integers(0, 4000, (size, 1024, 1024), dtype="u2")
    plain, packed, tiled = folder / "plain.tif", folder / "packed.tif", folder / "tiled.tif"
    tifffile.imwrite(plain, stack, photometric="minisblack")
    tifffile.imwrite(packed, stack[: size // 4], photometric="minisblack", compression="zstd")
    plane = generator.integers(0, 4000, (2, 4096, 4096), dtype="u2")
    tifffile.imwrite(tiled, plane, photometric="minisblack", tile=(256, 256), compression="zstd")
    box = (slice(0, 1), slice(1000, 1300), slice(2000, 2300))
    settle(tiled)
    for name, path in (("whole", plain), ("whole, compressed", packed)):
        yield Row(
            name,
            lambda path=path: iio.imread(path),
            lambda path=path: tifffile.imread(path),
            1.1,
            lambda path=path: imageio.v3.imread(path),
            short=False,
            threads=True,
        )
    page, props = lambda: iio.imread(plain, page=7), lambda: iio.improps(plain)
    yield Row("page", page, lambda: page_of(plain), 1.5, lambda: imageio.v3.imread(plain, page=7))
    yield Row("page, first look", first(page), lambda: page_of(plain), 1.5)
    yield Row("page of the image, first look", first(page), lambda: page_of_series(plain), 1.5)
    yield Row("improps", props, lambda: told_of(plain), 2.0, lambda: imageio.v3.improps(plain))
    yield Row("improps, first look", first(props), lambda: told_of(plain), 2.0)
    yield Row("region", lambda: iio.imread(tiled, roi=box), lambda: region_of(tiled, box), 1.2)
    opened, library = iio.imopen(tiled, "r").source(), tifffile.TiffFile(tiled)
    beside: Any = zarr.open(library.aszarr(), mode="r")
    yield Row("region, opened", lambda: opened[box], lambda: np.asarray(beside[box]), 1.2)


def large(folder: Path) -> Iterator[Row]:
    """Yield the works on files of 10 GB and 300 GB."""
    tile = (slice(3, 4), slice(256, 512), slice(512, 768))
    path, store, slide = folder / "large.tif", folder / "large.zarr", folder / "slide.tif"
    page = np.random.default_rng(0).integers(0, 4000, (16384, 16384), dtype="u2")
    sparse_tif(path, 20, 16384, 16384, (256, 256), {3: page})
    array: Any = zarr.create_array(store, shape=(20, 16384, 16384), chunks=(1, 256, 256), dtype="u2")
    array[tile] = page[None, 256:512, 512:768]
    there: Any = zarr.open_array(store, mode="r")
    yield Row("10 GB tif, a tile", lambda: iio.imread(path, roi=tile), lambda: region_of(path, tile), 1.2)
    yield Row("10 GB zarr, a tile", lambda: iio.imread(store, roi=tile), lambda: zarr.open_array(store)[tile], 1.2)
    source = iio.imopen(store, "r").source()
    yield Row("10 GB zarr, a tile, opened", lambda: source[tile], lambda: np.asarray(there[tile]), 1.2)
    sparse_tif(slide, 1000, 9216, 16384)
    yield Row("300 GB tif, a plane", lambda: iio.imread(slide, page=500), lambda: page_of(slide, 500), 1.5, None, False)


def video(folder: Path) -> Iterator[Row]:
    """Yield the work on a video."""
    path = folder / "a.mp4"
    y, x = np.mgrid[:240, :320]
    frames = np.stack([(x + y + 5 * t) % 256 for t in range(120)]).astype("u1")
    iio.imwrite(path, frames, axes="tyx")
    with iio.imopen(path, "r") as file:
        one_by_one = [file.read(number) for number in range(120)]
        same = all(np.array_equal(*pair) for pair in zip(one_by_one, file.iter(), strict=True))
    if not same:
        raise AssertionError("a frame by its number is another one than in the order of the video")

    def by_number() -> None:
        with iio.imopen(path, "r") as file:
            for number in range(120):
                file.read(number)

    yield Row("video, read(i) over iterating", by_number, lambda: list(iio.imiter(path)), 1.3, None, False)


def values(folder: Path, files: int) -> Iterator[tuple[str, float, float, str]]:
    """Yield what has a limit of its own: name, value, the most that it may be, and the unit."""
    wrong = 0
    for name in fuzz_corpus.WRITTEN:
        path = folder / name
        path.write_bytes(fuzz_corpus.made(name))
        for index in (None, ..., 0, -1):
            told, read = iio.improps(path, index=index), iio.imread(path, index=index)
            wrong += (told.shape, told.dtype) != (read.shape, read.dtype)
    yield f"properties unlike what is read ({len(fuzz_corpus.WRITTEN)} files x 4 indices)", wrong, 0, ""
    tile = (slice(3, 4), slice(256, 512), slice(512, 768))
    for name in ("large.tif", "large.zarr"):
        times = []
        for _ in range(20):
            begun = process_time()
            iio.imread(folder / name, roi=tile)
            times.append(process_time() - begun)
        yield f"{name}, a tile", statistics.median(times) * 1e3, 20, "ms"
        tracemalloc.start()
        iio.imread(folder / name, roi=tile)
        yield f"{name}, a tile, memory", tracemalloc.get_traced_memory()[1] / 1e6, 10, "MB"
        tracemalloc.stop()
    forget()
    begun = process_time()
    iio.improps(folder / "slide.tif")
    yield "300 GB tif of 1,000 planes, shape and axes", process_time() - begun, 1, "s"
    many = folder / "many"
    many.mkdir()
    content = {
        end: fuzz_corpus.made(name) for end, name in ((".tif", "ome.tif"), (".png", "grey.png"), (".nrrd", "a.nrrd"))
    }
    paths = [many / f"{number}{list(content)[number % 3]}" for number in range(files)]
    for path in paths:
        path.write_bytes(content[path.suffix])
    begun = process_time()
    for path in paths:
        iio.improps(path)
    yield f"improps of {files} files (tif, png, nrrd), each", (process_time() - begun) / files * 1e3, 2, "ms"


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--small", action="store_true", help="a stack of 128 MB")
    parser.add_argument("--check", action="store_true", help="end with 1 where a target is missed")
    given = parser.parse_args()
    missed = 0
    print("| work | ours ms | library ms | imageio ms | ratio | target | |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in (stacks(folder, 64 if given.small else 256), large(folder), video(folder)):
            for row in rows:
                ours, library, other = row.measured(given.rounds)
                passed = ours <= row.target * library
                missed += not passed
                shown = [f"{ours * 1e3:.2f}", f"{library * 1e3:.2f}", "" if other is None else f"{other * 1e3:.2f}"]
                shown += [f"{ours / library:.2f}", f"{row.target}", "pass" if passed else "FAIL"]
                print("| " + " | ".join([row.name, *shown]) + " |", flush=True)
        print("\n| what | value | at most | |\n|---|---|---|---|")
        for what, value, most, unit in values(folder, given.files):
            missed += value > most
            print(f"| {what} | {value:.3g} {unit} | {most} {unit} | {'FAIL' if value > most else 'pass'} |", flush=True)
    print(f"\n{missed} targets missed")
    return 1 if missed and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
