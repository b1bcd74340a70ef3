"""The floor: the library calls alone, in threads or forked processes, with no runner, no checks and no ledger.

Chunks are read and written as files, by the bare zstd codec; the kernel is the fastest one known for the work.
Run by path (see `protocol`), by nothing but libraries; where no library has the kernel, by this package's own one.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bioimage_py.bench.store import Region, Store

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


def _create(path: str, shape: Sequence[int], dtype: Any, case: Case) -> Store:
    import zarr

    chunks = tuple(min(case.chunk, size) for size in shape)
    zarr.create_array(path, shape=tuple(shape), chunks=chunks, dtype=dtype)
    return Store(path)


def _blocks(shape: Sequence[int], block: int) -> list[Region]:
    axes = [[slice(b, min(b + block, size)) for b in range(0, size, block)] for size in shape]
    return list(itertools.product(*axes))


def _threads(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> list[Any]:
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


_function: Callable[[Any], Any]


def _call(item: Any) -> Any:
    return _function(item)


def _processes(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> list[Any]:
    """Forked, so that nothing is pickled but the results: for kernels that hold the interpreter lock."""
    global _function
    _function = function
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(_call, items, chunksize=1)


def copy(case: Case) -> None:
    source = Store(case.input("raw"))
    output = _create(case.output, source.shape, source.dtype, case)
    _threads(lambda r: output.write(r, source.read(r)), _blocks(source.shape, case.block), case.workers)


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
        for chunk in _blocks(shards, chunks[0]):
            encoded.append(codec.encode(np.ascontiguousarray(data[chunk])))
            places += [at, len(encoded[-1])]
            at += len(encoded[-1])
        index = np.array(places, "<u8").tobytes()
        name = "/".join((case.output, "c", *(str(p.start // s) for p, s in zip(region, shards, strict=True))))
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "wb") as file:
            file.writelines([*encoded, index, google_crc32c.value(index).to_bytes(4, "little")])

    _threads(block, _blocks(source.shape, shards[0]), case.workers)


def _gaussian(case: Case, sigma: float) -> None:
    import cv2

    cv2.setNumThreads(1)
    source = Store(case.input("raw"))
    output = _create(case.output, source.shape, np.float32, case)
    radius = math.ceil(3 * sigma)
    kernel = cv2.getGaussianKernel(2 * radius + 1, sigma, cv2.CV_32F)

    def block(region: Region) -> None:
        outer = tuple(
            slice(max(0, p.start - radius), min(n, p.stop + radius)) for p, n in zip(region, source.shape, strict=True)
        )
        data = source.read(outer).astype(np.float32)
        z, y, x = data.shape
        planes = np.empty_like(data)
        for k in range(z):
            cv2.sepFilter2D(data[k], -1, kernel, kernel, dst=planes[k], borderType=cv2.BORDER_REFLECT_101)
        flat = cv2.sepFilter2D(
            planes.reshape(z, y * x), -1, np.ones(1, np.float32), kernel, borderType=cv2.BORDER_REFLECT_101
        )
        inner = tuple(slice(p.start - o.start, p.stop - o.start) for p, o in zip(region, outer, strict=True))
        output.write(region, flat.reshape(data.shape)[inner])

    _threads(block, _blocks(source.shape, case.block), case.workers)


def _filtered(case: Case, kernel: Callable[[np.ndarray], np.ndarray], halo: int, dtype: Any, channels: int = 0) -> None:
    """Any kernel that needs a halo; with channels they are the first axis of the output, in chunks of their own."""
    source = Store(case.input("raw"))
    lead = (channels,) if channels else ()
    import zarr

    chunks = (*(1 for _ in lead), *(min(case.chunk, size) for size in source.shape))
    zarr.create_array(case.output, shape=(*lead, *source.shape), chunks=chunks, dtype=dtype)
    output = Store(case.output)

    def block(region: Region) -> None:
        outer = tuple(
            slice(max(0, p.start - halo), min(n, p.stop + halo)) for p, n in zip(region, source.shape, strict=True)
        )
        inner = tuple(slice(p.start - o.start, p.stop - o.start) for p, o in zip(region, outer, strict=True))
        found = kernel(source.read(outer))
        output.write((*(slice(0, n) for n in lead), *region), found[(*(slice(None) for _ in lead), *inner)])

    _threads(block, _blocks(source.shape, case.block), case.workers)


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


def _label(case: Case, name: str, connectivity: Literal[6, 26]) -> None:
    """Label every block, join the labels of touching faces, label again and write final ids: the output once."""
    import cc3d
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    source = Store(case.input(name))
    output = _create(case.output, source.shape, np.uint64, case)
    blocks = _blocks(source.shape, case.block)

    def components(region: Region) -> tuple[np.ndarray, np.ndarray]:
        data = source.read(region)
        labels = cc3d.connected_components(data.astype(np.uint32), connectivity=connectivity)
        return data, np.asarray(labels)

    def first(region: Region) -> Any:
        data, labels = components(region)
        cut = [(np.take(data, at, axis), np.take(labels, at, axis)) for axis in range(3) for at in (0, -1)]
        return int(labels.max()), cut

    found = _processes(first, blocks, case.workers)
    offsets = np.concatenate([[0], np.cumsum([count for count, _ in found])])
    grid = [-(-size // case.block) for size in source.shape]
    faces = [cut for _, cut in found]
    pairs = []
    for axis in range(3):
        layers = np.moveaxis(np.arange(len(blocks)).reshape(grid), axis, 0)
        for one, other in itertools.pairwise(layers):
            sides = _plane(faces, offsets, one, 2 * axis + 1), _plane(faces, offsets, other, 2 * axis)
            pairs += _touching(*sides, connectivity)
    total = int(offsets[-1])
    table = np.arange(total + 1, dtype=np.uint64)
    if pairs:
        a, b = np.concatenate(pairs).T
        graph = coo_array((np.ones(len(a), np.uint8), (a, b)), shape=(total + 1, total + 1))
        _, table = connected_components(graph, directed=False)
        table = table.astype(np.uint64)

    def second(item: tuple[int, Region]) -> None:
        n, region = item
        _, labels = components(region)
        ids = np.concatenate([[0], table[offsets[n] + 1 : offsets[n] + 1 + int(labels.max())]]).astype(np.uint64)
        output.write(region, ids[labels])

    _processes(second, list(enumerate(blocks)), case.workers)


def _plane(faces: Sequence[Any], offsets: np.ndarray, layer: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """One side of a whole layer of blocks: values, and ids that no other block has."""
    values = [[faces[n][side][0] for n in row] for row in layer]
    ids = [[np.where(faces[n][side][1] > 0, faces[n][side][1] + offsets[n], 0) for n in row] for row in layer]
    return np.block(values), np.block(ids)


def _touching(left: Any, right: Any, connectivity: int) -> list[np.ndarray]:
    (data, labels), (other, others) = left, right
    reach = range(-1, 2) if connectivity == 26 else range(1)
    found = []
    for shift in itertools.product(reach, reach):
        here = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(shift, data.shape, strict=True))
        there = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(shift, data.shape, strict=True))
        same = (data[here] == other[there]) & (labels[here] > 0) & (others[there] > 0)
        found.append(np.unique(np.stack([labels[here][same], others[there][same]], axis=1), axis=0))
    return found


def _mean(data: np.ndarray) -> np.ndarray:
    total = np.zeros([size // 2 for size in data.shape], np.uint16)
    for z, y, x in itertools.product(range(2), repeat=3):
        total += data[z::2, y::2, x::2]
    total += 3 + (total >> 3 & 1)  # halves to even, as the work asks for
    total >>= 3
    return total.astype(np.uint8)


def _halves(source: Store, path: str, case: Case, kernel: Callable[[np.ndarray], np.ndarray]) -> Store:
    shape = [-(-size // 2) for size in source.shape]
    output = _create(path, shape, source.dtype, case)

    def block(region: Region) -> None:
        double = tuple(slice(2 * p.start, min(2 * p.stop, n)) for p, n in zip(region, source.shape, strict=True))
        output.write(region, kernel(source.read(double)))

    _threads(block, _blocks(shape, case.block), case.workers)
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

    found = _threads(block, _blocks(source.shape, case.block), case.workers)
    return [sum(s for s, _ in found) / math.prod(source.shape), float(max(m for _, m in found))]


def unique_counts(case: Case) -> list[int]:
    source = Store(case.input("labels"))

    def block(region: Region) -> np.ndarray:
        return np.bincount(source.read(region).ravel().view(np.int64))

    longest = np.zeros(0, np.int64)
    for counts in _threads(block, _blocks(source.shape, case.block), case.workers):
        if len(counts) > len(longest):
            longest, counts = counts, longest
        longest[: len(counts)] += counts
    values = np.flatnonzero(longest)
    return [len(values), int((values * longest[values]).sum())]


def watershed(case: Case, mask: str | None = None) -> None:
    import bioimage_cpp

    height, seeds = Store(case.input("height")), Store(case.input("seeds"))
    tissue = None if mask is None else Store(case.input(mask))
    output = _create(case.output, height.shape, np.uint64, case)
    halo = case.block // 8

    def block(region: Region) -> None:
        if tissue is not None and not tissue.read(region).any():
            return
        outer = tuple(
            slice(max(0, p.start - halo), min(n, p.stop + halo)) for p, n in zip(region, height.shape, strict=True)
        )
        inner = tuple(slice(p.start - o.start, p.stop - o.start) for p, o in zip(region, outer, strict=True))
        markers = seeds.read(outer).astype(np.uint32)  # ids of the data are small, and half the memory is faster
        inside = None if tissue is None else tissue.read(outer) > 0
        flooded = bioimage_cpp.segmentation.watershed(height.read(outer), markers, mask=inside)
        output.write(region, flooded[inner].astype(np.uint64))

    _threads(block, _blocks(height.shape, case.block), case.workers)


def relabel(case: Case) -> None:
    source, table = Store(case.input("labels")), np.load(f"{case.data}/table.npy")
    output = _create(case.output, source.shape, np.uint64, case)
    _threads(lambda r: output.write(r, table.take(source.read(r))), _blocks(source.shape, case.block), case.workers)


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
    "label 6": partial(_label, name="binary", connectivity=6),
    "label 26": partial(_label, name="binary", connectivity=26),
    "label multi": partial(_label, name="objects", connectivity=6),
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
    "empty 20k": partial(_empty, blocks=20_000),
    "empty 1m": partial(_empty, blocks=1_000_000),
}
