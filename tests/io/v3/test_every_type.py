"""Every written format, data type and number of axes: refused, or it comes back; what does not is said."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py.io.v3 as iio
from bioimage_py.errors import DtypeError, FormatError, ParameterError, ShapeError
from bioimage_py.io.formats import format_named, supported_formats

pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

SIZES = {"t": 2, "c": 3, "z": 4, "y": 16, "x": 18}
NAMES = ["yx", "zyx", "tyx", "cyx", "yxc", "czyx", "tzyx", "tczyx", "zyxc"]
TYPES = ["?", "u1", "i1", "u2", ">u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", ">f4", "f8", "c8"]
WRITTEN = [name for name in supported_formats() if format_named(name).write]
REFUSED = (DtypeError, ShapeError, FormatError, ParameterError)
LOSSY = {"jpeg", "video", "gif"}
"""Whose values are others, as docs/files.md says."""


def image(names: str, dtype: str) -> np.ndarray:
    shape = [SIZES[name] for name in names]
    kind, random = np.dtype(dtype), np.random.default_rng(0)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        found = random.integers(info.min, info.max, shape, kind.newbyteorder("="), endpoint=True)
        found.flat[:3] = info.min, info.max, info.max - 1
        return found.astype(kind)
    if kind.kind == "b":
        return random.integers(0, 2, shape) > 0
    found = random.normal(size=shape) + (1j if kind.kind == "c" else 0)
    found.flat[:2] = np.nan, np.inf
    return found.astype(kind)


def same_values(read: np.ndarray, told: tuple[str, ...], data: np.ndarray, names: str) -> bool:
    """Whether the voxels are those that were written, whatever the order of the axes, and those of length 1."""
    if not set(names) <= set(told) and read.shape != data.shape:  # axes under other names
        return True
    if set(names) <= set(told):
        extra = tuple(n for n, name in enumerate(told) if name not in names)
        if any(read.shape[n] != 1 for n in extra):
            return False
        left = [name for name in told if name in names]
        read = read.squeeze(extra).transpose([left.index(name) for name in names])
    return read.shape == data.shape and np.array_equal(read, data, equal_nan=data.dtype.kind in "fc")


def check(path: Path, name: str, data: np.ndarray, names: str, how: dict[str, Any]) -> str:
    """Write and read; returns whether it was refused."""
    try:
        lost = ", ".join(iio.imwrite(path, data, axes=names, report=True, **how).lost)
    except REFUSED:
        return "refused"
    told, read = iio.improps(path), iio.imread(path)
    assert (told.shape, told.dtype) == (read.shape, read.dtype)
    assert read.dtype == data.dtype.newbyteorder("=") or "type" in lost, (read.dtype, lost)
    if told.axes != tuple(names):
        assert "axes" in lost or "axis" in lost or "grey" in lost, (told.axes, lost)
    if name not in LOSSY and "exact values" not in lost:
        assert same_values(read, told.axes, data, names), lost
    for axis, size in how["scale"].items():
        if axis in (told.axes or ()):
            at = told.axes.index(axis)
            found = None if told.spacing is None else told.spacing[at]
            kept = found == pytest.approx(
                size * {"micrometer": 1, "millimeter": 1e-3, "nanometer": 1e3, "angstrom": 1e4}.get(told.unit[at], 0),
                rel=1e-6,
            )
            assert kept or "scale" in lost or "unit" in lost, (axis, found, told.unit, lost)
    if "channel_names" in how and told.channel_names != tuple(how["channel_names"]):
        assert "channel" in lost, (told.channel_names, lost)
    return "kept"


@pytest.mark.parametrize("name", WRITTEN)
def test_it_comes_back_or_it_is_said(name: str, tmp_path: Path) -> None:
    ends: dict[str, set[str]] = {"kept": set(), "refused": set()}
    for names in NAMES:
        known = {axis: size for axis, size in (("z", 2.0), ("y", 0.5), ("x", 0.25)) if axis in names}
        how: dict[str, Any] = {"scale": known, "unit": dict.fromkeys(known, "um")}
        if "c" in names:
            how["channel_names"] = ["DAPI", "GFP", "µ"]
        for dtype in TYPES if names in ("yx", "czyx") else ("?", "u1", "u2", ">u2", "f4"):
            path = (
                tmp_path / f"{names}-{dtype.replace('>', 'b').replace('?', 'bool')}{format_named(name).extensions[0]}"
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ends[check(path, name, image(names, dtype), names, how)].add(f"{names} {dtype}")
    assert ends["kept"], "no image at all"
    if name in ("zarr", "hdf5", "n5"):
        assert {f"czyx {dtype}" for dtype in TYPES if dtype not in ("?", "f2", "c8")} <= ends["kept"]


@pytest.mark.parametrize("options", [{"flavor": "ome"}, {"flavor": "plain"}, {"flavor": "imagej"}, {"pyramid": 1}])
def test_every_flavor_of_tif(options: dict[str, Any], tmp_path: Path) -> None:
    for names in NAMES:
        known = {axis: size for axis, size in (("z", 2.0), ("y", 0.5), ("x", 0.25)) if axis in names}
        how: dict[str, Any] = {"scale": known, "unit": dict.fromkeys(known, "um"), **options}
        for dtype in TYPES if names in ("yx", "czyx") else ("?", "u1", "u2", ">u2", "f4"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(tmp_path / "a.tif", "tif", image(names, dtype), names, how)
