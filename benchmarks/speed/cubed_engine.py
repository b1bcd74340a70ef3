"""cubed with its default executor on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


def _open(case: Case, path: str) -> Any:
    import cubed

    spec = cubed.Spec(work_dir=f"{case.output}-work", allowed_mem="2GB")
    array = cubed.from_zarr(path, spec=spec)
    return array.rechunk(tuple(min(case.block, size) for size in array.shape))


def copy(case: Case) -> None:
    import cubed

    cubed.to_zarr(_open(case, case.input("raw")), case.output)


def _gaussian(case: Case, sigma: float) -> None:
    import cubed

    halo = round(3 * sigma)

    def kernel(block: np.ndarray) -> np.ndarray:
        from scipy import ndimage

        smooth = ndimage.gaussian_filter(block.astype(np.float32), sigma, truncate=3, mode="mirror")
        return np.asarray(smooth[halo:-halo, halo:-halo, halo:-halo])

    source = _open(case, case.input("raw"))
    # the border can only be filled with a constant
    smooth = cubed.map_overlap(kernel, source, dtype=np.float32, chunks=source.chunks, depth=halo, boundary=0)
    cubed.to_zarr(smooth, case.output)


def _mean(block: np.ndarray) -> np.ndarray:
    z, y, x = (size // 2 for size in block.shape)
    mean = block.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return np.round(mean).astype(block.dtype)


def _stride(block: np.ndarray) -> np.ndarray:
    return block[::2, ::2, ::2]


def _half(case: Case, path: str, output: str, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    import cubed

    source = _open(case, path)
    chunks = tuple(tuple(size // 2 for size in axis) for axis in source.chunks)
    cubed.to_zarr(cubed.map_blocks(kernel, source, dtype=source.dtype, chunks=chunks), output)


def _downsample(case: Case, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    _half(case, case.input("raw"), case.output, kernel)


def _pyramid(case: Case, name: str, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    level = case.input(name)
    for n in range(1, 5):
        _half(case, level, f"{case.output}/{n}", kernel)
        level = f"{case.output}/{n}"


def statistics(case: Case) -> list[float]:
    import cubed
    import cubed.array_api as xp

    source = _open(case, case.input("raw"))
    mean, highest = cubed.compute(xp.mean(xp.astype(source, xp.float64)), xp.max(source))
    return [float(mean), float(highest)]


def relabel(case: Case) -> None:
    import cubed

    table = np.load(f"{case.data}/table.npy")
    cubed.to_zarr(cubed.map_blocks(table.take, _open(case, case.input("labels")), dtype=np.uint64), case.output)


WORKS = {
    "copy": copy,
    "gaussian 2": partial(_gaussian, sigma=2.0),
    "gaussian 8": partial(_gaussian, sigma=8.0),
    "downsample mean": partial(_downsample, kernel=_mean),
    "downsample stride": partial(_downsample, kernel=_stride),
    "pyramid image": partial(_pyramid, name="raw", kernel=_mean),
    "pyramid image stride": partial(_pyramid, name="raw", kernel=_stride),
    "pyramid labels": partial(_pyramid, name="labels", kernel=_stride),
    "pyramid labels stride": partial(_pyramid, name="labels", kernel=_stride),
    "statistics": statistics,
    "relabel": relabel,
}
