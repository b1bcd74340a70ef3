"""MetaImage files: those that SimpleITK writes, and ours as it reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import bioimage_py.io.v3 as iio
from bioimage_py.errors import FormatError, SourceNotFoundError
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.sources.axes import kind_of

from ...helpers import Later
from .common import FileConformance, details, survives, write

sitk = Later("SimpleITK", "the foreign writer is SimpleITK")

DATA = np.random.default_rng(2).integers(0, 2**16, (4, 5, 6)).astype("u2")
DIRECTION = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


class TestMetaImage(FileConformance):
    kind = "MetaImage"
    extension = ".mha"

    def given_axes(self) -> tuple[Axis, ...]:
        return tuple(Axis(name, "space", "millimeter", n + 0.5, 2.0 * n) for n, name in enumerate("zyx"))

    @pytest.fixture(params=[".mha", ".mhd", ".mha, compressed", ".mhd, compressed"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def make(content: np.ndarray) -> Source:
            path = str(tmp_path / f"foreign{request.param[:4]}")
            sitk.WriteImage(sitk.GetImageFromArray(content), path, "compressed" in request.param)
            return open_source(path)

        return make


class TestRawMetaImage(TestMetaImage):
    kind = "MetaImage, raw"
    dtypes: ClassVar[tuple[str, ...]] = ("uint16",)
    impossible: ClassVar[dict[str, str]] = {**FileConformance.impossible, "foreign": "as of the compressed one"}

    def store(self, path: Path, content: np.ndarray, axes: tuple[Axis, ...] | None) -> None:
        write(path, content, axes, compression="raw")


def test_the_place_in_the_world_is_that_of_simpleitk(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(DATA)
    image.SetSpacing((2.0, 0.5, 3.0))
    image.SetOrigin((1.0, 2.0, 3.0))
    image.SetDirection(DIRECTION)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with open_source(tmp_path / "a.mha") as source:
        assert [axis.scale for axis in source.axes] == [3.0, 0.5, 2.0]
    matrix = np.asarray(details(tmp_path / "a.mha").affine)
    for index in ((0, 0, 0), (1, 2, 3), (5, 0, 2)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(matrix @ [*index[::-1], 1], [-x, -y, z, 1])
    write(tmp_path / "b.mha", DATA, tuple(Axis(n) for n in "zyx"), affine=details(tmp_path / "a.mha").affine)
    found = sitk.ReadImage(str(tmp_path / "b.mha"))
    assert (found.GetSpacing(), found.GetOrigin(), found.GetDirection()) == (
        image.GetSpacing(),
        image.GetOrigin(),
        DIRECTION,
    )


@pytest.mark.parametrize("compression", ["zlib", "raw"])
@pytest.mark.parametrize("names", ["yx", "zyx", "yxc", "zyxc", "tzyx"])
def test_written_files_are_what_simpleitk_reads(tmp_path: Path, names: str, compression: str) -> None:
    kinds = {"t": "time", "c": "channel"}
    data = np.random.default_rng(0).normal(size=(2, 3, 4, 5)[4 - len(names) :]).astype("f4")
    axes = tuple(Axis(n, kinds[n]) if n in kinds else Axis(n, "space", "micrometer", 0.5, 3.0) for n in names)
    assert write(tmp_path / "a.mha", data, axes, compression=compression) == ()
    found = sitk.ReadImage(str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), data)
    assert found.GetSpacing()[0] == pytest.approx(0.0005)
    assert found.GetOrigin()[0] == pytest.approx(0.003)
    with open_source(tmp_path / "a.mha") as source:
        assert [axis.name for axis in source.axes] == list(names)
        np.testing.assert_array_equal(source[...], data)


def test_units_that_are_no_lengths_are_told(tmp_path: Path) -> None:
    axes = (Axis("y", "space", "furlong"), Axis("x"))
    assert write(tmp_path / "a.mha", DATA[0], axes, name="n", channel_names=("a",)) == (
        "unit of y",
        "name",
        "channel_names",
    )


def test_detached_voxels_stay_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "secret.raw").write_bytes(DATA.tobytes())
    sitk.WriteImage(sitk.GetImageFromArray(DATA), str(tmp_path / "a/a.mhd"))
    text = (tmp_path / "a/a.mhd").read_text()
    (tmp_path / "a/b.mhd").write_text(text.replace("a.raw", "../secret.raw"))
    with pytest.raises(FormatError, match="outside of its folder"):
        open_source(tmp_path / "a/b.mhd")
    (tmp_path / "a/a.raw").unlink()
    with pytest.raises(SourceNotFoundError):
        open_source(tmp_path / "a/a.mhd")


@pytest.mark.parametrize("place", ["s%02d.raw 0 3 1", "LIST\ns00.raw\ns01.raw\ns02.raw\ns03.raw"])
def test_a_file_for_each_slice(tmp_path: Path, place: str) -> None:
    for n, plane in enumerate(DATA):
        (tmp_path / f"s{n:02}.raw").write_bytes(bytes(9) + plane.tobytes())
    head = f"NDims = 3\nDimSize = 6 5 4\nElementType = MET_USHORT\nHeaderSize = -1\nElementDataFile = {place}\n"
    (tmp_path / "a.mhd").write_text(head)
    with open_source(tmp_path / "a.mhd") as source:
        np.testing.assert_array_equal(source[...], DATA)
        np.testing.assert_array_equal(source[2, 1:], DATA[2, 1:])


@pytest.mark.parametrize(
    "change",
    [
        {"DimSize": "100000 100000 100000"},
        {"DimSize": "6 5 -4"},
        {"DimSize ": "6 5 2"},
        {"ElementType": "MET_STRING"},
        {"BinaryData": "False"},
        {"CompressedData": "True", "DimSize": "100000 100000 100000"},
        {"ElementNumberOfChannels": "-3"},
        {"TransformMatrix": "1 0 0 1"},
        {"ElementSpacing": "nan 1 1"},
        {"ElementDataFile": "%s 0 4"},
        {"ElementDataFile": "s%d.raw 0 100000000000"},
    ],
)
def test_lies_in_headers(tmp_path: Path, change: dict[str, str]) -> None:
    fields = {"NDims": "3", "DimSize": "6 5 4", "ElementType": "MET_USHORT", "ElementDataFile": "LOCAL"} | change
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    head = "".join(f"{name} = {value}\n" for name, value in fields.items())
    (tmp_path / "a.mha").write_bytes(head.encode() + DATA.tobytes())
    with pytest.raises(FormatError) as caught:
        open_source(tmp_path / "a.mha")
    assert caught.value.remedy


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_headers(tmp_path: Path, compressed: bool) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(DATA), str(tmp_path / "a.mha"), compressed)
    survives(tmp_path / "a.mha", 330)


@pytest.mark.parametrize("compression", ["zlib", "raw"])
@pytest.mark.parametrize("names", ["cyx", "czyx", "tczyx", "xyz", "zcyx", "zyxc", "zyx"])
def test_the_order_of_the_axes_comes_back(names: str, compression: str, tmp_path: Path) -> None:
    sizes = {"t": 2, "c": 3, "z": 4, "y": 5, "x": 6}
    data = np.random.default_rng(0).integers(0, 200, [sizes[name] for name in names]).astype("u2")
    scales = {"z": 2.0, "y": 0.5, "x": 0.25}
    axes = tuple(Axis(n, kind_of(n), "millimeter" if n in "zyx" else None, scales.get(n, 1.0)) for n in names)
    lost = iio.imwrite(tmp_path / "a.mha", data, axes=axes, compression=compression, report=True).lost
    assert lost == ()
    told = iio.improps(tmp_path / "a.mha")
    assert (told.axes, told.shape) == (tuple(names), data.shape)
    assert told.spacing == tuple(scales.get(name) for name in names)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.mha"), data)
    box = tuple(slice(1, size) for size in data.shape)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.mha", roi=box), data[box])
    itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mha")))
    stored = sorted(range(len(names)), key=lambda n: "tzyxc".index(names[n]))
    np.testing.assert_array_equal(itk, data.transpose(stored))


def test_a_comment_of_others_turns_nothing(tmp_path: Path) -> None:
    for number, comment in enumerate(("axes: x y", "axes: a b c", "a stack", "axes: ")):
        write(tmp_path / f"{number}.mha", DATA, compression="raw")
        content = (tmp_path / f"{number}.mha").read_bytes()
        (tmp_path / f"{number}.mha").write_bytes(content.replace(b"\n", f"\nComment = {comment}\n".encode(), 1))
        np.testing.assert_array_equal(iio.imread(tmp_path / f"{number}.mha"), DATA)
