"""Layers of local WebKnossos datasets in three formats: reading what the library wrote, and writing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import (
    FormatError,
    KeyNotFoundError,
    ParameterError,
    ReadOnlyError,
    RegionError,
    RunnerError,
    SourceNotFoundError,
)
from bioimage_py.runner.worker.undo import Undo
from bioimage_py.sources import Axis, SourceSpec, as_source, from_spec, open_webknossos
from bioimage_py.testing.indices import write_units

from .webknossos_data import (
    FORMATS,
    MAGS,
    VOXEL,
    add_layer,
    add_mag,
    boxes,
    empty,
    fill,
    library_view,
    make_dataset,
    random_voxels,
    wk,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*(INFO|WARNING)|.*listed in the dataset:UserWarning")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("library") / "brain")


# what the library has written


@pytest.mark.parametrize("mag", MAGS, ids=str)
@pytest.mark.parametrize("data_format", FORMATS)
def test_what_the_library_wrote_reads_right(dataset: Path, data_format: str, mag: Any) -> None:
    """200 random boxes a magnification, each asked of the library too, in its own coordinates."""
    for name in ("color", "ids"):
        view = library_view(dataset, f"{name}_{data_format}", mag)
        source = open_webknossos(dataset, layer_name=f"{name}_{data_format}", mag=mag)
        whole = view.read().transpose(0, 3, 2, 1)
        whole = whole if name == "color" else whole[0]
        assert source.dtype == whole.dtype
        np.testing.assert_array_equal(source[...], whole)
        for box in boxes(source.shape, 100, seed=7):
            np.testing.assert_array_equal(source[box], whole[box])
    factors = np.array(view.mag.to_tuple())
    for box in boxes(source.shape, 10, seed=8):
        start = np.array([part.start for part in reversed(box)]) * factors + np.array(view.bounding_box.topleft)
        count = np.array([part.stop - part.start for part in reversed(box)]) * factors
        said = view.read(absolute_offset=tuple(start.tolist()), size=tuple(count.tolist()))
        np.testing.assert_array_equal(source[box], said[0].transpose(2, 1, 0))


def test_mags_are_ints_tuples_and_strings(dataset: Path) -> None:
    for mag, same in ((1, "1"), (1, (1, 1, 1)), ("2-2-1", (2, 2, 1)), ([4, 4, 2], wk.Mag("4-4-2")), ("1", np.int64(1))):
        first, second = (open_webknossos(dataset, layer_name="ids_wkw", mag=value) for value in (mag, same))
        assert first.to_spec() == second.to_spec()
    for mag in (0, "2-2", "two", (2, 2), None, 1.5):
        with pytest.raises(ParameterError, match="mag is"):
            open_webknossos(dataset, layer_name="ids_wkw", mag=mag)  # type: ignore[arg-type]
    with pytest.raises(KeyNotFoundError, match="has no mag 8; it has 1, 2-2-1, 4-4-2"):
        open_webknossos(dataset, layer_name="ids_wkw", mag=8)


def test_axes_have_the_scale_and_the_place_of_the_mag(dataset: Path) -> None:
    """Centres of voxels in nanometers: a voxel of mag 2 has its own between those of the two voxels that it covers."""
    fine = open_webknossos(dataset, layer_name="color_zarr3")
    assert [axis.name for axis in fine.axes] == ["c", "z", "y", "x"]
    assert fine.axes[1:] == (
        Axis("z", "space", "nanometer", 25.0, 30 * 25.0),
        Axis("y", "space", "nanometer", 11.2, 20 * 11.2),
        Axis("x", "space", "nanometer", 11.2, 10 * 11.2),
    )
    coarse = open_webknossos(dataset, layer_name="ids_wkw", mag="2-2-1")
    assert coarse.axes[0] == fine.axes[1]
    assert coarse.axes[2].scale == pytest.approx(22.4)
    assert coarse.axes[2].offset == pytest.approx(10 * 11.2 + 11.2 / 2)
    part = open_webknossos(dataset, layer_name="ids_wkw", mag="2-2-1", roi=(slice(3, 9), slice(None), slice(4, 7)))
    assert part.axes[0].offset == pytest.approx(33 * 25.0)
    assert part.axes[2].offset == pytest.approx(coarse.axes[2].offset + 4 * 22.4)


@pytest.mark.parametrize("data_format", FORMATS)
def test_offset_and_size_are_mag1_xyz_and_roi_is_of_the_opened_mag(dataset: Path, data_format: str) -> None:
    layer = f"ids_{data_format}"
    whole = open_webknossos(dataset, layer_name=layer, mag="2-2-1")
    voxels = whole[...]
    part = open_webknossos(dataset, layer_name=layer, mag="2-2-1", offset=(20, 24, 35), size=(16, 12, 7))
    assert part.shape == (7, 6, 8)
    np.testing.assert_array_equal(part[...], voxels[5:12, 2:8, 5:13])
    odd = open_webknossos(dataset, layer_name=layer, mag="2-2-1", offset=(21, 25, 35), size=(3, 4, 7))
    assert odd.shape == (7, 3, 2), "rounded outwards to whole voxels"
    np.testing.assert_array_equal(odd[...], voxels[5:12, 2:5, 5:7])
    roi = (slice(1, -1), 2, slice(3, 8))
    inner = open_webknossos(dataset, layer_name=layer, mag="2-2-1", offset=(20, 24, 35), size=(16, 12, 7), roi=roi)
    np.testing.assert_array_equal(inner[...], voxels[6:11, 4:5, 8:13])
    assert inner.grid_origin == (-36, -14, -13)
    for source in (part, odd, inner):
        np.testing.assert_array_equal(from_spec(source.to_spec())[...], source[...])
        assert from_spec(source.to_spec()).to_spec() == source.to_spec()


@pytest.mark.parametrize("data_format", FORMATS)
def test_what_lies_beyond_the_array_is_zero_and_cannot_be_opened_for_writing(dataset: Path, data_format: str) -> None:
    layer = f"ids_{data_format}"
    voxels = open_webknossos(dataset, layer_name=layer)[...]
    wide = open_webknossos(dataset, layer_name=layer, offset=(0, 0, 0), size=(300, 200, 100))
    assert wide.shape == (100, 200, 300)
    found = wide[...]
    np.testing.assert_array_equal(found[30:80, 20:80, 10:80], voxels)
    assert np.count_nonzero(found) == np.count_nonzero(voxels)
    assert not wide[90:, 150:, 250:].any()
    with pytest.raises(RegionError, match=r"0:300 along x .* outside of the bounding box .* which has 10:80"):
        open_webknossos(dataset, layer_name=layer, offset=(0, 20, 30), size=(300, 60, 50), mode="r+")
    with pytest.raises(RegionError, match="below 0"):
        open_webknossos(dataset, layer_name=layer, offset=(-1, 0, 0))


def test_an_array_that_is_smaller_than_its_layer(tmp_path: Path) -> None:
    """As other programs make them: without padding. The rest reads as 0, and cannot be written."""
    path = empty(tmp_path / "d", "zarr3", mag="2-2-1")
    description = path / "seg" / "2-2-1" / "zarr.json"
    content = json.loads(description.read_text())
    content["shape"] = [1, 39, 40, 80]
    description.write_text(json.dumps(content))
    source = as_source(library_view(path, "seg", "2-2-1"))
    source[:, :, :34] = 3
    assert source.shape == (50, 30, 35)
    with pytest.raises(RegionError, match=r"5:40 along x .* outside of the array .* which has 0:39"):
        source[...] = 4
    assert (source[:, :, :34] == 3).all()
    assert not source[:, :, 34:].any()


def test_channels(dataset: Path) -> None:
    for data_format in FORMATS:
        both = open_webknossos(dataset, layer_name=f"color_{data_format}")
        one = open_webknossos(dataset, layer_name=f"color_{data_format}", channel=1)
        assert (both.shape, one.shape) == ((2, 50, 60, 70), (50, 60, 70))
        np.testing.assert_array_equal(one[...], both[1])
        np.testing.assert_array_equal(from_spec(one.to_spec())[3:9], both[1, 3:9])
        picked = open_webknossos(dataset, layer_name=f"color_{data_format}", roi=(1, slice(0, 5)))
        np.testing.assert_array_equal(picked[...], both[1:2, :5])
        np.testing.assert_array_equal(from_spec(picked.to_spec())[...], picked[...])
        single = open_webknossos(dataset, layer_name=f"ids_{data_format}", channel=0)
        assert single.shape == (50, 60, 70)
    with pytest.raises(ParameterError, match="no channel 2: the layer has 2"):
        open_webknossos(dataset, layer_name="color_wkw", channel=2)


@pytest.mark.parametrize("stored", [("c", "t", "z", "y", "x"), ("t", "y", "x", "z")], ids="".join)
def test_further_axes_come_first(tmp_path: Path, stored: tuple[str, ...]) -> None:
    """Whatever the order of the axes in the array: time, then z, y, x."""
    bounds = {"c": (0, 1), "t": (0, 3), "z": (3, 20), "y": (4, 21), "x": (5, 22)}
    topleft, size = zip(*(bounds[name] for name in stored), strict=True)
    box = wk.NDBoundingBox(topleft, size, axes=stored, index=range(len(stored)))
    made = wk.Dataset(tmp_path / "d", voxel_size=VOXEL)
    layer = made.add_layer("movie", "color", dtype="uint16", data_format="zarr3", bounding_box=box)
    view = add_mag(layer, 1)
    voxels = random_voxels(size, "uint16")
    view.write(voxels, absolute_bounding_box=view.bounding_box, allow_unaligned=True)
    source = open_webknossos(tmp_path / "d", mode="r+")
    assert [(axis.name, axis.kind) for axis in source.axes][:2] == [("t", "time"), ("z", "space")]
    expected = np.einsum(f"{''.join(stored)}->tzyx", voxels)
    np.testing.assert_array_equal(source[...], expected)
    assert (source.grid_origin, source.write_chunks) == ((0, -3, -4, -5), (1, 16, 16, 16))
    source[1, 2:9, 3] = expected[1, 2:9, 3] = 7
    np.testing.assert_array_equal(np.einsum(f"{''.join(stored)}->tzyx", view.read()), expected)


@pytest.mark.parametrize("roi", [(slice(0, 51),), (slice(0, 9, 2),), (slice(5, 5),), (0, 0, 0, 0), (None,), ("x",)])
def test_regions_that_do_not_fit(dataset: Path, roi: Any) -> None:
    with pytest.raises((RegionError, IndexError)):
        open_webknossos(dataset, layer_name="ids_wkw", roi=roi)


def test_errors_of_local_datasets(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyNotFoundError, match=r"no layer 'none'; it has .*'color_wkw'"):
        open_webknossos(dataset, layer_name="none")
    with pytest.raises(KeyNotFoundError, match="no layer ''"):
        open_webknossos(dataset)
    with pytest.raises(SourceNotFoundError, match=r"no WebKnossos dataset: it has no datasource-properties.json"):
        open_webknossos(tmp_path)
    with pytest.raises(ParameterError, match="mode is 'w'"):
        open_webknossos(dataset, layer_name="ids_wkw", mode="w")  # type: ignore[arg-type]
    (tmp_path / "datasource-properties.json").write_text('{"scale": 3}')
    with pytest.raises(FormatError, match="Cannot read"):
        open_webknossos(tmp_path)
    with pytest.raises(ReadOnlyError, match="read-only") as caught:
        open_webknossos(dataset, layer_name="ids_wkw")[0] = 1
    assert "mode='r+'" in str(caught.value)


def test_live_views_are_sources(dataset: Path) -> None:
    view = library_view(dataset, "ids_zarr3", "2-2-1")
    source = as_source(view)
    assert source.writable
    spec = source.to_spec()
    assert (spec.kind, spec.path, spec.internal_path) == ("webknossos", str(dataset), "ids_zarr3")
    assert (spec.params["mag"], spec.params["mode"]) == ("2-2-1", "r+")
    np.testing.assert_array_equal(from_spec(spec)[...], view.read()[0].transpose(2, 1, 0))
    assert source.layer is view  # type: ignore[attr-defined]
    closed = wk.Dataset.open(dataset, read_only=True).get_layer("ids_wkw").get_mag(1)
    assert not as_source(closed).writable


def test_specs_that_name_the_dataset_in_their_params_open(dataset: Path) -> None:
    params = {"dataset_name_or_url": str(dataset), "organization_id": None, "layer_name": "ids_zarr", "mag": 1}
    source = from_spec(SourceSpec("webknossos", params={**params, "offset": [12, 20, 30], "size": [5, 6, 7]}))
    assert source.shape == (7, 6, 5)


# writing


STORED = [("wkw", True), ("wkw", False), ("zarr", True), ("zarr3", True)]
stored = pytest.mark.parametrize(("data_format", "compress"), STORED, ids=["wkw lz4", "wkw raw", "zarr", "zarr3"])


@stored
def test_the_library_reads_what_is_written_here(tmp_path: Path, data_format: str, compress: bool) -> None:
    path = empty(tmp_path / "d", data_format, compress=compress, mag="2-2-1")
    source = open_webknossos(path, layer_name="seg", mag="2-2-1", mode="r+")
    expected = np.zeros(source.shape, np.uint32)
    for seed, box in enumerate(boxes(source.shape, 20, seed=3)):
        expected[box] = source[box] = random_voxels(expected[box].shape, "uint32", seed)
    np.testing.assert_array_equal(library_view(path, "seg", "2-2-1").read()[0].transpose(2, 1, 0), expected)
    np.testing.assert_array_equal(open_webknossos(path, mag="2-2-1")[...], expected)
    assert source.write_chunks == (16, 16, 16)
    assert source.grid_origin == (-30, -10, -5)
    found = source.stored_units()
    assert found is not None
    units = [tuple(u) for u in found.tolist()]
    inside = [
        tuple((box[i].start - source.grid_origin[i]) // source.write_chunks[i] for i in range(3))
        for box in write_units(source)
        if expected[box].any()
    ]
    assert set(inside) <= set(units)


@stored
def test_regions_off_the_grid_lose_nothing(tmp_path: Path, data_format: str, compress: bool) -> None:
    """Two workers write blocks that fit no unit, into an odd region; every other voxel stays."""
    path = empty(tmp_path / "d", data_format, compress=compress)
    source = open_webknossos(path, mode="r+")
    before, new = random_voxels(source.shape, "uint32", 1), random_voxels(source.shape, "uint32", 2)
    source[...] = before
    region = (slice(3, 41), slice(5, 52), slice(1, 63))
    bp.copy(new, source, block_shape=(12, 20, 24), roi=region, num_workers=2)
    before[region] = new[region]
    np.testing.assert_array_equal(library_view(path, "seg", 1).read()[0].transpose(2, 1, 0), before)


def test_worker_processes_open_both_ends_again(tmp_path: Path, dataset: Path) -> None:
    path = empty(tmp_path / "d", "wkw")
    image = open_webknossos(dataset, layer_name="color_zarr3", channel=0)
    output = open_webknossos(path, mode="r+")
    bp.copy(image, output, block_shape=(20, 20, 20), job_type="subprocess", num_workers=2)
    np.testing.assert_array_equal(output[...], image[...])


@stored
def test_a_run_in_place_is_continued_with_the_same_bits(tmp_path: Path, data_format: str, compress: bool) -> None:
    """Undo keeps the units of every format: a run that failed half way ends as an undisturbed one."""
    path = empty(tmp_path / "d", data_format, compress=compress)
    source = open_webknossos(path, mode="r+")
    voxels = random_voxels(source.shape, "uint32") // 2
    source[...] = voxels
    undo = Undo(tmp_path / "undo", source)
    box = tuple(slice(0, size) for size in source.shape)
    undo.keep(box)
    source[...] = 7
    source[10:20] = 8
    np.testing.assert_array_equal(undo.source[...], voxels)
    source[...] = voxels
    stop = tmp_path / "stop"
    stop.touch()

    def add_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        to = bp.to_roi(block)
        outputs[0][to] = inputs[0][to] + 1
        if stop.exists() and block.begin[0] > 20:
            raise ValueError("on purpose")

    def run() -> None:
        bp.map_blocks(add_one, [source], [source], block_shape=(16, 32, 32), num_workers=2, version="1")

    with pytest.raises(RunnerError):
        run()
    stop.unlink()
    run()
    np.testing.assert_array_equal(source[...], voxels + 1)


@stored
def test_channels_are_written_one_by_one(tmp_path: Path, data_format: str, compress: bool) -> None:
    layer = add_layer(wk.Dataset(tmp_path / "d", voxel_size=VOXEL), "c", data_format, dtype="uint16", num_channels=3)
    view = add_mag(layer, 1, compress=compress)
    expected = fill(view)
    source = open_webknossos(tmp_path / "d", channel=1, mode="r+")
    assert source.identity == open_webknossos(tmp_path / "d", channel=2).identity
    source[3:33, 4:5, 7:60] = 9
    expected[1, 3:33, 4:5, 7:60] = 9
    np.testing.assert_array_equal(view.read().transpose(0, 3, 2, 1), expected)
    found, all_found = source.stored_units(), open_webknossos(tmp_path / "d").stored_units()
    assert found is not None
    assert all_found is not None
    assert sorted(map(tuple, found)) == sorted(map(tuple, all_found[:, 1:]))


@stored
def test_eight_threads_share_a_handle(tmp_path: Path, data_format: str, compress: bool) -> None:
    """Writers of voxels in the same units, and readers between them: no write is lost."""
    source = open_webknossos(empty(tmp_path / "d", data_format, compress=compress), mode="r+")
    new = random_voxels(source.shape, "uint32")

    def write(worker: int) -> None:
        for z in range(worker, source.shape[0], 8):
            source[z, 3:40] = new[z, 3:40]
            np.testing.assert_array_equal(source[z, 3:40], new[z, 3:40])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    np.testing.assert_array_equal(source[:, 3:40], new[:, 3:40])
    assert not source[:, :3].any()
