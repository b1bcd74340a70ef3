"""Google Cloud Storage, through a local server that speaks the part of its JSON interface that tensorstore uses.

It stands for reading (whole and by range), writing, listing and deleting objects, with a token; not for uploads in
parts, generations as conditions, or the exchange of credentials for a token.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "token-of-the-test"


class Bucket(http.server.ThreadingHTTPServer):
    """The objects of one bucket."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def answer(self) -> tuple[int, bytes, dict[str, str]]:
        status, content = self.find()
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if status != 200 or span is None:
            return status, content, {}
        first = int(span[1]) if span[1] else max(0, len(content) - int(span[2]))
        last = int(span[2]) + 1 if span[1] and span[2] else len(content)
        return 206, content[first:last], {"Content-Range": f"bytes {first}-{last - 1}/{len(content)}"}

    def find(self) -> tuple[int, bytes]:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        found = re.fullmatch(r"(/upload)?/storage/v1/b/volumes/o(?:/(.+))?", url.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, b"no token"
        if found is None:
            return 404, b""
        objects, name = self.server.objects, unquote(found[2] or "")
        if found[1]:
            objects[query["name"]] = body
            return 200, json.dumps({"name": query["name"], "generation": "1"}).encode()
        if not name:
            first, last = query.get("startOffset", ""), query.get("endOffset", "\U0010ffff")
            items = [{"name": key, "generation": "1"} for key in sorted(objects) if first <= key < last]
            return 200, json.dumps({"items": items}).encode()
        if name not in objects:
            return 404, b""
        if self.command == "DELETE":
            del objects[name]
            return 204, b""
        return 200, objects[name]

    def do_GET(self) -> None:
        status, content, headers = self.answer()
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.send_header("x-goog-generation", "1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    server = Bucket()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run(bucket: Bucket, code: str, token: str = TOKEN) -> str:
    """Run code in a process of its own: tensorstore reads the address of the service once."""
    environment = {
        **os.environ,
        "TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{bucket.server_port}",
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": token,
    }
    head = "import numpy as np\nfrom bioimage_py.io import create_array\nfrom bioimage_py.sources import *\n"
    command = [sys.executable, "-c", head + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_arrays_in_a_bucket(bucket: Bucket) -> None:
    code = """
axes = (Axis("y", "space", "nanometer", 4.0), Axis("x", "space", "nanometer", 4.0))
for options in ({}, {"shards": (16, 16)}):
    source = create_array("gs://volumes/a.zarr", "raw", shape=(20, 30), dtype="u2", chunks=(8, 8), axes=axes,
                          overwrite=True, **options)
    source[...] = np.arange(600).reshape(20, 30)
    source[3:5, ::2] = 7
    print(int(open_source("gs://volumes/a.zarr/raw")[2:].sum()), source.axes == axes)
print(source.to_spec().to_json())
"""
    expected = [
        [7 if 3 <= row < 5 and column % 2 == 0 else row * 30 + column for column in range(30)] for row in range(20)
    ]
    lines = run(bucket, code).splitlines()
    assert lines[:2] == [f"{sum(map(sum, expected[2:]))} True"] * 2
    assert "a.zarr/raw/zarr.json" in bucket.objects
    reopen = f"source = from_spec(SourceSpec.from_json({lines[2]!r}))\nsource[0] = 1\n"
    assert run(bucket, f"{reopen}print(source[0].sum(), source.writable)") == "30 True"


def test_refused_token(bucket: Bucket) -> None:
    code = """
try:
    open_source("gs://volumes/a.zarr", "raw", storage_options={"retries": 1})
except PermissionError as error:
    print(type(error).__name__, error)
"""
    told = run(bucket, code, token="wrong")
    assert told.startswith("AccessError Cannot read 'zarr.json' of gs://volumes/a.zarr/raw")
    assert "gcloud auth application-default login" in told
