"""The picture of a source in a notebook: there where it is cheap, and never a reason to fail."""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import bioimage_py as bp
from bioimage_py import wrapper
from bioimage_py.sources import Axis, as_source
from bioimage_py.viz import thumbnail as thumbnails
from bioimage_py.viz.thumbnail import thumbnail
from bioimage_py.wrapper import AxesSource


def pixels(page: str) -> np.ndarray:
    (data,) = re.findall(r'base64,([^"]+)"', page)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_it_is_the_middle_plane() -> None:
    array = np.zeros((9, 20, 30), "u1")
    array[4, :10] = 200
    found = pixels(as_source(array)._repr_html_())
    assert found.shape == (20, 30)
    assert found[:10].min() == 255
    assert found[10:].max() == 0


def test_labels_are_coloured_and_large_planes_are_small() -> None:
    array = np.arange(400 * 500, dtype="u8").reshape(400, 500) // 5000
    found = pixels(thumbnail(as_source(array)))
    assert found.shape == (100, 125, 3)
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 40


def test_one_channel_and_one_time_are_shown() -> None:
    array = np.zeros((2, 3, 4, 8, 8), "u1")
    array[0, 0, 2, 0, 0] = 1
    axes = [Axis("t", "time"), Axis("c", "channel"), Axis("z"), Axis("y"), Axis("x")]
    assert pixels(thumbnail(AxesSource(array, axes)))[0, 0] == 255


class Counted:
    """An array that says how much is read of it."""

    shape, dtype, chunks = (100, 100_000, 100_000), np.dtype("u1"), (1, 512, 512)

    def __init__(self) -> None:
        self.read = 0

    def __getitem__(self, index: Any) -> np.ndarray:
        found = np.zeros([part.stop - part.start for part in index], "u1")
        self.read += found.size
        return found


def test_of_a_large_plane_the_middle_is_read() -> None:
    array = Counted()
    assert pixels(thumbnail(as_source(array))).size
    assert 0 < array.read <= 2**24


def test_there_is_none_where_a_chunk_is_too_much() -> None:
    array = Counted()
    array.chunks = (100, 10_000, 10_000)  # type: ignore[assignment]
    assert thumbnail(as_source(array)) == ""
    assert array.read == 0


class Broken(Counted):
    def __getitem__(self, index: Any) -> np.ndarray:
        raise OSError("the disk is gone")


def test_a_source_that_cannot_be_read_is_told_without() -> None:
    page = as_source(Broken())._repr_html_()
    assert "<table>" in page
    assert "<img" not in page


def test_of_a_file(tmp_path: Path) -> None:
    bp.copy(np.ones((4, 6, 8), "f4"), str(tmp_path / "a.zarr/raw"), progress=False)
    assert pixels(bp.open_source(tmp_path / "a.zarr", "raw")._repr_html_()).shape == (6, 8)


@given(st.lists(st.integers(0, 5), max_size=5).map(tuple), st.sampled_from(["?", "u1", ">i2", "u8", "f2", "f8", "c8"]))
@settings(max_examples=50, deadline=None)
@pytest.mark.filterwarnings("error")
def test_no_array_is_a_reason_to_fail(shape: tuple[int, ...], dtype: str) -> None:
    array = np.zeros(shape, dtype)
    if array.size and dtype == "f8":
        array.flat[0] = np.nan
    assert "<table>" in as_source(array)._repr_html_()


class TestViews:
    volume = np.zeros((9, 20, 30), "u1")
    volume[4, :10] = 200

    @pytest.mark.parametrize(
        "view",
        [
            lambda one: wrapper.RoiSource(one, (slice(3, 6), slice(0, 20))),
            lambda one: wrapper.CastSource(one, "f4"),
            lambda one: wrapper.AxesSource(one, [Axis("z", "space", "um", 2.0), Axis("y"), Axis("x")]),
            lambda one: wrapper.FlipSource(one, "x"),
            lambda one: wrapper.ThresholdSource(one, 100),
        ],
    )
    def test_it_is_that_of_what_they_show(self, view: Any) -> None:
        found = pixels(view(as_source(self.volume))._repr_html_())
        assert found.shape == (20, 30)
        assert found[:10].min() > found[10:].max()

    @pytest.mark.parametrize(
        "view",
        [
            lambda one: wrapper.SimpleTransformationSource(one, np.sqrt),
            lambda one: wrapper.NormalizeSource(one),
            lambda one: wrapper.RoiSource(wrapper.SimpleTransformationSource(one, np.sqrt), (slice(3, 6),)),
        ],
    )
    def test_what_computes_is_not_begun(self, view: Any) -> None:
        array = Counted()
        array.shape = (100, 200, 200)  # type: ignore[assignment]
        source = view(as_source(array))
        before = array.read
        assert "<table>" in (page := source._repr_html_())
        assert "<img" not in page
        assert array.read == before

    def test_of_a_coarse_view_counts_what_is_behind_it(self) -> None:
        array = Counted()
        assert "<img" in wrapper.DownsampleSource(array, (1, 4, 4))._repr_html_()
        assert 0 < array.read <= 2**24
        array.read = 0
        assert wrapper.DownsampleSource(array, (100, 100, 100))._repr_html_().count("<img") == 0
        assert array.read == 0

    def test_one_that_is_slow_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(thumbnails, "_SECONDS", 0.2)
        free = threading.Event()

        class Slow(Counted):
            shape = (4, 50, 50)

            def __getitem__(self, index: Any) -> np.ndarray:
                free.wait(60)
                return super().__getitem__(index)

        page = wrapper.CastSource(Slow(), "f4")._repr_html_()
        free.set()
        assert "<table>" in page
        assert "<img" not in page


class TestRemote:
    """A server of files on this machine, which counts what is asked for."""

    @pytest.fixture
    def served(self, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
        asked: list[str] = []

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(tmp_path))

            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        server.server_close()

    @pytest.fixture(autouse=True)
    def _patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(thumbnails, "_SECONDS", 100)  # a machine may be busy

    def test_a_coarser_level_is_read(self, tmp_path: Path, served: tuple[str, list[str]]) -> None:
        url, asked = served
        volume = np.zeros((2, 1024, 1024), "u1")
        volume[:, :512] = 200
        bp.workflows.convert(volume, tmp_path / "a.ome.zarr", pyramid=True, execution=bp.Execution(progress=False))
        source = bp.open_source(f"{url}/a.ome.zarr", "0")
        asked.clear()
        found = pixels(source._repr_html_())
        assert found.shape[0] == found.shape[1] <= 160
        assert found[: len(found) // 2 - 1].min() == 255
        chunks = [path for path in asked if "/c/" in path]
        assert chunks
        assert not [path for path in chunks if path.startswith("/a.ome.zarr/0/c/")]
        assert len(chunks) <= 32

    def test_a_server_that_is_gone_costs_no_table(self, tmp_path: Path, served: tuple[str, list[str]]) -> None:
        url, _ = served
        bp.copy(np.ones((4, 6, 8), "f4"), str(tmp_path / "a.zarr/raw"), progress=False)
        source = bp.open_source(f"{url}/a.zarr", "raw")
        assert "<img" in source._repr_html_()
        (tmp_path / "a.zarr/raw/c").rename(tmp_path / "gone")
        assert "<table>" in source._repr_html_()
