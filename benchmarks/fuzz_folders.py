"""Read folders of chunks whose metadata say nonsense: an error of the package or an image, and nothing else.

    python benchmarks/fuzz_folders.py [--count 10000] [--seconds 10] [--seed 0] [--only a.ome.zarr a.n5]

What `fuzz_files.py` does to bytes, this does to JSON: entries are left out, given twice, or become what nobody expects
there. Prints what became of the inputs, and where in the package each kind of fault was; ends with 1 if there was one.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import logging
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_corpus import DATA, ROOT
from fuzz_files import LateError, limit_memory, limit_processor

import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError

DOCUMENTS = {
    "zarr.json",
    ".zarray",
    ".zattrs",
    ".zgroup",
    "attributes.json",
    "info",
    "datasource-properties.json",
    "header.json",
}
VALUES: tuple[Any, ...] = (
    *(10**400, -(10**400), 2**64, 2**63, 2**53 + 1, 1, 0, -1, 1.5, float("nan"), float("inf"), True, None),
    *("", "x", "9" * 5000, "../..", "/etc", "a/b", "µm", {}, {"name": "x"}, [], [[]], [None], [1, 2], ["x"] * 3),
    *([0, 0, 0], [-1, -1, -1], [10**30] * 3, [[1, 2, 3]] * 3),
)


def _zarr_2(path: Path) -> None:
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = group.create_array("0", shape=DATA.shape, chunks=(1, 20, 24), dtype="u1")
    array[...] = DATA
    scale = {"type": "scale", "scale": [2.0, 0.5, 0.5]}
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group.attrs["omero"] = {"channels": [{"label": "a", "color": "FF0000"}]}


def _precomputed(path: Path) -> None:
    from tests.sources.precomputed.precomputed_layers import new_layer

    new_layer(path, DATA, chunk=(16, 16, 2))


def _webknossos(path: Path) -> None:
    from tests.sources.webknossos.webknossos_data import add_layer, add_mag, fill, wk

    layer = add_layer(wk.Dataset(path, voxel_size=(11, 11, 24)), "color", "wkw", dtype="uint8", num_channels=1)
    fill(add_mag(layer, 1))


def _written(**how: Any) -> Callable[[Path], None]:
    return lambda path: iio.imwrite(path, np.stack([DATA, DATA]) if "channel_names" in how else DATA, **how)


MAKERS: Mapping[str, Callable[[Path], None]] = {
    "a.ome.zarr": _written(scale=(2, 0.5, 0.5), unit="um", pyramid=True, chunks=(3, 20, 24)),
    "a.zarr": _written(scale=0.5, unit="um"),
    "named.zarr": _written(axes="czyx", channel_names=["a", "b"]),
    "a.n5": _written(scale=0.5, unit="um"),
    "old.zarr": _zarr_2,
    "layer": _precomputed,
    "dataset": _webknossos,
}


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each entry of a document."""
    if path:
        yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    for key, value in inner:
        yield from places(value, (*path, key))


def mutated(document: Any, generator: random.Random) -> Any:
    """Return a document with something wrong in it."""
    found = copy.deepcopy(document)
    for _ in range(generator.choice([1, 1, 1, 2])):
        ways = list(places(found))
        if not ways:
            return generator.choice(VALUES)
        *above, last = generator.choice(ways)
        holder = found
        for key in above:
            holder = holder[key]
        what = generator.randrange(4)
        if what == 0:
            del holder[last]
        elif what == 1:
            if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            else:
                holder["more"] = generator.choice(VALUES)
        else:
            holder[last] = copy.deepcopy(generator.choice(VALUES))
    return found


def outcome(path: Path) -> str:
    """Read a folder by all means; return the name of the error of the package that it ended with, or "read"."""
    try:
        told = iio.improps(path)
        for standard in (False, True):
            iio.immeta(path, standard=standard, json=standard)
        read = iio.imread(path)
        if (told.shape, told.dtype) != (read.shape, read.dtype):
            raise AssertionError(f"told {told.shape} {told.dtype}, read {read.shape} {read.dtype}")
        with iio.imopen(path, "r") as file:
            _ = file.images
    except BioimageError as error:
        return type(error).__name__
    return "read"


@contextmanager
def wrong(path: Path, seed: int) -> Iterator[None]:
    """Have a document of a folder say nonsense."""
    generator = random.Random(f"{seed} {path.name}")
    document = generator.choice(sorted(one for one in path.rglob("*") if one.name in DOCUMENTS))
    text = document.read_text()
    document.write_text(json.dumps(mutated(json.loads(text), generator)))
    try:
        yield
    finally:
        document.write_text(text)


def fuzz(name: str, count: int, seconds: int, first: int, folder: Path) -> int:
    """Read so many mutations of one folder; return how many broke a rule."""
    path = folder / name
    MAKERS[name](path)
    if outcome(path) != "read":
        print(f"{name}: the whole folder is not read")
        return 1
    ends: collections.Counter[str] = collections.Counter()
    faults: collections.Counter[str] = collections.Counter()
    for seed in range(first, first + count):
        with wrong(path, seed):
            limit_processor(seconds)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            try:
                ends[outcome(path)] += 1
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
                signal.setitimer(signal.ITIMER_PROF, 0)
                steps = [one for one in traceback.extract_tb(error.__traceback__) if "bioimage_py" in one.filename]
                where = f"{steps[-1].filename}:{steps[-1].lineno}" if steps else "?"
                faults[where] += 1
                if faults[where] == 1:
                    print(f"seed {seed}, {name}: {type(error).__name__}: {error!s:.200} at {where}", flush=True)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    told = ", ".join(f"{end} {number}" for end, number in ends.most_common())
    print(f"{name:12} {count} inputs, {faults.total()} wrong: {told}", flush=True)
    return faults.total()


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(MAKERS))
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    def late(*_: object) -> None:
        raise LateError(f"more than {given.seconds} s")

    signal.signal(signal.SIGPROF, late)
    broken = 0
    for number, name in enumerate(given.only):
        with tempfile.TemporaryDirectory() as folder:
            if number == 1:  # what the libraries take for themselves is there by now
                limit_memory()
            broken += fuzz(name, given.count, given.seconds, given.seed, Path(folder))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
