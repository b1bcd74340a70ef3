"""Films: those that FFmpeg writes, frame by frame as it decodes them, and ours as it reads them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import DtypeError, FormatError, ParameterError, ShapeError, StorageError
from bioimage_py.io.details import Image
from bioimage_py.io.image_files import video
from bioimage_py.sources import Axis, open_source

from ...helpers import Later
from .common import details, survives, write

av = Later("av", "video needs PyAV: pip install 'bioimage-blocks[video]'")

FRAMES = 40
AXES = (Axis("t", "time", "second", 0.1), Axis("y"), Axis("x"), Axis("c", "channel"))


def film(path: Path, *, codec: str = "libx264", moments: Sequence[int] = range(FRAMES), **options: str) -> Path:
    """A film in which no two frames are alike, with frames that refer to others before and behind."""
    rows, columns = np.mgrid[0:48, 0:64]
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as file:
        stream: Any = file.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        stream.options = {"g": "12", "bf": "3", "crf": "10", **options} if "264" in codec else {"g": "12"}
        for n, moment in enumerate(moments):
            pixels = np.stack([(rows + 5 * n) % 256, (columns * 3 + n) % 256, np.full_like(rows, 6 * n)], -1)
            frame = av.VideoFrame.from_ndarray(pixels.astype("u1"), format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


FILMS: dict[str, dict[str, Any]] = {
    "a.mp4": {},
    "open.mp4": {"x264-params": "open-gop=1:keyint=12"},
    "varying.mp4": {"moments": [n + n * n // 7 for n in range(FRAMES)]},
    "late.mp4": {"moments": [100 + n for n in range(FRAMES)]},
    "a.mov": {},
    "a.mkv": {},
    "varying.mkv": {"moments": [n + n * n // 7 for n in range(FRAMES)]},
    "a.avi": {"codec": "mpeg4"},
    "b.avi": {},
}


@pytest.mark.parametrize("name", FILMS)
def test_frame_i_is_the_i_th_of_the_film(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, **FILMS[name])
    expected = decoded(path)
    assert len(expected) == FRAMES
    order = np.random.default_rng(0).permutation(FRAMES)
    for numbers in (order, range(FRAMES)[::-1], range(0, FRAMES, 7)):
        reader = video.FrameReader(str(path))
        for number in numbers:
            np.testing.assert_array_equal(reader.frame(int(number)), expected[number], err_msg=str(number))
        reader.close()
    with open_source(path) as source:
        assert (source.shape, source.dtype) == (expected.shape, expected.dtype)
        assert [axis.name for axis in source.axes] == list("tyxc")
        np.testing.assert_array_equal(source[-1, 5:9, ::-2], expected[-1, 5:9, ::-2])
        np.testing.assert_array_equal(source[...], expected)
    told = details(path)
    assert told.raw["variable_rate"] == ("varying" in name)
    if "varying" not in name:
        assert told.time_step == pytest.approx(0.04, rel=0.01)


def test_threads_read_one_film(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    expected = decoded(path)
    with open_source(path) as source, ThreadPoolExecutor(8) as pool:
        for number, found in zip(range(FRAMES), pool.map(source.__getitem__, range(FRAMES)), strict=True):
            np.testing.assert_array_equal(found, expected[number])


def test_no_frame_is_decoded_for_shape_and_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "a.mp4")
    monkeypatch.setattr(video.FrameReader, "_decoded", None)
    with open_source(path) as source:
        assert source.shape == (FRAMES, 48, 64, 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_all_frames_up_to_where_a_film_is_cut_off(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, **FILMS[name])
    expected, content = decoded(path), path.read_bytes()
    path.write_bytes(content[: int(len(content) * (0.8 if name == "a.avi" else 0.6))])  # behind its long header
    there = details(path).raw["frames"]
    assert 0 < there < FRAMES
    with open_source(path) as source:
        assert source.shape[0] > there
        readable = max(1, there - 4)  # the last ones may refer to frames that are gone
        np.testing.assert_array_equal(source[:readable], expected[:readable])
        with pytest.raises(StorageError):
            source[there]
        with pytest.raises(StorageError):
            source[-1]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
@pytest.mark.parametrize("shape", [(7, 31, 45), (7, 31, 45, 3)])
def test_lossless_films_come_back(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype("u1")
    path = tmp_path / f"a{suffix}"
    assert write(path, pixels, AXES[: len(shape)], compression="h264-lossless") == (
        () if len(shape) == 4 else ("grey",)
    )
    with open_source(path) as source:
        grey = len(shape) == 3
        np.testing.assert_array_equal(source[...], np.repeat(pixels[..., None], 3, -1) if grey else pixels)
        assert (source.axes[0].unit, source.axes[0].scale) == ("second", pytest.approx(0.1, rel=0.01))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_films_that_others_play(tmp_path: Path, codec: str) -> None:
    rows = np.mgrid[0:48, 0:64][0]
    pixels = np.stack([np.repeat(((rows + 3 * n) % 256)[..., None], 3, -1) for n in range(9)]).astype("u1")
    lost = write(tmp_path / "a.mp4", pixels, AXES, compression=codec)
    assert lost == ("exact values",)
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert (file.streams.video[0].codec_context.name, file.streams.video[0].pix_fmt) == (codec, "yuv420p")
    np.testing.assert_allclose(decoded(tmp_path / "a.mp4").astype(int), pixels, atol=12)
    worse = tmp_path / "b.mp4"
    video.write(str(worse), [Image(pixels, AXES)], {"compression": codec, "quality": 45})
    assert worse.stat().st_size < (tmp_path / "a.mp4").stat().st_size


def test_what_cannot_be_written(tmp_path: Path) -> None:
    pixels = np.zeros((3, 9, 8, 3), "u1")
    with pytest.raises(ShapeError, match="even sizes"):
        write(tmp_path / "a.mp4", pixels, AXES)
    with pytest.raises(ShapeError, match="3 colours"):
        write(tmp_path / "a.mp4", pixels[..., :2], AXES)
    with pytest.raises(DtypeError):
        write(tmp_path / "a.mp4", pixels.astype("u2"), AXES)
    with pytest.raises(ParameterError, match="quality"):
        video.write(str(tmp_path / "a.mp4"), [Image(pixels[:, :8], AXES)], {"quality": 99})
    assert write(tmp_path / "a.mp4", pixels[:, :8, :, 0], (Axis("z"), Axis("y", scale=2.0), Axis("x"))) == (
        "scale of y",
        "axis z",
        "grey",
        "exact values",
    )


def test_lists_of_other_files_are_not_followed(tmp_path: Path) -> None:
    film(tmp_path / "secret.mp4")
    for text in (
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n",
        "ffconcat version 1.0\nfile secret.mp4\n",
        "",
    ):
        (tmp_path / "a.mp4").write_text(text)
        with pytest.raises(FormatError, match="no video file"):
            open_source(tmp_path / "a.mp4")


def test_damaged_headers(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", moments=range(6))
    survives(path, 2000, 40)
