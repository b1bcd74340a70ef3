"""Arrays in zip archives, however the archive was made: read as they are, or refused; never the fill value for data."""

from __future__ import annotations

import json
import struct
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import BioimageError, FormatError, NotReopenableError, StorageError
from bioimage_py.sources import open_source
from bioimage_py.sources.precomputed.cloudvolume import open_cloudvolume
from bioimage_py.sources.stores.errors import REPACK
from bioimage_py.sources.stores.location import locate

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
SHAPE, CHUNKS = (2, 128, 128), (1, 128, 128)
ENTRY = b"PK\x01\x02"


def files_of(data: np.ndarray, chunks: tuple[int, ...], version: int = 2, compressors: Any = None) -> dict[str, bytes]:
    """The files of a container with the array "raw"."""
    store: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(store), zarr_format=version)
    kept = {"shape": data.shape, "dtype": data.dtype, "chunks": chunks, "compressors": compressors}
    group.create_array("raw", **kept)[...] = data
    return {name: content.to_bytes() for name, content in store.items()}


def archive(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED, hard: str = "") -> Path:
    """An archive; metadata are stored, and entries with ``hard`` in their names packed by a method."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            kind = method if hard in name and "." not in name.rpartition("/")[2][:1] else zipfile.ZIP_STORED
            file.writestr(name, content, compress_type=kind, compresslevel=9)
    return path


def constant(size: int) -> np.ndarray:
    return np.full((2, size, size), 7, "uint8")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("compressors", [None, "auto"])
@pytest.mark.parametrize("version", [2, 3])
def test_what_zarr_python_packs_is_read(tmp_path: Path, version: int, compressors: Any, compression: int) -> None:
    data = np.concatenate([constant(256), np.random.default_rng(0).integers(0, 255, (2, 256, 256), dtype="uint8")])
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="w", compression=compression) as store:
        group = zarr.create_group(store, zarr_format=version)
        kept = {"shape": data.shape, "dtype": data.dtype, "chunks": (2, 256, 256), "compressors": compressors}
        group.create_array("raw", **kept)[...] = data
    np.testing.assert_array_equal(open_source(tmp_path / "a.zip", "raw")[...], data)


@settings(max_examples=15, deadline=None)
@given(
    method=st.sampled_from(sorted(METHODS)),
    size=st.sampled_from([16, 300, 1500]),
    noise=st.floats(0, 0.01),
    seed=st.integers(0, 9),
)
def test_an_array_is_read_as_it_is_or_refused(
    tmp_path_factory: pytest.TempPathFactory, method: str, size: int, noise: float, seed: int
) -> None:
    data = constant(size)
    rng = np.random.default_rng(seed)
    data[0][rng.random((size, size)) < noise] = 9
    path = archive(tmp_path_factory.mktemp("z") / "a.zip", files_of(data, (1, size, size)), METHODS[method])
    try:
        read = open_source(path, "raw")[...]
    except FormatError as error:
        refused = error
    else:
        np.testing.assert_array_equal(read, data)
        return
    assert method != "stored"
    assert "passes over the entry 'raw/" in str(refused)
    assert refused.remedy == REPACK


def changed(path: Path, name: str, field: int, value: int) -> None:
    """Change a field of an entry of an archive's directory."""
    content = bytearray(path.read_bytes())
    at = content.rfind(ENTRY, 0, content.rfind(name.encode()))
    struct.pack_into("<H", content, at + field, value)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("field", "value", "why"), [(8, 1, "encrypted"), (10, 9, "method 9")], ids=["encrypted", "deflate64"]
)
def test_what_the_engine_passes_over_is_said(tmp_path: Path, field: int, value: int, why: str) -> None:
    path = archive(tmp_path / "a.zip", files_of(constant(16), (1, 16, 16)))
    changed(path, "raw/1.0.0", field, value)
    with pytest.raises(FormatError, match=f"'raw/1.0.0' of the archive .*{why}") as error:
        open_source(path, "raw")
    assert error.value.remedy == REPACK


@pytest.mark.parametrize("name", ["/raw/1.0.0", "raw//1.0.0", "raw/./1.0.0", "raw\\1.0.0", "x/../raw/1.0.0"])
def test_a_chunk_under_another_name_is_no_fill_value(tmp_path: Path, name: str) -> None:
    files = files_of(constant(16), (1, 16, 16))
    files[name] = files.pop("raw/1.0.0")
    with pytest.raises(FormatError, match="is no plain path"):
        open_source(archive(tmp_path / "a.zip", files), "raw")


def test_other_arrays_of_an_archive_are_read(tmp_path: Path) -> None:
    files = files_of(constant(16), (1, 16, 16))
    path = archive(tmp_path / "a.zip", {**files, "other/much": bytes(10**7)}, zipfile.ZIP_DEFLATED, hard="other")
    assert "other/much" not in (locate(path).names() or []), "the engine passes over it"
    assert (open_source(path, "raw")[...] == 7).all()


def test_an_archive_that_was_written_again_is_looked_at_again(tmp_path: Path) -> None:
    files = files_of(constant(2048), (1, 2048, 2048))
    path = archive(tmp_path / "a.zip", files)
    assert (open_source(path, "raw")[...] == 7).all()
    archive(path, files, zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError, match="passes over"):
        open_source(path, "raw")


@pytest.mark.parametrize("entries", [0, 2500], ids=["small", "long directory"])
def test_archives_on_servers_are_looked_at_too(web_server: Any, entries: int) -> None:
    files = {f"a/{number:050}": b"" for number in range(entries)} | files_of(constant(2048), (1, 2048, 2048))
    archive(web_server.folder / "good.zip", files)
    archive(web_server.folder / "bad.zip", files, zipfile.ZIP_DEFLATED, hard="raw")
    assert (open_source(f"{web_server.url}/good.zip", "raw")[...] == 7).all()
    with pytest.raises(FormatError, match="passes over"):
        open_source(f"{web_server.url}/bad.zip", "raw")


@pytest.mark.skipif(find_spec("cloudvolume") is None, reason="cloud-volume is not installed")
def test_precomputed_layers_in_archives(tmp_path: Path) -> None:
    size = [1024, 512, 8]
    scale = {"key": "s", "size": size, "resolution": [1, 1, 1], "voxel_offset": [0] * 3, "chunk_sizes": [size]}
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [{**scale, "encoding": "raw"}]}
    files = {"layer/info": json.dumps(info).encode(), "layer/s/0-1024_0-512_0-8": bytes([7]) * 2**22}
    good = archive(tmp_path / "good.zip", files)
    assert (open_cloudvolume(f"{good}/layer", mode="r")[...] == 7).all()
    bad = archive(tmp_path / "bad.zip", files, zipfile.ZIP_DEFLATED, hard="/s/")
    with pytest.raises(FormatError, match="passes over"):
        open_cloudvolume(f"{bad}/layer", mode="r")


def test_an_array_opened_by_zarr_python_is_read_through_that(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", files_of(constant(2048), (1, 2048, 2048)), zipfile.ZIP_DEFLATED)
    with zarr.storage.ZipStore(path, mode="r") as store:
        array = zarr.open_array(store, path="raw", mode="r")
        np.testing.assert_array_equal(bp.copy(array, block_shape=(1, 512, 2048)), array[...])
        with pytest.raises(NotReopenableError, match="only through the array that was given"):
            bp.sources.as_source(array).to_spec()


def test_damaged_archives_are_refused_with_what_helps(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", files_of(constant(16), (1, 16, 16)))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr("raw/0.0.0", b"twice")
    with pytest.raises(StorageError, match="Duplicate filename") as error:
        open_source(path, "raw")
    assert error.value.remedy == REPACK
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 40, len(whole) // 2, 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(BioimageError):
            open_source(path, "raw")
