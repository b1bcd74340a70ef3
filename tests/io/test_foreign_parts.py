"""Files of other programs of which a part is missing, or lies under another name: an error or the data, never zeros."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import BioimageError, FormatError, StorageError
from bioimage_py.sources import open_source

zarr = pytest.importorskip("zarr")
tensorstore = pytest.importorskip("tensorstore")

SHAPE, CHUNKS = (6, 20, 24), (2, 8, 16)


def data(dtype: str = "u2") -> np.ndarray:
    return np.random.default_rng(7).integers(1, 200, SHAPE).astype(dtype)


def edited(path: Path, change: Any) -> None:
    node = json.loads(path.read_text())
    change(node)
    path.write_text(json.dumps(node))


# chunks under other names


def nested_zarr_2(path: Path, **kwargs: Any) -> Any:
    encoding = {"name": "v2", "separator": "/"}
    array = zarr.create_array(
        path / "raw", shape=SHAPE, chunks=CHUNKS, dtype="u2", zarr_format=2, chunk_key_encoding=encoding, **kwargs
    )
    array[...] = data()
    edited(path / "raw" / ".zarray", lambda node: node.pop("dimension_separator"))
    return array


def test_nested_chunks_of_zarr_2_that_does_not_say_so(tmp_path: Path) -> None:
    nested_zarr_2(tmp_path / "a.zarr")
    with open_source(tmp_path / "a.zarr", "raw", mode="r+") as source:
        np.testing.assert_array_equal(source[...], data())
        source[0] = 7
        assert source.fresh(cache_bytes=1000)[0].min() == 7
        units = source.stored_units()
        assert units is not None
        assert len(units) == 3 * 3 * 2
        assert source.unit_files((slice(0, 1), slice(9, 10), slice(0, 1))).names == ("0/1/0",)  # type: ignore[union-attr]
    with open_source(tmp_path / "a.zarr", "raw") as source:
        assert bp.stats.min(source, job_type="subprocess", num_workers=1) == 1
        assert (source[0] == 7).all()
    shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_source(tmp_path / "b.zip", "raw")[1:], data()[1:])


def test_nested_chunks_with_a_codec_of_zarr_python(tmp_path: Path) -> None:
    numcodecs = pytest.importorskip("numcodecs")
    nested_zarr_2(tmp_path / "a.zarr", compressors=numcodecs.LZ4())
    with pytest.raises(FormatError, match="keeps its chunks in folders") as caught:
        open_source(tmp_path / "a.zarr", "raw")[...]
    assert '"dimension_separator": "/"' in caught.value.remedy


def test_flat_chunks_and_none_at_all_are_as_the_format_says(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, chunks=CHUNKS, dtype="u2", zarr_format=2, fill_value=3)
    edited(tmp_path / "a.zarr" / ".zarray", lambda node: node.pop("dimension_separator"))
    assert (open_source(tmp_path / "a.zarr")[...] == 3).all()
    array[:2] = data()[:2]
    source = open_source(tmp_path / "a.zarr")
    np.testing.assert_array_equal(source[:2], data()[:2])
    assert (source[2:] == 3).all(), "chunks that were never written are the fill value"


MISNAMED = {
    "zarr 3, v2 names": (3, {"name": "v2", "configuration": {"separator": "."}}, "like c/0/0/0, .* say 0.0.0"),
    "zarr 3, dots": (3, {"name": "default", "configuration": {"separator": "."}}, "like c/0/0/0, .* say c.0.0.0"),
    "zarr 2": (2, "/", "like 0.0.0, .* say 0/0/0"),
}


@pytest.mark.parametrize("case", MISNAMED)
def test_chunks_that_the_metadata_name_otherwise(tmp_path: Path, case: str) -> None:
    version, said, match = MISNAMED[case]
    array = zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, chunks=CHUNKS, dtype="u2", zarr_format=version)
    array[...] = data()
    name, key = ("zarr.json", "chunk_key_encoding") if version == 3 else (".zarray", "dimension_separator")
    edited(tmp_path / "a.zarr" / name, lambda node: node.update({key: said}))
    with pytest.raises(FormatError, match=match) as caught:
        open_source(tmp_path / "a.zarr")
    assert key in caught.value.remedy


def test_n5_chunks_with_dots(tmp_path: Path) -> None:
    spec = {"driver": "n5", "kvstore": f"file://{tmp_path}/a.n5/raw/"}
    tensorstore.open(spec, create=True, dtype="uint16", shape=[8, 8]).result()[...] = 5
    os.rename(tmp_path / "a.n5" / "raw" / "0" / "0", tmp_path / "a.n5" / "raw" / "0.0")
    os.rmdir(tmp_path / "a.n5" / "raw" / "0")
    with pytest.raises(FormatError, match=r"like 0\.0, its metadata say 0/0"):
        open_source(tmp_path / "a.n5", "raw")


# what is damaged, and what is not


def test_only_what_is_damaged_may_be_deleted(tmp_path: Path) -> None:
    """Deleting an object is advised where its content is known to be broken, and nowhere else."""
    zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, chunks=CHUNKS, dtype="u2")[...] = data()
    source = open_source(tmp_path / "a.zarr")
    chunk = tmp_path / "a.zarr" / "c" / "0" / "0" / "0"
    whole = chunk.read_bytes()
    for broken in (b"", whole[:9], whole[:-3], whole[:20] + b"xxxx" + whole[24:]):
        chunk.write_bytes(broken)
        with pytest.raises(StorageError, match=r"c/0/0/0") as caught:
            source[...]
        assert "delete it" in caught.value.remedy
    chunk.write_bytes(whole)
    edited(tmp_path / "a.zarr" / "zarr.json", lambda node: node["codecs"].pop())  # not theirs
    with pytest.raises(StorageError) as caught:
        open_source(tmp_path / "a.zarr")[...]
    assert "delete" not in str(caught.value)
    for url in ("s3://Not_A_Bucket!/a.zarr", "gs://Not_A_Bucket!/a.zarr"):
        with pytest.raises(BioimageError, match="bucket name") as refused:
            open_source(url, "raw")
        assert "delete" not in str(refused.value)
        assert "check the URL" in refused.value.remedy


# HDF5: filters, virtual and external data


def chunk_of_filter(path: Path, code: int, *, mask: int) -> str:
    """Write one chunk that says which filter it went through, or (mask 1) that it was left out."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4, 4))
        properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        space = h5py.h5s.create_simple((4, 4))
        made = h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT16, space, properties)
        made.write_direct_chunk((0, 0), np.full((4, 4), 5, "u2").tobytes(), mask)
        empty = h5py.h5d.create(file.id, b"empty", h5py.h5t.NATIVE_UINT16, space, properties)
        del empty
    return str(path)


def test_a_filter_that_is_not_installed_is_named_before_anything_is_read(tmp_path: Path) -> None:
    path = chunk_of_filter(tmp_path / "a.h5", 32099, mask=0)
    for opened in (lambda: open_source(path, "raw"), lambda: bp.from_spec(bp.SourceSpec("h5py", path, "raw"))):
        with pytest.raises(BioimageError, match=r"a\.h5:/raw went through the HDF5 filter 32099.*intact") as caught:
            opened()
        assert "pip install hdf5plugin" in caught.value.remedy
    assert not open_source(path, "empty")[...].any(), "no chunk needs it"


def test_a_filter_that_was_left_out_is_not_needed(tmp_path: Path) -> None:
    assert (open_source(chunk_of_filter(tmp_path / "a.h5", 32099, mask=1), "raw")[...] == 5).all()


@pytest.mark.parametrize("name", ["Blosc", "Zstd", "Bitshuffle"])
def test_workers_have_the_filters_of_hdf5plugin(tmp_path: Path, name: str) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin", reason="pip install hdf5plugin")
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=data(), chunks=CHUNKS, compression=getattr(hdf5plugin, name)())
    with open_source(tmp_path / "a.h5", "raw") as source:
        found = bp.stats.max(source, job_type="subprocess", num_workers=1)
        handle = bp.stats.max(source.array, job_type="subprocess", num_workers=1)
    assert found == handle == data().max()


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(2):
        with h5py.File(folder / f"part{number}.h5", "w") as file:
            file["raw"] = data()[3 * number : 3 * number + 3]
    layout = h5py.VirtualLayout(SHAPE, "u2")
    for number in range(2):
        layout[3 * number : 3 * number + 3] = h5py.VirtualSource(f"part{number}.h5", "raw", (3, *SHAPE[1:]))
    with h5py.File(folder / "whole.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    outer = h5py.VirtualLayout(SHAPE, "u2")
    outer[...] = h5py.VirtualSource("parts/whole.h5", "raw", SHAPE)
    with h5py.File(tmp_path / "outer.h5", "w") as file:
        file.create_virtual_dataset("raw", outer)
        external = [("voxels.bin", 16, data().nbytes)]
        (tmp_path / "voxels.bin").write_bytes(bytes(16) + data().tobytes())
        file.create_dataset("external", shape=SHAPE, dtype="u2", external=external)
    return tmp_path


@pytest.mark.parametrize("path", ["parts/whole.h5", "outer.h5"])
def test_virtual_datasets_of_which_a_source_is_missing(parts: Path, path: str) -> None:
    import h5py

    np.testing.assert_array_equal(open_source(parts / path, "raw")[...], data())
    with h5py.File(parts / "parts" / "part1.h5", "r+") as file:
        file.move("raw", "other")
    with pytest.raises(BioimageError, match=r"is virtual, .*part1\.h5:/raw, which does not exist"):
        open_source(parts / path, "raw")
    (parts / "parts" / "part1.h5").unlink()
    with pytest.raises(BioimageError, match=r"is virtual, .*'part1\.h5', which does not exist") as caught:
        open_source(parts / path, "raw")
    assert f"copy part1.h5 to {parts}/parts/part1.h5" in caught.value.remedy


def test_external_data_of_which_a_part_is_missing(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(parts)
    np.testing.assert_array_equal(open_source("outer.h5", "external")[...], data())
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(parts / "parts")
        with pytest.raises(BioimageError, match="looks in the working directory") as caught:
            open_source(parts / "outer.h5", "external")
        assert "HDF5_EXTFILE_PREFIX='${ORIGIN}'" in caught.value.remedy
    os.truncate("voxels.bin", 1000)
    with pytest.raises(StorageError, match=rf"{data().nbytes} bytes of voxels in .*voxels.bin .* has 984 there"):
        open_source("outer.h5", "external")
    os.remove("voxels.bin")
    with pytest.raises(BioimageError, match=r"keeps its voxels in 'voxels\.bin', which does not exist"):
        open_source("outer.h5", "external")
