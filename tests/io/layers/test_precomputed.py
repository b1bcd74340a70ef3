"""Precomputed layers through the six functions: folders and web servers, scales as levels, what is damaged."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings

import bioimage_py as bp
from bioimage_py.errors import BioimageError, FormatError, KeyNotFoundError, OptionError, SourceNotFoundError
from bioimage_py.sources import Axis, Source, from_spec, open_cloudvolume, open_source
from bioimage_py.testing.conformance import MakeSource

from ...sources.precomputed.precomputed_layers import by_tensorstore, new_layer, new_pyramid, serving, voxels
from ...sources.precomputed.test_cloudvolume_conformance import Precomputed
from ..image_files.common import changed, changes


class TestAsFiles(Precomputed):
    kind = "file"
    examples = 4
    dtypes: ClassVar[tuple[str, ...]] = ("int16", "float32")

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = tmp_path / "layers" / str(next(counter))
            new_layer(path, content, **self.about(content, axes))
            return open_source(path, mode="r+" if writable else "r")

        return make

    @pytest.fixture(params=["cloud-volume", "tensorstore"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            made = new_layer if request.param == "cloud-volume" else by_tensorstore
            made(tmp_path / "foreign", content)
            return open_source(tmp_path / "foreign")

        return write


@pytest.fixture(params=["folder", "file://", "precomputed://", "http"])
def pyramid(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """A layer of three scales, and what each holds."""
    if request.param == "http":
        with serving(tmp_path / "web") as url:
            _, contents = new_pyramid(tmp_path / "web" / "layer")
            yield f"{url}/layer", contents
        return
    url, contents = new_pyramid(tmp_path / "layer")
    yield (
        {"folder": str(tmp_path / "layer"), "file://": url, "precomputed://": f"precomputed://{url}"}[request.param],
        contents,
    )


def test_the_six_functions(pyramid: tuple[str, list[np.ndarray]]) -> None:
    url, contents = pyramid
    for level, content in enumerate(contents):
        told, read = bp.improps(url, level=level), bp.imread(url, level=level)
        np.testing.assert_array_equal(read, content)
        assert (told.shape, told.dtype, told.axes, told.format) == (read.shape, read.dtype, tuple("zyx"), "precomputed")
    told = bp.improps(url)
    assert told.levels == tuple(content.shape for content in contents)
    assert (told.spacing, told.unit, told.n_total) == ((40.0, 4.0, 4.0), ("nanometer",) * 3, 1)
    assert bp.immeta(url)["scales"][1]["key"] == "8_8_40"
    assert bp.immeta(url, standard=True)["pixel_sizes"]["z"] == [40.0, "nanometer"]
    np.testing.assert_array_equal(bp.imread(url, index=...), contents[0][None])
    np.testing.assert_array_equal(np.stack(list(bp.imiter(url, axis="z"))), contents[0])
    np.testing.assert_array_equal(bp.imread(url, roi={"z": slice(3, 5)}, axes="xyz"), contents[0][3:5].T)
    np.testing.assert_array_equal(bp.imread(url, key="16_16_80"), contents[2])
    with bp.imopen(url, "r") as file:
        assert len(file) == 1
        assert file[0].levels == told.levels
        source = file.source(0, level=1)
    with from_spec(source.to_spec()) as again:
        np.testing.assert_array_equal(again[...], contents[1])
        assert again.axes == source.axes


def test_a_file_is_the_same_storage_as_its_layer(tmp_path: Path) -> None:
    url = new_layer(tmp_path / "a", voxels())
    assert bp.open_source(tmp_path / "a").identity == open_cloudvolume(url).identity
    assert bp.improps(tmp_path / "a").is_label is False
    labels = voxels(dtype="uint64", high=9)
    new_layer(tmp_path / "ids", labels, encoding="compressed_segmentation")
    told = bp.improps(tmp_path / "ids")
    assert (told.is_label, told.compression) == (True, "compressed_segmentation")
    np.testing.assert_array_equal(bp.imread(tmp_path / "ids"), labels)
    channels = voxels((3, 7, 8, 9), dtype="uint8")
    new_layer(tmp_path / "channels", channels)
    np.testing.assert_array_equal(bp.imread(tmp_path / "channels"), channels)
    assert bp.improps(tmp_path / "channels").axes == tuple("czyx")


def test_missing_chunks(tmp_path: Path) -> None:
    new_layer(tmp_path / "a")
    with pytest.raises(SourceNotFoundError, match="missing"):
        bp.imread(tmp_path / "a")
    assert not bp.imread(tmp_path / "a", fill_missing=True).any()


def test_what_is_wrong(tmp_path: Path) -> None:
    new_layer(tmp_path / "a", voxels())
    for call, error, text in (
        (lambda: bp.imread(tmp_path / "a", level=3), KeyNotFoundError, "no level 3"),
        (lambda: bp.imread(tmp_path / "a", key="2_2_2"), KeyNotFoundError, "4_4_40"),
        (lambda: bp.imread(tmp_path / "a", mip=1), OptionError, "fill_missing"),
        (lambda: bp.imwrite(tmp_path / "b", voxels(), plugin="precomputed"), FormatError, "cannot be written"),
        (lambda: bp.open_source(tmp_path / "a", mode="w"), FormatError, "'w'"),
    ):
        with pytest.raises(error, match=text):
            call()
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "info").write_text('{"@type": "neuroglancer_legacy_mesh"}')
    with pytest.raises(FormatError):
        bp.imread(tmp_path / "meshes")


@pytest.mark.parametrize("key", ["../other/4_4_40", "link"])
def test_voxels_outside_of_the_layer_are_not_read(tmp_path: Path, key: str) -> None:
    for name in ("a", "other"):
        new_layer(tmp_path / name, voxels())
    (tmp_path / "a" / "link").symlink_to(tmp_path / "other" / "4_4_40")
    info = json.loads((tmp_path / "a" / "info").read_text())
    info["scales"][0]["key"] = key
    (tmp_path / "a" / "info").write_text(json.dumps(info))
    with pytest.raises(FormatError, match="outside"):
        bp.imread(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", [0, 1, 1]),
        ("size", [-3, 1, 1]),
        ("size", "abc"),
        ("chunk_sizes", [[0, 1, 1]]),
        ("resolution", [0, 4, 4]),
        ("resolution", [float("nan")] * 3),
        ("encoding", "unheard of"),
        ("key", None),
        ("voxel_offset", [1]),
    ],
)
def test_a_damaged_scale_is_an_error(tmp_path: Path, name: str, value: Any) -> None:
    new_layer(tmp_path / "a", voxels())
    info = json.loads((tmp_path / "a" / "info").read_text())
    info["scales"][0][name] = value
    (tmp_path / "a" / "info").write_text(json.dumps(info))
    with pytest.raises(BioimageError) as caught:
        bp.imread(tmp_path / "a")
    assert caught.value.remedy


def test_damaged_descriptions(tmp_path: Path) -> None:
    new_layer(tmp_path / "a", voxels())
    info = (tmp_path / "a" / "info").read_bytes()
    outcomes = set()

    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(steps=changes(len(info)))
    def attempt(steps: list[tuple[str, int, bytes]]) -> None:
        (tmp_path / "a" / "info").write_bytes(changed(info, steps))
        try:
            told = bp.improps(tmp_path / "a")
            if told.nbytes < 2**24:
                read = bp.imread(tmp_path / "a", fill_missing=True)
                assert (read.shape, read.dtype) == (told.shape, told.dtype)
            outcomes.add("read")
        except BioimageError:
            outcomes.add("refused")

    attempt()
    assert {"refused"} <= outcomes <= {"read", "refused"}
    (tmp_path / "a" / "info").write_bytes(info)
    np.testing.assert_array_equal(bp.imread(tmp_path / "a"), voxels())
