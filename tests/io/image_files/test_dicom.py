"""DICOM files and folders: those that pydicom ships, read as it reads them, and series that are written with it."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from bioimage_py.errors import FormatError, KeyNotFoundError, MemoryBudgetError, ParameterError
from bioimage_py.io.image_files.dicom import files, source
from bioimage_py.sources import Axis, open_source
from tests.projects.test_dicom_series import SHIPPED, plane, write

from ...helpers import Later
from .common import details, survives

pydicom = Later("pydicom", "DICOM needs pydicom: pip install 'bioimage-blocks[medical]'")

NAMES = ("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "SC_rgb.dcm", "rtdose.dcm")
NAMES += (
    "examples_ybr_color.dcm",
    "liver.dcm",
    "SC_rgb_rle_2frame.dcm",
    "693_J2KR.dcm",
    "JPEG-LL.dcm",
    "emri_small.dcm",
)


@pytest.mark.parametrize("name", [name for name in NAMES if (SHIPPED / name).exists()])
def test_shipped_files_are_read_as_pydicom_reads_them(name: str) -> None:
    header = pydicom.dcmread(SHIPPED / name)
    try:
        expected = pydicom.pixels.pixel_array(SHIPPED / name)
    except (RuntimeError, NotImplementedError):
        pytest.skip("pydicom has no decoder for it here")
    slope, shift = header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)
    with open_source(SHIPPED / name) as found:
        assert found.shape == expected.shape
        if header.get("PerFrameFunctionalGroupsSequence") is None:
            np.testing.assert_array_equal(found[...], expected * float(slope) + float(shift))
        lead = (slice(0, 1),) * (found.ndim - 2)
        np.testing.assert_array_equal(found[(*lead, slice(2, 5))], found[...][(*lead, slice(2, 5))])
        if header.get("PixelSpacing"):
            assert {axis.name: axis.scale for axis in found.axes}["y"] == float(header.PixelSpacing[0])


def test_values_are_real_ones(tmp_path: Path) -> None:
    header = pydicom.dcmread(SHIPPED / "CT_small.dcm")
    with open_source(SHIPPED / "CT_small.dcm") as found:
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found[...], header.pixel_array.astype("i4") - 1024)
    told = details(SHIPPED / "CT_small.dcm")
    assert told.applied == {"RescaleSlope": 1.0, "RescaleIntercept": -1024.0}
    assert told.raw["PatientID"] == header.PatientID
    assert told.standard["acquired"] == "1997-04-30T11:29:36"
    assert told.standard["instrument"]["manufacturer"] == "GE MEDICAL SYSTEMS"


def test_a_folder_is_a_series(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    order = [3, 0, 2, 1]
    for number, z in enumerate(order):
        write(tmp_path / "s" / f"{number}.dcm", plane(100 * z) + rng.integers(0, 9, (3, 4), "u2"), number, 2.5 * z + 7)
    with open_source(tmp_path / "s", format="dicom") as found:
        assert found.shape == (4, 3, 4)
        assert (found[:, 0, 0] // 100).tolist() == [0, 1, 2, 3]
        assert found.axes[0] == Axis("z", "space", "millimeter", 2.5, 7.0)
        (name,) = found.stored_in((slice(0, 1), slice(0, 3), slice(0, 4))).names
        assert name.endswith("1.dcm")
    matrix = np.asarray(files.details(str(tmp_path / "s"), None).affine)
    np.testing.assert_array_equal(matrix @ [1, 0, 0, 1], [0, 0, 9.5, 1])
    assert files.is_series(str(tmp_path / "s"))
    assert not files.is_series(str(tmp_path))


def test_several_series_have_keys(tmp_path: Path) -> None:
    for series in (1, 2):
        for z in range(4):
            write(tmp_path / f"{series}" / f"{z}.dcm", plane(series), z, float(z), series=f"9.{series}")
    assert files.keys(str(tmp_path)) == ["0", "1"]
    with open_source(tmp_path, "1", format="dicom") as found:
        assert found[0, 0, 0] == 2
    with pytest.warns(UserWarning, match="holds 2 series"), open_source(tmp_path, format="dicom") as found:
        assert found[0, 0, 0] == 1
    with pytest.raises(KeyNotFoundError):
        open_source(tmp_path, "2", format="dicom")
    (tmp_path / "2/1.dcm").unlink()
    with pytest.warns(UserWarning, match="slices are missing"), open_source(tmp_path, format="dicom") as found:
        assert found[0, 0, 0] == 1
    shutil.rmtree(tmp_path / "1")
    write(tmp_path / "2/1.dcm", plane(2), 1, 1.4, series="9.2")
    with pytest.raises(FormatError, match="not evenly spaced"):
        open_source(tmp_path, format="dicom")
    shutil.rmtree(tmp_path / "2")
    with pytest.raises(ParameterError, match="no DICOM images"):
        open_source(tmp_path, format="dicom")


def test_slope_and_intercept(tmp_path: Path) -> None:
    for slope, shift, expected in ((2, -1000, "i4"), (0.5, 0, "f4"), (1, 0, "u2")):
        write(tmp_path / "a.dcm", plane(10), 1, 0.0, RescaleSlope=slope, RescaleIntercept=shift)
        with open_source(tmp_path / "a.dcm") as found:
            assert found.dtype == np.dtype(expected)
            assert found[0, 0] == 10 * slope + shift


def test_no_voxel_is_decoded_for_shape_and_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source.DicomSource, "_plane", None)
    with open_source(SHIPPED / "CT_small.dcm") as found:
        assert found.shape == (128, 128)
    details(SHIPPED / "CT_small.dcm")


def test_other_files_and_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"", b"no file of this kind", bytes(128) + b"DICM"):
        (tmp_path / "a.dcm").write_bytes(content)
        with pytest.raises(FormatError):
            open_source(tmp_path / "a.dcm")
    (tmp_path / "s").mkdir()
    for name, frames in (
        ("MR_small.dcm", 1),
        ("MR_small_RLE.dcm", 1),
        ("SC_rgb_rle_2frame.dcm", 2),
        ("emri_small.dcm", 10),
    ):
        if not (SHIPPED / name).exists():
            continue
        header = pydicom.dcmread(SHIPPED / name)
        lies = ({"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": frames + 1}, {"NumberOfFrames": 2**31 - 1})
        for lie in (*lies, {"Columns": 0}, *([] if "RLE" in name.upper() else [{"Rows": header.Rows + 1}])):
            found = pydicom.dcmread(SHIPPED / name)
            for tag, value in lie.items():
                setattr(found, tag, value)
            found.save_as(tmp_path / "s" / "a.dcm")
            for path in (tmp_path / "s" / "a.dcm", tmp_path / "s"):
                with pytest.raises(FormatError, match=r"a\.dcm") as caught:
                    open_source(path, format="dicom")
                assert caught.value.remedy
    write(tmp_path / "a.dcm", plane(1), 1, 0.0, Rows=1)
    with pytest.warns(UserWarning, match="16 bytes of pixels more than its header announces"):
        open_source(tmp_path / "a.dcm").close()
    write(tmp_path / "a.dcm", plane(1), 1, 0.0)
    with open_source(tmp_path / "a.dcm") as found:
        monkeypatch.setattr("bioimage_py.io.image_files.opening.available_bytes", lambda: 20)
        with pytest.raises(MemoryBudgetError):
            found[0]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm"])
def test_damaged_headers(tmp_path: Path, name: str) -> None:
    shutil.copy(SHIPPED / name, tmp_path / "a.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        survives(tmp_path / "a.dcm", 2500, 40)
