"""Browsers without a window: they keep cookies, follow links, and fill in forms as they are drawn."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from ..conftest import PASSWORD, Demo, Web, demo, make_web, web

__all__ = ["demo", "make_web", "web"]


class Browser:
    """A browser that somebody sits in front of."""

    def __init__(self, web: Web) -> None:
        # an address of this machine by TLS: the client has no word for a machine that browsers trust
        self.client = TestClient(
            web.app, base_url="https://testserver", raise_server_exceptions=False, follow_redirects=True
        )
        self.last: httpx.Response

    def get(self, path: str, status: int = 200, **more: Any) -> str:
        self.last = self.client.get(path, **more)
        assert self.last.status_code == status, (path, self.last.status_code, self.last.text)
        return self.last.text

    def mark(self, path: str) -> str:
        found = re.search(r'name="mark" value="([0-9a-f]+)"', self.get(path))
        assert found is not None, path
        return found[1]

    def send(self, path: str, status: int = 200, on: str = "", **fields: str) -> str:
        """Fill in a form of a page and send it."""
        data = {"mark": self.mark(on or path), **fields}
        self.last = self.client.post(path, data=data)
        assert self.last.status_code == status, (path, self.last.status_code, self.last.text)
        return self.last.text

    def sign_in(self, name: str, password: str = PASSWORD, status: int = 200, onward: str = "/") -> str:
        return self.send("/sign-in", status, username=name, password=password, next=onward)

    @property
    def cookie(self) -> str:
        return self.client.cookies.get("__Host-bioimage-py-session") or ""


class Browsers:
    def __init__(self, web: Web) -> None:
        self.web = web
        self._browsers: dict[str, Browser] = {}

    def __getitem__(self, name: str) -> Browser:
        """The browser of somebody who has signed in."""
        if name not in self._browsers:
            self._browsers[name] = self.new()
            self._browsers[name].sign_in(name)
        return self._browsers[name]

    def new(self) -> Browser:
        return Browser(self.web)


@pytest.fixture
def browsers(web: Web) -> Browsers:
    return Browsers(web)


def words(html: str) -> str:
    """What somebody reads on a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


__all__ += ["Browser", "Browsers", "Demo", "words"]
