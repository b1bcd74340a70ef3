"""CloudVolume layers that others wrote: encodings, mips, channels, boxes, and what is missing or damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import ParameterError, RegionError, SourceNotFoundError, StorageError
from bioimage_py.sources import SourceSpec, from_spec, open_cloudvolume
from bioimage_py.sources.precomputed.chunks import ChunkedLayer

from .precomputed_layers import OFFSET, SIZE, by_cloudvolume, by_tensorstore, new_layer, new_pyramid, smooth, voxels


@pytest.fixture
def pyramid(tmp_path: Path) -> tuple[str, list[np.ndarray]]:
    """Three mips, the second one anisotropic."""
    return new_pyramid(tmp_path / "pyramid")


# reading what others wrote


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [
        ("raw", "uint8"),
        ("raw", "float32"),
        ("raw", "uint64"),
        ("compressed_segmentation", "uint32"),
        ("compressed_segmentation", "uint64"),
        ("jpeg", "uint8"),
        ("crackle", "uint32"),
    ],
)
@pytest.mark.parametrize("compress", [None, "br", "zstd"])
def test_encodings_of_cloudvolume(encoding: str, dtype: str, compress: Any, tmp_path: Path) -> None:
    if encoding == "crackle":
        pytest.importorskip("crackle", reason="this encoding needs crackle-codec")
    url = new_layer(tmp_path / "a", voxels(dtype=dtype), encoding=encoding, compress=compress)
    with open_cloudvolume(url) as source:
        assert isinstance(source._layer, ChunkedLayer)
        np.testing.assert_array_equal(source[...], by_cloudvolume(url))


def test_png_of_tensorstore(tmp_path: Path) -> None:
    for dtype in ("uint8", "uint16"):
        content = voxels(dtype=dtype)
        url = by_tensorstore(tmp_path / dtype, content, encoding="png")
        np.testing.assert_array_equal(open_cloudvolume(url)[...], content)


def test_jpeg_in_colour(tmp_path: Path) -> None:
    """cloud-volume's own reader mixes up the voxels of what its writer wrote, so the voxels written are compared."""
    content = np.stack([smooth(SIZE[::-1]), smooth(SIZE[::-1])[:, ::-1], smooth(SIZE[::-1])[:, :, ::-1]])
    found = open_cloudvolume(new_layer(tmp_path / "a", content, encoding="jpeg"))[...]
    assert found.shape == content.shape
    assert np.abs(found.astype(int) - content).max() <= 12


def test_channels(tmp_path: Path) -> None:
    content = voxels((3, *SIZE[::-1]))
    url = new_layer(tmp_path / "a", content)
    with open_cloudvolume(url) as source:
        assert [axis.name for axis in source.axes] == ["c", "z", "y", "x"]
        assert source.chunks == (3, 4, 5, 8)
        np.testing.assert_array_equal(source[1:, 2, :, 3:9], content[1:, 2, :, 3:9])
    for channel in (0, 2, -1):
        with open_cloudvolume(url, channel=channel) as one, from_spec(one.to_spec()) as again:
            assert [axis.name for axis in one.axes] == ["z", "y", "x"]
            assert one.chunks == (4, 5, 8)
            np.testing.assert_array_equal(one[...], content[channel])
            np.testing.assert_array_equal(again[3], content[channel, 3])
    with pytest.raises(ParameterError, match="has no channel 3; it has 3"):
        open_cloudvolume(url, channel=3)
    with open_cloudvolume(url, channel=1) as one:
        one[2:5, 1:7] = 7
    content[1, 2:5, 1:7] = 7
    np.testing.assert_array_equal(by_cloudvolume(url), content)


def test_mips(pyramid: tuple[str, list[np.ndarray]]) -> None:
    url, contents = pyramid
    for mip, resolution in enumerate([(4, 4, 40), (8, 8, 40), (16, 16, 80)]):
        for wanted in (mip, resolution, mip - 3):
            with open_cloudvolume(url, mip=wanted) as source:
                assert (source.mip, source.resolution) == (mip, resolution)
                np.testing.assert_array_equal(source[...], contents[mip])
                assert source.to_spec().params["mip"] == mip
        assert [axis.scale for axis in source.axes] == list(resolution[::-1])
        assert {axis.unit for axis in source.axes} == {"nanometer"}
    for wrong in (3, (5, 5, 5), (4, 4), True):
        with pytest.raises(ParameterError, match="has no mip") as caught:
            open_cloudvolume(url, mip=wrong)
        assert "(16.0, 16.0, 80.0)" in str(caught.value)


def test_axes_of_a_pyramid_lie_on_each_other(pyramid: tuple[str, list[np.ndarray]]) -> None:
    """A coarse voxel has its centre in the middle of the fine voxels that it stands for."""
    url, _ = pyramid
    fine, coarse = open_cloudvolume(url, mip=0), open_cloudvolume(url, mip=2)
    for a, b, first, offset in zip(fine.axes, coarse.axes, (2, 0, 0), (5, 12, 8), strict=True):
        assert a.offset == offset * a.scale
        factor = round(b.scale / a.scale)
        begin = offset // factor * factor - offset  # the first fine voxel of the first coarse one
        middle = a.offset + (begin + (factor - 1) / 2) * a.scale
        assert b.offset == pytest.approx(middle), first


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_boxes_equal_numpy(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any size, chunk, offset and box, also boxes in boxes: read, and written beside voxels that stay."""
    draw = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(3))  # noqa: E731
    size, chunk, offset = draw(1, 14), draw(1, 9), draw(-20, 20)
    content = voxels(size[::-1], "uint32")
    encoding = data.draw(st.sampled_from(["raw", "compressed_segmentation"]))
    url = new_layer(tmp_path_factory.mktemp("box"), content, chunk=chunk, offset=offset, encoding=encoding)

    def box(shape: tuple[int, ...]) -> tuple[slice, ...]:
        cuts = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in shape]
        return tuple(slice(a, max(b, a + 1)) for a, b in cuts)

    outer = box(content.shape)
    source = open_cloudvolume(url, roi=outer)
    begins = [part.start for part in outer][::-1]
    same = open_cloudvolume(
        url,
        offset=tuple(o + b for o, b in zip(offset, begins, strict=True)),
        size=source.shape[::-1],
    )
    inner = box(source.shape)
    np.testing.assert_array_equal(source[inner], content[outer][inner])
    np.testing.assert_array_equal(same[inner], content[outer][inner])
    content[outer][inner] += 1
    source[inner] = content[outer][inner]
    np.testing.assert_array_equal(same[...], content[outer])
    np.testing.assert_array_equal(by_cloudvolume(url), content)
    for origin, unit, begin, length in zip(source.grid_origin, source.chunks, begins[::-1], source.shape, strict=True):
        assert (origin + begin) % unit == 0
        assert length > 0


def test_the_region_that_is_opened(tmp_path: Path) -> None:
    content = voxels()
    url = new_layer(tmp_path / "a", content)
    absolute = (OFFSET[0] + 3, OFFSET[1] + 4, OFFSET[2] + 5)
    with open_cloudvolume(url, offset=absolute, size=(6, 7, 8)) as source:
        assert source.shape == (8, 7, 6)
        assert source.offset == absolute
        np.testing.assert_array_equal(source[...], content[5:13, 4:11, 3:9])
        assert [axis.offset for axis in source.axes] == [(OFFSET[2] + 5) * 40, (OFFSET[1] + 4) * 4, (OFFSET[0] + 3) * 4]
        spec = SourceSpec.from_json(source.to_spec().to_json())
        assert spec == open_cloudvolume(url, roi=(slice(5, 13), slice(4, 11), slice(3, 9))).to_spec()
    with from_spec(spec) as again:
        np.testing.assert_array_equal(again[...], content[5:13, 4:11, 3:9])
    np.testing.assert_array_equal(open_cloudvolume(url, offset=absolute)[...], content[5:, 4:, 3:])
    np.testing.assert_array_equal(open_cloudvolume(url, roi=slice(-3, None))[...], content[-3:])
    for wrong in ({"offset": (0, 0, 0)}, {"size": (24, 18, 13)}, {"roi": slice(0, 14)}, {"roi": (0, 1)}):
        with pytest.raises(RegionError) as caught:
            open_cloudvolume(url, **wrong)
        assert caught.value.remedy
    with pytest.raises(ParameterError, match="Both roi and offset"):
        open_cloudvolume(url, roi=slice(0, 2), offset=OFFSET)


def test_unbounded_layers_are_zero_outside(tmp_path: Path) -> None:
    content = voxels()
    url = new_layer(tmp_path / "a", content)
    offset = tuple(begin - 2 for begin in OFFSET)
    with open_cloudvolume(url, bounded=False, offset=offset, size=tuple(n + 5 for n in SIZE)) as source:
        np.testing.assert_array_equal(source[...], np.pad(content, ((2, 3),) * 3))
        assert not source[:2].any()
        with pytest.raises(RegionError, match="reaches beyond"):
            source[0] = 1
        source[2, 2:20, 2:25] = 5
    assert (by_cloudvolume(url)[0] == 5).all()


# missing and damaged chunks


def test_missing_chunks(tmp_path: Path) -> None:
    url = new_layer(tmp_path / "a", voxels())
    (gone,) = (tmp_path / "a" / "4_4_40").glob("10-18_7-12_-9--5*")
    gone.unlink()
    with open_cloudvolume(url) as source:
        with pytest.raises(SourceNotFoundError, match="Chunk 10-18_7-12_-9--5 is missing") as caught:
            source[0, 0, 0]
        assert "fill_missing=True" in caught.value.remedy
        with pytest.raises(SourceNotFoundError):
            source[0, 0, 0] = 1
        source[:, :, 8:] = 3
    with open_cloudvolume(url, fill_missing=True) as source:
        assert not source[:4, :5, :8].any()
        assert len(source.stored_units()) == 4 * 4 * 3 - 1
        source[0, 0, 0] = 9
        assert source[:4, :5, :8].sum() == 9
    with open_cloudvolume(url) as source:
        assert source[0, 0, 0] == 9
        assert source.stored_units() is None


def test_damaged_chunks_are_named(tmp_path: Path) -> None:
    for number, (encoding, compress) in enumerate([("raw", "gzip"), ("raw", False), ("compressed_segmentation", "br")]):
        url = new_layer(tmp_path / str(number), voxels(dtype="uint32"), encoding=encoding, compress=compress)
        (file,) = (tmp_path / str(number) / "4_4_40").glob("10-18_7-12_-9--5*")
        file.write_bytes(file.read_bytes()[:-7])
        with pytest.raises(StorageError, match=r"10-18_7-12_-9--5.* is damaged") as caught:
            open_cloudvolume(url)[...]
        assert "restore it" in caught.value.remedy
        assert "delete" not in caught.value.remedy, "the info file may be what is wrong"


def test_what_is_no_layer(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="no precomputed layer") as caught:
        open_cloudvolume(f"file://{tmp_path}/nothing")
    assert "commit_info" in caught.value.remedy
    for content, match in (
        ('{"@type": "x"}', "no scales"),
        ("{", "no JSON"),
        ("[]", "no scales"),
        ('{"scales": [{"key": "a"}]}', "no valid description"),
    ):
        (tmp_path / "info").write_text(content)
        with pytest.raises(bp.errors.FormatError, match=match):
            open_cloudvolume(tmp_path)


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    url = new_layer(tmp_path / "a", voxels())
    with pytest.raises(ParameterError, match="does not take these arguments"):
        open_cloudvolume(url, filmissing=True)
    with pytest.raises(ParameterError, match="progress"):
        open_cloudvolume(url, progress=True)
    with pytest.raises(ParameterError, match="compress is 'lz4'"):
        open_cloudvolume(url, compress="lz4")
    with pytest.raises(ParameterError, match="mode is 'w'"):
        open_cloudvolume(url, mode="w")
