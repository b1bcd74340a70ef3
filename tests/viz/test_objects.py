"""Meshes and skeletons in a view, without a browser: which are taken, where they lie, and what is served of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import ParameterError, RegionError, ShapeError
from bioimage_py.sources import Axis, open_cloudvolume
from bioimage_py.sources.precomputed.tensorstore_source import open_tensorstore_precomputed
from bioimage_py.viz.viewing.objects import object_files
from bioimage_py.wrapper import AxesSource

pytest.importorskip("neuroglancer")
pytest.importorskip("DracoPy")

IDS = {3, 2**64 - 1}
PLACES = {"z": (0.04, 1.2), "y": (0.02, 0.5), "x": (0.01, 0.0)}
ZYX = [Axis(name, "space", "micrometer", *place) for name, place in PLACES.items()]


def array() -> np.ndarray:
    made = np.zeros((12, 14, 40), np.uint64)
    made[3:8, 3:9, 2:38], made[9:11, 10:13, 3:20] = 2**64 - 1, 3
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    labels = AxesSource(array(), ZYX)
    for name, how in {"multi": {}, "shards": {"sharded": True}, "legacy": {"format": "legacy"}}.items():
        bp.mesh.surfaces(labels, folder / name, progress=False, **how)  # type: ignore[arg-type]
    bp.mesh.surfaces(array(), folder / "sampled", sampling=(4, 2, 2), progress=False)
    bp.mesh.surfaces(labels, folder / "ply", format="ply", progress=False)
    bp.skeleton.trace(labels, folder / "lines", progress=False)
    bp.skeleton.trace(labels, folder / "lines_shards", sharded=True, progress=False)
    return folder


def layer_of(page: Any, number: int = 0) -> dict[str, Any]:
    return dict(page._viewer.state.to_json()["layers"][number])


@pytest.mark.parametrize("name", ["multi", "shards", "legacy", "lines", "lines_shards"])
def test_the_objects_of_a_folder(made: Path, name: str) -> None:
    sizes = object_files(made / name, "skeletons" if name.startswith("lines") else "meshes").sizes()
    assert set(sizes) <= IDS
    assert 2**64 - 1 in sizes
    assert min(sizes.values()) > 0


def test_where_they_lie(made: Path) -> None:
    """A position in nanometers is brought to the voxel whose it is."""
    labels = AxesSource(array(), ZYX)
    with bp.viz.view(labels, meshes=made / "multi", skeletons=made / "lines") as page:
        told = layer_of(page)
    assert {int(one) for one in told["segments"]} <= IDS
    voxels, meshes, lines = told["source"]
    assert voxels["subsources"] == {"meshes": {"enabled": False}}
    assert meshes["transform"] == lines["transform"]
    assert meshes["transform"]["outputDimensions"] == {"x": [1e-8, "m"], "y": [2e-8, "m"], "z": [4e-8, "m"]}
    # factors stand between lengths, so that 1 is no change; the offset counts in voxels
    np.testing.assert_allclose(meshes["transform"]["matrix"], np.eye(3, 4), atol=1e-9)


def test_of_labels_without_units_over_an_image_with(made: Path) -> None:
    raw = AxesSource(np.zeros(array().shape, "u1"), ZYX)
    with bp.viz.view(raw, array(), names=["raw", "labels"], meshes=made / "sampled") as page:
        moved = layer_of(page, 1)["source"][1]["transform"]
    # 2, 2, 4 nanometers of the files are 10, 20, 40 of the image, and its first voxel is the 0th, 25th and 30th
    np.testing.assert_allclose(moved["matrix"], np.stack([[5, 0, 0, 0], [0, 10, 0, 25], [0, 0, 10, 30]]), atol=1e-9)


@pytest.mark.parametrize("opens", [open_tensorstore_precomputed, lambda path: open_cloudvolume(f"file://{path}")])
def test_of_a_precomputed_layer(tmp_path: Path, opens: Any) -> None:
    place = tmp_path / "layer"
    (place / "a").mkdir(parents=True)
    (place / "a/0-40_0-14_0-12").write_bytes(array().tobytes())
    scale = {
        "key": "a",
        "size": [40, 14, 12],
        "chunk_sizes": [[40, 14, 12]],
        "encoding": "raw",
        "resolution": [10, 20, 40],
        "voxel_offset": [0, 0, 0],
    }
    info = {"type": "segmentation", "data_type": "uint64", "num_channels": 1, "scales": [scale]}
    (place / "info").write_text(json.dumps({**info, "mesh": "mesh", "skeletons": "none"}))
    labels = opens(str(place))
    bp.mesh.surfaces(labels, place / "mesh", progress=False)
    with bp.viz.view(labels) as page:
        told = layer_of(page)
    assert [one["url"].partition(":")[0] for one in told["source"]] == ["python", "precomputed"]
    assert {int(one) for one in told["segments"]} == IDS


@pytest.mark.processes
def test_what_is_served(made: Path) -> None:
    (made / "legacy" / ".hidden").write_bytes(b"a")
    with bp.viz.view(AxesSource(array(), ZYX), meshes=made / "legacy") as page:
        root = layer_of(page)["source"][1]["url"].removeprefix("precomputed://")
        assert root.startswith(page.url.partition("/v/")[0])
        name = f"{2**64 - 1}:0:all"
        whole = (made / "legacy" / name).read_bytes()
        with urllib.request.urlopen(f"{root}/{name}", timeout=60) as answer:
            assert answer.read() == whole
        part = urllib.request.Request(f"{root}/{name}", headers={"Range": "bytes=4-15"})
        with urllib.request.urlopen(part, timeout=60) as answer:
            assert (answer.status, answer.read()) == (206, whole[4:16])
        token = page._viewer.token
        for wrong in (
            f"{root}/none",
            f"{root}/.hidden",
            f"{root}/..%2Fmulti%2Finfo",
            f"{root[:-1]}1/info",
            f"{root.replace(token, token[:-4] + '0000')}/info",
        ):
            with pytest.raises(urllib.error.HTTPError, match=r"40[34]"):
                urllib.request.urlopen(wrong, timeout=60)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{root}/info", timeout=60)


def test_what_cannot_be_shown(made: Path, tmp_path: Path) -> None:
    labels = AxesSource(array(), ZYX)
    (tmp_path / "info").write_bytes(b"{")
    wrong: list[tuple[dict[str, Any], Any, str]] = [
        ({"meshes": made / "ply"}, ParameterError, "no file 'info'"),
        ({"meshes": made / "none"}, ParameterError, "is no folder"),
        ({"meshes": made / "lines"}, ParameterError, "neuroglancer_skeletons"),
        ({"skeletons": tmp_path}, ParameterError, "cannot be read"),
        ({"meshes": made / "shards", "segments": [3, 4]}, ParameterError, r"\[4\] have no meshes"),
        ({"meshes": made / "multi", "labels": []}, ParameterError, "belong to labels"),
        ({"segments": ["a"]}, RegionError, "segments"),
    ]
    for how, error, message in wrong:
        with pytest.raises(error, match=message) as raised:
            bp.viz.view(labels, **how)
        assert raised.value.remedy
    with pytest.raises(ShapeError, match="2 axes of space"):
        bp.viz.view(array()[0], meshes=made / "multi")


def test_published_ones_are_named_only(made: Path) -> None:
    with bp.viz.view(AxesSource(array(), ZYX), meshes="precomputed://https://example.org/mesh/", segments=[3]) as page:
        assert layer_of(page)["source"][1]["url"] == "precomputed://https://example.org/mesh"


def test_the_command(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bp.copy(AxesSource(array(), ZYX), str(tmp_path / "a.zarr/labels"), progress=False)
    seen: list[Any] = []

    def shows(*volumes: Any, **how: Any) -> Any:
        seen.append(how)
        with bp.viz.viewing.view.view(*volumes, **how) as page:
            assert layer_of(page)["segments"] == [str(2**64 - 1)]
        raise ParameterError("seen", remedy="nothing")

    monkeypatch.setattr("bioimage_py.viz.view", shows)
    given = {"--meshes": made / "multi", "--skeletons": made / "lines", "--segments": 2**64 - 1}
    told = [str(part) for pair in given.items() for part in pair]
    done = CliRunner(mix_stderr=False).invoke(main, ["view", f"{tmp_path}/a.zarr/labels", *told])
    assert "seen" in done.stderr
    assert (seen[0]["meshes"], seen[0]["segments"]) == (str(made / "multi"), (2**64 - 1,))
