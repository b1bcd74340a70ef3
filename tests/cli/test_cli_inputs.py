"""Paths on the command line: every kind of array opens as in Python, and errors say what to type."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.cli.inputs import arrays_at, open_input
from bioimage_py.cli.objects.evaluate import evaluate
from bioimage_py.cli.objects.segment import segment
from bioimage_py.cli.remedies import as_command
from bioimage_py.errors import KeyNotFoundError, ParameterError, SourceNotFoundError

from ..sources.precomputed.precomputed_layers import OFFSET, new_layer, voxels
from ..sources.webknossos.webknossos_data import FORMATS, make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("wk") / "brain")


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A precomputed layer of two scales with an offset."""
    from ..sources.precomputed.precomputed_layers import cloudvolume

    path = tmp_path_factory.mktemp("precomputed") / "em"
    new_layer(path, voxels())
    volume = cloudvolume.CloudVolume(f"file://{path}")
    volume.add_scale((2, 2, 1))
    volume.commit_info()
    coarse = cloudvolume.CloudVolume(f"file://{path}", mip=1, progress=False)
    coarse[:, :, :] = np.asfortranarray(voxels(tuple(coarse.volume_size[::-1]), seed=1)[None].T)
    return path


def run(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


@pytest.mark.parametrize("stored", FORMATS)
@pytest.mark.parametrize("mag", ["1", "2-2-1", "4-4-2"])
@pytest.mark.slow
def test_a_webknossos_mag_is_its_bounding_box(dataset: Path, stored: str, mag: str) -> None:
    """The files of a mag begin at the origin and end with a whole file: their padding is no data."""
    expected = bp.open_webknossos(dataset, layer_name=f"color_{stored}", mag=mag)
    for path, key in (
        (dataset / f"color_{stored}" / mag, None),
        (dataset, f"color_{stored}/{mag}"),
        (dataset / f"color_{stored}", mag),
        (f"{dataset}/color_{stored}/{mag}/", None),
    ):
        found = open_input(str(path), key)
        assert (found.shape, found.axes) == (expected.shape, expected.axes)
        np.testing.assert_array_equal(found[...], expected[...])


@pytest.mark.slow
def test_the_finest_mag_of_a_layer(dataset: Path, tmp_path: Path) -> None:
    expected = bp.open_webknossos(dataset, layer_name="streamed", mag=1)
    np.testing.assert_array_equal(open_input(str(dataset / "streamed"), None)[...], expected[...])
    with pytest.raises(ParameterError, match=r"(?s)brain is a container.*color_wkw/1.*open_source\('.*brain', '"):
        open_input(str(dataset), None)
    with pytest.raises(KeyNotFoundError, match="no array 'streamed/8'"):
        open_input(str(dataset / "streamed"), "8")


def test_other_data_in_the_folder_of_a_dataset(dataset: Path) -> None:
    made = bp.io.create_array(dataset / "other.zarr", "raw", shape=(2, 3), dtype="u1")
    assert open_input(str(dataset / "other.zarr" / "raw"), None).shape == made.shape


@pytest.mark.slow
def test_scales_of_a_precomputed_layer(layer: Path) -> None:
    info = json.loads((layer / "info").read_text())
    keys = [scale["key"] for scale in info["scales"]]
    assert len(keys) == 2
    for mip, key in enumerate(keys):
        expected = bp.open_cloudvolume(f"file://{layer}", mip=mip)
        for path, given in ((layer / key, None), (layer, key), (f"precomputed://file://{layer}", key)):
            found = open_input(str(path), given)
            assert (found.axes, found.writable) == (expected.axes, False)
            np.testing.assert_array_equal(found[...], expected[...])
    np.testing.assert_array_equal(open_input(str(layer), None)[...], voxels())
    with pytest.raises(KeyNotFoundError, match=f"has no array 'coarse'. It has: {', '.join(keys)}"):
        open_input(str(layer), "coarse")
    with pytest.raises(SourceNotFoundError, match="no precomputed layer"):
        open_input(f"precomputed://{layer}/other", None)


@pytest.mark.parametrize("name", ["a.zarr", "a.n5", "a.h5", "old.zarr"])
def test_the_only_array_of_a_container(tmp_path: Path, name: str) -> None:
    import zarr

    if name == "old.zarr":
        zarr.open_group(tmp_path / name, mode="w", zarr_format=2)
    bp.io.create_array(tmp_path / name, "deep/raw", shape=(4, 6), dtype="u1")[...] = 7
    source = bp.open_source(tmp_path / name)
    assert source.internal_path == "deep/raw"
    assert bp.from_spec(source.to_spec())[...].tolist() == source[...].tolist() == [[7] * 6] * 4
    source.close()
    assert open_input(str(tmp_path / name), None).shape == (4, 6)
    bp.io.create_array(tmp_path / name, "b", shape=(2,), dtype="u1")
    with pytest.raises(ParameterError, match=r"no key is given\. It has: b, deep/raw"):
        bp.open_source(tmp_path / name)


@pytest.mark.slow
def test_info_of_layers_and_stacks(dataset: Path, layer: Path, tmp_path: Path) -> None:
    found = json.loads(run("info", dataset, "--json").stdout)["arrays"]
    by_key = {array["key"]: array for array in found}
    assert len(by_key) == 21
    for key, array in by_key.items():
        name, mag = key.split("/")
        expected = bp.open_webknossos(dataset, layer_name=name, mag=mag)
        assert (array["shape"], array["dtype"]) == (list(expected.shape), str(expected.dtype))
        assert (array["format"], array["bytes_on_disk"] > 0) == ("webknossos", True)
        assert [axis["offset"] for axis in array["axes"]] == [axis.offset for axis in expected.axes]
    assert by_key["color_wkw/1"]["codec"] == "wkw"
    assert [array.key for array in arrays_at(str(dataset / "streamed"))] == [
        "streamed/1",
        "streamed/2-2-1",
        "streamed/4-4-2",
    ]

    fine, coarse = json.loads(run("info", layer, "--json").stdout)["arrays"]
    assert (fine["shape"], fine["codec"], fine["format"]) == ([13, 18, 23], "raw", "precomputed")
    assert fine["axes"][0]["offset"] == OFFSET[2] * 40
    assert coarse["shape"] == [13, 9, 12]
    assert "8_8_40: 13x9x12 uint16 (precomputed)" in run("info", layer / "8_8_40").stdout

    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "slices").mkdir()
    for z in range(3):
        tifffile.imwrite(tmp_path / f"slices/{z}.tif", np.zeros((8, 9), "u2"))
    assert "3x8x9 uint16 (folder)" in run("info", tmp_path / "slices").stdout


def test_layers_are_scored(dataset: Path, tmp_path: Path) -> None:
    """The region that a layer's padding would add does not count."""
    ids = bp.open_webknossos(dataset, layer_name="ids_wkw", mag="2-2-1")
    scores = json.loads(
        run("evaluate", dataset / "ids_wkw/2-2-1", dataset, "--gt-key", "ids_wkw/2-2-1", "--json").stdout
    )
    assert (scores["voxels"], scores["vi_sum"]) == (ids.size, 0)
    bp.copy(ids, str(tmp_path / "a.zarr/ids"))
    assert json.loads(run("evaluate", tmp_path / "a.zarr", dataset / "ids_wkw/2-2-1", "--json").stdout) == scores


@pytest.mark.parametrize(
    ("remedy", "command", "told"),
    [
        ("open_source('/d/a.zarr', 'raw/s0')", segment, "/d/a.zarr/raw/s0"),
        ("open_source('a.tif')", segment, "a.tif"),
        ("os.makedirs('/d/my images')", segment, "mkdir -p '/d/my images'"),
        ("threshold=0.5, for example", segment, "--threshold 0.5, for example"),
        ("check the image, or pass threshold=...", segment, "check the image, or pass --threshold"),
        ("pass min_size= or leave it out", segment, "pass --min-size or leave it out"),
        ("block_shape=(128, 128, 128), halo=(32, 32, 32)", segment, "--block-shape 128,128,128, --halo 32,32,32"),
        ("halo=(32,)", segment, "--halo 32"),
        ('method="watershed" or method="components"', segment, "--method watershed or --method components"),
        ("overwrite=True replaces it", segment, "--overwrite replaces it"),
        ("fill=False", segment, "--no-fill"),
        ("num_workers=1", segment, "--workers 1"),
        ('job_type="local"', evaluate, "--job-type local"),
        ("compare the same region of both: RoiSource(x, roi)", evaluate, "compare the same region of both: --roi"),
        ("storage_options={'anon': True}", segment, "in Python: storage_options={'anon': True}"),
        ("threshold=0.5 or array.astype('f4')", segment, "in Python: threshold=0.5 or array.astype('f4')"),
        ("bioimage-py runs list", segment, "bioimage-py runs list"),
        ("pip install 'bioimage-blocks[io]'", segment, "pip install 'bioimage-blocks[io]'"),
        ("BIOIMAGE_PY_RUN_ROOT=/a/folder/on/another/disk", segment, "BIOIMAGE_PY_RUN_ROOT=/a/folder/on/another/disk"),
    ],
)
def test_remedies_are_what_one_types(remedy: str, command: Any, told: str) -> None:
    assert as_command(remedy, command) == told


@pytest.mark.parametrize(
    "arguments",
    [
        "segment {a} o.zarr",
        "segment {a} o.zarr --key nothing",
        "segment {a}/raw o.zarr --halo -1",
        "segment {a}/raw o.zarr --halo 1,2",
        "segment {a}/raw o.zarr --block-shape 0",
        "segment {a}/raw o.zarr --sigma -1",
        "segment {a}/raw o.zarr --min-size -1",
        "segment {a}/raw o.zarr --seed-distance -1",
        "segment {a}/raw o.zarr --method components --halo 3",
        "segment {a}/raw o.zarr --job-type magic",
        "segment {a}/raw o.h5",
        "segment {a}/raw o.zarr --threshold nan",
        "segment {a}/raw {a}",
        "segment {a}/raw o.zarr --roi 0:99,:,:",
        "segment a.tiff o.zarr",
        "evaluate {a}/raw {a}/other",
        "evaluate {a}/raw {a}/float",
        "evaluate {a} {a}/float",
        "info {a}/nothing",
    ],
)
def test_no_remedy_is_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    monkeypatch.chdir(tmp_path)
    bp.io.create_array("a.zarr", "raw", shape=(8, 8, 8), dtype="u1")
    bp.io.create_array("a.zarr", "other", shape=(8, 8), dtype="u1")
    bp.io.create_array("a.zarr", "float", shape=(8, 8, 8), dtype="f4")
    stderr = run(*arguments.format(a="a.zarr").split(), code=1).stderr
    _, _, remedy = stderr.strip().rpartition("\nRemedy: ")
    assert remedy, stderr
    assert remedy.startswith("in Python: ") or not re.search(r"\w\(|\b[a-z_]+=", remedy)
