"""Arrays in buckets, on web servers, in archives and in memory: real servers, real requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import (
    AccessError,
    FormatError,
    KeyNotFoundError,
    NotReopenableError,
    ParameterError,
    ReadOnlyError,
    SourceNotFoundError,
    StorageError,
)
from bioimage_py.io import create_array, read_multiscales, write_multiscales
from bioimage_py.sources import Axis, Source, SourceSpec, as_source, from_spec, open_source
from bioimage_py.sources.stores import credentials

SHAPE, CHUNKS = (20, 33, 40), (8, 10, 16)
AXES = (
    Axis("z", "space", "nanometer", 40.0, 100.0),
    Axis("y", "space", "nanometer", 4.0),
    Axis("x", "space", "nanometer", 4.0),
)
QUICK = {"retries": 1}


def data() -> np.ndarray:
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 60000 + 1
    return values.astype(np.uint16)


def in_other_process(source: Source, statement: str) -> str:
    """Run a statement on the reopened source in a new interpreter; what it prints."""
    code = (
        "import sys, numpy as np\nfrom bioimage_py.sources import SourceSpec, from_spec\n"
        f"source = from_spec(SourceSpec.from_json({source.to_spec().to_json()!r}, allow_pickle=True))\n{statement}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LAYOUTS: dict[str, dict[str, Any]] = {
    "zarr3": {},
    "sharded": {"shards": (16, 20, 32)},
    "n5": {"format": "n5"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_s3_is_written_and_read(s3: str, layout: str) -> None:
    url = f"{s3}/a.{'n5' if layout == 'n5' else 'zarr'}"
    source = create_array(url, "raw/s0", shape=SHAPE, dtype="uint16", chunks=CHUNKS, axes=AXES, **LAYOUTS[layout])
    assert (source.chunks, source.shards) == (CHUNKS, LAYOUTS[layout].get("shards"))
    source[...] = data()
    source[2:5, ::2, -1] = 7
    expected = data()
    expected[2:5, ::2, -1] = 7
    again = open_source(f"{url}/raw/s0")
    assert (again.path, again.internal_path, again.writable) == (url, "raw/s0", False)
    np.testing.assert_array_equal(again[...], expected)
    assert again.axes == AXES
    assert again.identity == source.identity
    assert source.to_spec().params["mode"] == "r+"
    assert in_other_process(source, "source[0] = 9; print(source[0].sum(), source.axes[0].scale)") == f"{9 * 1320} 40.0"
    assert (again.fresh()[0] == 9).all()


def test_s3_run_in_worker_processes(s3: str) -> None:
    raw = create_array(f"{s3}/a.zarr", "raw", shape=SHAPE, dtype="uint16", chunks=CHUNKS)
    raw[...] = data()
    out = create_array(f"{s3}/a.zarr", "sums", shape=SHAPE, dtype="uint32", chunks=CHUNKS)
    with bp.execution("subprocess", num_workers=2):
        bp.operations.add(raw, 5, out, block_shape=(7, 33, 40))  # blocks share chunks
    np.testing.assert_array_equal(out[...], data().astype(np.uint32) + 5)


def test_existing_arrays_in_a_bucket(s3: str) -> None:
    url = f"{s3}/a.zarr"
    create_array(url, "raw", shape=(8, 8), dtype="uint8", chunks=(4, 4))[...] = 3
    assert (create_array(url, "raw", shape=(8, 8), dtype="uint8")[...] == 3).all()
    with pytest.raises(ValueError, match=r"has an array 'raw' of shape \(8, 8\), but \(8, 9\)"):
        create_array(url, "raw", shape=(8, 9), dtype="uint8")
    assert (open_source(url, "raw", mode="w")[...] == 0).all()
    open_source(url, "raw", mode="r+")[...] = 4
    create_array(url, "raw", shape=(8, 9), dtype="uint8", overwrite=True)
    assert (open_source(url, "raw")[...] == 0).all()
    with pytest.raises(KeyNotFoundError, match="has no array 'rau'"):
        open_source(url, "rau")
    with pytest.raises(ParameterError, match="cannot become an array: it holds"):
        create_array(url, "", shape=(3,), dtype="uint8", format="zarr")


def test_ome_zarr_in_a_bucket(s3: str) -> None:
    url = f"{s3}/image.ome.zarr"
    coarse = tuple(Axis(a.name, a.kind, a.unit, 2 * a.scale, a.offset + a.scale / 2) for a in AXES)
    create_array(url, "0", shape=SHAPE, dtype="uint16")[...] = data()
    create_array(url, "1", shape=(10, 17, 20), dtype="uint16")[...] = 5
    write_multiscales(url, levels=[("0", AXES), ("1", coarse)], name="image")
    assert read_multiscales(url)[0].levels == (("0", AXES), ("1", coarse))
    assert open_source(url).axes == AXES
    assert open_source(url, level=1).axes == coarse


def test_s3_credentials(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto")
    create_array(f"{s3}/a.zarr", "raw", shape=(4,), dtype="uint8")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(AccessError, match="profile 'nobody'"):
        open_source(f"{s3}/a.zarr", "raw", storage_options={"profile": "nobody", **QUICK})[...]
    with pytest.raises(ParameterError, match=r"(?s)\['secret'\].*keys and secrets come from the environment"):
        open_source(f"{s3}/a.zarr", "raw", storage_options={"secret": "x"})


def test_s3_wrong_credentials(s3: str, web_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The S3 server of the tests accepts any key; what a real one answers to a wrong one is 403."""
    web_server.faults["/"] = [403]
    monkeypatch.setenv("AWS_ENDPOINT_URL", web_server.url)
    with pytest.raises(AccessError, match=r"s3://volumes.*AWS_ACCESS_KEY_ID of the environment") as error:
        open_source("s3://volumes/a.zarr", "raw", storage_options=QUICK)
    assert "403" in error.value.message
    assert "AWS_SECRET_ACCESS_KEY" in error.value.remedy
    assert isinstance(error.value, PermissionError)
    assert len(web_server.seen) <= 3, "refused requests are not retried"


def fill(folder: Path, **kwargs: Any) -> Path:
    create_array(folder, "raw", shape=SHAPE, dtype="uint16", chunks=CHUNKS, axes=AXES, **kwargs)[...] = data()
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_http(web_server: Any, layout: str) -> None:
    name = "a b.n5" if layout == "n5" else "a b.zarr"
    fill(web_server.folder / name, **LAYOUTS[layout])
    source = open_source(f"{web_server.url}/{name}/raw", mode="r+", storage_options=QUICK)
    assert not source.writable, "web servers are read only"
    assert source.to_spec().params["mode"] == "r"
    np.testing.assert_array_equal(source[3:15, 4, ::-3], data()[3:15, 4, ::-3])
    assert source.axes == AXES
    with pytest.raises(ReadOnlyError):
        source[0] = 1
    assert in_other_process(source, "print(int(source[...].sum()))") == str(int(data().sum()))
    if layout == "sharded":
        assert any(span for path, span in web_server.seen if "/c/" in path), "inner chunks are read by range"


def test_http_query_and_headers(web_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(web_server.folder / "a.zarr")
    web_server.token = "s3cret"
    url = f"{web_server.url}/a.zarr?signature=1"
    with pytest.raises(AccessError, match=r"(?s)/a\.zarr.*credentials tried: none") as error:
        open_source(url, "raw", storage_options=QUICK)
    assert "headers" in error.value.remedy
    monkeypatch.setenv("BIO_TOKEN", "s3cret")
    headers = {"Authorization": "Bearer $BIO_TOKEN"}
    source = open_source(url, "raw", storage_options={"headers": headers, **QUICK})
    np.testing.assert_array_equal(source[0], data()[0])
    assert "s3cret" not in source.to_spec().to_json()
    assert in_other_process(source, "print(source[0, 0, 0])") == str(data()[0, 0, 0])
    assert all(path.endswith("?signature=1") for path, _ in web_server.seen)


def test_failing_servers_are_asked_again(web_server: Any) -> None:
    fill(web_server.folder / "a.zarr")
    source = open_source(f"{web_server.url}/a.zarr", "raw", storage_options={"retries": 3})
    web_server.faults["/c/0/0/0"] = [500, 503, 200]
    web_server.seen.clear()
    del web_server.faults["/c/0/0/0"][2]
    web_server.faults["/c/0/0/0"] = [500]
    with pytest.raises(StorageError, match=r"Cannot read \[0:1, 0:33, 0:40\] of http://.*raw.*500") as error:
        open_source(f"{web_server.url}/a.zarr", "raw", storage_options=QUICK)[0]
    assert "retries" in error.value.remedy
    assert "/c/0/0/0" in error.value.message, "the chunk is named"
    web_server.faults.clear()
    np.testing.assert_array_equal(source[0], data()[0])


def test_a_passing_failure_is_not_seen(web_server: Any) -> None:
    fill(web_server.folder / "a.zarr")
    source = open_source(f"{web_server.url}/a.zarr", "raw", storage_options={"retries": 3})
    web_server.faults["/c/1/0/0"] = [500, 200]
    answered = web_server.answer

    def once(path: str, headers: Any) -> tuple[int, bytes]:
        if web_server.faults.get("/c/1/0/0") == [200]:
            web_server.faults.clear()
        return answered(path, headers)

    web_server.answer = once
    np.testing.assert_array_equal(source[8], data()[8])
    assert sum("/c/1/0/0" in path for path, _ in web_server.seen) == 2


def test_stalls_and_dead_servers() -> None:
    code = (
        "import os, sys\nos.environ['TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS'] = '1'\n"
        "import socket\nfrom bioimage_py.sources import open_source\n"
        "silent = socket.create_server(('127.0.0.1', 0))\nport = silent.getsockname()[1]\n"
        "try:\n    open_source(f'http://127.0.0.1:{port}/a.zarr', 'raw', storage_options={'retries': 1})\n"
        "except OSError as error:\n    print(type(error).__name__, error)\n"
        "silent.close()\n"
        "try:\n    open_source(f'http://127.0.0.1:{port}/a.zarr', 'raw', storage_options={'retries': 1})\n"
        "except OSError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("StorageError Cannot read 'zarr.json' of http://127.0.0.1") == 2, done.stdout
    assert "the server stalls" in done.stdout
    assert "retries" in done.stdout


def test_missing_chunks_and_arrays_on_the_web(web_server: Any) -> None:
    folder = fill(web_server.folder / "a.zarr")
    (folder / "raw/c/0/0/0").unlink()
    source = open_source(f"{web_server.url}/a.zarr", "raw")
    assert (source[:8, :10, :16] == 0).all(), "the format says so: what is not stored is fill value"
    np.testing.assert_array_equal(source[8:], data()[8:])
    with pytest.raises(KeyNotFoundError, match=r"has no array 'rau'\. Its store is not searched for arrays"):
        open_source(f"{web_server.url}/a.zarr", "rau")
    zarr.consolidate_metadata(str(folder))
    with pytest.raises(KeyNotFoundError, match=r"has no array 'rau'\. It has: raw\."):
        open_source(f"{web_server.url}/a.zarr", "rau")
    with pytest.raises(FormatError, match=r"b\.zarr is no zarr container"):
        open_source(f"{web_server.url}/b.zarr", "raw")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_chunks_are_named(web_server: Any, layout: str) -> None:
    folder = fill(web_server.folder / f"a.{'n5' if layout == 'n5' else 'zarr'}", **LAYOUTS[layout])
    chunk = next(file for file in sorted((folder / "raw").rglob("0")) if file.is_file())
    chunk.write_bytes(b"damaged" + chunk.read_bytes()[:40])
    for url in (str(folder), f"{web_server.url}/{folder.name}"):
        with pytest.raises(StorageError, match=r"0/0/0") as error:
            open_source(url, "raw", storage_options={} if url.startswith("/") else QUICK)[:8, :10, :16]
        assert "damaged" in error.value.remedy
        assert str(url) in str(error.value)


def zipped(folder: Path, target: Path, top: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{top}{file.relative_to(folder)}")
    return target


@pytest.mark.parametrize("layout", ["zarr3", "sharded"])
def test_zip_archives(tmp_path: Path, web_server: Any, layout: str) -> None:
    folder = fill(tmp_path / "a.zarr", **LAYOUTS[layout])
    archive = zipped(folder, web_server.folder / "a.zarr.zip")
    zipped(folder, web_server.folder / "nested.zip", "top/a.zarr/")
    for url in (
        f"{archive}/raw",
        f"{archive}|zip:raw",
        f"file://{archive}/raw",
        f"{web_server.url}/a.zarr.zip/raw",
        f"{web_server.url}/a.zarr.zip|zip:raw",
        f"{web_server.folder}/nested.zip/top/a.zarr/raw",
        f"{web_server.url}/nested.zip|zip:top/a.zarr/raw",
    ):
        source = open_source(url)
        np.testing.assert_array_equal(source[3:9, 5], data()[3:9, 5])
        assert source.axes == AXES
        assert not source.writable
        assert source.internal_path == "raw"
    assert in_other_process(source, "print(source.shape)") == str(SHAPE)
    with pytest.raises(KeyNotFoundError, match=r"(?s)has no array 'rau'\. It has: raw"):
        open_source(archive, "rau")
    with pytest.raises(ReadOnlyError, match="zip archives"):
        create_array(archive, "new", shape=(3,), dtype="uint8")
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        open_source(tmp_path / "none.zip", "raw")
    (tmp_path / "bad.zip").write_bytes(b"no archive at all")
    with pytest.raises((StorageError, FormatError), match=r"bad\.zip"):
        open_source(tmp_path / "bad.zip", "raw")


def test_memory_stores_serve_this_process_only() -> None:
    source = create_array("memory://scratch.zarr", "raw", shape=SHAPE, dtype="uint16", chunks=CHUNKS)
    source[...] = data()
    np.testing.assert_array_equal(open_source("memory://scratch.zarr/raw")[...], data())
    assert (bp.operations.add(source, 1, block_shape=(8, 33, 40))[0] == data()[0] + 1).all()
    with pytest.raises(NotReopenableError, match="memory of this process"):
        source.to_spec()
    out = create_array("memory://scratch.zarr", "out", shape=SHAPE, dtype="uint16", chunks=CHUNKS)
    with pytest.raises(ValueError, match="cannot be opened by the workers"), bp.execution("subprocess"):
        bp.operations.add(source, 1, out)
    with pytest.raises(KeyNotFoundError, match=r"It has: out, raw"):
        open_source("memory://scratch.zarr", "rau")
    with pytest.raises(FormatError, match="ftp"):
        open_source("ftp://server/a.zarr", "raw")


def test_specs_keep_how_a_store_is_reached(s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = {"endpoint_url": s3_endpoint, "region": "us-east-1"}
    source = create_array(f"{s3}/a.zarr", "raw", shape=(4,), dtype="uint8", storage_options=options)
    source[...] = 3
    spec = source.to_spec()
    assert json.loads(spec.to_json())["params"]["storage_options"] == options
    assert from_spec(SourceSpec.from_json(spec.to_json()))[0] == 3
    assert in_other_process(source, "source[1] = 8; print(source[...])") == "[3 8 3 3]"


def test_url_objects(s3: str) -> None:
    create_array(f"{s3}/a.zarr", "raw", shape=(4,), dtype="uint8")[...] = 3
    assert as_source(urlparse(f"{s3}/a.zarr/raw"))[0] == 3
    upath = pytest.importorskip("upath")
    assert as_source(upath.UPath(f"{s3}/a.zarr/raw"))[0] == 3
    assert open_source(upath.UPath(f"{s3}/a.zarr") / "raw")[0] == 3
    with pytest.raises(ParameterError, match="Unknown storage options"):
        as_source(upath.UPath(f"{s3}/a.zarr/raw", key="k", secret="s"))


@pytest.mark.parametrize("how", ["AWS_PROFILE", "profile", "AWS_PROFILE, one file", "profile, one file", "one file"])
def test_the_aws_library_writes_no_lines_of_its_own(tmp_path: Path, how: str) -> None:
    code = (
        "import sys; from bioimage_py.errors import BioimageError; from bioimage_py.sources import open_source\n"
        "options = {'endpoint_url': 'http://127.0.0.1:9', 'retries': 1, **eval(sys.argv[1])}\n"
        "try: open_source('s3://nowhere/a.zarr', 'raw', storage_options=options)\n"
        "except BioimageError as error: print(error)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    if "AWS_PROFILE" in how:
        environment["AWS_PROFILE"] = "lab"
    if "one file" in how:
        (tmp_path / ".aws").mkdir()
        name = "lab" if "rofile" in how.lower() else "default"
        (tmp_path / ".aws/credentials").write_text(f"[{name}]\naws_access_key_id = a\naws_secret_access_key = b\n")
    options = "{'profile': 'lab'}" if how.startswith("profile") else "{}"
    line = [sys.executable, "-c", code, options]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert ("is in neither of" if how == "profile" else "Cannot read") in done.stdout


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ("[default]\nregion = eu-1\n", "anonymous"),
        ("[default]\naws_access_key_id = a\naws_secret_access_key = b\ns3 =\n  x = 1\n", "profile"),
        ("[profile other]\naws_access_key_id = a\n", "anonymous"),
        ("[default]\ncredential_process = /bin/true\n", "default"),
        ("no file of this kind [[[", "anonymous"),
    ],
)
def test_a_profile_counts_where_it_gives_credentials(
    config: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(credentials, "_on_ec2", lambda: False)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(config)
    told, _ = credentials.aws_credentials({})
    assert told["type"] == kind
    if kind == "profile":
        assert told["config_file"] == str(tmp_path / ".aws/config")
        assert told["credentials_file"] == os.devnull
    with pytest.raises(AccessError, match="is in neither of"):
        credentials.aws_credentials({"profile": "none such"})
