"""The floor: the library calls alone, in threads or forked processes, with no runner, no checks and no ledger.

Chunks are read and written as files, by the bare zstd codec; the kernel is the fastest one known for the work.
Run by path (see `protocol`), by nothing but libraries; where no library has the kernel, by this package's own one.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bioimage_py.bench import floor_objects
from bioimage_py.bench.store import Region, Store, create, cut, threads, widened

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


def copy(case: Case) -> None:
    source = Store(case.input("raw"))
    output = create(case.output, source.shape, source.dtype, case)
    threads(lambda r: output.write(r, source.read(r)), cut(source.shape, case.block), case.workers)


def copy_to_shards(case: Case) -> None:
    """A block is a shard: encoded chunks one after the other, and at the end their places and a checksum."""
    import google_crc32c
    import zarr
    from numcodecs import Zstd

    source = Store(case.input("raw"))
    chunks, shards = ((min(edge, min(source.shape)),) * 3 for edge in (case.chunk, case.block))
    zarr.create_array(case.output, shape=source.shape, chunks=chunks, shards=shards, dtype=source.dtype)

    def block(region: Region) -> None:
        data = source.read(region)
        if data.shape != shards:
            data = np.pad(data, [(0, s - n) for s, n in zip(shards, data.shape, strict=True)])
        codec, places, encoded, at = Zstd(level=0), [], [], 0
        for chunk in cut(shards, chunks[0]):
            encoded.append(codec.encode(np.ascontiguousarray(data[chunk])))
            places += [at, len(encoded[-1])]
            at += len(encoded[-1])
        index = np.array(places, "<u8").tobytes()
        name = "/".join((case.output, "c", *(str(p.start // s) for p, s in zip(region, shards, strict=True))))
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "wb") as file:
            file.writelines([*encoded, index, google_crc32c.value(index).to_bytes(4, "little")])

    threads(block, cut(source.shape, shards[0]), case.workers)


def _gaussian(case: Case, sigma: float) -> None:
    import cv2

    cv2.setNumThreads(1)
    source = Store(case.input("raw"))
    output = create(case.output, source.shape, np.float32, case)
    radius = math.ceil(3 * sigma)
    kernel = cv2.getGaussianKernel(2 * radius + 1, sigma, cv2.CV_32F)

    def block(region: Region) -> None:
        outer, inner = widened(region, radius, source.shape)
        data = source.read(outer).astype(np.float32)
        z, y, x = data.shape
        planes = np.empty_like(data)
        for k in range(z):
            cv2.sepFilter2D(data[k], -1, kernel, kernel, dst=planes[k], borderType=cv2.BORDER_REFLECT_101)
        flat = cv2.sepFilter2D(
            planes.reshape(z, y * x), -1, np.ones(1, np.float32), kernel, borderType=cv2.BORDER_REFLECT_101
        )
        output.write(region, flat.reshape(data.shape)[inner])

    threads(block, cut(source.shape, case.block), case.workers)


def _filtered(case: Case, kernel: Callable[[np.ndarray], np.ndarray], halo: int, dtype: Any, channels: int = 0) -> None:
    """Any kernel that needs a halo; with channels they are the first axis of the output, in chunks of their own."""
    source = Store(case.input("raw"))
    lead = (channels,) if channels else ()
    import zarr

    chunks = (*(1 for _ in lead), *(min(case.chunk, size) for size in source.shape))
    zarr.create_array(case.output, shape=(*lead, *source.shape), chunks=chunks, dtype=dtype)
    output = Store(case.output)

    def block(region: Region) -> None:
        outer, inner = widened(region, halo, source.shape)
        found = kernel(source.read(outer))
        output.write((*(slice(0, n) for n in lead), *region), found[(*(slice(None) for _ in lead), *inner)])

    threads(block, cut(source.shape, case.block), case.workers)


def hessian(case: Case) -> None:
    import cv2

    from bioimage_py.filters.derivative_kernels import HessianEigenvalues

    cv2.setNumThreads(1)
    kernel = HessianEigenvalues((1.5,) * 3, (1.0,) * 3)
    _filtered(case, kernel, kernel.halo[0], np.float32, channels=3)


def median(case: Case) -> None:
    from bioimage_py.filters.footprints import Footprint
    from bioimage_py.filters.rank_kernels import Rank

    _filtered(case, Rank(Footprint((3, 3, 3)), 13), 1, np.uint8)


def _mean(data: np.ndarray) -> np.ndarray:
    total = np.zeros([size // 2 for size in data.shape], np.uint16)
    for z, y, x in itertools.product(range(2), repeat=3):
        total += data[z::2, y::2, x::2]
    total += 3 + (total >> 3 & 1)  # halves to even, as the work asks for
    total >>= 3
    return total.astype(np.uint8)


def _halves(source: Store, path: str, case: Case, kernel: Callable[[np.ndarray], np.ndarray]) -> Store:
    shape = [-(-size // 2) for size in source.shape]
    output = create(path, shape, source.dtype, case)

    def block(region: Region) -> None:
        double = tuple(slice(2 * p.start, min(2 * p.stop, n)) for p, n in zip(region, source.shape, strict=True))
        output.write(region, kernel(source.read(double)))

    threads(block, cut(shape, case.block), case.workers)
    return output


def _stride(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data[::2, ::2, ::2])


def _mode(data: np.ndarray) -> np.ndarray:
    """Most frequent of eight, the smallest of those that tie; nearly all blocks hold one value."""
    parts = [data[z::2, y::2, x::2] for z, y, x in itertools.product(range(2), repeat=3)]
    mode = np.ascontiguousarray(parts[0])
    mixed = np.zeros(mode.shape, bool)
    for part in parts[1:]:
        mixed |= part != mode
    if mixed.any():
        values = np.sort(np.stack([part[mixed] for part in parts]), axis=0)
        counts = (values[:, None] == values[None]).sum(axis=0)
        mode[mixed] = np.take_along_axis(values, counts.argmax(axis=0)[None], axis=0)[0]
    return mode


def _downsample(case: Case, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    _halves(Store(case.input("raw")), case.output, case, kernel)


def _pyramid(case: Case, name: str, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    level = Store(case.input(name))
    for n in range(1, 5):
        level = _halves(level, f"{case.output}/{n}", case, kernel)


def statistics(case: Case) -> list[float]:
    source = Store(case.input("raw"))

    def block(region: Region) -> tuple[int, int]:
        data = source.read(region)
        return int(data.sum(dtype=np.uint64)), int(data.max())

    found = threads(block, cut(source.shape, case.block), case.workers)
    return [sum(s for s, _ in found) / math.prod(source.shape), float(max(m for _, m in found))]


def unique_counts(case: Case) -> list[int]:
    source = Store(case.input("labels"))

    def block(region: Region) -> np.ndarray:
        return np.bincount(source.read(region).ravel().view(np.int64))

    longest = np.zeros(0, np.int64)
    for counts in threads(block, cut(source.shape, case.block), case.workers):
        if len(counts) > len(longest):
            longest, counts = counts, longest
        longest[: len(counts)] += counts
    values = np.flatnonzero(longest)
    return [len(values), int((values * longest[values]).sum())]


def watershed(case: Case, mask: str | None = None) -> None:
    import bioimage_cpp

    height, seeds = Store(case.input("height")), Store(case.input("seeds"))
    tissue = None if mask is None else Store(case.input(mask))
    output = create(case.output, height.shape, np.uint64, case)
    halo = case.block // 8

    def block(region: Region) -> None:
        if tissue is not None and not tissue.read(region).any():
            return
        outer, inner = widened(region, halo, height.shape)
        markers = seeds.read(outer).astype(np.uint32)  # ids of the data are small, and half the memory is faster
        inside = None if tissue is None else tissue.read(outer) > 0
        flooded = bioimage_cpp.segmentation.watershed(height.read(outer), markers, mask=inside)
        output.write(region, flooded[inner].astype(np.uint64))

    threads(block, cut(height.shape, case.block), case.workers)


def relabel(case: Case) -> None:
    source, table = Store(case.input("labels")), np.load(f"{case.data}/table.npy")
    output = create(case.output, source.shape, np.uint64, case)
    threads(lambda r: output.write(r, table.take(source.read(r))), cut(source.shape, case.block), case.workers)


def _empty(case: Case, blocks: int) -> None:
    """Forked workers take numbers from a shared counter, and append a record for each."""
    context = multiprocessing.get_context("fork")
    counter, batch, blocks = context.Value("q", 0), 64, blocks if case.block > 32 else 20

    def worker(name: str) -> None:
        with open(name, "wb") as done:
            while True:
                with counter.get_lock():
                    begin = counter.value
                    counter.value = begin + batch
                if begin >= blocks:
                    return
                for n in range(begin, min(begin + batch, blocks)):
                    done.write(n.to_bytes(8, "little"))

    workers = [context.Process(target=worker, args=(f"{case.output}-{n}",)) for n in range(case.workers)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()


WORKS = {
    "copy": copy,
    "copy to shards": copy_to_shards,
    "gaussian 2": partial(_gaussian, sigma=2.0),
    "gaussian 8": partial(_gaussian, sigma=8.0),
    "hessian 1.5": hessian,
    "median 3": median,
    **floor_objects.LABELLED,
    "downsample mean": partial(_downsample, kernel=_mean),
    "downsample stride": partial(_downsample, kernel=_stride),
    "pyramid image": partial(_pyramid, name="raw", kernel=_mean),
    "pyramid image stride": partial(_pyramid, name="raw", kernel=_stride),
    "pyramid labels": partial(_pyramid, name="labels", kernel=_mode),
    "pyramid labels stride": partial(_pyramid, name="labels", kernel=_stride),
    "statistics": statistics,
    "unique counts": unique_counts,
    "watershed": watershed,
    "watershed sparse": partial(watershed, mask="tissue"),
    "relabel": relabel,
    **floor_objects.MEASURED,
    "empty 20k": partial(_empty, blocks=20_000),
    "empty 1m": partial(_empty, blocks=1_000_000),
}
