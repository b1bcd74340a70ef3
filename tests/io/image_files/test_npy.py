"""Arrays as numpy saves them, and ours as it loads them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.errors import BioimageError, DtypeError, FormatError, KeyNotFoundError, ShapeError
from bioimage_py.io.details import Image
from bioimage_py.io.formats import array_keys_of
from bioimage_py.io.image_files import npy
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.sources.axes import default_axes

from .common import FileConformance, details, survives, write

DATA = np.random.default_rng(3).integers(0, 2**16, (4, 5, 6)).astype("u2")
IMPOSSIBLE = {**FileConformance.impossible, "axes": "numpy stores nothing of axes"}


class TestNpy(FileConformance):
    kind = "numpy, .npy"
    extension = ".npy"
    impossible: ClassVar[dict[str, str]] = IMPOSSIBLE
    dtypes: ClassVar[tuple[str, ...]] = (*FileConformance.dtypes, "bool", "float16", "complex64", "complex128")

    @pytest.fixture(params=["C", "F", "big endian", "archive", "packed"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def make(content: np.ndarray) -> Source:
            if request.param in ("archive", "packed"):
                (np.savez if request.param == "archive" else np.savez_compressed)(tmp_path / "a.npz", it=content)
                return open_source(tmp_path / "a.npz")
            order: Any = "F" if request.param == "F" else "C"
            np.save(tmp_path / "a.npy", content.astype(">u2" if "big" in request.param else "u2", order=order))
            return open_source(tmp_path / "a.npy")

        return make


class TestNpz(FileConformance):
    kind = "numpy, .npz"
    extension = ".npz"
    dtypes: ClassVar[tuple[str, ...]] = ("uint16",)
    impossible: ClassVar[dict[str, str]] = {**IMPOSSIBLE, "foreign": "as of .npy"}

    def store(self, path: Path, content: np.ndarray, axes: tuple[Axis, ...] | None) -> None:
        write(path, content, axes, compression="deflate")


@pytest.mark.parametrize("dtype", ["u1", "<f8", ">i4", "c8", "?"])
@pytest.mark.parametrize("extension", [".npy", ".npz"])
def test_numpy_loads_what_is_written(tmp_path: Path, dtype: str, extension: str) -> None:
    data = (DATA % 3).astype(dtype)
    for compression in ("raw", "deflate"):
        assert write(tmp_path / f"a{extension}", data, name="it" * (extension == ".npz"), compression=compression) == ()
        found = np.load(tmp_path / f"a{extension}")
        np.testing.assert_array_equal(found if extension == ".npy" else found["it"], data)
    assert write(tmp_path / "a.npy", DATA, (Axis("z", scale=2.0), Axis("y"), Axis("x")), "n") == ("scale", "name")


def test_several_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=DATA, two=DATA[0], three=DATA.T.copy())
    assert array_keys_of(str(tmp_path / "a.npz")) == ["one", "two", "three"]
    with pytest.warns(UserWarning, match="holds 3 arrays"), open_source(tmp_path / "a.npz") as source:
        np.testing.assert_array_equal(source[...], DATA)
    with open_source(tmp_path / "a.npz", "two") as source:
        np.testing.assert_array_equal(source[...], DATA[0])
        assert isinstance(source.array, np.memmap)
    with pytest.raises(KeyNotFoundError, match="one, two, three"):
        open_source(tmp_path / "a.npz", "four")
    images = [Image(DATA, default_axes(3), "a"), Image(DATA[0], default_axes(2), "b")]
    assert npy.write(str(tmp_path / "b.npz"), images, {}) == ()
    found = np.load(tmp_path / "b.npz")
    np.testing.assert_array_equal(found["b"], DATA[0])
    with pytest.raises(ShapeError):
        npy.write(str(tmp_path / "b.npy"), images, {})


class Pickled:
    """Whoever unpickles it raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("it was unpickled",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    made = np.empty(3, object)
    made[0] = Pickled()
    np.save(tmp_path / "a.npy", made, allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=made)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DtypeError, match="never read"):
            open_source(tmp_path / name)
    with pytest.raises(DtypeError):
        write(tmp_path / "b.npy", made)


def head(shape: tuple[int, ...]) -> bytes:
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": "<u2", "fortran_order": False, "shape": shape})
    return made.getvalue()


@pytest.mark.parametrize("shape", [(100_000,) * 3, (4, 5, 7), (-4, 5, 6), (4, -5, -6), ()])
def test_lies_in_headers(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = head(shape) + (DATA.tobytes() if shape else b"")
    (tmp_path / "a.npy").write_bytes(content)
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", packing) as archive:
            archive.writestr("it.npy", content)
        for name in ("a.npy", "a.npz"):
            with pytest.raises(BioimageError) as caught:
                open_source(tmp_path / name)
            assert caught.value.remedy


def test_other_archives_and_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(FormatError, match="without arrays"):
        open_source(tmp_path / "a.npz")
    for content in (b"", b"This is text"):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(FormatError, match="no numpy file"):
            open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "packed.npz"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    save = {"a.npy": np.save, "a.npz": np.savez, "packed.npz": np.savez_compressed}[name]
    save(tmp_path / name, DATA)
    assert details(tmp_path / name).compression == ("deflate" if "packed" in name else None)
    survives(tmp_path / name, 200 if name == "a.npy" else 1000)
