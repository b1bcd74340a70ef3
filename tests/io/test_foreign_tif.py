"""tif files as other programs write them: several series, several files, and what is missing of them."""

from __future__ import annotations

import shutil
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import FormatError, KeyNotFoundError, ParameterError, SourceNotFoundError, StorageError
from bioimage_py.sources import open_source

tifffile = pytest.importorskip("tifffile")

SHAPE = (6, 20, 24)


def data() -> np.ndarray:
    return np.random.default_rng(2).integers(1, 60000, SHAPE).astype("u2")


# several series


@pytest.fixture
def positions(tmp_path: Path) -> Path:
    """Two stage positions of different shape and voxel size."""
    path = tmp_path / "positions.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for index, (size, unit) in enumerate(((0.5, "µm"), (250.0, "nm"))):
            metadata = {
                "axes": "ZYX",
                "PhysicalSizeZ": size,
                "PhysicalSizeZUnit": unit,
                "PhysicalSizeX": 1,
                "Name": f"p{index}",
            }
            writer.write(data()[: 4 + index, : 20 - index], photometric="minisblack", metadata=metadata)
    return path


def test_every_series_opens_by_its_number(positions: Path) -> None:
    with pytest.warns(UserWarning, match=r"holds 2 series.*\(4, 20, 24\); the next has \(5, 19, 24\).*'1'\)"):
        first = open_source(positions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source, expected, axis in (
            (bp.from_spec(first.to_spec()), data()[:4], ("micrometer", 0.5)),
            (open_source(positions, "0"), data()[:4], ("micrometer", 0.5)),
            (open_source(positions, "1"), data()[:5, :19], ("nanometer", 250.0)),
            (open_source(positions, series=1), data()[:5, :19], ("nanometer", 250.0)),
            (bp.from_spec(open_source(positions, series=1).to_spec()), data()[:5, :19], ("nanometer", 250.0)),
        ):
            np.testing.assert_array_equal(source[...], expected)
            assert (source.axes[0].unit, source.axes[0].scale) == axis
        assert bp.stats.max(open_source(positions, "1"), job_type="subprocess", num_workers=1) == data()[:5, :19].max()
    for key in ("2", "raw"):
        with pytest.raises(KeyNotFoundError, match="series") as caught:
            open_source(positions, key)
        assert "bioimage-py info" in caught.value.remedy
    with pytest.raises(ParameterError, match="take no levels"):
        open_source(positions, levels=1)


def test_one_series_needs_no_number(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", data(), photometric="minisblack")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_source(tmp_path / "a.tif").internal_path == ""
        np.testing.assert_array_equal(open_source(tmp_path / "a.tif", "0")[...], data())


def test_info_lists_the_series(positions: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["info", str(positions)])
    assert shown.exit_code == 0, shown.output
    assert "0: 4x20x24 uint16 (tif)" in shown.output
    assert "1: 5x19x24 uint16 (tif)" in shown.output
    assert "Warning" not in shown.output
    for plane in data()[:3]:
        tifffile.imwrite(tmp_path / "appended.tif", plane, append=True)
    assert "2: 20x24 uint16" in CliRunner().invoke(main, ["info", str(tmp_path / "appended.tif")]).output


def test_info_goes_on_after_an_array_that_cannot_be_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    layout = h5py.VirtualLayout((2,), "u1")
    layout[...] = h5py.VirtualSource("gone.h5", "raw", (2,))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("broken", layout)
        file["raw"] = data()
    shown = CliRunner().invoke(main, ["info", str(tmp_path / "a.h5")])
    assert shown.exit_code == 0
    assert "raw: 6x20x24 uint16 (hdf5)" in shown.output
    assert "broken: cannot be read" in shown.output
    assert "'gone.h5', which does not exist" in shown.output
    alone = CliRunner().invoke(main, ["info", str(tmp_path / "a.h5" / "broken")])
    assert alone.exit_code == 1
    assert "copy gone.h5 to" in alone.output


# several files


def spread(folder: Path, *, announced: int = 6) -> Path:
    """Write an OME-TIFF as two files of three planes each; the metadata may announce more planes."""
    ids = [f"urn:uuid:{uuid.UUID(int=7 + n)}" for n in range(2)]
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="{z % 3}" PlaneCount="1">'
        f'<UUID FileName="{"ab"[z // 3]}.ome.tif">{ids[z // 3]}</UUID></TiffData>'
        for z in range(6)
    )
    for part in range(2):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[part]}"><Image ID="Image:0">'
            '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="24" SizeY="20" SizeC="1" SizeT="1" '
            f'SizeZ="{announced}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
        )
        with tifffile.TiffWriter(folder / f"{'ab'[part]}.ome.tif") as writer:
            for number, plane in enumerate(data()[3 * part : 3 * part + 3]):
                writer.write(plane, description=xml if number == 0 else None, metadata=None, contiguous=False)
    return folder / "a.ome.tif"


def test_a_missing_file_of_several_is_named(tmp_path: Path) -> None:
    path = spread(tmp_path)
    source = open_source(path)
    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:  # the library closes the second file
        warnings.simplefilter("error")
        for number, plane in enumerate(pool.map(source.__getitem__, [*range(6)] * 3)):
            np.testing.assert_array_equal(plane, data()[number % 6])
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(SourceNotFoundError, match=r"b\.ome\.tif is missing in .*, with 3 of 6 pages") as caught:
        open_source(path)
    assert f"copy b.ome.tif to {tmp_path}" in caught.value.remedy


def test_pages_that_were_announced_and_never_written(tmp_path: Path) -> None:
    """An acquisition that was stopped: what is there is read, the rest is an error, not zeros."""
    path = spread(tmp_path, announced=8)
    with pytest.warns(UserWarning, match=r"no voxels for 2 of the 8 pages .* \(page 6 is the first\)"):
        source = open_source(path)
    assert source.shape == (8, *SHAPE[1:])
    np.testing.assert_array_equal(source[:6], data())
    with pytest.raises(StorageError, match=r"Page 6 of .* never written"):
        source[5:7]


def test_a_second_file_that_is_cut_off(tmp_path: Path) -> None:
    path = spread(tmp_path)
    whole = (tmp_path / "b.ome.tif").read_bytes()
    (tmp_path / "b.ome.tif").write_bytes(whole[:-500])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = open_source(path)
    np.testing.assert_array_equal(source[:3], data()[:3])
    with pytest.raises(StorageError, match=r"b\.ome\.tif is cut off|never written"):
        source[...]


# what is cut off


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg", "packbits"])
def test_a_last_page_that_is_cut_off(tmp_path: Path, compression: str | None) -> None:
    """Some decoders make something up for what is missing."""
    tifffile.imwrite(tmp_path / "a.tif", data().astype("u1"), photometric="minisblack", compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[-1]
        middle = page.dataoffsets[0] + page.databytecounts[0] // 2
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:middle])
    with pytest.raises((FormatError, StorageError), match=r"a\.tif is cut off") as caught:
        open_source(tmp_path / "a.tif")[...]
    assert "copy the file again" in caught.value.remedy


def test_pages_that_are_lost_with_their_list(tmp_path: Path) -> None:
    for plane in data():
        tifffile.imwrite(tmp_path / "a.tif", plane, append=True, metadata=None, compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        at = file.pages[3].offset
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:at])
    with pytest.raises(FormatError, match="page 2 is the last that is there, and says that another follows"):
        open_source(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("numbers", "gap"),
    [
        ((1, 2, 4), "from 2 to 4"),
        ((0, 5, 10, 20), "from 10 to 20"),
        ((0, 5, 10), None),
        ((7,), None),
        ((8, 9, 10), None),
    ],
)
def test_slices_that_are_missing_in_a_folder(tmp_path: Path, numbers: tuple[int, ...], gap: str | None) -> None:
    for number in numbers:
        tifffile.imwrite(tmp_path / f"run2_z{number}.tif", data()[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        assert open_source(tmp_path).shape[0] == len(numbers)
    assert [gap in str(found.message) for found in caught if gap] == [True] * (gap is not None)
    assert bool(caught) is (gap is not None)


def test_a_slice_of_a_folder_that_is_cut_off(tmp_path: Path) -> None:
    for number, plane in enumerate(data()):
        tifffile.imwrite(tmp_path / f"{number}.tif", plane, compression="zlib")
    source = open_source(tmp_path)
    np.testing.assert_array_equal(source[...], data())
    whole = (tmp_path / "4.tif").read_bytes()
    (tmp_path / "4.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match=r"4\.tif is cut off"):
        open_source(tmp_path)[...]
    shutil.copy(tmp_path / "3.tif", tmp_path / "4.tif")
    (tmp_path / "5.tif").write_bytes(b"")
    with pytest.raises(FormatError, match=r"5\.tif is no tif file: it is empty"):
        open_source(tmp_path)
