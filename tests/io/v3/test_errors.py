"""Bad input: what is raised, that scripts written for imageio catch it, and what it says."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bioimage_py.io.v3 as iio
from bioimage_py.errors import (
    BioimageError,
    DtypeError,
    FormatError,
    IndexingError,
    MissingDependencyError,
    OptionError,
    ParameterError,
    RegionError,
    ShapeError,
    SourceNotFoundError,
    SourceTypeError,
    StorageError,
)

pytest.importorskip("tifffile")

DATA = np.arange(4 * 20 * 24, dtype="u2").reshape(4, 20, 24)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    iio.imwrite("three.tif", [DATA, DATA, DATA])
    Path("text.png").write_text("This is text")
    Path("empty.tif").write_bytes(b"")
    iio.imwrite("rows.tif", DATA[:, :3], flavor="imagej")
    rows = struct.pack("<HHII", 257, 4, 1, 3)
    Path("rows.tif").write_bytes(Path("rows.tif").read_bytes().replace(rows, rows[:8] + bytes(4)))
    Path("none.tif").write_bytes(b"II*\0" + bytes(200))
    Path("text").write_text("This is text")
    Path("text.ims").write_text("This is text")
    Path("text.qqq").write_text("This is text")
    Path("text.zip").write_text("This is text")
    for name in ("bare", "bare.png", "bare.czi"):
        os.mkdir(name)
    Path("bare/readme.txt").write_text("x")
    Path("late.tif").write_bytes(Path("three.tif").read_bytes()[:400])


def closed() -> io.BytesIO:
    file = io.BytesIO(b"II*")
    file.close()
    return file


CALLS: dict[str, tuple[Callable[[], object], type[BioimageError], type[Exception], str]] = {
    "missing": (lambda: iio.imread("thre.tif"), SourceNotFoundError, FileNotFoundError, r"thre\.tif.*three\.tif"),
    "text": (lambda: iio.imread("text.png"), FormatError, OSError, "not an image: begins with b'This is te"),
    "text told to be of a microscope": (lambda: iio.immeta("text.ims"), FormatError, OSError, "begins with b'This"),
    "text without ending": (lambda: iio.imread("text"), FormatError, OSError, "not an image: begins with b'This"),
    "text of an unknown ending": (lambda: iio.imread("text.qqq"), FormatError, OSError, "not an image.*'.qqq'"),
    "bytes": (lambda: iio.imread(b"This is text"), FormatError, OSError, "not an image: begins with b'This"),
    "empty": (lambda: iio.imread("empty.tif"), FormatError, OSError, "it is empty"),
    "no pages": (lambda: iio.imread("none.tif"), FormatError, OSError, "has no pages"),
    "no rows": (lambda: iio.improps("rows.tif"), FormatError, OSError, r"the shape \(4, 0, 24\)"),
    "cut off": (lambda: iio.imread("late.tif"), FormatError, OSError, "late.tif"),
    "bare folder": (lambda: iio.imread("bare"), FormatError, OSError, "no tif files"),
    "plugin": (lambda: iio.imread("three.tif", plugin="qq"), ParameterError, ValueError, "tif.*png"),
    "plugin of another": (lambda: iio.imread("three.tif", plugin="png"), FormatError, OSError, "'png'.*tif"),
    "imageio's": (lambda: iio.imread("three.tif", plugin="imageio:qq"), ParameterError, ValueError, "pillow"),
    "unknown ending": (lambda: iio.imwrite("a.qqq", DATA), FormatError, OSError, r"'.qqq'.*\.tif"),
    "read only format": (lambda: iio.imwrite("a", DATA, plugin="folder"), FormatError, OSError, r"written.*\.tif"),
    "mode a+": (lambda: iio.imopen("three.tif", "a+"), ParameterError, ValueError, "r w a x"),
    "mode rw": (lambda: iio.imopen("three.tif", "rw"), ParameterError, ValueError, "r w a x"),
    "legacy": (lambda: iio.imopen("three.tif", "r", legacy_mode=True), ParameterError, ValueError, "legacy"),
    "extension": (lambda: iio.imread("three.tif", extension="tif"), ParameterError, ValueError, r'"\.tif"'),
    "index 7": (lambda: iio.imread("three.tif", index=7), IndexingError, IndexError, "3 images"),
    "index 7 is a ValueError": (lambda: iio.imread("three.tif", index=7), IndexingError, ValueError, "3 images"),
    "index -4": (lambda: iio.improps("three.tif", index=-4), IndexingError, IndexError, "3 images"),
    "index 1.5": (lambda: iio.imread("three.tif", index=1.5), ParameterError, ValueError, "1.5"),
    "index True": (lambda: iio.immeta("three.tif", index=True), ParameterError, ValueError, "True"),
    "roi outside": (
        lambda: iio.imread("three.tif", roi={"z": slice(0, 9)}),
        RegionError,
        ValueError,
        "'z', which has 4",
    ),
    "roi steps": (lambda: iio.imread("three.tif", roi=(slice(0, 4, 2),)), RegionError, ValueError, "step 2"),
    "roi number": (lambda: iio.imread("three.tif", roi=(1,)), RegionError, ValueError, "no slice"),
    "roi axis": (
        lambda: iio.imread("three.tif", roi={"q": slice(0, 1)}),
        RegionError,
        ValueError,
        r"\['z', 'y', 'x'\]",
    ),
    "axes": (lambda: iio.imread("three.tif", axes="yx"), ShapeError, ValueError, "leave out"),
    "axes are a number": (lambda: iio.imread("three.tif", axes=3), ParameterError, ValueError, "axes=3"),
    "voxels that are no numbers": (lambda: iio.imread("three.tif", dtype=object), DtypeError, TypeError, "numbers"),
    "opened as text": (lambda: iio.imread(open("three.tif")), SourceTypeError, TypeError, "opened as text"),  # noqa: SIM115
    "text to write": (
        lambda: iio.imwrite(io.StringIO(), DATA, extension=".tif"),
        SourceTypeError,
        TypeError,
        "as text",
    ),
    "closed": (lambda: iio.imread(closed()), StorageError, OSError, "is closed"),
    "closed to write": (lambda: iio.imwrite(closed(), DATA, extension=".tif"), StorageError, OSError, "is closed"),
    "no path": (lambda: iio.imread(""), ParameterError, ValueError, "empty"),
    "no path to write": (lambda: iio.imwrite("", DATA), ParameterError, ValueError, "empty"),
    "text in an archive": (lambda: iio.imread("text.zip"), FormatError, OSError, "begins with b'This"),
    "folder of a name": (lambda: iio.imread("bare.czi"), FormatError, OSError, "is a folder"),
    "folder of another": (lambda: iio.imread("bare.png"), FormatError, OSError, "bare.png"),
    "plugin of folders": (lambda: iio.imread("three.tif", plugin="folder"), FormatError, OSError, "'folder'.*is tif"),
    "plugin of layers": (lambda: iio.imread("three.tif", plugin="precomputed"), FormatError, OSError, "is tif"),
    "a name with no room": (lambda: iio.imwrite("a" * 245 + ".tif", DATA), StorageError, OSError, "shorter name"),
    "its folder": (lambda: iio.imwrite("a" * 245 + ".zarr", DATA), StorageError, OSError, "shorter name"),
    "level": (lambda: iio.imread("three.tif", level=3), BioimageError, KeyError, "level 3"),
    "reading keyword": (lambda: iio.imread("three.tif", foo=1), OptionError, TypeError, "pattern.*roi"),
    "writing keyword": (lambda: iio.imwrite("a.tif", DATA, foo=1), OptionError, TypeError, "tiles.*compression"),
    "objects": (lambda: iio.imwrite("a.tif", np.array([[None]])), DtypeError, TypeError, "object"),
    "long floats": (lambda: iio.imwrite("a.tif", DATA.astype("g")), DtypeError, TypeError, "float64"),
    "long floats in chunks": (lambda: iio.imwrite("a.zarr", DATA.astype("g")), DtypeError, TypeError, "hdf5"),
    "words": (lambda: iio.imwrite("a.tif", np.array([["a"]])), DtypeError, TypeError, "<U1"),
    "complex": (lambda: iio.imwrite("a.png", DATA * 1j), DtypeError, TypeError, "uint16.*tif"),
    "no voxels": (lambda: iio.imwrite("a.tif", DATA[:0]), ShapeError, ValueError, r"\(0, 20, 24\)"),
    "a number": (lambda: iio.imwrite("a.tif", np.array(1)), ShapeError, ValueError, r"\(\)"),
    "a row": (lambda: iio.imwrite("a.tif", DATA[0, 0]), ShapeError, ValueError, r"\(24,\)"),
    "seven axes": (lambda: iio.imwrite("a.ome.tif", np.zeros((2,) * 7)), ShapeError, ValueError, "t, c and z"),
    "bytes without ending": (lambda: iio.imwrite("<bytes>", DATA), ParameterError, ValueError, r"\.tif"),
    "bytes of a folder": (lambda: iio.imwrite("<bytes>", DATA, extension=".zarr"), FormatError, OSError, "folder"),
    "no folder": (lambda: iio.imwrite("no/a.tif", DATA), SourceNotFoundError, FileNotFoundError, "no"),
    "is there": (lambda: iio.imwrite("three.tif", DATA, overwrite=False), StorageError, OSError, "there already"),
    "names": (lambda: iio.imwrite("a.tif", DATA, channel_names=["a", "b"]), ParameterError, ValueError, "2 names"),
    "axes of writing": (lambda: iio.imwrite("a.tif", DATA, axes="yx"), ParameterError, ValueError, "axes='yx'"),
    "scale": (lambda: iio.imwrite("a.tif", DATA, scale=0), ParameterError, ValueError, "0"),
    "compression": (lambda: iio.imwrite("a.tif", DATA, compression="qq"), FormatError, OSError, "QQ"),
    "tiles": (lambda: iio.imwrite("a.tif", DATA, tiles=(10, 10)), ParameterError, ValueError, "16"),
    "flavor": (lambda: iio.imwrite("a.tif", DATA, flavor="x"), ParameterError, ValueError, "ome, imagej, plain"),
    "order of ImageJ": (
        lambda: iio.imwrite("a.tif", DATA[None], axes="czyx", flavor="imagej"),
        ShapeError,
        ValueError,
        "t, z, c",
    ),
    "type of ImageJ": (lambda: iio.imwrite("a.tif", DATA * 1.0, flavor="imagej"), DtypeError, TypeError, "float32"),
    "two for ImageJ": (lambda: iio.imwrite("a.tif", [DATA, DATA], flavor="imagej"), FormatError, OSError, "one image"),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_input(case: str) -> None:
    call, error, builtin, message = CALLS[case]
    before = sorted(os.listdir())
    with pytest.raises(error, match=f"(?s){message}") as caught:
        call()
    assert isinstance(caught.value, builtin)
    assert caught.value.remedy
    assert sorted(os.listdir()) == before


def test_content_goes_before_the_name() -> None:
    os.rename("three.tif", "three.png")
    with pytest.warns(UserWarning, match="named as png, but holds tif"):
        assert iio.imread("three.png").shape == DATA.shape
    os.rename("three.png", "three")
    assert iio.imread("three").shape == DATA.shape
    assert iio.imopen("three", "r", plugin="?") == ["tif"]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "tifffile" else found(name, *more)
    )
    for call in (lambda: iio.imread("three.tif"), lambda: iio.imwrite("a.tif", DATA)):
        with pytest.raises(MissingDependencyError, match="tifffile") as caught:
            call()
        assert isinstance(caught.value, ImportError)
        assert caught.value.remedy == "pip install 'bioimage-blocks[io]'"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o555)
    with pytest.raises(StorageError):
        iio.imwrite("three.tif", DATA)
    os.chmod(tmp_path, 0o755)
    assert iio.improps("three.tif").n_total == 3


def test_format_hint_is_an_old_name() -> None:
    with pytest.warns(DeprecationWarning, match="extension"):
        assert iio.imread("three.tif", format_hint=".tif").shape == DATA.shape
