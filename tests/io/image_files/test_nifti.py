"""NIfTI and Analyze images: those that nibabel and SimpleITK write, and ours as nibabel reads them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.errors import DtypeError, FormatError, MemoryBudgetError, SourceNotFoundError
from bioimage_py.sources import Axis, Source, open_source

from ...helpers import Later
from .common import FileConformance, details, survives, write

nibabel = Later("nibabel", "NIfTI needs nibabel: pip install 'bioimage-blocks[medical]'")

DATA = np.random.default_rng(4).integers(-(2**15), 2**15, (4, 5, 6)).astype("i2")
SLANTED = np.array([[0.0, -2.0, 0.0, 7.0], [0.5, 0.0, 0.0, 8.0], [0.0, 0.0, 3.0, 9.0], [0, 0, 0, 1]])


class TestNIfTI(FileConformance):
    kind = "NIfTI"
    extension = ".nii"

    def given_axes(self) -> tuple[Axis, ...]:
        return tuple(Axis(name, "space", "micrometer", 0.5 * (n + 1), 2.0 * n) for n, name in enumerate("zyx"))

    @pytest.fixture(params=[".nii", ".nii.gz", ".hdr", ".img", "big", "nifti2", "itk", "itk.gz", "analyze", "spm"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def make(content: np.ndarray) -> Source:
            extension = request.param if request.param.startswith(".") else ".nii"
            if request.param.startswith("itk"):
                sitk = pytest.importorskip("SimpleITK")
                path = tmp_path / f"a.nii{request.param[3:]}"
                sitk.WriteImage(sitk.GetImageFromArray(content), str(path))
                return open_source(path)
            if request.param in ("analyze", "spm"):
                kind = nibabel.AnalyzeImage if request.param == "analyze" else nibabel.Spm99AnalyzeImage
                nibabel.save(kind(content.astype("i2").T, np.eye(4)), tmp_path / "a.img")
                found = open_source(tmp_path / "a.img")
                np.testing.assert_array_equal(found[...], content.astype("i2"))
                pytest.skip("16 bits of Analyze are signed: compared as such")
            if request.param == "big":
                image = nibabel.Nifti1Image(content.T, np.eye(4), nibabel.Nifti1Header(endianness=">"))
                image.header.set_data_dtype(">u2")
            elif request.param in (".hdr", ".img"):
                image = nibabel.Nifti1Pair(content.T, np.eye(4))
            else:
                image = (nibabel.Nifti2Image if request.param == "nifti2" else nibabel.Nifti1Image)(
                    content.T, np.eye(4)
                )
            nibabel.save(image, tmp_path / f"a{extension}")
            return open_source(tmp_path / f"a{extension}")

        return make


class TestPackedNIfTI(TestNIfTI):
    kind = "NIfTI, gzipped"
    extension = ".nii.gz"
    dtypes: ClassVar[tuple[str, ...]] = ("uint16",)
    impossible: ClassVar[dict[str, str]] = {**FileConformance.impossible, "foreign": "as of the mapped one"}


def made(tmp_path: Path, data: np.ndarray = DATA, affine: Any = SLANTED, **fields: Any) -> Path:
    image = nibabel.Nifti1Image(data.T, affine, dtype=data.dtype)
    image.header.set_xyzt_units("micron", "msec")
    nibabel.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    for name, value in fields.items():
        dtype, offset = nibabel.Nifti1Header.template_dtype.fields[name][:2]
        content[offset : offset + dtype.itemsize] = np.asarray(value, dtype.base.newbyteorder("<")).tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    return tmp_path / "a.nii"


@pytest.mark.parametrize(("slope", "inter"), [(2.5, -1000.0), (1.0, 0.0), (0.0, 5.0), (np.nan, 0.0), (1.0, 3.0)])
@pytest.mark.parametrize("dtype", ["i2", "f4", "i8"])
def test_scaling_is_that_of_nibabel(tmp_path: Path, slope: float, inter: float, dtype: str) -> None:
    path = made(tmp_path, DATA.astype("i4").astype(dtype), scl_slope=slope, scl_inter=inter)
    expected = np.asanyarray(nibabel.load(path).dataobj).T
    with open_source(path) as source:
        assert source.dtype == expected.dtype
        np.testing.assert_array_equal(source[...], expected)
        np.testing.assert_array_equal(source[1:3, 2, ::-1], expected[1:3, 2, ::-1])
    scaled = (slope, inter) not in ((1.0, 0.0), (0.0, 5.0)) and not np.isnan(slope)
    assert details(path).applied == ({"scl_slope": slope, "scl_inter": inter} if scaled else {})


def test_voxels_are_mapped(tmp_path: Path) -> None:
    with open_source(made(tmp_path)) as source:
        assert isinstance(source.array, np.memmap)
        assert [(axis.name, axis.unit, axis.scale) for axis in source.axes] == [
            ("z", "micrometer", 3.0),
            ("y", "micrometer", 2.0),
            ("x", "micrometer", 0.5),
        ]
        assert [axis.offset for axis in source.axes] == [9.0, 0.0, 0.0]


def test_the_matrix_goes_round(tmp_path: Path) -> None:
    matrix = details(made(tmp_path)).affine
    for index in ((0, 0, 0), (3, 1, 2)):
        x, y, z = nibabel.affines.apply_affine(SLANTED, index)
        np.testing.assert_allclose(np.asarray(matrix) @ [*index[::-1], 1], [x, y, z, 1])
    with open_source(tmp_path / "a.nii") as source:
        assert write(tmp_path / "b.nii.gz", source, source.axes, affine=matrix, name="n") == ()
    found = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(found.affine, SLANTED, atol=1e-6)
    np.testing.assert_allclose(found.header.get_qform(), SLANTED, atol=1e-6)
    np.testing.assert_array_equal(np.asanyarray(found.dataobj).T, DATA)
    assert found.header.get_xyzt_units() == ("micron", "unknown")


@pytest.mark.parametrize("names", ["x", "yx", "zyx", "tzyx", "ctzyx"])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_written_files_are_what_nibabel_reads(tmp_path: Path, names: str, extension: str) -> None:
    kinds = {"t": ("time", "millisecond", 20.0, 5.0), "c": ("channel", None, 1.0, 0.0)}
    axes = tuple(Axis(n, *kinds.get(n, ("space", "micrometer", 0.5, 2.0))) for n in names)
    data = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)[5 - len(names) :]).astype("f4")
    assert write(tmp_path / f"a{extension}", data, axes) == ()
    found = nibabel.load(tmp_path / f"a{extension}")
    np.testing.assert_array_equal(np.asanyarray(found.dataobj).T, data)
    with open_source(tmp_path / f"a{extension}") as source:
        assert source.axes == axes
        np.testing.assert_array_equal(source[...], data)
    step = details(tmp_path / f"a{extension}").time_step
    assert step == (pytest.approx(0.02) if "t" in names else None)


def test_other_units_are_converted_and_unknown_ones_told(tmp_path: Path) -> None:
    axes = tuple(Axis(n, "space", "nanometer", 500.0) for n in "zyx")
    assert write(tmp_path / "a.nii", DATA, axes) == ()
    with open_source(tmp_path / "a.nii") as source:
        assert {(axis.unit, axis.scale) for axis in source.axes} == {("micrometer", 0.5)}
    axes = (Axis("z", "space", "furlong", 2.0), Axis("y", "space", "nanometer"), Axis("x"))
    assert write(tmp_path / "a.nii", DATA, axes) == ("unit of y", "unit of z")


def test_long_axes_make_nifti_2(tmp_path: Path) -> None:
    data = np.arange(40_000, dtype="u2").reshape(1, 1, -1)
    write(tmp_path / "a.nii", data)
    found = nibabel.load(tmp_path / "a.nii")
    assert isinstance(found, nibabel.Nifti2Image)
    np.testing.assert_array_equal(np.asanyarray(found.dataobj).T, data)


def test_colours_and_labels(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype("u1")
    stored = np.ascontiguousarray(colour.transpose(2, 1, 0, 3)).view([(n, "u1") for n in "RGB"])[..., 0]
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    with open_source(tmp_path / "a.nii") as source:
        assert [axis.name for axis in source.axes] == ["z", "y", "x", "c"]
        np.testing.assert_array_equal(source[...], colour)
    assert details(tmp_path / "a.nii").is_rgb
    write(tmp_path / "b.nii", DATA, is_label=True)
    assert details(tmp_path / "b.nii").is_label
    with pytest.raises(DtypeError):
        write(tmp_path / "b.nii", DATA > 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", [3, 30000, 30000, 30000, 1, 1, 1, 1]),
        ("dim", [3, -6, 5, 4, 1, 1, 1, 1]),
        ("dim", [9, 6, 5, 4, 1, 1, 1, 1]),
        ("vox_offset", -1e30),
        ("vox_offset", np.nan),
        ("vox_offset", 353.0),
        ("datatype", 1),
        ("datatype", 9999),
        ("scl_inter", np.inf),
    ],
)
def test_lies_in_headers(tmp_path: Path, field: str, value: Any) -> None:
    path = made(tmp_path, scl_slope=1.0, **{field: value})
    with pytest.raises((FormatError, DtypeError)) as caught:
        open_source(path)
    assert caught.value.remedy


def test_an_extension_that_says_it_is_huge_is_not_read(tmp_path: Path) -> None:
    content = bytearray(made(tmp_path, vox_offset=2.0**30).read_bytes())
    content[348:360] = b"\1\0\0\0" + struct.pack("<ii", 2**30, 4)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content))
    with pytest.raises(FormatError, match="cannot hold"):
        open_source(tmp_path / "b.nii.gz")


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((50, 50, 50), "u1"), np.eye(4)), tmp_path / "a.nii.gz")
    with open_source(tmp_path / "a.nii.gz") as source:
        monkeypatch.setattr("bioimage_py.io.image_files.opening.available_bytes", lambda: 100_000)
        with pytest.raises(MemoryBudgetError):
            source[0]


def test_a_pair_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Pair(DATA.T, np.eye(4)), tmp_path / "in/a.hdr")
    (tmp_path / "in/a.img").rename(tmp_path / "secret")
    with pytest.raises(SourceNotFoundError, match=r"a\.img"):
        open_source(tmp_path / "in/a.hdr")
    (tmp_path / "in/a.img").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="outside"):
        open_source(tmp_path / "in/a.hdr")


@pytest.mark.parametrize("name", ["a.nii", "b.nii.gz"])
def test_damaged_headers(tmp_path: Path, name: str) -> None:
    content = made(tmp_path, scl_slope=2.0).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content))
    survives(tmp_path / name, 352)
