"""Regions of gzipped and deflated voxels: equal to those of the whole, in memory that does not grow with it."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import FormatError
from bioimage_py.io.image_files import deflated
from bioimage_py.io.image_files.deflated import Inflater
from bioimage_py.io.tif.pages import Pages

nibabel = pytest.importorskip("nibabel", reason="NIfTI needs nibabel: pip install 'bioimage-blocks[medical]'")

CONTENT = np.random.default_rng(3).integers(0, 30, 1_000_000, dtype="u1").tobytes()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large is so from a few bytes on."""
    monkeypatch.setattr(deflated, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(deflated, "_SPACING", 50_000)
    monkeypatch.setattr(deflated, "_PIECE", 7_000)


def stream(tmp_path: Path, content: bytes) -> Inflater:
    (tmp_path / "a").write_bytes(content)
    return Inflater(str(tmp_path / "a"), 0, len(CONTENT))


PACKED = {
    "gzip": gzip.compress(CONTENT),
    "zlib": zlib.compress(CONTENT),
    "members": b"".join(gzip.compress(CONTENT[n : n + 90_001]) for n in range(0, len(CONTENT), 90_001)),
    "not packed": gzip.compress(CONTENT, 0),
}


@pytest.mark.parametrize("name", PACKED)
def test_any_part_equals_the_whole(name: str, tmp_path: Path) -> None:
    found = stream(tmp_path, PACKED[name])

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(begin=st.integers(0, len(CONTENT)), count=st.integers(0, 200_000))
    def attempt(begin: int, count: int) -> None:
        count = min(count, len(CONTENT) - begin)
        assert found.read(begin, count).tobytes() == CONTENT[begin : begin + count]

    attempt()
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda n: found.read(n, 9_999).tobytes(), range(0, 980_000, 20_000))
        assert list(parts) == [CONTENT[n : n + 9_999] for n in range(0, 980_000, 20_000)]


def test_a_stream_is_decoded_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, given = stream(tmp_path, PACKED["gzip"]), []
    step = Inflater._step

    def counted(self: Inflater, *arguments: object) -> bytes:
        given.append(step(self, *arguments))  # type: ignore[arg-type]
        return given[-1]

    monkeypatch.setattr(Inflater, "_step", counted)
    for begin in range(0, len(CONTENT), 10_000):
        found.read(begin, 10_000)
    assert sum(map(len, given)) == len(CONTENT)
    given.clear()
    found.read(900_000, 10)
    assert sum(map(len, given)) < 60_000


def test_damaged_streams(tmp_path: Path) -> None:
    cut = PACKED["gzip"][: len(PACKED["gzip"]) // 2]
    found = stream(tmp_path, cut)
    assert found.read(1000, 10).tobytes() == CONTENT[1000:1010]
    with pytest.raises(FormatError, match="cut off"):
        found.read(990_000, 10)
    broken = bytearray(PACKED["not packed"])
    broken[500_000] ^= 1  # which only the checksum tells
    with pytest.raises(FormatError, match="damaged"):
        stream(tmp_path, bytes(broken)).read(0, len(CONTENT))


@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".nrrd"])
def test_files_are_read_by_plane(extension: str, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 50, (12, 40, 30)).astype("i2")
    path = tmp_path / f"a{extension}"
    bp.imwrite(path, data)
    with bp.open_source(path) as source:
        assert isinstance(source.array, Pages)
        assert source.chunks == (1, 40, 30)
        np.testing.assert_array_equal(source[7, 3:9], data[7, 3:9])
        np.testing.assert_array_equal(source[2:5, :, ::-2], data[2:5, :, ::-2])
        np.testing.assert_array_equal(source[...], data)
    np.testing.assert_array_equal(bp.imread(path, roi={"z": slice(11, 12)}), data[11:])


def test_scaling_and_byte_order_stay(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 50, (12, 40, 30)).astype(">i2")
    image = nibabel.Nifti1Image(data.T, np.eye(4), dtype=np.dtype(">i2"))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj).T
    with bp.open_source(tmp_path / "a.nii.gz") as source:
        np.testing.assert_array_equal(source[4:6], expected[4:6])
        assert source.dtype == expected.dtype


def test_a_plane_takes_the_memory_of_planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB of voxels, of which one plane is wanted."""
    monkeypatch.setattr(deflated, "_SPACING", 1 << 22)
    with gzip.open(tmp_path / "a.nii.gz", "wb", 1) as file:
        header = nibabel.Nifti1Header(endianness="<")
        header.set_data_dtype(np.uint8)
        header.set_data_shape((512, 512, 256))
        header.set_data_offset(352)
        header.write_to(file)
        file.write(bytes(352 - file.tell()))
        for n in range(256):
            file.write(bytes([n]) * 512 * 512)
    tracemalloc.start()
    plane = bp.imread(tmp_path / "a.nii.gz", roi={"z": slice(200, 201)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (plane == 200).all()
    assert peak < 16 * 2**20
