"""MRC files: those that mrcfile and SimpleITK write, and ours as mrcfile reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bioimage_py.errors import DtypeError, FormatError, KeyNotFoundError, ReadOnlyError, ShapeError
from bioimage_py.sources import Axis, Source, open_source

from .common import FileConformance, details, survives, write

mrcfile = pytest.importorskip("mrcfile", reason="MRC needs mrcfile: pip install 'bioimage-blocks[em]'")

VOLUME = np.random.default_rng(1).normal(size=(5, 6, 7)).astype("f4")
AXES = (
    Axis("z", "space", "nanometer", 2.0),
    Axis("y", "space", "nanometer", 0.5),
    Axis("x", "space", "nanometer", 0.4),
)


def scales(source: Source) -> list[float]:
    return pytest.approx([axis.scale for axis in source.axes], rel=1e-6)  # type: ignore[return-value]


class TestMRC(FileConformance):
    kind = "MRC"
    extension = ".mrc"
    dtype: ClassVar[str] = "uint16"
    dtypes: ClassVar[tuple[str, ...]] = ("int8", "int16", "uint16", "float16", "float32", "complex64")

    def given_axes(self) -> tuple[Axis, ...]:
        # stored as float32: powers of two come back as they were
        return tuple(Axis(name, "space", "angstrom", 0.5 * (n + 1), 8.0 * n) for n, name in enumerate("zyx"))

    @pytest.fixture(params=["mrcfile", "mrcfile, big endian", "SimpleITK"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def make(content: np.ndarray) -> Source:
            path = tmp_path / "foreign.mrc"
            if request.param == "SimpleITK":
                sitk = pytest.importorskip("SimpleITK")
                sitk.WriteImage(sitk.GetImageFromArray(content), str(path))
            else:
                with mrcfile.new(path) as file:
                    file.set_data(content.astype(">u2") if "big" in request.param else content)
            return open_source(path)

        return make


def test_extended_headers_are_skipped_and_told(tmp_path: Path) -> None:
    from mrcfile.dtypes import get_ext_header_dtype

    extended = np.zeros(5, get_ext_header_dtype(b"FEI1", "<"))
    extended["Alpha tilt"], extended["Metadata size"] = 12.5, extended.dtype.itemsize
    with mrcfile.new(tmp_path / "a.mrc", VOLUME) as file:
        file.set_extended_header(extended)
        file.header.exttyp = b"FEI1"
        file.voxel_size = 3.0
        file.add_label("a label")
    with open_source(tmp_path / "a.mrc") as source:
        np.testing.assert_array_equal(source[...], mrcfile.read(tmp_path / "a.mrc"))
        assert [axis.unit for axis in source.axes] == ["angstrom"] * 3
    raw = details(tmp_path / "a.mrc").raw
    assert (raw["FEI1 Alpha tilt"], raw["labels"][0].startswith("a label") or raw["labels"][1]) != (None, None)
    assert raw["FEI1 Alpha tilt"] == 12.5


@pytest.mark.parametrize(("shape", "kind"), [((6, 7), "image"), ((5, 6, 7), "stack"), ((2, 5, 6, 7), "volume stack")])
def test_what_the_library_calls_images_and_volumes(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    data = np.arange(np.prod(shape), dtype="i2").reshape(shape)
    with mrcfile.new(tmp_path / "a.mrc", data) as file:
        if kind == "stack":
            file.set_image_stack()
    with open_source(tmp_path / "a.mrc") as source:
        np.testing.assert_array_equal(source[...], mrcfile.read(tmp_path / "a.mrc"))
        assert [axis.name for axis in source.axes] == ["n", "z", "y", "x"][-len(shape) :]


def test_axes_in_another_order(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.map", VOLUME) as file:
        file.voxel_size = (1.0, 2.0, 4.0)
        file.header.mapc, file.header.mapr, file.header.maps = 3, 1, 2
    with open_source(tmp_path / "a.map") as source:
        assert [axis.name for axis in source.axes] == ["y", "x", "z"]


def test_bytes_of_imod_are_unsigned(tmp_path: Path) -> None:
    data = np.arange(-60, 60, dtype="i1").reshape(4, 5, 6)
    mrcfile.write(tmp_path / "a.rec", data)
    content = bytearray((tmp_path / "a.rec").read_bytes())
    content[152:156] = (1146047817).to_bytes(4, "little")
    for flags, expected in ((1, data), (0, data.view("u1"))):
        content[156:160] = flags.to_bytes(4, "little")
        (tmp_path / "a.rec").write_bytes(content)
        with open_source(tmp_path / "a.rec") as source:
            assert source.dtype == expected.dtype
            np.testing.assert_array_equal(source[...], expected)
        assert bool(details(tmp_path / "a.rec").applied) == (flags == 0)


@pytest.mark.parametrize("dtype", TestMRC.dtypes)
@pytest.mark.parametrize("ndim", [2, 3, 4])
def test_written_files_are_what_mrcfile_reads(tmp_path: Path, dtype: str, ndim: int) -> None:
    data = np.random.default_rng(0).normal(size=(2, 3, 4, 5)[4 - ndim :]).astype("f4") * 50
    data = data.clip(0, None).astype(dtype)
    axes = (Axis("n", "other"), *AXES)[4 - ndim :]
    assert write(tmp_path / "a.mrc", data, axes) == ()
    with mrcfile.open(tmp_path / "a.mrc") as file:
        np.testing.assert_array_equal(file.data, data)
        assert file.voxel_size.x == pytest.approx(4.0)
        if dtype in ("int16", "float32"):
            assert file.header.dmax == pytest.approx(data.max())
            assert file.header.rms == pytest.approx(np.std(data.astype("f8")), rel=1e-4)
    assert dtype == "float16" or mrcfile.validate(tmp_path / "a.mrc")  # its own statistics overflow in float16
    with open_source(tmp_path / "a.mrc") as source:
        assert [axis.name for axis in source.axes] == [axis.name for axis in axes]
        assert source.axes[-1].scale == pytest.approx(4.0)


def test_axes_are_put_in_order_and_what_is_lost_is_told(tmp_path: Path) -> None:
    turned = (Axis("x", scale=3.0), Axis("y"), Axis("z"))
    assert write(tmp_path / "a.mrc", VOLUME.T, turned, name="mine") == ("scale of x", "name")
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "a.mrc"), VOLUME)
    assert write(tmp_path / "a.mrc", VOLUME[None], (Axis("t", "time"), *AXES)) == ("axis t",)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DtypeError, match="uint8") as caught:
        write(tmp_path / "a.mrc", VOLUME.astype("u1"))
    assert "int16" in caught.value.remedy
    with pytest.raises(DtypeError):
        write(tmp_path / "a.mrc", VOLUME.astype("f8"))
    with pytest.raises(ShapeError, match="no axis 's'"):
        write(tmp_path / "a.mrc", VOLUME, (Axis("s"), Axis("y"), Axis("x")))
    with pytest.raises(ShapeError, match="n z y x"):
        write(tmp_path / "a.mrc", VOLUME, (Axis("c", "channel"), Axis("y"), Axis("x")))


def test_refusals(tmp_path: Path) -> None:
    mrcfile.write(tmp_path / "a.mrc", VOLUME)
    with pytest.raises(KeyNotFoundError):
        open_source(tmp_path / "a.mrc", "raw")
    with open_source(tmp_path / "a.mrc", mode="r+") as source, pytest.raises(ReadOnlyError):
        source[0] = 1
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    (tmp_path / "b.mrc").write_bytes(content[:-1])
    with pytest.raises(FormatError, match="cut off"):
        open_source(tmp_path / "b.mrc")
    content[0:12] = (100_000).to_bytes(4, "little") * 3
    (tmp_path / "b.mrc").write_bytes(content[:1024])
    with pytest.raises(FormatError, match="4000000000001024"):
        open_source(tmp_path / "b.mrc")
    content[12:16] = (101).to_bytes(4, "little")
    (tmp_path / "b.mrc").write_bytes(content)
    with pytest.raises(FormatError, match="mode 101"):
        open_source(tmp_path / "b.mrc")
    (tmp_path / "b.mrc").write_bytes(b"")
    with pytest.raises(FormatError, match="empty"):
        open_source(tmp_path / "b.mrc")


def test_damaged_headers(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc", VOLUME) as file:
        file.set_extended_header(np.zeros(100, "V1"))
    survives(tmp_path / "a.mrc", 240)
