"""What the page says of files is so: its table, and each row of the differences from imageio."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import bioimage_py
import bioimage_py.io.v3 as iio
from bioimage_py.errors import DtypeError, FormatError, IndexingError, OptionError, ParameterError

real = pytest.importorskip("imageio.v3")
tifffile = pytest.importorskip("tifffile")
for needed in ("av", "h5py", "mrcfile", "nibabel", "pydicom"):
    pytest.importorskip(needed)

DOCS = Path(__file__).parents[3] / "docs"
GREY = np.random.default_rng(1).integers(0, 255, (20, 24), dtype="u1")


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_formats", DOCS / "build_formats.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.processes
def test_the_tables_of_formats_are_what_there_is() -> None:
    build = builder()
    page = (DOCS / "files.md").read_text()
    assert build.updated(page, build.built_in()) == page, "type: python docs/build_formats.py"
    assert build.SILENT not in page


def test_public_names_are_the_same_functions() -> None:
    for name in ("imread", "imwrite", "imiter", "improps", "immeta", "imopen"):
        assert getattr(bioimage_py, name) is getattr(iio, name)


@pytest.mark.parametrize("library", [real, iio], ids=["imageio", "ours"])
def test_a_script_runs_with_either(library: ModuleType, tmp_path: Path) -> None:
    """What both do alike, written once."""
    path = tmp_path / "a.png"
    library.imwrite(path, GREY)
    np.testing.assert_array_equal(library.imread(path), GREY)
    np.testing.assert_array_equal(library.imread(path, index=...), GREY[None])
    told = library.improps(path)
    assert (told.shape, told.dtype, told.n_images, told.is_batch) == (GREY.shape, GREY.dtype, None, False)
    told = library.improps(path, index=...)
    assert (told.shape, told.n_images, told.is_batch) == ((1, *GREY.shape), 1, True)
    assert isinstance(library.immeta(path), dict)
    frames = np.stack([GREY // 128 * 255] * 4)[..., None].repeat(3, -1)
    library.imwrite(tmp_path / "a.gif", frames)
    encoded = library.imwrite("<bytes>", GREY, extension=".png")
    np.testing.assert_array_equal(library.imread(encoded, extension=".png"), GREY)
    tifffile.imwrite(tmp_path / "two.tif", GREY[None].repeat(3, 0), photometric="minisblack")
    np.testing.assert_array_equal(library.imread(tmp_path / "two.tif"), GREY[None].repeat(3, 0))
    np.testing.assert_array_equal(library.imread(tmp_path / "two.tif", index=0, page=1), GREY)
    with tifffile.TiffWriter(tmp_path / "shapes.tif") as writer:
        writer.write(GREY)
        writer.write(GREY[:9])
    assert [image.shape for image in library.imiter(tmp_path / "shapes.tif")] == [(20, 24), (9, 24)]
    with pytest.raises(ValueError):
        library.imread(tmp_path / "shapes.tif", index=...)
    with pytest.raises(IndexError):
        library.imread(tmp_path / "shapes.tif", index=5)
    with library.imopen(tmp_path / "shapes.tif", "r") as file:
        np.testing.assert_array_equal(file.read(index=1), GREY[:9])
        assert file.properties(index=1).dtype == "u1"
        assert [page.shape for page in file.iter_pages()] == [(20, 24), (9, 24)]
    with library.imopen(tmp_path / "new.png", "w", extension=".png") as file:
        file.write(GREY)
    np.testing.assert_array_equal(library.imread(tmp_path / "new.png"), GREY)
    for wrong, error in (
        (lambda: library.imread(tmp_path / "no.png"), FileNotFoundError),
        (lambda: library.imread(path, plugin="no such"), ValueError),
        (lambda: library.imopen(path, "rw"), ValueError),
        (lambda: library.imread(path, extension="png"), ValueError),
        (lambda: library.imwrite("<bytes>", GREY), ValueError),
    ):
        with pytest.raises(error):
            wrong()


def test_backends_of_imageio_are_plugins(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.png", GREY, plugin="imageio:pillow")
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png", plugin="imageio:pillow"), GREY)
    assert iio.improps(tmp_path / "a.png", plugin="imageio:pillow").shape == GREY.shape
    assert iio.immeta(tmp_path / "a.png", plugin="imageio:pillow")["mode"] == "L"
    assert [len(image) for image in iio.imiter(tmp_path / "a.png", plugin="imageio:pillow")] == [20]
    with pytest.raises(ParameterError, match="imageio:pillow"):
        iio.imread(tmp_path / "a.png", plugin="pillow")


def test_a_class_is_a_plugin(tmp_path: Path) -> None:
    class Lines:
        def __init__(self, path: str, mode: str = "r") -> None:
            rows = [[int(word) for word in line.split()] for line in Path(path).read_text().splitlines()]
            self.array = np.array(rows)

        def __iter__(self) -> object:
            return iter(["lines"])

        def __getitem__(self, key: str) -> np.ndarray:
            return {"lines": self.array}[key]

    (tmp_path / "a.txt").write_text("1 2\n3 4\n")
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.txt", plugin=Lines), [[1, 2], [3, 4]])


# Each row of the table of differences


def test_properties_of_a_hyperstack(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "h.tif", np.zeros((15, 2, 18, 19), "u1"), imagej=True)
    assert real.improps(tmp_path / "h.tif").shape == (18, 19)
    assert iio.improps(tmp_path / "h.tif").shape == iio.imread(tmp_path / "h.tif").shape == (15, 2, 18, 19)


def test_spacing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, resolution=(20000, 20000), resolutionunit="CENTIMETER")
    assert real.improps(tmp_path / "a.tif").spacing == (20000.0, 20000.0)
    told = iio.improps(tmp_path / "a.tif")
    assert (told.spacing, told.unit) == ((0.5, 0.5), ("micrometer", "micrometer"))
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    assert real.improps(tmp_path / "a.tif").spacing == (1.0, 1.0)
    assert iio.improps(tmp_path / "a.tif").spacing is None


def test_three_slices(tmp_path: Path) -> None:
    for library, axes in ((real, "SYX"), (iio, "ZYX")):
        library.imwrite(tmp_path / "s.tif", np.zeros((3, 64, 64), "u1"))
        with tifffile.TiffFile(tmp_path / "s.tif") as file:
            assert file.series[0].axes == axes


def test_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "o.jpg", exif=exif)
    assert real.imread(tmp_path / "o.jpg").shape == (20, 24)
    assert iio.imread(tmp_path / "o.jpg").shape == (24, 20)
    np.testing.assert_array_equal(iio.imread(tmp_path / "o.jpg"), real.imread(tmp_path / "o.jpg", rotate=True))


def test_indices_and_keywords(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    iio.imwrite(path, GREY)
    with pytest.raises(EOFError):
        real.imread(path, index=-1)
    np.testing.assert_array_equal(iio.imread(path, index=-1), GREY)
    with pytest.raises(EOFError):
        real.imread(path, index=3)
    with pytest.raises(IndexingError):
        iio.imread(path, index=3)
    with pytest.raises(OptionError):
        iio.imread(path, nonsense=1)


def test_what_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        iio.imwrite(tmp_path / "a.qqq", GREY)
    with pytest.raises(OSError):
        real.imwrite(tmp_path / "a.png", GREY / 255)
    with pytest.raises(DtypeError):
        iio.imwrite(tmp_path / "a.png", GREY / 255)
    (tmp_path / "text.png").write_text("This is text")
    with pytest.raises(FormatError, match="b'This is text'"):
        iio.imread(tmp_path / "text.png")
