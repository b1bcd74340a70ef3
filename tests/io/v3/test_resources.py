"""The same file by its path, as bytes, as file object, in an archive and on a web server."""

from __future__ import annotations

import functools
import gc
import http.server
import io
import os
import pickle
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import bioimage_py.io.v3 as iio
from bioimage_py import open_source
from bioimage_py.errors import (
    FormatError,
    MemoryBudgetError,
    NotReopenableError,
    ParameterError,
    ReadOnlyError,
    ShapeError,
    SourceNotFoundError,
    StorageError,
)
from bioimage_py.io.v3 import resource

tifffile = pytest.importorskip("tifffile")

DATA = np.random.default_rng(4).integers(0, 60000, (6, 20, 24)).astype("u2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    iio.imwrite(tmp_path / "a.tif", DATA, scale=0.5, unit="um")
    return tmp_path / "a.tif"


@pytest.fixture
def server(path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def same(uri: object, **options: object) -> None:
    np.testing.assert_array_equal(iio.imread(uri, **options), DATA)
    told = iio.improps(uri, **options)
    assert (told.shape, told.spacing, told.axes) == (DATA.shape, (0.5, 0.5, 0.5), ("z", "y", "x"))


def test_paths_and_bytes(path: Path) -> None:
    for uri in (path, str(path), path.as_uri(), path.read_bytes(), memoryview(path.read_bytes())):
        same(uri)


def test_file_objects(path: Path) -> None:
    with open(path, "rb") as file:
        for _ in range(2):
            assert iio.improps(file).shape == DATA.shape
            assert iio.immeta(file)["is_ome"]
            assert file.tell() == 0
        same(file)
        assert not file.closed
    buffer = io.BytesIO(b"before" + path.read_bytes())
    buffer.seek(6)
    same(buffer)
    assert buffer.tell() == 6
    with pytest.raises(TypeError, match="text"):
        iio.imread(io.StringIO("text"))


def test_what_cannot_be_rewound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self.left = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            return self.left.readinto(buffer)

    np.testing.assert_array_equal(iio.imread(Pipe(path.read_bytes())), DATA)
    monkeypatch.setattr(resource, "MOST_STREAMED", 1000)
    with pytest.raises(MemoryBudgetError, match="1000"):
        iio.imread(Pipe(path.read_bytes()))


def test_members_of_archives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(path.parent / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "in/b.tif")
    same(path.parent / "a.zip" / "in" / "b.tif")
    with pytest.raises(SourceNotFoundError, match=r"in/b\.tif"):
        iio.imread(path.parent / "a.zip" / "c.tif")
    packed = str(path.parent / "a.zip" / "in" / "b.tif")
    for asked in (iio.imread, open_source):
        with pytest.raises(FormatError) as refused:
            asked(path.parent / "a.zip")
        assert refused.value.remedy == packed
    with pytest.raises(FormatError, match="is packed in the archive") as refused:
        open_source(packed)
    assert packed in refused.value.remedy
    monkeypatch.setattr(resource, "KEPT_FREE", 2**60)
    with pytest.raises(MemoryBudgetError, match=r"b\.tif claims"):
        iio.imread(path.parent / "a.zip" / "in" / "b.tif")
    monkeypatch.undo()
    content = bytearray((path.parent / "a.zip").read_bytes())
    content[60:90] = bytes(30)
    (path.parent / "bad.zip").write_bytes(content)
    with pytest.raises((FormatError, SourceNotFoundError)):
        iio.imread(path.parent / "bad.zip" / "in" / "b.tif")


@pytest.mark.processes
def test_web_servers(server: str) -> None:
    same(f"{server}/a.tif")
    with pytest.raises(SourceNotFoundError):
        iio.imread(f"{server}/b.tif")


def test_zarr_is_not_opened_by_another_library_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iio.imwrite(tmp_path / "a.zarr", DATA, chunks=(2, 8, 8))
    monkeypatch.setattr("bioimage_py.sources.arrays.adapters._native_zarr", None)
    monkeypatch.setattr("bioimage_py.io.v3.reading._SHARED_BYTES", 1)
    monkeypatch.setattr("bioimage_py.io.v3.reading.usable_cores", lambda: 2)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.zarr"), DATA)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.zarr", roi={"z": slice(2, 3)}), DATA[2:3])


def test_bytes_and_file_objects_are_written() -> None:
    encoded = iio.imwrite("<bytes>", DATA, extension=".tif")
    np.testing.assert_array_equal(iio.imread(encoded), DATA)
    buffer = io.BytesIO()
    iio.imwrite(buffer, DATA, extension=".tif")
    np.testing.assert_array_equal(iio.imread(buffer.getvalue()), DATA)
    with pytest.raises(ParameterError, match="format"):
        iio.imwrite("<bytes>", DATA)


def test_copies_go_with_the_last_who_needs_them(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(kept))
    with iio.imopen(path.read_bytes(), "r") as file:
        source = file.source()
        assert len(os.listdir(kept)) == 1
    np.testing.assert_array_equal(source.read(), DATA)
    del source, file
    gc.collect()
    assert os.listdir(kept) == []


def test_names_that_are_no_files() -> None:
    for uri in ("<screen>", "<clipboard>"):
        with pytest.raises(ParameterError):
            iio.imread(uri)
    with pytest.raises(SourceNotFoundError, match="downloaded"):
        iio.imread("imageio:no_such_picture.png")
    with pytest.raises(TypeError):
        iio.imread(7)


# Handles


def test_a_handle_that_is_closed_says_so(path: Path) -> None:
    file = iio.imopen(path, "r")
    source = file.source()
    file.close()
    file.close()
    for call in (file.read, file.properties, file.metadata, file.source, lambda: next(file.iter()), lambda: len(file)):
        with pytest.raises(StorageError, match="closed"):
            call()
    np.testing.assert_array_equal(source.read(), DATA)
    with pytest.raises(ReadOnlyError):
        iio.imopen(path, "r").write(DATA)
    writer = iio.imopen(path, "w")
    with pytest.raises(ReadOnlyError):
        writer.read()
    with pytest.raises(NotReopenableError):
        pickle.dumps(writer)
    assert (writer.request.uri, writer.request.mode) == (path, "w")


def test_an_error_in_the_body_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ShapeError), iio.imopen(path, "w") as file:
        file.write([DATA[0], DATA[:0]])
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["a.tif", "tiles.tif", "a.zarr", "a.h5", "a.png"])
def test_many_threads_read_one_handle(name: str, tmp_path: Path) -> None:
    data = DATA if name != "a.png" else DATA[0]
    options = {"tiles": (16, 16), "compression": "zlib"} if name == "tiles.tif" else {}
    iio.imwrite(tmp_path / name, data, **options)
    with iio.imopen(tmp_path / name, "r") as file:

        def right(seed: int) -> bool:
            generator = np.random.default_rng(seed)
            starts = [int(generator.integers(0, size)) for size in data.shape]
            box = tuple(
                slice(low, int(generator.integers(low + 1, size + 1)))
                for low, size in zip(starts, data.shape, strict=True)
            )
            return np.array_equal(file.read(roi=box), data[box])

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(right, range(64)))


def whole(handle: iio.ReadHandle) -> np.ndarray:
    with handle:
        return handle.read()


@pytest.mark.processes
def test_a_handle_goes_to_other_processes(path: Path) -> None:
    with get_context("spawn").Pool(2) as pool:
        for found in pool.map(whole, [iio.imopen(path, "r"), iio.imopen(path.read_bytes(), "r")]):
            np.testing.assert_array_equal(found, DATA)
    with open(path, "rb") as file, pytest.raises(NotReopenableError):
        pickle.dumps(iio.imopen(file, "r"))


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.ome.zarr", "a.n5"])
def test_buckets(name: str, s3: str, tmp_path: Path) -> None:
    data = np.arange(3 * 20 * 24, dtype="u2").reshape(3, 20, 24)
    url = f"{s3}/{name}"
    if name.endswith(".tif"):
        iio.imwrite(tmp_path / name, data)
        upload(url, (tmp_path / name).read_bytes())
    else:
        iio.imwrite(url, data)
    np.testing.assert_array_equal(iio.imread(url), data)
    np.testing.assert_array_equal(iio.imread(url, roi={"z": slice(1, 2)}), data[1:2])
    assert iio.improps(url).shape == data.shape
    # a container in a bucket is but a beginning of names
    missing = (SourceNotFoundError, "does not exist") if name.endswith(".tif") else (FormatError, f"other-{name} is no")
    with pytest.raises(missing[0], match=missing[1]):
        iio.imread(f"{s3}/other-{name}")


def upload(url: str, content: bytes) -> None:
    import boto3

    bucket, _, key = url.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
    client.put_object(Bucket=bucket, Key=key, Body=content)
