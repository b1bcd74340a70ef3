"""What the results must be: computed slab by slab with halos that suffice, once, and kept beside the inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .data import slabs, write


def stored(folder: Path, name: str) -> Any:
    """Open an input."""
    import zarr

    return zarr.open_array(str(folder / f"{name}.zarr"), mode="r")


def _kept(folder: Path, name: str, shape: tuple[int, ...], planes: Callable[[slice], np.ndarray]) -> Any:
    path = folder / "expected" / f"{name}.zarr"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write(path, shape, 64, lambda slab, _: planes(slab))
    return stored(path.parent, name)


def _kept_values(folder: Path, name: str, values: Callable[[], list[Any]]) -> list[Any]:
    path = folder / "expected" / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values()))
    found: list[Any] = json.loads(path.read_text())
    return found


def gaussian(folder: Path, sigma: float) -> Any:
    """Kernel of three sigma, mirrored at the border; float32."""
    from scipy import ndimage

    raw = stored(folder, "raw")
    halo = int(3 * sigma + 0.5)

    def planes(slab: slice) -> np.ndarray:
        begin, end = max(0, slab.start - halo), min(raw.shape[0], slab.stop + halo)
        smooth = ndimage.gaussian_filter(raw[begin:end].astype(np.float32), sigma, truncate=3, mode="mirror")
        return np.asarray(smooth[slab.start - begin : slab.stop - begin])

    return _kept(folder, f"gaussian-{sigma:g}", raw.shape, planes)


def cubes(folder: Path, edge: int, halo: int) -> Iterator[tuple[tuple[slice, ...], np.ndarray, tuple[slice, ...]]]:
    """Two cubes of ``raw``, at its first corner and in its middle: where, its voxels with a halo, where in these."""
    raw = stored(folder, "raw")
    for begin in (0, raw.shape[0] // 2):
        box = tuple(slice(begin, min(begin + edge, size)) for size in raw.shape)
        outer = tuple(slice(max(0, p.start - halo), min(n, p.stop + halo)) for p, n in zip(box, raw.shape, strict=True))
        yield (
            box,
            raw[outer],
            tuple(slice(p.start - o.start, p.stop - o.start) for p, o in zip(box, outer, strict=True)),
        )


def curvatures(values: np.ndarray, sigma: float) -> np.ndarray:
    """Eigenvalues of the matrix of second derivatives, the largest first, along a first axis; mirrored border."""
    from scipy import ndimage

    matrix = np.empty((*values.shape, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            order = [int(axis == i) + int(axis == j) for axis in range(3)]
            found = ndimage.gaussian_filter(values.astype(float), sigma, order, mode="mirror", truncate=6)
            matrix[..., i, j] = matrix[..., j, i] = found
    return np.moveaxis(np.linalg.eigvalsh(matrix)[..., ::-1], -1, 0)


def components(folder: Path, name: str, connectivity: Literal[6, 26]) -> Any:
    """Connected components, numbered by their first voxel in C order; uint32."""
    array = stored(folder, name)
    numbering: list[_Numbering] = []

    def planes(slab: slice) -> np.ndarray:
        if not numbering:
            numbering.append(_Numbering(array, connectivity))
        return numbering[0].planes(slab)

    return _kept(folder, f"components-{name}-{connectivity}", array.shape, planes)


class _Numbering:
    """Components of slabs that overlap by a plane; those that share a voxel of it are one."""

    def __init__(self, array: Any, connectivity: Literal[6, 26]) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        self.array, self.connectivity = array, connectivity
        self.offsets: dict[int, int] = {}
        pairs, count, last = [np.zeros((2, 0), np.int64)], 0, None
        for slab in slabs(array.shape):
            labels = self._labels(slab)
            self.offsets[slab.start] = count
            if last is not None:
                first = labels[0].astype(np.int64)
                both = (last > 0) & (first > 0)
                pairs.append(np.unique(np.stack([last[both], first[both] + count]), axis=1))
            last = labels[-1].astype(np.int64)
            last[last > 0] += count
            count += int(labels.max())
        one, other = np.concatenate(pairs, axis=1)
        graph = coo_array((np.ones(len(one), np.uint8), (one, other)), shape=(count + 1, count + 1))
        self.joined = connected_components(graph, directed=False)[1]
        self.ids = np.zeros(len(self.joined), np.uint32)
        self.count = 0

    def _labels(self, slab: slice) -> np.ndarray:
        """With one plane of the next slab, numbered by first voxel."""
        import cc3d
        import fastremap

        # as if of many labels: with two values some odd shapes come out wrong
        data = self.array[slab.start : slab.stop + 1].astype(np.uint32)
        return np.asarray(fastremap.renumber(cc3d.connected_components(data, connectivity=self.connectivity))[0])

    def planes(self, slab: slice) -> np.ndarray:
        """Final ids; slabs in order, because components get theirs where they first appear."""
        labels = self._labels(slab)[: slab.stop - slab.start]
        begin = self.offsets[slab.start] + 1
        joined = self.joined[begin : begin + int(labels.max())]
        seen, first = np.unique(joined, return_index=True)
        fresh = seen[np.argsort(first)]
        fresh = fresh[self.ids[fresh] == 0]
        self.ids[fresh] = np.arange(1, len(fresh) + 1) + self.count
        self.count += len(fresh)
        ids: np.ndarray = np.concatenate([np.zeros(1, np.uint32), self.ids[joined]])
        return np.asarray(ids[labels])


def level(folder: Path, name: str, method: str, n: int) -> Any:
    """Level of a pyramid of factor 2: "mean" is exact, float32; "stride" the first voxel of each block."""
    source = stored(folder, name) if n == 1 else level(folder, name, method, n - 1)

    def planes(slab: slice) -> np.ndarray:
        data = source[2 * slab.start : 2 * slab.stop]
        if method == "stride":
            return np.ascontiguousarray(data[::2, ::2, ::2])
        z, y, x = (size // 2 for size in data.shape)
        return np.asarray(data.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32))

    return _kept(folder, f"{method}-{name}-{n}", tuple(size // 2 for size in source.shape), planes)


def statistics(folder: Path) -> list[float]:
    """Mean and maximum of ``raw``."""

    def values() -> list[Any]:
        raw, total, highest = stored(folder, "raw"), 0, 0
        for slab in slabs(raw.shape):
            part = raw[slab]
            total, highest = total + int(part.sum(dtype=np.uint64)), max(highest, int(part.max()))
        return [total / raw.size, float(highest)]

    return _kept_values(folder, "statistics", values)


def unique(folder: Path) -> list[int]:
    """How many ids ``labels`` has, and their sum over all voxels."""

    def values() -> list[Any]:
        labels = stored(folder, "labels")
        ids, total = np.zeros(0, np.uint64), 0
        for slab in slabs(labels.shape):
            part = labels[slab]
            ids, total = np.union1d(ids, part), total + int(part.sum(dtype=np.uint64))
        return [len(ids), total]

    return _kept_values(folder, "unique", values)


def basins(folder: Path, begin: int, edge: int, mask: str | None = None) -> np.ndarray:
    """Seeded watershed of a cube, flooded with half of its edge around it."""
    import bioimage_cpp

    height, seeds = stored(folder, "height"), stored(folder, "seeds")
    part = tuple(slice(max(0, begin - edge // 2), min(size, begin + edge + edge // 2)) for size in height.shape)
    inside = None if mask is None else stored(folder, mask)[part] > 0
    flooded = bioimage_cpp.segmentation.watershed(height[part], seeds[part], mask=inside)
    inner = tuple(slice(begin - axis.start, begin - axis.start + edge) for axis in part)
    return np.asarray(flooded[inner])


def around(folder: Path, name: str, halo: int, slab: slice) -> tuple[np.ndarray, slice]:
    """Planes of an input with some around them, and where they are in these."""
    source = stored(folder, name)
    begin, end = max(0, slab.start - halo), min(source.shape[0], slab.stop + halo)
    return source[begin:end], slice(slab.start - begin, slab.stop - begin)


def distances(folder: Path, halo: int = 48) -> Any:
    """Distance of each voxel of ``binary`` to the next that is 0; float32."""
    from scipy import ndimage

    def planes(slab: slice) -> np.ndarray:
        values, inner = around(folder, "binary", halo, slab)
        found = ndimage.distance_transform_edt(values)[inner]
        if found.max() >= halo:
            raise ValueError(f"an object of binary is {found.max():.0f} voxels deep; a halo of {halo} is too small")
        return np.asarray(found, np.float32)

    return _kept(folder, "distances", stored(folder, "binary").shape, planes)


def filled(folder: Path) -> Any:
    """``shells`` with the background that does not reach the border; uint8."""
    import cc3d

    shells = stored(folder, "shells")
    whole: list[np.ndarray] = []

    def planes(slab: slice) -> np.ndarray:
        if not whole:
            labels = cc3d.connected_components((shells[...] == 0).astype(np.uint32), connectivity=6)
            outside = np.zeros(int(labels.max()) + 1, bool)
            for axis in range(3):
                for end in (0, -1):
                    outside[labels[(slice(None),) * axis + (end,)]] = True
            whole.append((~outside | (np.arange(len(outside)) == 0))[labels])
        return whole[0][slab].astype(np.uint8)

    return _kept(folder, "filled", shells.shape, planes)


def maxima(folder: Path, distance: int) -> list[int]:
    """How many local maxima ``height`` has, and the sums of their coordinates."""

    def values() -> list[Any]:
        from skimage.feature import peak_local_max

        found = peak_local_max(stored(folder, "height")[...], min_distance=distance)
        return [len(found), *map(int, found.sum(axis=0))]

    return _kept_values(folder, f"maxima-{distance}", values)


def longest(folder: Path) -> list[float]:
    """How many objects ``cells`` has, and the sum of their longest axes, those of ellipsoids with their moments."""

    def values() -> list[Any]:
        cells = stored(folder, "cells")
        pairs = [(i, j) for i in range(4) for j in range(i, 4)]  # of 1, z, y, x
        sums: np.ndarray = np.zeros((len(pairs), 1))
        for slab in slabs(cells.shape):
            part = cells[slab].astype(np.int64)
            at = np.nonzero(part)
            ids = part[at]
            place = np.stack([np.ones(len(ids)), at[0] + slab.start, at[1], at[2]])
            found = np.stack([np.bincount(ids, place[i] * place[j]) for i, j in pairs])
            width = max(found.shape[1], sums.shape[1])
            one, other = (np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (sums, found))
            sums = np.asarray(one + other)
        sums = sums[:, sums[0] > 0]
        matrix = np.zeros((sums.shape[1], 4, 4))
        for (i, j), row in zip(pairs, sums / sums[0], strict=True):
            matrix[:, i, j] = matrix[:, j, i] = row
        spread = matrix[:, 1:, 1:] - matrix[:, 0, 1:, None] * matrix[:, 0, None, 1:]
        largest = np.linalg.eigvalsh(spread)[:, -1].clip(0)
        return [sums.shape[1], float(np.sqrt(20 * largest).sum())]

    return _kept_values(folder, "longest", values)


def contacts(folder: Path) -> list[int]:
    """How many pairs of ``cells`` touch, and with how many faces."""

    def values() -> list[Any]:
        known, faces = np.zeros(0, np.uint64), 0
        for slab in slabs(stored(folder, "cells").shape):
            part, inner = around(folder, "cells", 1, slab)
            for axis in range(3):
                lower = part[inner.start :] if axis == 0 else part[inner]
                a, b = (lower[(slice(None),) * axis + (side,)] for side in (slice(None, -1), slice(1, None)))
                touch = (a != b) & (a > 0) & (b > 0)
                faces += int(np.count_nonzero(touch))
                known = np.union1d(known, (np.minimum(a, b)[touch] << np.uint64(32)) + np.maximum(a, b)[touch])
        return [len(known), faces]

    return _kept_values(folder, "contacts", values)


def variation(folder: Path) -> list[float]:
    """How many ids ``cells`` has, and the sums of both parts of each one's variation of information with ``tiles``."""

    def values() -> list[Any]:
        found: dict[tuple[int, int], int] = {}
        for slab in slabs(stored(folder, "cells").shape):
            both = np.stack([stored(folder, name)[slab].ravel() for name in ("tiles", "cells")], axis=1)
            pairs, counts = np.unique(both.view("u8,u8").ravel(), return_counts=True)
            for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
                found[pair] = found.get(pair, 0) + count
        pairs, counts = np.array(list(found), np.uint64), np.array(list(found.values()), np.float64)
        (_, a), (ids, b) = (np.unique(column, return_inverse=True) for column in pairs.T)
        size_a, size_b = np.bincount(a, counts)[a], np.bincount(b, counts)[b]
        parts = [-float((counts / size_b * np.log2(counts / size)).sum()) for size in (size_b, size_a)]
        return [len(ids), *sorted(parts)]

    return _kept_values(folder, "variation", values)
