"""NRRD files: those that pynrrd and SimpleITK write, and ours as both read them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.errors import BioimageError, FormatError, MemoryBudgetError, SourceNotFoundError
from bioimage_py.sources import Axis, Source, open_source

from ...helpers import Later
from .common import FileConformance, details, survives, write

nrrd = pytest.importorskip("nrrd", reason="the foreign writer is pynrrd")
sitk = Later("SimpleITK", "the foreign writer is SimpleITK")

DATA = np.random.default_rng(2).integers(0, 2**16, (4, 5, 6)).astype("u2")
TURNED = np.array([[0.0, 2.0, 0.0], [-0.5, 0.0, 0.0], [0.0, 0.0, 3.0]])
"""Rows: the steps along x, y, z."""


class TestNRRD(FileConformance):
    kind = "NRRD"
    extension = ".nrrd"

    @pytest.fixture(params=["raw", "gzip", "bzip2", "ascii", "big endian", "SimpleITK", "SimpleITK, compressed"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def make(content: np.ndarray) -> Source:
            path = str(tmp_path / "foreign.nrrd")
            if "SimpleITK" in request.param:
                sitk.WriteImage(sitk.GetImageFromArray(content), path, "compressed" in request.param)
            elif request.param == "big endian":
                nrrd.write(path, content.astype(">u2"), {"encoding": "raw", "endian": "big"}, index_order="C")
            else:
                nrrd.write(path, content, {"encoding": request.param}, index_order="C")
            return open_source(path)

        return make


class TestRawNRRD(TestNRRD):
    kind = "NRRD, raw"
    dtypes: ClassVar[tuple[str, ...]] = ("uint16",)
    impossible: ClassVar[dict[str, str]] = {**FileConformance.impossible, "foreign": "as of the compressed one"}

    def store(self, path: Path, content: np.ndarray, axes: tuple[Axis, ...] | None) -> None:
        write(path, content, axes, compression="raw")


def test_space_of_simpleitk(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(DATA)
    image.SetSpacing((2.0, 0.5, 3.0))
    image.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    with open_source(tmp_path / "a.nrrd") as source:
        assert source.axes == tuple(
            Axis(name, "space", "millimeter", scale, offset)
            for name, scale, offset in (("z", 3.0, 3.0), ("y", 0.5, 2.0), ("x", 2.0, 1.0))
        )
    # left, posterior, superior is turned into right, anterior, superior
    expected = ((0, 0, -2.0, -1.0), (0, -0.5, 0, -2.0), (3.0, 0, 0, 3.0), (0, 0, 0, 1))
    np.testing.assert_array_equal(details(tmp_path / "a.nrrd").affine, expected)


def test_slanted_directions_have_a_scale_and_a_matrix(tmp_path: Path) -> None:
    header = {"space": "right-anterior-superior", "space directions": TURNED, "space origin": np.array([7.0, 8.0, 9.0])}
    nrrd.write(str(tmp_path / "a.nrrd"), DATA, header, index_order="C")
    with open_source(tmp_path / "a.nrrd") as source:
        assert [axis.scale for axis in source.axes] == [3.0, 0.5, 2.0]
        assert [axis.offset for axis in source.axes] == [9.0, 0.0, 8.0]
    matrix = np.asarray(details(tmp_path / "a.nrrd").affine)
    np.testing.assert_array_equal(matrix[:3, :3], TURNED[::-1].T)
    np.testing.assert_array_equal(matrix[:3, 3], [7.0, 8.0, 9.0])


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_a_matrix_goes_round_through_simpleitk(tmp_path: Path, extension: str) -> None:
    header = {"space": "left-posterior-superior", "space directions": TURNED, "space origin": np.array([7.0, 8.0, 9.0])}
    nrrd.write(str(tmp_path / "a.nrrd"), DATA, header, index_order="C")
    affine = details(tmp_path / "a.nrrd").affine
    with open_source(tmp_path / "a.nrrd") as source:
        write(tmp_path / f"b{extension}", source, source.axes, affine=affine)
    before, after = sitk.ReadImage(str(tmp_path / "a.nrrd")), sitk.ReadImage(str(tmp_path / f"b{extension}"))
    for what in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(before, what)(), getattr(after, what)())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(after), DATA)
    np.testing.assert_allclose(details(tmp_path / f"b{extension}").affine, affine)


def test_vectors_are_channels(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype("u1")
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "a.nrrd"))
    with open_source(tmp_path / "a.nrrd") as source:
        assert [axis.name for axis in source.axes] == ["z", "y", "x", "c"]
        np.testing.assert_array_equal(source[...], colour)
        write(tmp_path / "b.nrrd", source, source.axes)
    found = sitk.ReadImage(str(tmp_path / "b.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), colour)
    assert found.GetNumberOfComponentsPerPixel() == 3


def test_old_spacings_and_labels(tmp_path: Path) -> None:
    header = {"spacings": [0.5, 1.0, float("nan")], "units": ["um", "um", ""], "kinds": ["domain", "domain", "time"]}
    nrrd.write(str(tmp_path / "a.nrrd"), DATA, header, index_order="C")
    with open_source(tmp_path / "a.nrrd") as source:
        assert [axis.name for axis in source.axes] == ["t", "y", "x"]
        assert (source.axes[2].unit, source.axes[2].scale, source.axes[0].scale) == ("micrometer", 0.5, 1.0)


@pytest.mark.parametrize("compression", ["gzip", "raw"])
@pytest.mark.parametrize("names", ["yx", "zyx", "tzyx", "czyx", "tczyx"])
def test_written_files_are_what_pynrrd_reads(tmp_path: Path, names: str, compression: str) -> None:
    kinds = {"t": "time", "c": "channel"}
    data = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)[5 - len(names) :])
    axes = tuple(Axis(n, kinds.get(n, "space"), "micrometer" if n in "xyz" else None, 0.5) for n in names)
    assert write(tmp_path / "a.nrrd", data, axes, name="a b", compression=compression) == ()
    found, header = nrrd.read(str(tmp_path / "a.nrrd"), index_order="C")
    np.testing.assert_array_equal(found, data)
    assert (header["labels"], header["content"]) == (list(names[::-1]), "a b")
    with open_source(tmp_path / "a.nrrd") as source:
        assert source.axes == axes
        np.testing.assert_array_equal(source[...], data)


def test_detached_voxels_stay_in_the_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "a", tmp_path / "secret.raw"
    folder.mkdir()
    outside.write_bytes(DATA.tobytes())
    nrrd.write(str(folder / "a.nhdr"), DATA, {"encoding": "raw"}, index_order="C", detached_header=True)
    with open_source(folder / "a.nhdr") as source:
        np.testing.assert_array_equal(source[...], DATA)
    (folder / "link.raw").symlink_to(outside)
    text = (folder / "a.nhdr").read_text()
    for name in ("../secret.raw", str(outside), "link.raw"):
        (folder / "b.nhdr").write_text(text.replace("a.raw", name))
        with pytest.raises(FormatError, match="outside of its folder"):
            open_source(folder / "b.nhdr")
    (folder / "b.nhdr").write_text(text.replace("a.raw", "nothing.raw"))
    with pytest.raises(SourceNotFoundError, match=r"nothing\.raw"):
        open_source(folder / "b.nhdr")


@pytest.mark.parametrize("place", ["s%02d.raw 0 3 1", "s%02d.raw 3 0 -1", "LIST\ns03.raw\ns01.raw\ns02.raw\ns00.raw"])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_file_for_each_slice(tmp_path: Path, place: str, encoding: str) -> None:
    for n, plane in enumerate(DATA):
        stored = plane.tobytes()
        (tmp_path / f"s{n:02}.raw").write_bytes(gzip.compress(stored) if encoding == "gzip" else stored)
    head = f"NRRD0004\ntype: ushort\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: {encoding}\n"
    head += f"data file: {place}\n"
    (tmp_path / "a.nhdr").write_text(head)
    order = [3, 1, 2, 0] if "LIST" in place else [0, 1, 2, 3][:: -1 if "-1" in place else 1]
    with open_source(tmp_path / "a.nhdr") as source:
        np.testing.assert_array_equal(source[...], DATA[order])
        np.testing.assert_array_equal(source[1:3, 2, 1:], DATA[order][1:3, 2, 1:])
        (name,) = source.stored_in((slice(1, 2),) * 3).names
        assert name.endswith(f"s{order[1]:02}.raw")
    (tmp_path / "s02.raw").unlink()
    with pytest.raises(SourceNotFoundError, match=r"s02\.raw"):
        open_source(tmp_path / "a.nhdr")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"sizes": "100000 100000 100000"}, FormatError),
        ({"sizes": "6 5 -4"}, FormatError),
        ({"Sizes": "6 5 2"}, FormatError),
        ({"sizes": " ".join(["1"] * 40), "dimension": "40"}, FormatError),
        ({"type": "block"}, FormatError),
        ({"encoding": "hex"}, FormatError),
        ({"encoding": "gzip", "sizes": "100000 100000 100000"}, FormatError),
        ({"encoding": "gzip", "byte skip": "999999999999"}, FormatError),
        ({"byte skip": "-7"}, FormatError),
        ({"data file": "s%d%s.raw 1 4"}, FormatError),
        ({"data file": "s%d.raw 1 1000000000000"}, FormatError),
        ({"space directions": "(1,0) (0,1,0) none"}, FormatError),
    ],
)
def test_lies_in_headers(tmp_path: Path, change: dict[str, str], error: type[BioimageError]) -> None:
    fields = {"type": "ushort", "dimension": "3", "sizes": "6 5 4", "endian": "little", "encoding": "raw"} | change
    head = "NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + DATA.tobytes())
    with pytest.raises(error) as caught:
        open_source(tmp_path / "a.nrrd")
    assert caught.value.remedy


def test_a_bomb_is_refused_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = gzip.compress(bytes(1 << 20))
    head = b"NRRD0004\ntype: uchar\ndimension: 1\nsizes: 1000000\nendian: little\nencoding: gzip\n\n"
    (tmp_path / "a.nrrd").write_bytes(head + zeros)
    with open_source(tmp_path / "a.nrrd") as source:
        monkeypatch.setattr("bioimage_py.io.image_files.opening.available_bytes", lambda: 999_999)
        with pytest.raises(MemoryBudgetError, match="1000000 bytes"):
            source[0]
        monkeypatch.undo()
        assert source[...].nbytes == 1_000_000
    (tmp_path / "a.nrrd").write_bytes(head.replace(b"1000000", b"240") + gzip.compress(DATA.tobytes())[:-40])
    with open_source(tmp_path / "a.nrrd") as source, pytest.raises(FormatError):
        source[0]


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_damaged_headers(tmp_path: Path, encoding: str) -> None:
    header: dict[str, Any] = {
        "encoding": encoding,
        "space directions": TURNED,
        "space": "LPS",
        "labels": ["x", "y", "z"],
    }
    nrrd.write(str(tmp_path / "a.nrrd"), DATA, header, index_order="C")
    survives(tmp_path / "a.nrrd", 300, 60)
