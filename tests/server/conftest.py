"""A server with a project, in this process, and somebody of each role."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from bioimage_py.projects import Label, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind
from bioimage_py.server.accounts import passwords
from bioimage_py.server.accounts.members import Role
from bioimage_py.server.http.app import make_app
from bioimage_py.server.site import Site

PASSWORD = "correct horse battery"
SHAPE = (70, 70, 70)


def make_settings(name: str = "demo") -> ProjectSettings:
    pixel, box = LayerKind.PIXELWISE, LayerKind.BOUNDINGBOX
    labels = [Label("one", pixel, value=1), Label("two", pixel, value=2)]
    layers = [Layer("cells", pixel, labels), Layer("boxes", box, [Label("cell", box)])]
    return ProjectSettings(name, tags=[Tag("Reviewed", TagKind.Bool)], layers=layers)


class Web:
    """A server, and its clients by name."""

    def __init__(self, root: Path, url: str = "") -> None:
        self.site = Site(root / "site", url)
        self.app = make_app(self.site)
        self.nobody = self.client()
        self._clients: dict[str, TestClient] = {}

    def client(self, token: str = "") -> TestClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return TestClient(self.app, base_url="http://testserver/api/v1", headers=headers, raise_server_exceptions=False)

    def add_user(self, name: str, **more: Any) -> None:
        self.site.users.add(name, PASSWORD, **more)

    def __getitem__(self, name: str) -> TestClient:
        """Somebody who has logged in."""
        if name not in self._clients:
            self._clients[name] = self.client(self.log_in(name)["access"])
        return self._clients[name]

    def log_in(self, name: str) -> dict[str, Any]:
        answer = self.nobody.post("/auth/login", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def token(self, name: str, scope: str, **more: Any) -> TestClient:
        answer = self[name].post("/auth/tokens", json={"name": "t", "scope": scope, **more})
        assert answer.status_code == 201, answer.text
        return self.client(answer.json()["token"])

    def close(self) -> None:
        self.site.close()


class Demo:
    """A project of one owner, with members of every role and a data set."""

    def __init__(self, web: Web) -> None:
        self.web = web
        for name in ("root", *(role.name for role in Role), "stranger"):
            web.add_user(name, admin=name == "root")
        answer = web["owner"].post("/projects", json={"settings": make_settings().with_ids().to_document()})
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["id"]
        self.path = f"/projects/{self.id}"
        for role in Role:
            if role != Role.owner:
                put = web["owner"].put(f"{self.path}/members/{role.name}", json={"role": role.name})
                assert put.status_code == 204, put.text
        self.folder = web.site.projects.served(self.id).folder
        local = Project.load(self.folder.root)
        self.descriptor = local.add_descriptor(np.zeros(SHAPE, np.uint8), "first").identifier
        local.save()
        settings = self.folder.read("project").document
        assert settings is not None
        self.layers = {layer["name"]: id for id, layer in settings["layers"].items()}
        self.tag = next(iter(settings["tags"]))

    @property
    def data(self) -> str:
        return f"{self.path}/descriptors/{self.descriptor}"

    @property
    def cells(self) -> str:
        return f"{self.data}/layers/{self.layers['cells']}"

    def document(self, name: str = "") -> dict[str, Any]:
        found = self.folder.read(name or self.descriptor).document
        assert found is not None
        return found

    def change(self, path: list[str], old: Any, new: Any, name: str = "") -> dict[str, Any]:
        return {"changes": [{"name": name or self.descriptor, "fields": [{"path": path, "old": old, "new": new}]}]}

    def comment(self, old: str, new: str) -> dict[str, Any]:
        return self.change(["comments"], old, new)

    def new_document(self, identifier: str, **more: Any) -> dict[str, Any]:
        """A document of a further data set, whose image lies elsewhere."""
        image = self.document()["image"]
        image = {**image, "own_copy": False, "spec": {**image["spec"], "path": "/data/a.zarr"}}
        return {**self.document(), "identifier": identifier, "layers": {}, "image": image, **more}


class Raw:
    """An answer to a request that no client library has made decent."""

    def __init__(
        self, app: Any, method: str, path: str, headers: dict[str, str], body: Iterable[bytes] = (b"",)
    ) -> None:
        self.status_code, self.content, self.taken = 0, b"", 0
        given = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path, errors="replace"),
            "raw_path": path.encode("latin-1"),
            "query_string": b"",
            "root_path": "",
            "headers": given,
            "client": ("testclient", 1),
            "server": ("testserver", 80),
        }
        pieces = iter(body)

        async def receive() -> dict[str, Any]:
            piece = next(pieces, None)
            self.taken += len(piece or b"")
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

        async def send(message: dict[str, Any]) -> None:
            self.status_code = message.get("status", self.status_code)
            self.content += message.get("body", b"")

        asyncio.run(app(scope, receive, send))


@pytest.fixture
def make_web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Web]]:
    made: list[Web] = []
    # test_accounts.py has the real ones
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobody.cache_clear()

    def make(url: str = "") -> Web:
        made.append(Web(tmp_path / str(len(made)), url))
        return made[-1]

    yield make
    for one in made:
        one.close()
    passwords._nobody.cache_clear()


@pytest.fixture
def web(make_web: Callable[[], Web]) -> Web:
    return make_web()


@pytest.fixture
def demo(web: Web) -> Demo:
    return Demo(web)
