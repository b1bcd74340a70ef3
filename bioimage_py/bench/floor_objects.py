"""The floor of what knows objects: components, holes, distances, shapes, and tables of objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bioimage_py.bench.store import Region, Store, create, cut, processes, threads, widened

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


class _Components:
    """Every block labelled, and the labels of touching faces joined: `table` has what an id of a block is part of."""

    def __init__(self, case: Case, source: Store, connectivity: Literal[6, 26], *, background: bool = False) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        self.source, self.connectivity, self.background = source, connectivity, background
        self.regions = cut(source.shape, case.block)
        found = processes(self._first, self.regions, case.workers)
        self.offsets = np.concatenate([[0], np.cumsum([count for count, _ in found])])
        faces, pairs = [sides for _, sides in found], [np.zeros((0, 2), np.int64)]
        grid = [-(-size // case.block) for size in source.shape]
        ends = [np.zeros(0, np.int64)]
        for axis in range(3):
            layers = np.moveaxis(np.arange(len(self.regions)).reshape(grid), axis, 0)
            for one, other in itertools.pairwise(layers):
                sides = self._plane(faces, one, 2 * axis + 1), self._plane(faces, other, 2 * axis)
                pairs += _touching(*sides, connectivity)
            for layer, side in ((layers[0], 2 * axis), (layers[-1], 2 * axis + 1)):
                ends.append(np.unique(self._plane(faces, layer, side)[1]))
        total = int(self.offsets[-1])
        a, b = np.concatenate(pairs).T
        graph = coo_array((np.ones(len(a), np.uint8), (a, b)), shape=(total + 1, total + 1))
        self.table = connected_components(graph, directed=False)[1].astype(np.uint64)
        self.border = np.unique(self.table[np.concatenate(ends)])

    def labels(self, region: Region) -> tuple[np.ndarray, np.ndarray]:
        """Values and labels of a block."""
        import cc3d

        data = self.source.read(region)
        data = (data == 0) if self.background else data
        return data, np.asarray(cc3d.connected_components(data.astype(np.uint32), connectivity=self.connectivity))

    def ids(self, n: int, labels: np.ndarray) -> np.ndarray:
        """Final id of each label of a block."""
        begin = self.offsets[n] + 1
        return np.concatenate([[0], self.table[begin : begin + int(labels.max())]]).astype(np.uint64)

    def _first(self, region: Region) -> Any:
        data, labels = self.labels(region)
        sides = [(np.take(data, at, axis), np.take(labels, at, axis)) for axis in range(3) for at in (0, -1)]
        return int(labels.max()), sides

    def _plane(self, faces: Sequence[Any], layer: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        """One side of a whole layer of blocks: values, and ids that no other block has."""
        off = self.offsets
        values = [[faces[n][side][0] for n in row] for row in layer]
        ids = [[np.where(faces[n][side][1] > 0, faces[n][side][1] + off[n], 0) for n in row] for row in layer]
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


def _label(case: Case, name: str, connectivity: Literal[6, 26]) -> None:
    """Label every block, join, label again and write final ids: the output once."""
    source = Store(case.input(name))
    output = create(case.output, source.shape, np.uint64, case)
    parts = _Components(case, source, connectivity)

    def second(item: tuple[int, Region]) -> None:
        _, labels = parts.labels(item[1])
        output.write(item[1], parts.ids(item[0], labels)[labels])

    processes(second, list(enumerate(parts.regions)), case.workers)


def fill_holes(case: Case) -> None:
    source = Store(case.input("shells"))
    output = create(case.output, source.shape, source.dtype, case)
    parts = _Components(case, source, 6, background=True)

    def second(item: tuple[int, Region]) -> None:
        _, labels = parts.labels(item[1])
        inside = np.isin(parts.ids(item[0], labels), parts.border, invert=True)
        inside[0] = True
        output.write(item[1], inside[labels].astype(source.dtype))

    processes(second, list(enumerate(parts.regions)), case.workers)


def distance(case: Case) -> None:
    """The whole volume in memory: blocks have no exact form."""
    import edt

    source = Store(case.input("binary"))
    whole, regions = np.empty(source.shape, source.dtype), cut(source.shape, case.block)
    output = create(case.output, source.shape, np.float32, case)

    def read(region: Region) -> None:
        whole[region] = source.read(region)

    threads(read, regions, case.workers)
    found = edt.edt(whole, parallel=case.workers)
    threads(lambda region: output.write(region, found[region]), regions, case.workers)


def erosion(case: Case) -> None:
    from bioimage_py.morphology.binary_kernels import Binary

    at = np.arange(-2, 3) ** 2
    ball = at[:, None, None] + at[:, None] + at <= 4
    kernel, source = Binary(ball.tobytes(), ball.shape, ("erosion",), 1, 0), Store(case.input("binary"))
    output = create(case.output, source.shape, np.bool_, case)

    def block(region: Region) -> None:
        outer, inner = widened(region, 2, source.shape)
        output.write(region, kernel(source.read(outer))[inner])

    threads(block, cut(source.shape, case.block), case.workers)


def local_maxima(case: Case) -> list[int]:
    """Without plateaus, of which there are none; two equal ones that are near are rare."""
    from bioimage_py.morphology.maxima_blocks import highest_around

    source, distance = Store(case.input("height")), 3

    def block(region: Region) -> np.ndarray:
        outer, inner = widened(region, distance, source.shape)
        values = source.read(outer)
        at = np.argwhere(values[inner] == highest_around(values, (distance,) * 3, -np.inf)[inner])
        return np.asarray(at + [part.start for part in region])

    at = np.concatenate(threads(block, cut(source.shape, case.block), case.workers))
    at = at[((at >= distance) & (at < np.array(source.shape) - distance)).all(axis=1)]
    return [len(at), *map(int, at.sum(axis=0))]


def regionprops(case: Case) -> list[int]:
    from bioimage_py.morphology.measures.objects import Objects, grouped, merged, runs_of

    source = Store(case.input("cells"))

    def block(region: Region) -> Any:
        labels = source.read(region)
        found: Objects | None = None
        for low in range(0, len(labels), 16):
            at = [region[0].start + low, region[1].start, region[2].start]
            rows, _, _ = runs_of(labels[low : low + 16], (0, 1, 2), at, source.shape, moments=True)
            found = merged(found, grouped(rows))
        return found

    found: Any = reduce(merged, threads(block, cut(source.shape, case.block), case.workers))
    spread = found.central / found.count[:, None, None]
    return [len(found), round(float(np.sqrt(20 * np.linalg.eigvalsh(spread)[:, -1].clip(0)).sum()))]


def contacts(case: Case) -> list[int]:
    """Pairs as keys of 64 bits: ids are small."""
    source = Store(case.input("cells"))

    def block(region: Region) -> tuple[np.ndarray, np.ndarray]:
        outer = tuple(slice(p.start, min(n, p.stop + 1)) for p, n in zip(region, source.shape, strict=True))
        values, found = source.read(outer), []
        own = tuple(slice(0, p.stop - p.start) for p in region)
        for axis in range(3):
            below = values[tuple(slice(0, None) if other == axis else own[other] for other in range(3))]
            a, b = (below[(slice(None),) * axis + (side,)] for side in (slice(None, -1), slice(1, None)))
            touch = (a != b) & (a > 0) & (b > 0)
            a, b = a[touch], b[touch]
            found.append((np.minimum(a, b) << np.uint64(32)) + np.maximum(a, b))
        return np.unique(np.concatenate(found), return_counts=True)

    keys, counts = zip(*threads(block, cut(source.shape, case.block), case.workers), strict=True)
    return [len(np.unique(np.concatenate(keys))), int(np.concatenate(counts).sum())]


def segment(case: Case, name: str = "walls") -> None:
    """Superpixels, their graph, a multicut, labels: the kernels of this package, called block by block."""
    from bioimage_py.graph.building_blocks import Measure, MergeTables
    from bioimage_py.graph.edge_costs import costs
    from bioimage_py.graph.partition_blocks import problem_of
    from bioimage_py.graph.solving import solved
    from bioimage_py.segmentation.superpixels.fragments import Fragments, connected

    source = Store(case.input(name))
    pieces = create(f"{case.output}-pieces", source.shape, np.uint32, case)
    output = create(f"{case.output}/0", source.shape, np.uint64, case)
    regions = cut(source.shape, case.block)
    kernel = Fragments(0.15, (0.7,) * 3, (2.0,) * 3, (1.0,) * 3, 0.8, 100)

    def find(region: Region) -> int:
        outer, inner = widened(region, 8, source.shape)
        found = connected(kernel(source.read(outer))[inner])
        pieces.write(region, found)
        return int(found.max())

    before = np.cumsum([0, *processes(find, regions, case.workers)])

    def number(n: int) -> None:
        found = pieces.read(regions[n])
        pieces.write(regions[n], np.where(found, found + np.uint32(before[n]), np.uint32(0)))

    processes(number, range(len(regions)), case.workers)

    def measure(region: Region) -> Any:
        outer, inner = widened(region, 1, source.shape)
        begin = [part.start for part in region]
        return Measure()(pieces.read(outer).astype(np.uint64), [source.read(outer)], inner, begin)

    tables = processes(measure, regions, case.workers)
    graph = MergeTables(tuple(source.shape), tuple("zyx"), False, None).graph(tables)
    parts = solved(problem_of(graph, costs(graph)), "kernighan-lin") + 1
    table = np.concatenate([[0], parts]).astype(np.uint64)
    processes(lambda region: output.write(region, table[pieces.read(region)]), regions, case.workers)


LABELLED: dict[str, Callable[[Case], Any]] = {
    "label 6": partial(_label, name="binary", connectivity=6),
    "label 26": partial(_label, name="binary", connectivity=26),
    "label multi": partial(_label, name="objects", connectivity=6),
}
MEASURED: dict[str, Callable[[Case], Any]] = {
    "distance": distance,
    "fill holes": fill_holes,
    "erosion": erosion,
    "local maxima": local_maxima,
    "regionprops": regionprops,
    "contacts": contacts,
    "segment": segment,
}
