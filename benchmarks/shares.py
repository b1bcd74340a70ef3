"""Where the time of each work goes: reading, decoding, kernel, encoding, writing, waiting.

    python benchmarks/shares.py [--size 512] [--workers 2] [--works ...]

Runs the works of `bioimage-py bench` with threads in this process and watches what its workers do. Prints a table of
shares of ``workers x wall seconds``; the split of reading and decoding (writing and encoding) comes from moving the
same encoded bytes between files and memory, without their codec.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from bioimage_py.bench import data, works
from bioimage_py.bench.check import CHECKS
from bioimage_py.bench.protocol import Case
from bioimage_py.runner.worker.block_runner import BlockRunner
from bioimage_py.sources.arrays.tensor_handle import TensorHandle
from bioimage_py.sources.chunked.encoded import EncodedChunks

HERE = Path(__file__).resolve().parent
PARTS = ("reading", "decoding", "kernel", "encoding", "writing", "waiting")


class Clock:
    """Seconds by name, over all threads; where one name's time holds another's, the inner one's is taken off."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = threading.local()
        self._lock = threading.Lock()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner.seconds = getattr(self._inner, "seconds", 0.0), 0.0
            begin = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took = perf_counter() - begin
                with self._lock:
                    self.seconds[name] += took - self._inner.seconds
                self._inner.seconds = outer + took

        return call


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Time what the workers of this process do while the body runs."""
    parts: list[tuple[Any, str, str]] = [(TensorHandle, "read", "read"), (TensorHandle, "write", "write")]
    parts += [(EncodedChunks, "take", "moved"), (BlockRunner, "call", "kernel"), (BlockRunner, "flush", "kernel")]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in parts]
    try:
        for owner, name, part in parts:
            setattr(owner, name, clock.timed(part, getattr(owner, name)))
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def bare(folder: Path, files: list[Path], workers: int) -> tuple[float, float]:
    """Seconds of all workers together for reading so many encoded bytes, and for writing them."""
    target = folder / "bare"
    target.mkdir()

    def read(path: Path) -> tuple[float, bytes]:
        begin = perf_counter()
        content = path.read_bytes()
        return perf_counter() - begin, content

    def write(item: tuple[int, bytes]) -> float:
        begin = perf_counter()
        (target / str(item[0])).write_bytes(item[1])
        return perf_counter() - begin

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(read, files))
        reading = sum(seconds for seconds, _ in found)
        writing = sum(pool.map(write, enumerate(content for _, content in found)))
    shutil.rmtree(target)
    return reading, writing


def encoded(path: Path) -> list[Path]:
    """Files of the chunks of all arrays below a folder."""
    return [file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json"]


def inputs_of(work: str) -> list[str]:
    """Names of the stored inputs of a work."""
    return [name for name in CHECKS[work].inputs if name != "table"]


def profile(work: str, folder: Path, small: Path, large: Path, options: argparse.Namespace) -> dict[str, float]:
    """Shares of one run of a work."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    works.WORKS[work](Case(str(small), str(folder / "small.zarr"), 32, 16, options.workers, "local"))
    output = folder / "large.zarr"
    case = Case(str(large), str(output), options.block, options.chunk, options.workers, "local")
    clock = Clock()
    with watched(clock):
        cpu, begin = process_time(), perf_counter()
        works.WORKS[work](case)
        wall, cpu = perf_counter() - begin, process_time() - cpu
    read, write, moved, kernel = (clock.seconds[part] for part in ("read", "write", "moved", "kernel"))
    inputs = [file for name in inputs_of(work) for file in encoded(large / f"{name}.zarr")]
    passes = 2 if work.startswith("label") else 1
    bytes_in = passes * bare(folder, inputs, options.workers)[0]
    reading, fetched = min(read, bytes_in), min(moved, bytes_in)
    writing = min(write, bare(folder, encoded(output), options.workers)[1]) if output.exists() else 0.0
    whole = wall * options.workers
    waiting = whole - read - moved - kernel - write
    parts = (reading + fetched, read - reading, kernel, write - writing, writing + moved - fetched, waiting)
    return {"wall": wall, "cpu": cpu, **{name: part / whole for name, part in zip(PARTS, parts, strict=True)}}


def main() -> None:
    """Profile what the command line asks for."""
    # where a mask decides what is read, the bytes of whole inputs say nothing
    known = [work for work in works.WORKS if not work.startswith("empty") and "tissue" not in CHECKS[work].inputs]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--works", nargs="+", choices=known, default=known)
    parser.add_argument("--out", type=Path, default=HERE / "out" / "speed", help="data, shared with the benchmark")
    options = parser.parse_args()
    print("| work | seconds | processors busy | " + " | ".join(PARTS) + " |\n" + "|---" * (len(PARTS) + 3) + "|")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        for work in options.works:
            sizes = ((64, 16), (options.size, options.chunk))
            small, large = (data.make(options.out, size, chunk, CHECKS[work].inputs) for size, chunk in sizes)
            runs = [profile(work, Path(folder) / "run", small, large, options) for _ in range(options.repeats)]
            found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            shares = " | ".join(f"{100 * found[name]:.0f} %" for name in PARTS)
            print(f"| {work} | {found['wall']:.2f} | {found['cpu'] / found['wall']:.1f} | {shares} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
