"""DICOM files that are written: secondary captures, as pydicom and GDCM (through SimpleITK) read them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py.io.v3 as iio
from bioimage_py.errors import DtypeError, ShapeError

pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")

SIZES = {"t": 2, "z": 3, "y": 5, "x": 7, "c": 3}
SCALE = {"z": 2.0, "y": 0.5, "x": 0.25}


@pytest.mark.parametrize(
    ("names", "dtype"),
    [("yx", "u1"), ("yx", "u2"), ("yxc", "u1"), ("zyx", "u1"), ("zyx", "u2"), ("tyx", "u2"), ("zyxc", "u1")],
)
def test_it_comes_back_and_others_read_it(names: str, dtype: str, tmp_path: Path) -> None:
    info = np.iinfo(dtype)
    data = np.random.default_rng(0).integers(0, info.max, [SIZES[name] for name in names], dtype, endpoint=True)
    data.flat[:2] = info.min, info.max
    known = {name: size for name, size in SCALE.items() if name in names}
    path = tmp_path / "a.dcm"
    report = iio.imwrite(path, data, axes=names, scale=known, unit=dict.fromkeys(known, "mm"), report=True)
    assert report.lost == ()
    told = iio.improps(path)
    assert (told.shape, told.dtype, told.axes) == (data.shape, data.dtype, tuple(names))
    assert all(told.spacing[names.index(name)] == size for name, size in known.items())
    np.testing.assert_array_equal(iio.imread(path), data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = pydicom.dcmread(path)
        np.testing.assert_array_equal(file.pixel_array, data)
    assert file.SOPClassUID.name.endswith("Secondary Capture Image Storage")
    assert file.Modality == "OT"
    assert file.PatientName == ""
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(read.reshape(data.shape), data)


def test_lengths_are_millimetres_and_time_is_kept(tmp_path: Path) -> None:
    data = np.zeros((4, 6, 6), "u1")
    iio.imwrite(tmp_path / "a.dcm", data, axes="zyx", scale=(300, 1 / 3, 0.123456789012345678), unit="um")
    assert iio.improps(tmp_path / "a.dcm").spacing == pytest.approx((0.3, 1 / 3000, 0.000123456789012345678), rel=1e-9)
    iio.imwrite(tmp_path / "b.dcm", data, axes="tyx", scale={"t": 0.5}, unit={"t": "s"})
    assert (iio.improps(tmp_path / "b.dcm").axes[0], iio.improps(tmp_path / "b.dcm").time_step) == ("t", 0.5)
    two = [pydicom.dcmread(tmp_path / name).SOPInstanceUID for name in ("a.dcm", "b.dcm")]
    assert two[0] != two[1]


@pytest.mark.parametrize(
    ("shape", "names", "dtype", "kind"),
    [
        ((5, 6), "yx", "f4", DtypeError),
        ((5, 6), "yx", "i2", DtypeError),
        ((5, 6, 3), "yxc", "u2", ShapeError),
        ((5, 6, 4), "yxc", "u1", ShapeError),
        ((2, 3, 5, 6), "tzyx", "u1", ShapeError),
        ((3, 5), "zx", "u1", ShapeError),
    ],
)
def test_what_it_cannot_hold(shape: Any, names: str, dtype: str, kind: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(kind):
        iio.imwrite(tmp_path / "a.dcm", np.zeros(shape, dtype), axes=names)
    assert not list(tmp_path.iterdir())
