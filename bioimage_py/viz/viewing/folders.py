"""Folders with meshes and skeletons, at addresses beside the page of a view, for as long as the view is open."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from neuroglancer import server
from tornado.web import HTTPError, StaticFileHandler

_ADDRESS = r"/objects/(?P<token>[^/]+)/(?P<number>[0-9]+)/(?P<name>[^/.][^/]*)"
"""A file that lies in the folder itself and is not hidden."""
_FOLDERS: weakref.WeakKeyDictionary[Any, list[Path]] = weakref.WeakKeyDictionary()
_KNOWING: weakref.WeakSet[Any] = weakref.WeakSet()


def address_of(viewer: Any, folder: Path) -> str:
    """The URL under which a viewer, whose page is served already, finds the files of a folder."""
    running = server.global_server
    if running.app not in _KNOWING:
        running.app.add_handlers(".*", [(_ADDRESS, _Files, {"path": ""})])
        _KNOWING.add(running.app)
    folders = _FOLDERS.setdefault(viewer, [])
    folders.append(folder)
    return f"{running.server_url}/objects/{viewer.token}/{len(folders) - 1}"


class _Files(StaticFileHandler):
    """Files, or parts of them, of the folders of a view; nothing once it is closed."""

    async def get(self, token: str, number: str, name: str, include_body: bool = True) -> None:  # type: ignore[override]
        running = server.global_server
        viewer = None if running is None else running.viewers.get(token)
        folders = [] if viewer is None else _FOLDERS.get(viewer, [])
        if int(number) >= len(folders):
            raise HTTPError(404)
        self.root = str(folders[int(number)])
        await super().get(name, include_body)

    async def head(self, token: str, number: str, name: str) -> None:  # type: ignore[override]
        await self.get(token, number, name, include_body=False)

    def compute_etag(self) -> str | None:
        """None: tornado would read whole shards for it."""
        return None

    def set_extra_headers(self, path: str) -> None:
        """Say that a folder may be written anew."""
        self.set_header("Cache-Control", "no-cache")
