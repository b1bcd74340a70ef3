"""scipy, scikit-image, edt or cc3d on the whole array, as who has the memory for it does it: one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


def _read(case: Case, name: str = "raw") -> Any:
    import zarr

    return zarr.open_array(case.input(name), mode="r")[...]


def _write(case: Case, values: np.ndarray) -> None:
    import zarr

    edge = min(case.chunk, *values.shape[-3:])
    chunks = (1, edge, edge, edge)[-values.ndim :]
    zarr.create_array(case.output, shape=values.shape, chunks=chunks, dtype=values.dtype)[...] = values


def gaussian(case: Case) -> None:
    from scipy import ndimage

    _write(case, ndimage.gaussian_filter(_read(case).astype(np.float32), 2.0, mode="mirror", truncate=3))


def hessian(case: Case) -> None:
    from scipy import ndimage

    values = _read(case).astype(np.float32)
    matrix = np.empty((*values.shape, 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            order = [int(axis == i) + int(axis == j) for axis in range(3)]
            found = ndimage.gaussian_filter(values, 1.5, order, mode="mirror", truncate=4)
            matrix[..., i, j] = matrix[..., j, i] = found
    _write(case, np.moveaxis(np.linalg.eigvalsh(matrix)[..., ::-1], -1, 0))


def median(case: Case) -> None:
    from scipy import ndimage

    _write(case, ndimage.median_filter(_read(case), 3))


def distance(case: Case) -> None:
    from scipy import ndimage

    _write(case, ndimage.distance_transform_edt(_read(case, "binary")).astype(np.float32))


def fill_holes(case: Case) -> None:
    from scipy import ndimage

    _write(case, ndimage.binary_fill_holes(_read(case, "shells")).astype(np.uint8))


def erosion(case: Case) -> None:
    from scipy import ndimage
    from skimage.morphology import ball

    _write(case, ndimage.binary_erosion(_read(case, "binary"), ball(2)))


def local_maxima(case: Case) -> list[int]:
    from skimage.feature import peak_local_max

    found = peak_local_max(_read(case, "height"), min_distance=3)
    return [len(found), *map(int, found.sum(axis=0))]


def regionprops(case: Case) -> list[int]:
    from skimage.measure import regionprops_table

    names = ("label", "area", "extent", "equivalent_diameter_area", "axis_major_length", "centroid", "bbox")
    found = regionprops_table(_read(case, "cells").astype(np.int64), properties=names)
    return [len(found["label"]), round(float(found["axis_major_length"].sum()))]


def contacts(case: Case) -> list[int]:
    import cc3d

    found = cc3d.contacts(_read(case, "cells"), connectivity=6)
    return [len(found), round(sum(found.values()))]


def segment(case: Case) -> None:
    """The best of the pipelines without a graph: seeds deep inside of what is smooth, and a watershed."""
    import zarr
    from scipy import ndimage
    from skimage.segmentation import watershed

    smooth = ndimage.gaussian_filter(_read(case, "walls").astype(np.float32), 1.5)
    seeds = ndimage.label(ndimage.distance_transform_edt(smooth < 40) > 3.0)[0]
    labels = watershed(smooth, seeds).astype(np.uint64)
    chunks = (min(case.chunk, *labels.shape),) * 3
    zarr.create_array(f"{case.output}/0", shape=labels.shape, chunks=chunks, dtype=labels.dtype)[...] = labels


WORKS = {
    "gaussian 2": gaussian,
    "hessian 1.5": hessian,
    "median 3": median,
    "distance": distance,
    "fill holes": fill_holes,
    "erosion": erosion,
    "local maxima": local_maxima,
    "regionprops": regionprops,
    "contacts": contacts,
    "segment": segment,
}
