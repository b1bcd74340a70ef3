"""Data of the slice benchmark, made once, and the checks of its results against the whole array in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slice_work
import zarr

THRESHOLD = 1.13  # standard deviations; about 6,000 components in 512³


def make(folder: Path, size: int) -> Path:
    """Write raw (noisy hills), binary and labels (its components, found in memory) as zarr v3; return the folder."""
    target = folder / f"data-{size}"
    if (target / "complete").exists():
        return target
    field = _smooth_noise(size)
    grain = np.random.default_rng(1).standard_normal(field.shape, dtype=np.float32)
    raw = np.clip(118 + 40 * field + 12 * grain, 0, 255).astype(np.uint8)
    binary = (field > THRESHOLD).astype(np.uint8)
    for name, data in (("raw", raw), ("binary", binary), ("labels", components(binary))):
        slice_work.create(target / f"{name}.zarr", data.shape, str(data.dtype))[:] = data
    (target / "complete").touch()
    return target


def components(binary: np.ndarray) -> np.ndarray:
    """Components of the 6-neighbourhood, numbered by their first voxel in C order, uint64."""
    import cc3d
    import fastremap

    labels = cc3d.connected_components(np.ascontiguousarray(binary), connectivity=6)
    return np.asarray(fastremap.renumber(labels, preserve_zero=True)[0], dtype=np.uint64)


def _smooth_noise(size: int) -> np.ndarray:
    from scipy import ndimage

    coarse = np.random.default_rng(0).standard_normal((size // 2,) * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(coarse, 2.0, truncate=3, mode="wrap")
    return np.asarray(ndimage.zoom(smooth / smooth.std(), 2, order=1))


def check(job: str, data: Path, ours: dict[str, Any], peer: dict[str, Any]) -> str:
    """Say how both results relate to the whole array in memory and to each other; AssertionError where wrong."""
    return _CHECKS[job](data, ours, peer)


def _read(path: Path | str) -> np.ndarray:
    return np.asarray(zarr.open_array(str(path), mode="r")[:])


def _check_copy(data: Path, ours: dict[str, Any], peer: dict[str, Any]) -> str:
    raw = _read(data / "raw.zarr")
    assert np.array_equal(_read(ours["output"]), raw)
    assert np.array_equal(_read(peer["output"]), raw)
    return "both equal the input"


def _check_gaussian(data: Path, ours: dict[str, Any], peer: dict[str, Any]) -> str:
    from scipy import ndimage

    corner = _read(data / "raw.zarr")[:160].astype(np.float32)
    expected = ndimage.gaussian_filter(corner, slice_work.SIGMA, truncate=3, mode="mirror")[:144]
    errors = [float(np.abs(_read(run["output"])[:144] - expected).max()) for run in (ours, peer)]
    assert errors[0] < 1e-3, f"ours differs from scipy by {errors[0]}"
    between = float(np.abs(_read(ours["output"]) - _read(peer["output"])).max())
    assert between < 1e-2, f"ours differs from the peer by {between}"
    return f"largest difference to scipy {errors[0]:.1e} (peer {errors[1]:.1e}), to each other {between:.1e}"


def _check_label(data: Path, ours: dict[str, Any], peer: dict[str, Any]) -> str:
    expected = _read(data / "labels.zarr")
    assert np.array_equal(_read(ours["output"]), expected), "ours is not numbered by first voxel"
    import fastremap

    ranked = fastremap.renumber(_read(peer["output"]), preserve_zero=True)[0]
    assert np.array_equal(ranked, expected), "the peer's partition differs"
    return f"{int(expected.max())} components, ids equal the whole array's (peer: equal partition)"


def _check_downsample(data: Path, ours: dict[str, Any], peer: dict[str, Any]) -> str:
    expected = _read(data / "raw.zarr")[::2, ::2, ::2]
    assert np.array_equal(_read(ours["output"]), expected)
    assert np.array_equal(_read(peer["output"]), expected)
    return "both equal every second voxel"


def _check_mean(data: Path, ours: dict[str, Any], peer: dict[str, Any]) -> str:
    raw = _read(data / "raw.zarr")
    half = [size // 2 for size in raw.shape]
    mean = raw.reshape(half[0], 2, half[1], 2, half[2], 2).mean(axis=(1, 3, 5), dtype=np.float32)
    error = float(np.abs(_read(ours["output"]).astype(np.float32) - mean).max())
    assert error <= 1, f"ours differs from the block mean by {error}"
    off = float(np.abs(_read(peer["output"]).astype(np.float32) - mean).max())
    return f"largest difference to the block mean {error:.2f} grey levels (peer, which has none: {off:.1f})"


def _check_statistics(data: Path, ours: dict[str, Any], peer: dict[str, Any]) -> str:
    raw = _read(data / "raw.zarr")
    expected = [float(raw.mean(dtype=np.float64)), float(raw.max())]
    assert ours["result"][1] == expected[1]
    assert np.allclose([ours["result"], peer["result"]], [expected, expected], rtol=1e-9)
    return f"mean {expected[0]:.4f}, max {expected[1]:.0f} in both"


_CHECKS: dict[str, Callable[[Path, dict[str, Any], dict[str, Any]], str]] = {
    "copy": _check_copy,
    "gaussian": _check_gaussian,
    "label": _check_label,
    "downsample": _check_downsample,
    "downsample mean": _check_mean,
    "mean and max": _check_statistics,
}
