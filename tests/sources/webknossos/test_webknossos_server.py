"""Layers of a WebKnossos server, played by webknossos_server.py: reading, what goes wrong, uploads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import (
    AccessError,
    BioimageError,
    KeyNotFoundError,
    NotReopenableError,
    ReadOnlyError,
    SourceNotFoundError,
    StorageError,
)
from bioimage_py.sources import as_source, from_spec, open_webknossos

from .webknossos_data import MAGS, SIZE, VOXEL, add_layer, add_mag, boxes, empty, fill, make_dataset, wk
from .webknossos_server import TOKEN, WebKnossosServer, serving

pytestmark = pytest.mark.filterwarnings("ignore:.*(INFO|WARNING)|.*listed in the dataset:UserWarning")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("library") / "brain")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Iterator[tuple[WebKnossosServer, str]]:
    """A server with the data set; its zarr layers are streamed. Returns it and the id of the data set."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server, server.add(dataset)


@pytest.fixture
def server(served: tuple[WebKnossosServer, str]) -> Iterator[WebKnossosServer]:
    server = served[0]
    with wk.webknossos_context(url=server.url, token=TOKEN):
        yield server
    server.faults.clear()


@pytest.fixture
def url(served: tuple[WebKnossosServer, str]) -> str:
    return f"{served[0].url}/datasets/{served[1]}"


@pytest.mark.parametrize("mag", MAGS, ids=str)
@pytest.mark.parametrize("layer", ["color_zarr", "streamed"])
def test_a_server_gives_what_is_stored(server: WebKnossosServer, url: str, dataset: Path, layer: str, mag: Any) -> None:
    """200 random boxes a magnification, equal to the local read."""
    remote, local = open_webknossos(url, layer_name=layer, mag=mag), open_webknossos(dataset, layer_name=layer, mag=mag)
    assert (remote.shape, remote.dtype, remote.axes) == (local.shape, local.dtype, local.axes)
    assert (remote.chunks, remote.grid_origin) == (local.chunks, local.grid_origin)
    assert not remote.writable
    voxels = local[...]
    np.testing.assert_array_equal(remote[...], voxels)
    small = tuple(min(size, 12) for size in voxels.shape)
    generator = np.random.default_rng(5)
    for box in boxes(small, 200, seed=4):
        shift = [int(generator.integers(0, size - s + 1)) for size, s in zip(voxels.shape, small, strict=True)]
        box = tuple(slice(part.start + by, part.stop + by) for part, by in zip(box, shift, strict=True))
        np.testing.assert_array_equal(remote[box], voxels[box])


def test_names_urls_annotations_and_live_views_open(server: WebKnossosServer, url: str, dataset: Path) -> None:
    annotation = "a" * 24
    server.annotations[annotation] = url.rpartition("/")[2]
    local = open_webknossos(dataset, layer_name="streamed", mag=(4, 4, 2))[...]
    live = wk.RemoteDataset.open(url, read_only=True).get_layer("streamed").get_mag("4-4-2")
    drawn = wk.RemoteDataset.open(annotation_id_or_url=annotation, webknossos_url=server.url, read_only=True).get_layer(
        "streamed"
    )
    opened = [
        open_webknossos("brain", "lab", "streamed", (4, 4, 2)),
        open_webknossos("brain", layer_name="streamed", mag="4-4-2"),
        open_webknossos(f"{server.url}/datasets/lab/brain/view", layer_name="streamed", mag="4-4-2"),
        open_webknossos(f"{server.url}/annotations/{annotation}#1,2,3", layer_name="streamed", mag="4-4-2"),
        open_webknossos(f"{server.url}/annotations/Explorational/{annotation}", layer_name="streamed", mag="4-4-2"),
        as_source(live),
        as_source(drawn.get_mag("4-4-2")),
    ]
    for source in opened:
        np.testing.assert_array_equal(source[...], local)
        again = from_spec(source.to_spec())
        assert again.to_spec() == source.to_spec()
        np.testing.assert_array_equal(again[2:5], local[2:5])
        assert TOKEN not in source.to_spec().to_json()
    for source in (opened[0], opened[5]):
        assert source.to_spec().path == url
    assert opened[6].to_spec().path == f"{server.url}/annotations/{annotation}"
    with pytest.raises(ReadOnlyError, match="on a server") as caught:
        open_webknossos(url, layer_name="streamed", mode="r+")
    assert "upload()" in str(caught.value)


def test_worker_processes_read_from_the_server(
    served: tuple[WebKnossosServer, str], url: str, tmp_path: Path, monkeypatch: Any, dataset: Path
) -> None:
    monkeypatch.setenv("WK_URL", served[0].url)
    monkeypatch.setenv("WK_TOKEN", TOKEN)
    with wk.webknossos_context(url=served[0].url, token=TOKEN):
        remote = open_webknossos(url, layer_name="ids_zarr", mag=(4, 4, 2))
    bp.copy(remote, f"{tmp_path}/out.zarr/ids", block_shape=(8, 8, 8), job_type="subprocess", num_workers=2)
    local = open_webknossos(dataset, layer_name="ids_zarr", mag=(4, 4, 2))[...]
    np.testing.assert_array_equal(bp.open_source(tmp_path / "out.zarr", "ids")[...], local)


def test_eight_threads_read_from_the_server(server: WebKnossosServer, url: str, dataset: Path) -> None:
    remote = open_webknossos(url, layer_name="ids_zarr")
    local = open_webknossos(dataset, layer_name="ids_zarr")[...]
    cached = remote.fresh(cache_bytes=1 << 22)

    def read(seed: int) -> None:
        for box in boxes(remote.shape, 5, seed):
            np.testing.assert_array_equal((remote, cached)[seed % 2][box], local[box])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))


STEPS = {
    "version": r"/api/buildinfo",
    "dataset": r"/api/v16/datasets/",
    "properties": r"/zarr/.*/datasource-properties.json",
    "array": r"/streamed/1/zarr.json",
    "chunk": r"/streamed/1/c/",
}


def read_all(url: str, retries: int = 1) -> np.ndarray:
    wk.client.context._clear_all_context_caches()
    return open_webknossos(url, layer_name="streamed", storage_options={"retries": retries})[...]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_statuses_are_errors_with_url_and_remedy(server: WebKnossosServer, url: str, step: str, status: int) -> None:
    fault = server.fault(STEPS[step], status=status)
    if (step, status) == ("chunk", 404):
        assert not read_all(url).any(), "chunks that do not exist are fill value, as zarr says"
        return
    expected: dict[int, tuple[type[BioimageError], str]] = {
        401: (AccessError, "WK_TOKEN"),
        403: (AccessError, "WK_TOKEN"),
        404: (SourceNotFoundError, "check"),
        500: (StorageError, "try later"),
        503: (StorageError, "try later"),
    }
    kind, remedy = expected[status]
    with pytest.raises(kind) as caught:
        read_all(url)
    assert type(caught.value) is kind
    assert server.url in caught.value.message
    assert step == "array" or str(status) in caught.value.message
    assert remedy in caught.value.remedy
    assert status < 500 or fault.seen > 1, "asked again"


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_that_passes_is_not_seen(server: WebKnossosServer, url: str, dataset: Path, step: str) -> None:
    fault = server.fault(STEPS[step], status=503, times=1)
    np.testing.assert_array_equal(read_all(url, retries=3), open_webknossos(dataset, layer_name="streamed")[...])
    assert fault.seen == 1


def test_without_a_token_or_with_another_servers(served: tuple[WebKnossosServer, str], url: str) -> None:
    with wk.webknossos_context(url=served[0].url, token=None):
        with pytest.raises(AccessError, match="HTTP status 401") as caught:
            open_webknossos(url, layer_name="streamed")
        assert f"set WK_URL={served[0].url} and WK_TOKEN" in caught.value.remedy
    with (
        wk.webknossos_context(url="https://elsewhere.example", token=TOKEN),
        pytest.warns(UserWarning, match="Using no token"),
        pytest.raises(AccessError, match="HTTP status 401"),
    ):
        open_webknossos(url, layer_name="streamed")


def test_a_link_that_shares_a_dataset(served: tuple[WebKnossosServer, str], url: str, dataset: Path) -> None:
    with wk.webknossos_context(url=served[0].url, token=None):
        shared = open_webknossos(f"{url}?token={TOKEN}", layer_name="streamed", mag="4-4-2")
        np.testing.assert_array_equal(from_spec(shared.to_spec())[...], shared[...])
        with pytest.raises(KeyNotFoundError) as missing:
            open_webknossos(f"{url}?token={TOKEN}", layer_name="none")
    np.testing.assert_array_equal(shared[...], open_webknossos(dataset, layer_name="streamed", mag="4-4-2")[...])
    for text in (repr(shared), str(missing.value)):
        assert TOKEN not in text


def test_nobody_listens() -> None:
    url = "http://127.0.0.1:9/datasets/" + "1" * 24
    with pytest.raises(StorageError, match=r"127.0.0.1:9.*ConnectError") as caught:
        open_webknossos(url, layer_name="a", storage_options={"retries": 1})
    assert "try later" in caught.value.remedy


STALLED = """
import sys, time
import bioimage_py as bp
from bioimage_py.errors import StorageError
begin = time.monotonic()
try:
    bp.open_webknossos(sys.argv[1], layer_name="streamed", storage_options={"retries": 1})[...]
except StorageError as error:
    print(type(error).__name__, time.monotonic() - begin, error)
"""


@pytest.mark.parametrize("step", ["dataset", "properties", "chunk"])
@pytest.mark.long
def test_a_server_that_goes_silent_is_an_error(server: WebKnossosServer, url: str, step: str) -> None:
    """In another process, because the limit is read once; it is 3 seconds here, a minute by default."""
    fault = server.fault(STEPS[step], stall=20)
    own = {"WK_URL": server.url, "WK_TOKEN": TOKEN, "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "3"}
    command = [sys.executable, "-W", "ignore", "-c", STALLED, url]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("StorageError"), done.stdout + done.stderr
    assert server.url in done.stdout
    assert "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS" in done.stdout
    assert fault.seen > 1, "asked again"


# uploads


def segmentation(path: Path) -> tuple[Path, np.ndarray]:
    made = wk.Dataset(path, voxel_size=VOXEL)
    fill(add_mag(add_layer(made, "image", "zarr", dtype="uint8"), 1))
    layer = add_layer(made, "cells", "zarr", category="segmentation", dtype="uint64")
    for mag in (1, "2-2-1"):
        add_mag(layer, mag)
    ids = np.random.default_rng(1).integers(0, 2**60, tuple(reversed(SIZE)), dtype=np.uint64)
    ids[-1, -1, -1] = 2**61 + 1
    open_webknossos(path, layer_name="cells", mode="r+")[...] = ids
    return path, ids


def test_a_layer_is_sent_as_a_new_dataset(server: WebKnossosServer, tmp_path: Path) -> None:
    path, ids = segmentation(tmp_path / "local")
    sent = open_webknossos(path, layer_name="cells", roi=(slice(0, 5),)).upload(name="sent")
    assert sent == f"{server.url}/datasets/{max(server.datasets)}"
    np.testing.assert_array_equal(open_webknossos(sent)[...], ids)
    assert not open_webknossos("sent", "lab", mag="2-2-1")[...].any()
    properties = server.properties(max(server.datasets))
    assert [layer["name"] for layer in properties["dataLayers"]] == ["cells"]
    assert wk.Dataset.open(path).get_layer("cells").largest_segment_id == 2**61 + 1
    assert wk.RemoteDataset.open(sent).get_layer("cells").largest_segment_id == 2**61 + 1
    with pytest.raises(NotReopenableError, match="on a server already"):
        open_webknossos(sent).upload(name="again")
    with pytest.raises(StorageError, match="name is taken"):
        open_webknossos(path, layer_name="cells").upload(name="sent")


def test_a_layer_is_added_to_a_dataset_of_the_server(server: WebKnossosServer, tmp_path: Path) -> None:
    path, ids = segmentation(tmp_path / "local")
    key = server.add(empty(tmp_path / "target", "zarr"))
    target = f"{server.url}/datasets/{key}"
    assert open_webknossos(path, layer_name="cells").upload(target, name="cells_v2") == target
    np.testing.assert_array_equal(open_webknossos(target, layer_name="cells_v2")[...], ids)
    assert open_webknossos(target, layer_name="seg").shape == (50, 60, 70)
    with wk.webknossos_context(url=server.url, token="wrong"), pytest.raises(AccessError, match="WK_TOKEN"):
        open_webknossos(path, layer_name="cells").upload(target, name="cells_v3")
