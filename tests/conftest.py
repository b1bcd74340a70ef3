"""Fixtures that several test files share: the real volumes, and local servers for remote stores."""

from __future__ import annotations

import gc
import gzip
import http.server
import os
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from bioimage_py.sources.chunked.encoded import EncodedChunks

from .quick import EXAMPLES, MOST, evenly, examples_of, fewer_examples, promised, quick
from .starting import FOLDERS, HERE, starts

# tests are compiled once, also where the environment keeps no bytecode: that is most of the time of collecting them
sys.dont_write_bytecode = False

# how long an example takes says how busy the machine is
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

if threading.current_thread() is threading.main_thread():
    # a shell that starts tests in the background has them, and all they start, ignore SIGINT
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA_VARIABLE = "BIOIMAGE_PY_TEST_DATA"
DATA_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


CI = os.environ.get("CI", "").lower() not in ("", "0", "false") and sys.platform.startswith("linux")
MISSING = re.compile(r"could not import|install|needs |is not in ")
"""A skip for want of something, not for what can never be."""
ABSENT = re.compile(r"\b(ray|torch|s3fs|bioio_ome_tiff|mpi4py|dask.jobqueue)\b")
"""Libraries that no file of the project installs for `make test`: too large, or at odds with another one's needs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="what tests/quick.py says")
    parser.addoption("--all-examples", action="store_true", help="all examples of each property, not the first 50")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected lives to the end: no garbage is looked for among it, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that start processes or servers, and those of a large table that `make test-long` runs."""
    tables: dict[str, list[pytest.Item]] = {}
    for item in items:
        names = [re.sub(r"\[.*", "", part) for part in item.nodeid.split("::")[1:]]
        if starts(item.path, names, getattr(item, "fixturenames", [])):
            item.add_marker(pytest.mark.processes)
        if examples_of(getattr(item, "function", None)) > MOST:
            item.add_marker(pytest.mark.many_examples)
        if item.get_closest_marker("some"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for rows in tables.values():
        kept = set(evenly(rows, rows[0].get_closest_marker("some").args[0]))  # type: ignore[union-attr]
        for item in rows:
            if item not in kept:
                item.add_marker(pytest.mark.long)
    if config.getoption("quick"):
        chosen = set(quick(items))
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = [item for item in items if item in chosen]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Not even imported, where all tests of a folder start processes."""
    apart = collection_path.parent == HERE and collection_path.name in FOLDERS
    return True if apart and config.getoption("quick") else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    if item.config.getoption("quick"):
        fewer_examples(getattr(item, "function", None), EXAMPLES)
        with promised():
            return (yield)
    if not item.config.getoption("all_examples"):
        fewer_examples(getattr(item, "function", None), MOST)
    return (yield)


def no_excuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Where CI is set, a test that is skipped for want of something has failed: nobody would look at it again."""
    if CI and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if MISSING.search(reason) and not ABSENT.search(reason):
            report.outcome = "failed"  # type: ignore[assignment]
            report.longrepr = f"skipped where CI is set, which tests/conftest.py allows for ABSENT alone: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    no_excuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    no_excuse(report)
    return report


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """The threads of workers end with their run."""
    before = set(threading.enumerate())
    yield
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("bioimage_py")]
    assert set(ours) <= before


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from the name of a real volume to its path; it skips the test where the file is missing."""

    def path_of(name: str) -> Path:
        folder = Path(os.environ.get(DATA_VARIABLE) or DATA_BESIDE_CHECKOUT)
        path = folder / name
        if not path.is_file():
            pytest.skip(f"real volume {name} is not in {folder}; set {DATA_VARIABLE} to the folder that holds it")
        return path

    return path_of


@pytest.fixture(scope="session")
def connectomics(shared_data: Callable[[str], Path]) -> np.ndarray:
    """Dense neuron segmentation, (512, 512, 512) uint32, Fortran order (x, y, z), read-only."""
    path = shared_data("connectomics-512.npy.ckl.gz")
    crackle = pytest.importorskip("crackle", reason="connectomics-512 needs crackle-codec: pip install crackle-codec")
    with gzip.open(path) as file:
        volume: np.ndarray = crackle.decompress(file.read())
    volume.flags.writeable = False
    return volume


@pytest.fixture(scope="session")
def nuclei_raw(shared_data: Callable[[str], Path]) -> np.ndarray:
    """Fluorescence nuclei, axes (z, y, x), read-only."""
    return _read_tiff(shared_data("nuclei3d-raw.tif"))


@pytest.fixture(scope="session")
def nuclei_labels(shared_data: Callable[[str], Path]) -> np.ndarray:
    """Instance labels of `nuclei_raw`, same shape, 0 is background, read-only."""
    return _read_tiff(shared_data("nuclei3d-labels.tif"))


def _read_tiff(path: Path) -> np.ndarray:
    tifffile = pytest.importorskip("tifffile", reason="the nuclei volumes need tifffile: pip install tifffile")
    volume: np.ndarray = tifffile.imread(path)
    volume.flags.writeable = False
    return volume


class WebServer:
    """A local web server over a folder, with range requests, and with faults on demand.

    ``faults`` maps a part of a path to the statuses of the next answers for it, or to "stall" for silence;
    ``token`` is the bearer token that requests must carry, if any.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, list[int | str]] = {}
        self.token: str | None = None
        self.seen: list[tuple[str, str | None]] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: Any) -> tuple[int, bytes]:
        self.seen.append((path, headers.get("Range")))
        for part, queue in self.faults.items():
            if part in path and queue:
                fault = queue.pop(0) if len(queue) > 1 else queue[0]
                if fault == "stall":
                    time.sleep(30)
                return int(fault) if fault != "stall" else 503, b"fault"
        if self.token is not None and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, b"who are you?"
        file = self.folder / unquote(path.partition("?")[0]).lstrip("/")
        if not file.is_file():
            return 404, b"not here"
        content = file.read_bytes()
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range") or "")
        if span is None:
            return 200, content
        first = int(span[1]) if span[1] else max(0, len(content) - int(span[2]))
        last = int(span[2]) + 1 if span[1] and span[2] else len(content)
        return (206, content[first:last]) if first < len(content) else (416, b"")

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, content = server.answer(self.path, self.headers)
                self.send_response(status)
                if status == 206:
                    whole = (server.folder / unquote(self.path.partition("?")[0]).lstrip("/")).stat().st_size
                    span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"])
                    assert span is not None
                    first = int(span[1]) if span[1] else whole - len(content)
                    self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{whole}")
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[WebServer]:
    """A web server over the folder ``tmp_path / "web"``."""
    folder = tmp_path / "web"
    folder.mkdir()
    server = WebServer(folder)
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of a local S3 server (moto's) with the bucket "volumes"."""
    boto3 = pytest.importorskip("boto3", reason="the S3 tests need moto: pip install 'moto[s3]' flask")
    server_module = pytest.importorskip("moto.server", reason="the S3 tests need moto: pip install 'moto[s3]' flask")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
    ).create_bucket(Bucket="volumes")
    yield url
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a folder of this test's own in the S3 server, with credentials in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return f"s3://volumes/{secrets.token_hex(4)}"


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Positions of the chunks (shards) that were replaced without decoding them."""
    positions: list[tuple[int, ...]] = []
    take = EncodedChunks.take

    def noted(self: EncodedChunks, other: EncodedChunks) -> None:
        assert self.positions == other.positions
        positions.extend(self.positions)
        take(self, other)

    monkeypatch.setattr(EncodedChunks, "take", noted)
    return positions
