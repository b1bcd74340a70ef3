"""Data that other programs wrote, and live handles of their libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import FormatError, KeyNotFoundError, NotReopenableError, ParameterError
from bioimage_py.io import create_array, read_label_names, read_multiscales, read_series, write_multiscales
from bioimage_py.sources import Axis, Source, as_source, from_spec, open_source
from bioimage_py.sources.arrays.tensorstore import ChunkedBacking

h5py = pytest.importorskip("h5py")
tensorstore = pytest.importorskip("tensorstore")
z5py = pytest.importorskip("z5py")
zarr = pytest.importorskip("zarr")

SHAPE, CHUNKS = (20, 24, 30), (8, 10, 16)
AXES = (
    Axis("z", "space", "micrometer", 2.0, 10.0),
    Axis("y", "space", "micrometer", 0.5),
    Axis("x", unit="micrometer"),
)


def data() -> np.ndarray:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 60000 + 1).astype(np.uint16)


def in_other_process(source: Source, statement: str) -> str:
    code = (
        "from bioimage_py.sources import SourceSpec, from_spec\n"
        f"source = from_spec(SourceSpec.from_json({source.to_spec().to_json()!r}))\n{statement}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def by_zarr(path: Path, version: int, **kwargs: Any) -> str:
    group = zarr.open_group(path / f"v{version}.zarr", mode="w", zarr_format=version)
    group.create_array("raw/s0", shape=SHAPE, chunks=CHUNKS, dtype="u2", **kwargs)[...] = data()
    return f"{path}/v{version}.zarr"


def by_tensorstore(path: Path, driver: str) -> str:
    name = {"zarr3": "t3.zarr", "zarr": "t2.zarr", "n5": "t.n5"}[driver]
    array = tensorstore.open(
        {"driver": driver, "kvstore": f"file://{path}/{name}/raw/s0/"},
        create=True,
        dtype="uint16",
        shape=SHAPE[::-1] if driver == "n5" else SHAPE,
        chunk_layout=tensorstore.ChunkLayout(chunk_shape=CHUNKS[::-1] if driver == "n5" else CHUNKS),
    ).result()
    array[...] = data().T if driver == "n5" else data()
    return f"{path}/{name}"


def by_z5py(path: Path, name: str) -> str:
    with z5py.File(path / name, "w") as file:
        file.create_dataset("raw/s0", data=data(), chunks=CHUNKS, compression="gzip")
    return f"{path}/{name}"


def by_h5py(path: Path) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("raw/s0", data=data(), chunks=CHUNKS, compression="gzip", shuffle=True)
    return f"{path}/a.h5"


WRITERS: dict[str, Any] = {
    "zarr-python v2": lambda path: by_zarr(path, 2),
    "zarr-python v2, Fortran order": lambda path: by_zarr(path, 2, order="F"),
    "zarr-python v3": lambda path: by_zarr(path, 3),
    "zarr-python v3, sharded": lambda path: by_zarr(path, 3, shards=(16, 20, 32)),
    "tensorstore zarr3": lambda path: by_tensorstore(path, "zarr3"),
    "tensorstore zarr": lambda path: by_tensorstore(path, "zarr"),
    "tensorstore n5": lambda path: by_tensorstore(path, "n5"),
    "z5py n5": lambda path: by_z5py(path, "z.n5"),
    "z5py zarr": lambda path: by_z5py(path, "z.zarr"),
    "h5py": by_h5py,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_others_wrote_is_read_and_changed(tmp_path: Path, writer: str) -> None:
    path = WRITERS[writer](tmp_path)
    with open_source(path, "raw/s0", mode="r+") as source:
        np.testing.assert_array_equal(source[...], data())
        assert (source.shape, source.chunks) == (SHAPE, CHUNKS)
        source[3:5, :, 7] = 9
    expected = data()
    expected[3:5, :, 7] = 9
    reopened = open_source(path, "raw/s0")
    np.testing.assert_array_equal(reopened[...], expected)
    assert in_other_process(reopened, "print(int(source[...].sum()))") == str(expected.sum(dtype=np.int64))


def test_zarr_arrays_of_archives_and_memory(tmp_path: Path) -> None:
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="w") as store:
        zarr.create_array(store, name="raw", shape=SHAPE, chunks=CHUNKS, dtype="u2")[...] = data()
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="r") as store:
        source = as_source(zarr.open_array(store, path="raw", mode="r"))
    assert source.to_spec().path == f"{tmp_path}/a.zip|zip:"
    assert source.to_spec().internal_path == "raw"
    np.testing.assert_array_equal(source[3], data()[3])
    assert in_other_process(source, "print(int(source[3].sum()), source.writable)") == f"{data()[3].sum()} False"


def test_zarr_arrays_of_fsspec(web_server: Any, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="pip install 'zarr[remote]' aiohttp")
    create_array(web_server.folder / "a.zarr", "raw", shape=SHAPE, dtype="u2", chunks=CHUNKS)[...] = data()
    source = as_source(zarr.open_array(f"{web_server.url}/a.zarr", path="raw", mode="r"))
    assert (source.to_spec().path, source.to_spec().internal_path) == (f"{web_server.url}/a.zarr", "raw")
    np.testing.assert_array_equal(source[3], data()[3])
    local = zarr.open_array(f"file://{web_server.folder}/a.zarr", path="raw", mode="r+")
    assert as_source(local).to_spec().path == f"{web_server.folder}/a.zarr"


def test_zarr_arrays_of_s3fs(s3: str, s3_endpoint: str) -> None:
    pytest.importorskip("s3fs", reason="pip install s3fs")
    create_array(f"{s3}/a.zarr", "raw", shape=SHAPE, dtype="u2", chunks=CHUNKS)[...] = data()
    options = {"endpoint_url": s3_endpoint}
    source = as_source(zarr.open_array(f"{s3}/a.zarr", path="raw", mode="r+", storage_options=options))
    assert (source.to_spec().path, source.writable) == (f"{s3}/a.zarr", True)
    np.testing.assert_array_equal(source[3], data()[3])


@pytest.mark.parametrize("driver", ["zarr3", "zarr", "n5"])
def test_tensorstore_handles(tmp_path: Path, driver: str) -> None:
    path = by_tensorstore(tmp_path, driver)
    spec = {"driver": driver, "kvstore": f"file://{path}/raw/s0/"}
    handle = tensorstore.open(spec, open=True, read=True, write=True).result()
    whole = as_source(handle.T if driver == "n5" else handle)
    assert isinstance(whole._backing, ChunkedBacking)  # type: ignore[attr-defined]
    assert whole.identity == open_source(path, "raw/s0").identity
    assert whole.to_spec().params["mode"] == "r+"
    np.testing.assert_array_equal(whole[...], data())
    view = as_source(handle[5:13, 3:, ::2])
    expected = (data().T if driver == "n5" else data())[5:13, 3:, ::2]
    assert view.grid_origin == (5 - 2 * 5, -3, 0)
    np.testing.assert_array_equal(view[...], expected)
    view[1] = 7
    assert in_other_process(view, "print(source[1, 0, 0], source[0, 0, 0])") == f"7 {expected[0, 0, 0]}"
    read_only = tensorstore.open(spec, open=True, read=True, write=False).result()
    assert not as_source(read_only).writable
    assert as_source(read_only).to_spec().params["mode"] == "r"


def test_units_of_tensorstore(tmp_path: Path) -> None:
    for driver in ("zarr3", "n5"):
        tensorstore.open(
            {"driver": driver, "kvstore": f"file://{tmp_path}/{driver}.{driver[:4]}/raw/"},
            create=True,
            dtype="uint16",
            shape=[8, 9],
            dimension_units=["4 nm", "8 nm"],
        ).result()
    axes = (Axis("y", "space", "nanometer", 4.0), Axis("x", "space", "nanometer", 8.0))
    assert open_source(tmp_path / "zarr3.zarr" / "raw").axes == axes
    found = open_source(tmp_path / "n5.n5" / "raw").axes
    assert [(axis.name, axis.unit, axis.scale) for axis in found] == [("y", "nanometer", 8.0), ("x", "nanometer", 4.0)]


def test_tensorstore_in_memory_and_precomputed(tmp_path: Path) -> None:
    with pytest.raises(NotReopenableError, match="memory of this process"):
        as_source(tensorstore.array(data())).to_spec()
    layer = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": f"file://{tmp_path}/layer/",
            "multiscale_metadata": {"type": "image", "data_type": "uint16", "num_channels": 1},
            "scale_metadata": {
                "size": SHAPE[::-1],
                "resolution": [4, 4, 40],
                "voxel_offset": [10, 20, 30],
                "encoding": "raw",
                "chunk_size": [16, 10, 8],
            },
        },
        create=True,
    ).result()
    layer[..., 0] = data().T
    source = as_source(layer[..., 0].T)
    np.testing.assert_array_equal(source[2:9, 3], data()[2:9, 3])
    assert source.axes[0] == Axis("z", "space", "nanometer", 40.0, 1200.0)
    assert source.grid_origin == (0, 0, 0)
    assert in_other_process(source, "print(source.shape, source.axes[2].offset)") == f"{SHAPE} 40.0"
    assert (bp.stats.max(source, block_shape=(8, 10, 16)), source.chunks) == (data().max(), CHUNKS)


def test_dask_arrays(tmp_path: Path) -> None:
    dask = pytest.importorskip("dask.array", reason="pip install dask")
    source = as_source(dask.from_array(data(), chunks=CHUNKS) + 1)
    assert (source.shape, source.chunks, source.writable) == (SHAPE, CHUNKS, False)
    np.testing.assert_array_equal(source[3, ::2], data()[3, ::2] + 1)
    assert bp.stats.max(source, num_workers=2, block_shape=(8, 24, 30)) == data().max() + 1
    with pytest.raises(NotReopenableError, match=r"dask.*cannot be opened by another process"):
        source.to_spec()


# OME-Zarr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ngff_zarr_images(tmp_path: Path, version: str) -> None:
    nz = pytest.importorskip("ngff_zarr", reason="pip install ngff-zarr")
    image = nz.to_ngff_image(
        data(),
        dims=["z", "y", "x"],
        scale={"z": 2.0, "y": 0.5, "x": 1.0},
        translation={"z": 10.0, "y": 0.0, "x": 0.0},
        axes_units=dict.fromkeys("zyx", "micrometer"),
        name="cells",
    )
    path = str(tmp_path / "a.ome.zarr")
    nz.to_ngff_zarr(path, nz.to_multiscales(image, scale_factors=[2], chunks=8), version=version)
    source = open_source(path)
    np.testing.assert_array_equal(source[...], data())
    assert source.axes == AXES
    coarse = open_source(path, level=1)
    for name in ("scale1", "scale1/cells", -1):
        assert open_source(path, level=name).internal_path == coarse.internal_path == "scale1/cells"
    assert coarse.axes[0] == Axis("z", "space", "micrometer", 4.0, 11.0)
    with pytest.raises(KeyNotFoundError, match=r"has no level 2\. Its levels are scale0/cells, scale1/cells"):
        open_source(path, level=2)
    with pytest.raises(KeyNotFoundError, match="is one array, it has no levels"):
        open_source(path, "scale0/cells", level=0)
    labels = create_array(path, "labels/nuclei/0", shape=SHAPE, dtype="u4", axes=AXES)
    labels[...] = data()
    write_multiscales(path, "labels/nuclei", levels=[("0", AXES)], label=True, source="../../")
    assert read_label_names(path) == ["nuclei"]
    assert [multi.name for multi in read_multiscales(path)] == ["cells"]
    group = zarr.open_group(path, mode="r")  # what was consolidated would hide the labels
    np.testing.assert_array_equal(group["labels/nuclei/0"][...], data())
    read = nz.from_ngff_zarr(path, version=version)
    np.testing.assert_array_equal(read.images[0].data, data())
    assert (
        in_other_process(open_source(path, "labels/nuclei"), "print(source[0, 0, 1], source.axes[0].scale)") == "2 2.0"
    )


def test_what_we_write_is_read_by_ngff_zarr(tmp_path: Path) -> None:
    nz = pytest.importorskip("ngff_zarr", reason="pip install ngff-zarr")
    path = str(tmp_path / "a.ome.zarr")
    create_array(path, "0", shape=SHAPE, dtype="u2", chunks=CHUNKS, axes=AXES)[...] = data()
    write_multiscales(path, levels=[("0", AXES)], name="cells")
    image = nz.from_ngff_zarr(path, validate=True).images[0]
    np.testing.assert_array_equal(image.data, data())
    assert (image.scale["z"], image.translation["z"], image.axes_units["z"]) == (2.0, 10.0, "micrometer")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("listed", [True, False])
def test_bioformats2raw_layout(tmp_path: Path, version: int, listed: bool) -> None:
    path = tmp_path / "a.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=version)
    ome = {"version": "0.5"}
    mark = {"bioformats2raw.layout": 3}
    root.attrs.update({"ome": {**ome, **mark}} if version == 3 else mark)
    images = root.create_group("OME")
    if listed:
        images.attrs.update({"ome": {**ome, "series": ["0", "1"]}} if version == 3 else {"series": ["0", "1"]})
    for name in ("0", "1"):
        create_array(path, f"{name}/0", shape=SHAPE, dtype="u2")[...] = data() + int(name)
        write_multiscales(path, name, levels=[("0", AXES)], name=f"image {name}")
    assert read_series(path) == ["0", "1"]
    assert (open_source(path, "1")[0] == data()[0] + 1).all()
    assert open_source(path, "1", level="0").axes == AXES
    with pytest.raises(ParameterError, match=r"(?s)no key is given. It has: 0/0, 1/0"):
        open_source(path)
    images.attrs.update({"ome": {**ome, "series": ["1"]}} if version == 3 else {"series": ["1"]})
    assert open_source(path).internal_path == "1/0"


def test_levels_of_n5(tmp_path: Path) -> None:
    by_z5py(tmp_path, "a.n5")
    with z5py.File(tmp_path / "a.n5", "a") as file:
        file.create_dataset("raw/s1", data=data()[::2, ::2, ::2], chunks=CHUNKS)
    assert open_source(tmp_path / "a.n5", "raw").shape == SHAPE
    assert open_source(tmp_path / "a.n5", "raw", level=1).shape == (10, 12, 15)
    with pytest.raises(ParameterError, match="has no levels"):
        open_source(by_h5py(tmp_path), "raw/s0", level=1)


def test_to_ome_is_what_the_format_says(tmp_path: Path) -> None:
    source = create_array(tmp_path / "a.zarr", "raw", shape=SHAPE, dtype="u1", axes=AXES)
    told = source.to_ome()
    assert told == {
        "axes": [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"],
        "coordinateTransformations": [
            {"type": "scale", "scale": [2.0, 0.5, 1.0]},
            {"type": "translation", "translation": [10.0, 0.0, 0.0]},
        ],
    }
    json.dumps(told)


def test_metadata_that_is_broken(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": [], "datasets": [{"path": "7"}]}]}
    with pytest.raises(KeyNotFoundError, match=r"describes the level '7', but there is no such array"):
        open_source(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "zarr.json").write_text("{")
    with pytest.raises((ParameterError, FormatError)):
        open_source(tmp_path / "b.zarr")


@pytest.mark.parametrize("name", ["a.zarr", "a.n5", "a.h5"])
def test_all_axes_are_stored(tmp_path: Path, name: str) -> None:
    axes = (Axis("c", "channel"), Axis("depth", "space", "nanometer", 40.0, -3.5), *AXES[1:])
    source = create_array(tmp_path / name, "raw", shape=(2, 3, 4, 5), dtype="u1", axes=axes)
    source.close()
    with open_source(tmp_path / name, "raw") as source:
        assert source.axes == axes
        assert from_spec(source.to_spec()).axes == axes
