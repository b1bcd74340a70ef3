"""Speed of reading image files against the libraries below, on the same file in the same run.

    python benchmarks/files.py [--rounds 7] [--small]

A stack of 512 MB (128 MB with --small) and a tiled file are written; then each read is done by turns with the package,
tifffile and imageio, and the median of the rounds counts. The page cache is warm. What takes milliseconds is
measured in time of the processor, which others on the machine do not change. Targets: all of a stack 1.1, one page
1.5, properties 2, a region of a tiled file 1.2 times what tifffile takes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import imageio.v3
import numpy as np
import tifffile

import bioimage_py.io.v3 as iio

TARGETS = {"whole": 1.1, "whole, compressed": 1.1, "page": 1.5, "improps": 2.0, "region": 1.2, "region, opened": 1.2}
Reads = dict[str, Callable[[], Any]]


def page_of(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        return file.pages[7].asarray()


def told_of(path: Path) -> tuple[Any, ...]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        return series.shape, series.dtype, series.axes


def region_of(path: Path, box: tuple[slice, ...]) -> np.ndarray:
    import zarr

    with tifffile.TiffFile(path) as file:
        found: Any = zarr.open(file.aszarr(), mode="r")
        return np.asarray(found[box])


def works(folder: Path, size: int) -> dict[str, Reads]:
    """Return, for each work, who does it how."""
    generator = np.random.default_rng(0)
    stack = generator.integers(0, 4000, (size, 1024, 1024), dtype="u2")
    plain, packed, tiled = folder / "plain.tif", folder / "packed.tif", folder / "tiled.tif"
    tifffile.imwrite(plain, stack, photometric="minisblack")
    tifffile.imwrite(packed, stack[: size // 4], photometric="minisblack", compression="zstd")
    plane = generator.integers(0, 4000, (2, 8192, 8192), dtype="u2")
    tifffile.imwrite(tiled, plane, photometric="minisblack", tile=(256, 256), compression="zstd")
    box = (slice(0, 1), slice(1000, 1300), slice(2000, 2300))
    opened, library = iio.imopen(tiled, "r").source(), tifffile.TiffFile(tiled)
    import zarr

    beside: Any = zarr.open(library.aszarr(), mode="r")
    return {
        "whole": {
            "ours": lambda: iio.imread(plain),
            "tifffile": lambda: tifffile.imread(plain),
            "imageio": lambda: imageio.v3.imread(plain),
        },
        "whole, compressed": {
            "ours": lambda: iio.imread(packed),
            "tifffile": lambda: tifffile.imread(packed),
            "imageio": lambda: imageio.v3.imread(packed),
        },
        "page": {
            "ours": lambda: iio.imread(plain, page=7),
            "tifffile": lambda: page_of(plain),
            "imageio": lambda: imageio.v3.imread(plain, page=7),
        },
        "improps": {
            "ours": lambda: iio.improps(plain),
            "tifffile": lambda: told_of(plain),
            "imageio": lambda: imageio.v3.improps(plain),
        },
        "region": {
            "ours": lambda: iio.imread(tiled, roi=box),
            "tifffile": lambda: region_of(tiled, box),
        },
        "region, opened": {"ours": lambda: opened[box], "tifffile": lambda: np.asarray(beside[box])},
    }


def measured(reads: Reads, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return the median seconds of each by a clock, done by turns."""
    times: dict[str, list[float]] = {name: [] for name in reads}
    for number in range(rounds + 1):
        for name, read in reads.items():
            begun = clock()
            read()
            if number:  # the first round warms the page cache
                times[name].append(clock() - begun)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="a stack of 128 MB")
    arguments = parser.parse_args()
    print("| work | ours ms | tifffile ms | imageio ms | ratio | target |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for work, reads in works(Path(folder), 64 if arguments.small else 256).items():
            small = not work.startswith("whole")
            found = measured(reads, (20 if small else 1) * arguments.rounds, process_time if small else perf_counter)
            ratio = found["ours"] / found["tifffile"]
            shown = [f"{found[name] * 1e3:.2f}" if name in found else "" for name in ("ours", "tifffile", "imageio")]
            print("| " + " | ".join([work, *shown, f"{ratio:.2f}", f"{TARGETS[work]}"]) + " |")


if __name__ == "__main__":
    main()
