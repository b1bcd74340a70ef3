"""Volumes in the browser, without one: what is served, to whom, and what the page is told."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import ArgumentError, DtypeError, ParameterError, RegionError, ShapeError
from bioimage_py.sources import Axis, as_source
from bioimage_py.viz.viewing import browser
from bioimage_py.viz.viewing.contrast import contrast
from bioimage_py.viz.viewing.levels import best, levels_of, pyramid_of
from bioimage_py.wrapper import AxesSource

neuroglancer = pytest.importorskip("neuroglancer")
from bioimage_py.viz.viewing.served import ServedVolume, dtype_of  # noqa: E402

ZYX = tuple(Axis(name, "space", "nanometer", scale) for name, scale in zip("zyx", (40.0, 4.0, 4.0), strict=True))
TYPES = ["?", "u1", "i1", "u2", "i2", ">u2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4"]


def served(volume: ServedVolume, start: Any, end: Any, key: str) -> np.ndarray:
    data, _ = volume.get_encoded_subvolume("raw", np.array(start), np.array(end), key)
    return np.frombuffer(data, volume._served).reshape(tuple(np.array(end) - start), order="F")


@given(st.tuples(*(st.integers(1, 9),) * 3), st.sampled_from(TYPES), st.booleans(), st.integers(0, 2**32), st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_served_is_what_is_there(shape: Any, dtype: str, labels: bool, seed: int, data: Any) -> None:
    labels = labels and np.dtype(dtype).kind in "bui"
    random = np.random.default_rng(seed)
    array = random.integers(0, 100, shape).astype(dtype)
    volume = ServedVolume(levels_of(as_source(array)), ZYX, labels)
    start = [data.draw(st.integers(0, size - 1)) for size in shape]
    end = [data.draw(st.integers(begin + 1, size)) for begin, size in zip(start, shape, strict=True)]
    box = tuple(slice(begin, stop) for begin, stop in zip(start, end, strict=True))
    found = served(volume, start, end, "1,1,1")
    np.testing.assert_array_equal(found, array[box].astype(volume._served))
    assert np.dtype(volume.info()["dataType"]) == volume._served
    assert volume._served.str[1:] in {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "f4"}
    halves = [-(-size // 2) for size in shape]
    coarse = served(volume, [0, 0, 0], halves, "2,2,2")
    if labels:
        np.testing.assert_array_equal(coarse, array[::2, ::2, ::2].astype(volume._served))
    assert coarse.shape == tuple(halves)


def test_large_ids_are_served_whole() -> None:
    array = np.array([[[2**64 - 1, 2**53 + 1]]], "u8")
    volume = ServedVolume(levels_of(as_source(array)), ZYX, True)
    np.testing.assert_array_equal(served(volume, [0, 0, 0], [1, 1, 2], "1,1,1"), array)


@pytest.mark.parametrize(
    ("start", "end", "key"),
    [
        ([0, 0, 0], [5, 4, 4], "1,1,1"),
        ([0, 0, -1], [4, 4, 4], "1,1,1"),
        ([2, 0, 0], [1, 4, 4], "1,1,1"),
        ([0, 0, 0], [4, 4, 4], "0,1,1"),
        ([0, 0, 0], [4, 4, 4], "1,1"),
        ([0, 0, 0], [1, 1, 1], "8,8,8"),
    ],
)
def test_what_does_not_lie_in_it_is_refused(start: Any, end: Any, key: str) -> None:
    volume = ServedVolume(levels_of(as_source(np.zeros((4, 4, 4), "u1"))), ZYX, False)
    with pytest.raises(ValueError):
        volume.get_encoded_subvolume("raw", np.array(start), np.array(end), key)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An OME-Zarr image of three levels."""
    path = str(tmp_path_factory.mktemp("levels") / "image.ome.zarr")
    array = np.random.default_rng(0).integers(0, 255, (17, 40, 50)).astype("u1")
    bp.copy(AxesSource(array, ZYX), path, progress=False)
    levels = []
    for number in range(3):
        axes = [Axis(a.name, a.kind, a.unit, a.scale * 2**number) for a in ZYX]
        levels.append((str(number), axes))
        if number:
            shape = tuple(-(-size // 2**number) for size in array.shape)
            coarse = bp.io.create_array(path, str(number), shape=shape, dtype="u1", axes=axes)
            coarse[...] = bp.downsample(array, 2**number, progress=False)
    bp.io.write_multiscales(path, levels=levels)
    return path


class TestLevels:
    def test_of_an_ome_image(self, image: str) -> None:
        levels = levels_of(bp.open_source(image))
        assert [level.factors for level in levels] == [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
        assert best(levels, (4, 4, 4)).factors == (4, 4, 4)
        assert best(levels, (2, 4, 4)).factors == (2, 2, 2)
        assert best(levels, (1, 4, 4)).factors == (1, 1, 1)

    def test_zoomed_out_the_coarse_one_is_read(self, image: str) -> None:
        levels = levels_of(bp.open_source(image))
        volume = ServedVolume(levels, ZYX, False)
        found = served(volume, [0, 0, 0], levels[2].source.shape, "4,4,4")
        np.testing.assert_array_equal(found, levels[2].source[...])
        assert volume.info()["maxDownsampling"] == 64 * 64

    def test_of_given_arrays(self) -> None:
        sizes = ((9, 9), (5, 5), (9, 3), (4, 4), (9, 9), (3, 3))
        levels = pyramid_of([as_source(np.zeros(size, "u1")) for size in sizes])
        assert [level.factors for level in levels] == [(1, 1), (1, 3), (2, 2), (3, 3)]

    def test_of_a_view_or_an_array(self, image: str) -> None:
        assert len(levels_of(bp.wrapper.RoiSource(bp.open_source(image), (slice(0, 4),)))) == 1

    def test_of_n5(self, tmp_path: Path) -> None:
        for number, size in enumerate((8, 4, 2)):
            bp.io.create_array(tmp_path / "a.n5", f"raw/s{number}", shape=(size, size), dtype="u1")[...] = number
        levels = levels_of(bp.open_source(tmp_path / "a.n5", "raw/s0"))
        assert [level.factors for level in levels] == [(1, 1), (2, 2), (4, 4)]


class TestContrast:
    def test_of_a_small_image(self) -> None:
        array = np.arange(1000, dtype="f4").reshape(10, 10, 10)
        array[0, 0, 0] = np.nan
        low, high = contrast(levels_of(as_source(array)), (1, 99))
        assert (low, high) == pytest.approx(np.nanpercentile(array, [1, 99]))

    def test_of_a_large_one_it_reads_boxes(self) -> None:
        array = np.tile(np.arange(256, dtype="u1"), (256, 256, 1))
        low, high = contrast(levels_of(as_source(array)), (0, 100))
        assert 0 <= low < 100
        assert 150 < high <= 255

    @pytest.mark.parametrize("array", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((3, 3), bool)])
    def test_of_one_value(self, array: Any) -> None:
        low, high = contrast(levels_of(as_source(array)), (1, 99))
        assert high == low + 1


class TestPage:
    def state(self, *volumes: Any, **how: Any) -> dict[str, Any]:
        with bp.viz.view(*volumes, **how) as page:
            return dict(page._viewer.state.to_json())

    def test_layers_axes_and_units(self) -> None:
        raw = AxesSource(np.arange(24, dtype="u1").reshape(2, 3, 4), ZYX)
        told = self.state(raw, np.ones((2, 3, 4), "u4"), names=["raw", "labels"])
        assert [(one["name"], one["type"]) for one in told["layers"]] == [("raw", "image"), ("labels", "segmentation")]
        assert told["dimensions"] == {"x": [4e-9, "m"], "y": [4e-9, "m"], "z": [4e-8, "m"]}
        assert told["position"] == [2.5, 1.5, 1.5]
        assert told["layers"][0]["shaderControls"]["normalized"]["range"][0] < 1

    def test_of_channels_and_time(self) -> None:
        axes = [Axis("t", "time", "second", 2.0), Axis("c", "channel"), *ZYX]
        told = self.state(AxesSource(np.ones((2, 3, 2, 4, 5), "u2"), axes))
        assert list(told["dimensions"]) == ["x", "y", "z", "t"]
        assert "c2(channel=2)" in told["layers"][0]["shader"]

    @pytest.mark.parametrize("dtype", TYPES)
    @pytest.mark.parametrize("shape", [(3,), (3, 4), (1, 1, 1), (2, 3, 4, 5)])
    def test_of_all_types_and_axes(self, dtype: str, shape: tuple[int, ...]) -> None:
        assert self.state(np.ones(shape, dtype))["layers"]
        assert dtype_of(as_source(np.ones(shape, dtype)), False).isnative

    def test_positions(self) -> None:
        assert self.state(np.ones((4, 5, 6), "u1"), position=(1, 2, 3))["position"] == [3.5, 2.5, 1.5]
        moved = AxesSource(np.ones((4, 5, 6), "u1"), [Axis(a.name, "space", a.unit, a.scale, 8 * a.scale) for a in ZYX])
        assert self.state(moved, position=(1, 2, 3))["position"] == [11.5, 10.5, 9.5]

    def test_labels_are_named_or_numbered(self) -> None:
        array = np.ones((2, 2, 2), "u4")
        kinds = lambda **how: [one["type"] for one in self.state(array, array, names=["a", "b"], **how)["layers"]]  # noqa: E731
        assert kinds(labels=[]) == ["image", "image"]
        assert kinds(labels=[1]) == ["image", "segmentation"]
        assert kinds(labels=["a"]) == ["segmentation", "image"]

    @pytest.mark.parametrize(
        ("volumes", "how", "error"),
        [
            ((), {}, ArgumentError),
            ((np.ones(3),), {"names": ["a", "b"]}, ArgumentError),
            ((np.ones(3),), {"labels": ["volume 0"]}, DtypeError),
            ((np.ones(3),), {"labels": [7]}, ParameterError),
            ((np.ones(3, "c8"),), {}, DtypeError),
            ((np.ones((3, 0)),), {}, ShapeError),
            ((np.ones(3),), {"position": (3,)}, RegionError),
            ((np.ones(3),), {"position": (1, 1)}, RegionError),
            ((np.ones(3),), {"layout": "round"}, ParameterError),
            ((np.ones(3),), {"percentiles": (99, 1)}, ParameterError),
        ],
    )
    def test_what_cannot_be_shown(self, volumes: Any, how: Any, error: Any) -> None:
        with pytest.raises(error) as raised:
            bp.viz.view(*volumes, **how)
        assert raised.value.remedy


@pytest.mark.processes
class TestServing:
    def read(self, url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bytes(answer.read())

    def test_of_the_page_and_its_voxels(self) -> None:
        array = np.arange(60, dtype="u2").reshape(3, 4, 5)
        with bp.viz.view(array) as page:
            assert page.url.startswith("http://127.0.0.1:")
            assert b"<script" in self.read(page.url)
            source = page._viewer.state.to_json()["layers"][0]["source"]
            address = source[0] if isinstance(source, list) else source
            token = (address["url"] if isinstance(address, dict) else address).rpartition("/")[2]
            root = page.url.partition("/v/")[0]
            found = self.read(f"{root}/neuroglancer/raw/{token}/1,1,1/0,0,0/3,4,5")
            np.testing.assert_array_equal(np.frombuffer(found, "u2").reshape((3, 4, 5), order="F"), array)
            assert json.loads(self.read(f"{root}/neuroglancer/info/{token}"))["shape"] == [3, 4, 5]
            wrong = token[:-4] + "0000"
            for path in (f"neuroglancer/raw/{wrong}/1,1,1/0,0,0/1,1,1", f"neuroglancer/info/{wrong}", "v/0000/"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    self.read(f"{root}/{path}")
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"{root}/credentials/{page._viewer.token}", b"{}", timeout=60)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            self.read(f"{root}/neuroglancer/info/{token}")

    def test_shows_itself_in_a_notebook(self) -> None:
        with bp.viz.view(np.ones((2, 2), "u1")) as page:
            assert f'<iframe src="{page.url}"' in page._repr_html_()
            assert page.url in repr(page)


class TestLinks:
    def test_of_neuroglancer(self) -> None:
        url = bp.viz.link("https://example.org/raw.ome.zarr", "precomputed://gs://bucket/cells", labels=[1])
        site, _, state = url.partition("/#!")
        told = json.loads(unquote(state))
        assert site == "https://neuroglancer-demo.appspot.com"
        assert told["layers"] == [
            {"type": "image", "source": "zarr://https://example.org/raw.ome.zarr", "name": "raw"},
            {"type": "segmentation", "source": "precomputed://gs://bucket/cells", "name": "cells 1"},
        ]

    @pytest.mark.parametrize("url", ["volume.zarr", "/data/a.zarr", "file:///a.zarr", "https://example.org/a.tif"])
    def test_of_what_is_not_published(self, url: str) -> None:
        with pytest.raises(ParameterError, match="no zarr, n5 or precomputed"):
            bp.viz.link(url)

    def test_of_nothing_and_of_webknossos(self) -> None:
        with pytest.raises(ArgumentError):
            bp.viz.link()
        assert bp.viz.link("https://webknossos.org/datasets/a/b") == "https://webknossos.org/datasets/a/b"


def test_without_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(browser.VARIABLE, "no-such-browser")
    with pytest.raises(bp.errors.MissingDependencyError, match="no-such-browser is on the PATH"):
        browser.find_browser()
    monkeypatch.delenv(browser.VARIABLE)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(bp.errors.MissingDependencyError, match="Chromium or Chrome"):
        browser.find_browser()


class TestCommand:
    def run(self, *arguments: Any, code: int = 0) -> Any:
        result = CliRunner(mix_stderr=False).invoke(main, ["view", *map(str, arguments)])
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    @pytest.fixture
    def shown(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What the command shows; it does not wait."""
        seen: list[Any] = []
        monkeypatch.setattr("bioimage_py.cli.looking.view.threading.Event", lambda: Ends(seen))
        return seen

    def test_of_containers_and_levels(self, tmp_path: Path, shown: list[Any]) -> None:
        for key, size in (("raw/s0", 8), ("raw/s1", 4), ("cells", 8)):
            bp.io.create_array(tmp_path / "a.n5", key, shape=(size,) * 3, dtype="u1")[...] = 1
        told = json.loads(self.run(tmp_path / "a.n5", "--json").stdout)
        assert sorted(told["layers"]) == ["cells", "s0"] or sorted(told["layers"]) == ["cells", "raw"]
        told = json.loads(self.run(f"{tmp_path}/a.n5/cells::0:4", f"{tmp_path}/a.n5/raw/s0", "--json").stdout)
        assert told["layers"] == ["cells", "raw"]
        assert told["url"].startswith("http://127.0.0.1:")

    def test_errors(self, tmp_path: Path) -> None:
        bp.copy(np.ones((4, 4), "u1"), str(tmp_path / "a.zarr/raw"), progress=False)
        assert "does not exist" in self.run(tmp_path / "none.zarr", code=1).stderr
        assert "--position 2,2" in self.run(tmp_path / "a.zarr/raw", "--position", "9,9", code=1).stderr
        assert "--layout 4panel" in self.run(tmp_path / "a.zarr/raw", "--layout", "x", code=1).stderr
        assert "no zarr" in self.run(tmp_path / "a.zarr", "--link", code=1).stderr

    def test_links(self) -> None:
        told = self.run("https://example.org/a.zarr", "https://example.org/cells.zarr", "--labels", "cells", "--link")
        assert "segmentation" in unquote(told.stdout)


class Ends:
    """Stands for waiting: somebody types Ctrl-C."""

    def __init__(self, seen: list[Any]) -> None:
        seen.append(self)

    def wait(self) -> None:
        raise KeyboardInterrupt
