"""Where the files of a project lie, also of one on a server whose folder is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bioimage_py.projects import Project

SERVED: dict[str, Path] = {}
"""Folders of servers, by their URLs."""


def root(project: Any) -> Path:
    """Folder of a project."""
    if not project.is_remote:
        return Path(project.path)
    url, _, id = project.path.rpartition("/projects/")
    return SERVED[url] / "projects" / id


def local(project: Any) -> Project:
    """A project as a process in its folder opens it."""
    return Project.load(root(project))


def folder(layer: Any) -> Path:
    """Folder of the data of a layer of a data set."""
    return root(layer.project) / "annotations" / layer.descriptor.identifier / layer.id


def stored(layer: Any) -> Path:
    """The label map that is stored."""
    return folder(layer) / f"{layer.version}.zarr"


def lease(project: Any, identifier: str) -> Path:
    """The file of a lock."""
    return root(project) / "locks" / f"{identifier}.json"
