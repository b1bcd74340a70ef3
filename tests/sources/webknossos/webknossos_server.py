"""A local HTTP server in place of a WebKnossos server and its datastore.

It speaks the routes that the webknossos library 4.3 and the tensorstore http driver use, with the shapes of API
version 16; what it stands for:

- ``GET  /api/buildinfo`` (API versions), ``/api/v16/user`` (organization of the token),
- ``GET  /api/v16/datasets/<id>`` (description with the data source and the datastore's URL),
  ``/api/v16/datasets?searchQuery=<part of a name>`` and ``/api/v16/datasets/disambiguate/<organization>/<name>/toId``
  (id of a name),
- ``GET  /api/v16/annotations/<id>/download`` (the NML that names an annotation's dataset),
- ``GET  /data/v<n>/zarr/<id>/...`` and ``/data/v<n>/annotations/zarr/<id>/...``: zarr streaming, that is
  ``datasource-properties.json`` and for each magnification ``zarr.json`` or ``.zarray`` with its chunks; 404 for chunks
  that do not exist,
- ``POST /data/v<n>/datasets/upload/{dataset,mag}/...``, ``GET /api/v16/datastores``, ``.../isValidNewName`` and
  ``PATCH /api/v16/datasets/<id>/updatePartial``: uploads, one chunk a file,
- the header ``X-Auth-Token``: 401 without it, 403 with another one.

What it does not stand for: the streaming server computes zarr chunks from whatever format a dataset has, this one
serves files of zarr layers as they are; sharing tokens, teams, and mappings applied to segmentations; TLS.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "secretToken1"
ORGANIZATION = "lab"
PROPERTIES = "datasource-properties.json"


@dataclass
class Fault:
    """What goes wrong with requests whose path matches: a status, or silence for some seconds."""

    pattern: str
    status: int = 0
    stall: float = 0.0
    times: int = 10**9
    seen: int = 0


@dataclass
class WebKnossosServer:
    """Datasets in folders, served until the end of `serving`."""

    root: Path
    url: str = ""
    datasets: dict[str, str] = field(default_factory=dict)  # id -> folder name, which is the name of the dataset
    annotations: dict[str, str] = field(default_factory=dict)  # id -> id of the dataset
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, folder: Path) -> str:
        """Serve a dataset; returns its id."""
        key = f"{len(self.datasets) + 1:024x}"
        shutil.copytree(folder, self.root / folder.name)
        self.datasets[key] = folder.name
        return key

    def fault(self, pattern: str, **what: Any) -> Fault:
        """Let requests fail."""
        self.faults.append(Fault(pattern, **what))
        return self.faults[-1]

    def folder(self, key: str) -> Path:
        """Folder of a dataset."""
        return self.root / self.datasets[key]

    def properties(self, key: str) -> dict[str, Any]:
        """Properties of a dataset."""
        found: dict[str, Any] = json.loads((self.folder(key) / PROPERTIES).read_text())
        return found

    def described(self, key: str) -> dict[str, Any]:
        """What the API says of a dataset."""
        return {
            "id": key,
            "name": self.datasets[key],
            "isPublic": False,
            "folderId": "0" * 24,
            "allowedTeams": [],
            "tags": [],
            "directoryName": self.datasets[key],
            "owningOrganization": ORGANIZATION,
            "dataStore": {"name": "localhost", "url": self.url, "allowsUpload": True},
            "dataSource": self.properties(key),
            "created": 0,
        }


@contextmanager
def serving(root: Path) -> Iterator[WebKnossosServer]:
    """Run a server on a free port."""
    root.mkdir(parents=True, exist_ok=True)
    server = WebKnossosServer(root)
    handler = type("Handler", (_Handler,), {"wk": server})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    wk: WebKnossosServer
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one packet an answer

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        with self.wk.lock:
            self.wk.requests.append(f"{method} {path}")
            fault = next((f for f in self.wk.faults if f.seen < f.times and re.search(f.pattern, path)), None)
            if fault is not None:
                fault.seen += 1
        if fault is not None and fault.stall:
            time.sleep(fault.stall)
            self.close_connection = True
            return None
        if fault is not None:
            return self._send(fault.status, b"something is wrong with the server")
        token = self.headers.get("X-Auth-Token")
        if path != "/api/buildinfo" and token != TOKEN:
            return self._send(401 if token is None else 403, b"no valid token")
        for verb, pattern, route in _ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                try:
                    return self._send(200, *route(self, match, body, query))
                except (KeyError, FileNotFoundError, IsADirectoryError):
                    return self._send(404, b"not found")
        return self._send(404, b"no such route")

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    # reading

    def buildinfo(self, *_: Any) -> tuple[Any, ...]:
        return ({"httpApiVersioning": {"currentApiVersion": 16, "oldestSupportedApiVersion": 13}},)

    def user(self, *_: Any) -> tuple[Any, ...]:
        user = {"id": "1", "email": "a@b.c", "firstName": "A", "lastName": "B", "created": 0, "lastActivity": 0}
        rights = {"isAnonymous": False, "isAdmin": True, "isDatasetManager": True, "isActive": True, "isEditable": True}
        return ({**user, **rights, "teams": [], "experiences": {}, "organization": ORGANIZATION},)

    def dataset(self, match: re.Match[str], *_: Any) -> tuple[Any, ...]:
        return (self.wk.described(match["id"]),)

    def search(self, _: Any, body: bytes, query: dict[str, str]) -> tuple[Any, ...]:
        found = [(key, name) for key, name in self.wk.datasets.items() if query["searchQuery"] in name]
        return ([{"id": key, "name": name, "tags": []} for key, name in found],)

    def to_id(self, match: re.Match[str], *_: Any) -> tuple[Any, ...]:
        key = {name: key for key, name in self.wk.datasets.items()}[match["name"]]
        found = {"id": key, "name": match["name"], "directoryName": match["name"]}
        return ({**found, "organization": {"lab": ORGANIZATION}[match["organization"]]},)

    def nml(self, match: re.Match[str], *_: Any) -> tuple[Any, ...]:
        key = self.wk.annotations[match["id"]]
        name = self.wk.datasets[key]
        x, y, z = self.wk.properties(key)["scale"]["factor"]
        text = (
            f'<things><meta name="annotationId" content="{match["id"]}"/><parameters>'
            f'<experiment name="{name}" organization="{ORGANIZATION}" datasetId="{key}"/>'
            f'<scale x="{x}" y="{y}" z="{z}" unit="nanometer"/></parameters></things>'
        )
        return text.encode(), {"Content-Disposition": f'attachment; filename="{name}.nml"'}

    def zarr(self, match: re.Match[str], *_: Any) -> tuple[Any, ...]:
        return ((self.wk.folder(match["id"]) / match["file"]).read_bytes(),)

    def annotation_zarr(self, match: re.Match[str], *_: Any) -> tuple[Any, ...]:
        return ((self.wk.folder(self.wk.annotations[match["id"]]) / match["file"]).read_bytes(),)

    # uploading

    def datastores(self, *_: Any) -> tuple[Any, ...]:
        return ([{"name": "localhost", "url": self.wk.url, "allowsUpload": True}],)

    def valid_name(self, match: re.Match[str], *_: Any) -> tuple[Any, ...]:
        taken = match["name"] in self.wk.datasets.values()
        return ({"isValid": not taken, "errors": ["this name is taken"] if taken else None},)

    def reserve(self, match: re.Match[str], body: bytes, _: Any) -> tuple[Any, ...]:
        asked = json.loads(body)
        self.wk.uploads[asked["resumableUploadInfo"]["uploadId"]] = {**asked, "files": {}}
        return ({},)

    def chunk(self, match: re.Match[str], body: bytes, _: Any) -> tuple[Any, ...]:
        fields = _multipart(self.headers["Content-Type"], body)
        assert fields["resumableTotalChunks"] == b"1"
        upload, _, name = fields["resumableIdentifier"].decode().partition("/")
        self.wk.uploads[upload]["files"][name] = fields["file"]
        return ({},)

    def finish_dataset(self, match: re.Match[str], _: bytes, query: dict[str, str]) -> tuple[Any, ...]:
        upload = self.wk.uploads.pop(query["uploadId"])
        key = f"{len(self.wk.datasets) + 1:024x}"
        self.wk.datasets[key] = upload["datasetName"]
        _store(self.wk.folder(key), upload)
        return ({"datasetId": key},)

    def finish_mag(self, match: re.Match[str], _: bytes, query: dict[str, str]) -> tuple[Any, ...]:
        upload = self.wk.uploads.pop(query["uploadId"])
        mag, layer = upload["mag"], upload["layerName"]
        name = "-".join(map(str, mag["mag"]))
        _store(self.wk.folder(upload["datasetId"]) / layer / name, upload)
        properties = self.wk.properties(upload["datasetId"])
        entry = next(entry for entry in properties["dataLayers"] if entry["name"] == layer)
        entry["mags"].append({"mag": mag["mag"], "path": f"./{layer}/{name}", "axisOrder": mag["axisOrder"]})
        (self.wk.folder(upload["datasetId"]) / PROPERTIES).write_text(json.dumps(properties))
        return ({},)

    def update(self, match: re.Match[str], body: bytes, _: Any) -> tuple[Any, ...]:
        asked = json.loads(body)
        (self.wk.folder(match["id"]) / PROPERTIES).write_text(json.dumps(asked["dataSource"]))
        return ({},)


def _store(folder: Path, upload: dict[str, Any]) -> None:
    assert len(upload["files"]) == upload["resumableUploadInfo"]["totalFileCount"]
    for name, content in upload["files"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _multipart(kind: str, body: bytes) -> dict[str, bytes]:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    found = {}
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        found[str(part.get_param("name", header="content-disposition"))] = bytes(content or b"")
    return found


Route = Callable[..., tuple[Any, ...]]
_ROUTES: list[tuple[str, str, Route]] = [
    ("GET", r"/api/buildinfo", _Handler.buildinfo),
    ("GET", r"/api/v16/user", _Handler.user),
    ("GET", r"/api/v16/datasets", _Handler.search),
    ("GET", r"/api/v16/datastores", _Handler.datastores),
    ("GET", r"/api/v16/datasets/disambiguate/(?P<organization>[^/]+)/(?P<name>[^/]+)/toId", _Handler.to_id),
    ("GET", r"/api/v16/datasets/(?P<name>[^/]+)/isValidNewName", _Handler.valid_name),
    ("GET", r"/api/v16/datasets/(?P<id>[^/]+)", _Handler.dataset),
    ("PATCH", r"/api/v16/datasets/(?P<id>[^/]+)/updatePartial", _Handler.update),
    ("GET", r"/api/v16/annotations/(?P<id>[^/]+)/download", _Handler.nml),
    ("GET", r"/data/v\d+/zarr/(?P<id>[^/]+)/(?P<file>.+)", _Handler.zarr),
    ("GET", r"/data/v\d+/annotations/zarr/(?P<id>[^/]+)/(?P<file>.+)", _Handler.annotation_zarr),
    ("POST", r"/data/v\d+/datasets/upload/(dataset|mag)/reserveUpload", _Handler.reserve),
    ("POST", r"/data/v\d+/datasets/upload/(dataset|mag)", _Handler.chunk),
    ("POST", r"/data/v\d+/datasets/upload/dataset/finishUpload", _Handler.finish_dataset),
    ("POST", r"/data/v\d+/datasets/upload/mag/finishUpload", _Handler.finish_mag),
]
