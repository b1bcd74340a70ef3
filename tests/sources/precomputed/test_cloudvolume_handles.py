"""CloudVolume layers by other ways: live handles, the library, shards, stores, specs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import (
    DtypeError,
    MissingDependencyError,
    NotReopenableError,
    ParameterError,
    ReadOnlyError,
    ShapeError,
    SourceNotFoundError,
)
from bioimage_py.sources import CloudVolumeSource, SourceSpec, as_source, from_spec, open_cloudvolume
from bioimage_py.sources.precomputed.chunks import ChunkedLayer
from bioimage_py.sources.precomputed.cloudvolume_library import LibraryLayer
from bioimage_py.sources.precomputed.shards import ShardedLayer

from .precomputed_layers import (
    CHUNK,
    OFFSET,
    SHARDING,
    SIZE,
    Handler,
    by_cloudvolume,
    by_tensorstore,
    cloudvolume,
    layer_info,
    new_layer,
    new_pyramid,
    serving,
    upload,
    voxels,
)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over ``tmp_path / "web"``."""
    with serving(tmp_path / "web") as url:
        yield url


@pytest.fixture
def pyramid(tmp_path: Path) -> tuple[str, list[np.ndarray]]:
    """Three mips, the second one anisotropic."""
    return new_pyramid(tmp_path / "pyramid")


# handles, specs, other ways


def test_live_handles(tmp_path: Path) -> None:
    content = voxels()
    url = new_layer(tmp_path / "a", content)
    volume = cloudvolume.CloudVolume(url, progress=False, fill_missing=True, bounded=False)
    source = as_source(volume)
    assert isinstance(source, CloudVolumeSource)
    assert isinstance(source._layer, ChunkedLayer), "voxels go through tensorstore"
    assert source.volume is volume
    np.testing.assert_array_equal(source[...], content)
    spec = source.to_spec()
    assert spec.kind == "cloudvolume"
    assert spec.path == url
    assert (spec.params["fill_missing"], spec.params["bounded"], spec.params["mip"]) == (True, False, 0)
    np.testing.assert_array_equal(from_spec(spec)[...], content)
    box = CloudVolumeSource(volume, (OFFSET[0], OFFSET[1] + 1, OFFSET[2]), (5, 6, 7), {"fill_missing": False})
    np.testing.assert_array_equal(box[...], content[:7, 1:7, :5])
    assert box.to_spec().params["fill_missing"] is False
    assert as_source(volume[:]).ndim == 4, "what it reads is an array, no handle"


def test_a_handle_of_the_second_mip(pyramid: tuple[str, list[np.ndarray]]) -> None:
    url, contents = pyramid
    source = as_source(cloudvolume.CloudVolume(url, mip=(8, 8, 40), progress=False))
    np.testing.assert_array_equal(source[...], contents[1])
    np.testing.assert_array_equal(CloudVolumeSource.reopen(source.to_spec())[...], contents[1])


def test_volume_is_a_handle_of_cloudvolume(pyramid: tuple[str, list[np.ndarray]]) -> None:
    url, contents = pyramid
    volume = open_cloudvolume(url, mip=1).volume
    assert volume.mip == 1
    np.testing.assert_array_equal(np.asarray(volume[:, :, :])[..., 0].T, contents[1])


def test_layers_in_memory() -> None:
    content = voxels()
    volume = cloudvolume.CloudVolume(f"mem://{os.urandom(4).hex()}/layer", info=layer_info(), progress=False)
    volume.non_aligned_writes = True
    source = as_source(volume)
    assert isinstance(source._layer, LibraryLayer)
    source[...] = content
    source[1, 2, 3] = content[1, 2, 3] = 5
    np.testing.assert_array_equal(source[...], content)
    with pytest.raises(NotReopenableError, match="memory of this process"):
        source.to_spec()


def test_the_disk_cache_of_cloudvolume(tmp_path: Path) -> None:
    content = voxels()
    url = new_layer(tmp_path / "a", content)
    source = open_cloudvolume(url, cache=str(tmp_path / "cache"))
    assert isinstance(source._layer, LibraryLayer)
    np.testing.assert_array_equal(source[...], content)
    assert any((tmp_path / "cache").rglob("10-18_7-12_-9--5*"))
    assert source.identity == open_cloudvolume(url).identity
    np.testing.assert_array_equal(from_spec(source.to_spec())[...], content)


def test_secrets_stay_out_of_specs(tmp_path: Path) -> None:
    source = open_cloudvolume(new_layer(tmp_path / "a", voxels()), secrets={"token": "very secret"})
    with pytest.raises(NotReopenableError, match="secrets") as caught:
        source.to_spec()
    assert "very secret" not in str(caught.value)


def test_local_layers_have_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_layer(tmp_path / "a", voxels())
    monkeypatch.chdir(tmp_path)
    paths = ("a", "file://a", "precomputed://file://a", Path("a"), f"file://{tmp_path}/a")
    sources = [open_cloudvolume(path) for path in paths]
    assert {source.to_spec().path for source in sources} == {f"file://{tmp_path}/a"}
    assert len({source.identity for source in sources}) == 1


def test_tensorstore_precomputed(tmp_path: Path) -> None:
    content = voxels()
    new_layer(tmp_path / "a", content)
    right: dict[str, Any] = {
        "offset_xyz": OFFSET,
        "size_zyx": SIZE[::-1],
        "chunks_zyx": CHUNK[::-1],
        "dtype": "uint16",
    }
    with bp.open_tensorstore_precomputed(tmp_path / "a", **right) as source:
        assert isinstance(source, bp.TensorStorePrecomputedSource)
        assert not source.writable
        assert source.to_spec().kind == "tensorstore_precomputed"
        assert source.to_spec().path == source.path == str(tmp_path / "a")
        np.testing.assert_array_equal(from_spec(source.to_spec())[...], content)
    for name, wrong, error in (
        ("offset_xyz", (0, 0, 0), ShapeError),
        ("size_zyx", SIZE, ShapeError),
        ("chunks_zyx", CHUNK, ShapeError),
        ("dtype", "uint8", DtypeError),
    ):
        with pytest.raises(error) as caught:
            bp.open_tensorstore_precomputed(tmp_path / "a", **{name: wrong})
        assert isinstance(caught.value, ValueError)
    new_layer(tmp_path / "c", voxels((2, 4, 5, 6)))
    with pytest.raises(ParameterError, match="has 2 channels"):
        bp.open_tensorstore_precomputed(tmp_path / "c")
    with pytest.raises(ParameterError, match="no local folder"):
        bp.open_tensorstore_precomputed("s3://bucket/layer")


# other stores


def test_errors_of_web_servers(web: str, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="no precomputed layer at http"):
        open_cloudvolume(f"{web}/nothing", storage_options={"retries": 1})
    new_layer(tmp_path / "web" / "a", voxels())
    source = open_cloudvolume(f"{web}/a", mip=[4, 4, 40])
    with pytest.raises(ReadOnlyError):
        source[0] = 1
    with pytest.raises(ReadOnlyError, match="http can only be read"):
        open_cloudvolume(f"{web}/a", mode="r+")
    next((tmp_path / "web" / "a" / "4_4_40").glob("10-18_7-12_-9--5*")).unlink()
    with pytest.raises(SourceNotFoundError, match="Chunk 10-18_7-12_-9--5 is missing in http"):
        source[0, 0, 0]


def test_cloudvolume_reads_what_is_written_to_s3(
    s3: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = voxels()
    new_layer(tmp_path / "a", np.zeros_like(content))
    upload(tmp_path / "a", f"{s3}/a", s3_endpoint)
    with open_cloudvolume(f"{s3}/a") as source:
        assert isinstance(source._layer, ChunkedLayer)
        bp.copy(content, source, block_shape=(3, 7, 6), num_workers=4)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "testing")  # cloud-files wants one
    np.testing.assert_array_equal(by_cloudvolume(f"{s3}/a"), content)
    own = f"s3://{s3_endpoint}/{s3.removeprefix('s3://')}/a"
    np.testing.assert_array_equal(open_cloudvolume(own)[...], content)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    source = open_cloudvolume(f"{s3}/a", storage_options={"endpoint_url": s3_endpoint})
    with from_spec(SourceSpec.from_json(source.to_spec().to_json())) as again:
        np.testing.assert_array_equal(again[3:5], content[3:5])


def test_compressed_objects_are_written_by_cloudvolume(
    s3: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "testing")
    content = voxels()
    new_layer(tmp_path / "a", np.zeros_like(content))
    upload(tmp_path / "a", f"{s3}/a", s3_endpoint)
    assert isinstance(open_cloudvolume(f"{s3}/a", compress="gzip", mode="r")._layer, ChunkedLayer)
    with open_cloudvolume(f"{s3}/a", compress="gzip") as source:
        assert isinstance(source._layer, LibraryLayer)
        source[...] = content
    np.testing.assert_array_equal(open_cloudvolume(f"{s3}/a")[...], content)


def test_refused_credentials(web: str, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handler: Handler) -> None:
        handler.send_error(403)

    monkeypatch.setattr(Handler, "do_GET", refuse)
    with pytest.raises(bp.errors.AccessError, match="403") as caught:
        open_cloudvolume(f"{web}/a", storage_options={"retries": 1})
    assert "headers" in caught.value.remedy


# the installation


def test_all_optional_libraries_import_together() -> None:
    """Some versions of zfpy, which codecs of cloud-volume bring along, break numcodecs where both are imported."""
    names = ["cloudvolume", "tensorstore", "zarr", "numcodecs", "z5py", "h5py", "tifffile", "imagecodecs", "webknossos"]
    code = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)\nprint('all')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().endswith("all"), done.stderr


def test_layers_need_no_cloudvolume(tmp_path: Path) -> None:
    """Common layers open without the library, which takes a second to import; others say what to install."""
    url = new_layer(tmp_path / "a", voxels())
    code = (
        "import sys; sys.modules['cloudvolume'] = None\n"
        "import bioimage_py as bp\n"
        f"print(bp.open_cloudvolume({url!r})[...].sum())\n"
        f"try:\n    bp.open_cloudvolume({url!r}, cache=True)\n"
        "except bp.errors.MissingDependencyError as error:\n    print(error.remedy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:2] == [str(voxels().sum()), "pip install 'bioimage-blocks[cloudvolume]'"], (
        done.stderr
    )
    assert issubclass(MissingDependencyError, ImportError)


def test_sharded_layers(tmp_path: Path) -> None:
    content = voxels(dtype="uint32")
    url = by_tensorstore(tmp_path / "a", content, encoding="compressed_segmentation", sharding=SHARDING)
    with open_cloudvolume(url) as source:
        assert isinstance(source._layer, ShardedLayer)
        assert source.shards is not None
        assert source.write_chunks == source.shards
        np.testing.assert_array_equal(source[...], content)
        np.testing.assert_array_equal(by_cloudvolume(url), content)
        np.testing.assert_array_equal(from_spec(source.to_spec())[2:5, 1:, ::2], content[2:5, 1:, ::2])
        bp.copy(content[::-1].copy(), source, block_shape=(3, 7, 6), num_workers=4)
    np.testing.assert_array_equal(by_cloudvolume(url), content[::-1])


def test_sharded_layers_on_the_web(web: str, tmp_path: Path) -> None:
    content = voxels(dtype="uint32")
    by_tensorstore(tmp_path / "web" / "a", content, encoding="compressed_segmentation", sharding=SHARDING)
    np.testing.assert_array_equal(open_cloudvolume(f"{web}/a")[2:9, 3:, 5:20], content[2:9, 3:, 5:20])


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_numbers_of_chunks_in_shards(data: st.DataObject) -> None:
    """The compressed Morton code is that of cloud-volume, for grids of any shape."""
    from cloudvolume.datasource.precomputed.common import compressed_morton_code

    from bioimage_py.sources.precomputed.info import find_scale
    from bioimage_py.sources.precomputed.shards import chunk_number

    size = tuple(data.draw(st.integers(1, 700)) for _ in range(3))
    scale = find_scale(layer_info(size=size), 0, "layer")
    grid = [-(-n // c) for n, c in zip(size, CHUNK, strict=True)]
    at = [data.draw(st.integers(0, n - 1)) for n in grid]
    begins = [o + i * c for o, i, c in zip(OFFSET, at, CHUNK, strict=True)]
    chunk = (slice(0, 1), *[slice(b, b + 1) for b in begins[::-1]])
    assert chunk_number(chunk, scale) == int(compressed_morton_code(at, grid))


def test_missing_chunks_of_sharded_layers(tmp_path: Path) -> None:
    content = np.zeros(SIZE[::-1], "uint32")
    content[:4, :5, :8] = 1
    url = by_tensorstore(tmp_path / "a", content, sharding=SHARDING)
    np.testing.assert_array_equal(open_cloudvolume(url, fill_missing=True)[...], content)
    source = open_cloudvolume(url)
    assert source[:4, :5, :8].all()
    with pytest.raises(SourceNotFoundError, match="Chunk 18-26_7-12_-9--5 is missing"):
        source[...]
    with pytest.raises(SourceNotFoundError, match="is missing"):
        source[4, 0, 0] = 1
    source[:2, :5, :8] = 7
    assert not open_cloudvolume(url, fill_missing=True)[4:].any()
