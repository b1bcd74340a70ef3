"""Read files with flipped, cut and overwritten bytes: an error of the package or an image, and nothing else.

    python benchmarks/fuzz_files.py [--count 10000] [--seconds 10] [--seed 0] [--only a.jp2,a.jxl]

Each input is read in this process under a limit of time. Prints how many were read, how many refused and by which
error, the seed of each that broke a rule, and how much memory was taken; ends with 1 if a rule was broken.
"""

from __future__ import annotations

import argparse
import collections
import logging
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError
from bioimage_py.system.memory import peak_bytes

MEMORY_BYTES = 2**30


def corpus() -> dict[str, bytes]:
    """Return a small file of each format that is written to one file, by its ending."""
    data = np.random.default_rng(0).integers(0, 200, (3, 40, 48)).astype("u1")
    made: dict[str, tuple[str, Any, Mapping[str, Any]]] = {
        "ome.tif": (".tif", data, {"scale": 0.5, "unit": "um"}),
        "imagej.tif": (".tif", data, {"flavor": "imagej", "scale": 0.5, "unit": "um"}),
        "tiles.tif": (".tif", data, {"tiles": (16, 16), "compression": "zlib", "pyramid": 1}),
        "strips.tif": (".tif", data, {"flavor": "plain", "compression": "lzw"}),
        "big.tif": (".tif", data, {"bigtiff": True}),
        "jpeg.tif": (".tif", np.moveaxis(data, 0, -1), {"axes": "yxc", "compression": "jpeg", "tiles": (16, 16)}),
        "grey.png": (".png", data[0], {}),
        "colour.png": (".png", np.moveaxis(data, 0, -1), {}),
        "deep.png": (".png", np.moveaxis(data, 0, -1).astype("u2") * 200, {}),
        "frames.png": (".png", data, {}),
        "a.jpg": (".jpg", data[0], {}),
        "a.bmp": (".bmp", data[0], {}),
        "a.webp": (".webp", np.moveaxis(data, 0, -1), {}),
        "a.gif": (".gif", data, {}),
        "a.h5": (".h5", data, {}),
        "a.jp2": (".jp2", np.moveaxis(data, 0, -1), {}),
        "a.j2k": (".j2k", data[0].astype("u2"), {}),
        "a.jxl": (".jxl", np.moveaxis(data, 0, -1), {}),
        "deep.jxl": (".jxl", data[0].astype("u2") * 200, {}),
        "a.avif": (".avif", np.moveaxis(data, 0, -1), {}),
        "frames.avif": (".avif", data, {}),
    }
    return {name: iio.imwrite("<bytes>", image, extension=end, **more) for name, (end, image, more) in made.items()}


def mutated(content: bytes, generator: random.Random) -> bytes:
    """Return the bytes of a file with something wrong in them."""
    found = bytearray(content)
    kind = generator.randrange(4)
    if kind == 0:
        return bytes(found[: generator.randrange(len(found))])
    reach = min(len(found), 600) if generator.random() < 0.7 else len(found)
    if kind == 1:
        for _ in range(generator.randint(1, 8)):
            found[generator.randrange(reach)] ^= 1 << generator.randrange(8)
    elif kind == 2:
        at = generator.randrange(reach)
        found[at : at + 4] = generator.choice([b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"])
    else:
        at = generator.randrange(reach)
        found[at : at + generator.randint(1, 32)] = generator.randbytes(generator.randint(1, 32))
    return bytes(found)


def outcome(path: Path) -> str:
    """Read a file by all means; return the name of the error of the package that it ended with, or "read"."""
    try:
        told = iio.improps(path)
        iio.immeta(path)
        read = iio.imread(path)
        if (told.shape, told.dtype) != (read.shape, read.dtype):
            raise AssertionError(f"told {told.shape} {told.dtype}, read {read.shape} {read.dtype}")
    except BioimageError as error:
        return type(error).__name__
    return "read"


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of the files that are damaged, with commas between")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    files = corpus()
    wanted = arguments.only.split(",") if arguments.only else list(files)
    files = {name: files[name] for name in wanted}
    before = peak_bytes()
    ends: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    wrong = 0

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {arguments.seconds} s")

    signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.count):
            seed = arguments.seed + number
            generator = random.Random(seed)
            name = list(files)[number % len(files)]
            path = Path(folder) / f"f{number}-{name}"
            path.write_bytes(mutated(files[name], generator))
            signal.alarm(arguments.seconds)
            try:
                ends[name][outcome(path)] += 1
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
                wrong += 1
                ends[name][f"WRONG {type(error).__name__}"] += 1
                print(f"seed {seed}, {name}: {type(error).__name__}: {error}")
                if wrong <= 5:
                    traceback.print_exc(limit=-6)
            finally:
                signal.alarm(0)
            path.unlink()
            if peak_bytes() - before > MEMORY_BYTES:
                print(f"seed {seed}, {name}: {peak_bytes() - before} bytes of memory")
                return 1
    for name, counts in ends.items():
        print(f"{name:12}", ", ".join(f"{end} {count}" for end, count in counts.most_common()))
    print(f"{arguments.count} inputs, {wrong} wrong, {(peak_bytes() - before) / 2**20:.0f} MiB more at most")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
