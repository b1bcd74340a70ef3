"""scipy on the whole array, as who has the memory for it does it: one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


def _read(case: Case) -> Any:
    import zarr

    return zarr.open_array(case.input("raw"), mode="r")[...]


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


WORKS = {"gaussian 2": gaussian, "hessian 1.5": hessian, "median 3": median}
