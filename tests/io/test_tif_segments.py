"""Compressed strips and tiles of large pages: a region decodes those that it meets, and has the bits of the library."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError
from bioimage_py.io.tif import segments
from bioimage_py.io.tif.chain import know_pages

tifffile = pytest.importorskip("tifffile")


def whole(path: Path) -> np.ndarray:
    return np.asarray(tifffile.imread(path))


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(2, 70), st.integers(2, 70)),
    dtype=st.sampled_from(["u1", ">u2", "<u2", "i4", ">f4", "f8", "u8"]),
    rows=st.integers(1, 80),
    tile=st.sampled_from([None, (16, 16), (32, 48)]),
    how=st.sampled_from([{}, {"predictor": True}, {"colour": True}]),
    codec=st.sampled_from(["zlib", "lzw", "zstd"]),
    box=st.tuples(*[st.tuples(st.floats(0, 1), st.floats(0, 1))] * 3),
)
@settings(max_examples=40)
def test_regions(shape: Any, dtype: str, rows: int, tile: Any, how: dict[str, bool], codec: str, box: Any) -> None:
    colour = "colour" in how and np.dtype(dtype).itemsize < 3
    data = np.random.default_rng(0).integers(0, 250, (*shape, 3) if colour else shape).astype(dtype)
    more: dict[str, Any] = {"tile": tile} if tile else {"rowsperstrip": rows}
    more["photometric"] = "rgb" if colour else "minisblack"
    if how.get("predictor") and dtype in ("u1", ">u2", "<u2", "i4"):
        more["predictor"] = True
    roi = tuple(
        slice(min(int(a * n), int(b * n)), min(n, max(int(a * n), int(b * n)) + 1))
        for (a, b), n in zip(box, shape, strict=True)
    )
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "LEAST_BYTES", 0)
        patch.setattr(segments, "LEAST_STRIP_BYTES", 1)
        path = Path(folder, "a.tif")
        order = ">" if dtype.startswith(">") else "<"
        tifffile.imwrite(path, data, compression=codec, byteorder=order, metadata={"axes": "ZYXS"[: data.ndim]}, **more)
        with iio.imopen(path, "r") as file:
            read = file.source()
            np.testing.assert_array_equal(read[...].reshape(data.shape), whole(path).reshape(data.shape))
            roi = roi[-min(3, read.ndim - colour) :]
            np.testing.assert_array_equal(read[roi], whole(path).reshape(read.shape)[roi])


def test_of_a_large_page_only_the_strips_that_a_region_meets_are_read(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 60000, (2, 2048, 2048)).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", data, compression="zlib", rowsperstrip=64, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[1]
        first, end = page.dataoffsets[20], page.dataoffsets[20] + page.databytecounts[20]
    source = bp.open_source(tmp_path / "a.tif")
    assert source.chunks == (1, 64, 2048)
    np.testing.assert_array_equal(source[1, 1216:1279, 5:9], data[1, 1216:1279, 5:9])
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[first:end] = b"\xff" * (end - first)
    (tmp_path / "b.tif").write_bytes(content)
    damaged = bp.open_source(tmp_path / "b.tif")
    np.testing.assert_array_equal(damaged[1, 1216:1280], data[1, 1216:1280])
    with pytest.raises(BioimageError, match="tile 20 of page 1"):
        damaged[1, 1270:1290]


@pytest.mark.parametrize("pages", [1, 3])
def test_a_page_that_is_large_is_not_kept_and_not_copied(
    pages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioimage_py.io.tif import pages as module

    monkeypatch.setattr(module, "CACHE_BYTES", 3 * 64 * 64 * 2)
    data = np.random.default_rng(0).integers(0, 60000, (4, 64, 64)).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", data, compression="zlib", photometric="minisblack")
    source = bp.open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(source[:pages], data[:pages])
    assert not source.array._cache
    np.testing.assert_array_equal(source[0, 3:9, 2:4], data[0, 3:9, 2:4])
    assert list(source.array._cache) == [0]
    np.testing.assert_array_equal(source[:pages], data[:pages])


@pytest.mark.parametrize("tag", ["TileWidth", "TileOffsets", "TileByteCounts"])
def test_damaged_tables_of_tiles(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LEAST_BYTES", 0)
    data = np.zeros((64, 64), "u1")
    tifffile.imwrite(tmp_path / "a.tif", data, compression="zlib", tile=(16, 16), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        found = file.pages[0].tags[tag]
        found.overwrite(0 if tag == "TileWidth" else found.value[:5])
    with pytest.raises(BioimageError):
        iio.imread(tmp_path / "a.tif")


def walked(path: Path) -> list[int]:
    """Where pages begin, by the library going from one to the next."""
    with tifffile.TiffFile(path) as file:
        return [file.pages[number].offset for number in range(len(file.pages))]


@pytest.mark.parametrize("number", [1, 2, 17, 200])
@pytest.mark.parametrize("form", [{"byteorder": "<"}, {"byteorder": ">", "bigtiff": True}], ids=["classic", "big"])
@pytest.mark.parametrize("way", ["stack", "one by one", "with a longer last one", "packed"])
def test_the_list_of_pages_is_known_at_once(number: int, form: dict[str, Any], way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    stack = np.arange(number * 256).reshape(number, 16, 16) ** 3 % 251
    stack = (stack // (1 + np.arange(number)[:, None, None])).astype("u1")  # packed, each has another length
    with tifffile.TiffWriter(path, **form) as file:
        if way == "stack":
            file.write(stack, photometric="minisblack")
        for at, page in enumerate(stack if way != "stack" else []):
            more: dict[str, Any] = {"compression": "zlib"} if way == "packed" else {}
            if way == "with a longer last one" and at + 1 == number:
                more["extratags"] = [(65000, "s", None, "more", True)]
            file.write(page, metadata=None, photometric="minisblack", **more)
    expected = walked(path)
    with tifffile.TiffFile(path) as file:
        known = know_pages(file)
        assert known == (number > 16 and way in ("stack", "one by one"))
        assert [file.pages[at].offset for at in range(len(file.pages))] == expected
        np.testing.assert_array_equal(file.pages[number - 1].asarray(), stack[-1])
    np.testing.assert_array_equal(iio.imread(path, page=number - 1, index=...), stack[-1])


@pytest.mark.parametrize("leads", ["back", "to itself", "out of the file", "nowhere, too early", "elsewhere"])
def test_a_list_of_pages_that_leads_elsewhere_is_not_known_at_once(leads: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((300, 16, 16), "u1"), photometric="minisblack")
    offsets, content = walked(path), bytearray(path.read_bytes())
    link = offsets[200] + 2 + 12 * struct.unpack_from("<H", content, offsets[200])[0]
    assert struct.unpack_from("<I", content, link)[0] == offsets[201]
    targets = {"back": offsets[3], "to itself": offsets[200], "out of the file": 2**31, "elsewhere": offsets[250]}
    struct.pack_into("<I", content, link, targets.get(leads, 0))
    path.write_bytes(content)
    with tifffile.TiffFile(path) as file:
        assert know_pages(file) == (leads == "nowhere, too early")
        assert leads != "nowhere, too early" or len(file.pages) == 201
