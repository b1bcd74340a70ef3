"""Resources of a label project: small objects made when they are asked for, from what is saved."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DatasetError, ParameterError, StorageError
from ...io.v3.functions import told_affine
from ...io.v3.properties import usable_affine
from ...projects import Descriptor, Project
from ...projects.remote.working import Worker
from ...sources import Axis, Source
from ..annotations.annotation import Annotation
from ..annotations.label_sets import LabelSets
from ..layout import Layout
from ..names import unknown
from ..opening.cache import cached, of_server
from .layers import (
    ANNOTATORS,
    annotations_of,
    authors_in,
    contradictions,
    definitions_of,
    fetch_label_maps,
    told_of,
    versions_of,
)
from .resource import Resource
from .store import Store

Versions = Mapping[str, Mapping[str, str]]
_KEPT = 256
"""Resources whose annotations are kept."""
_AWAY = 60.0
"""Seconds for which a server that is away is not asked again."""
_MOST_OPENED = 8192
"""Resources, 8 kB each, that a project has opened when it is loaded anew, as it never forgets one."""


class ProjectStore(Store):
    """Data sets of a project, as they are saved.

    Parameters
    ----------
    project : str, os.PathLike or Project
        Its folder, or one on a server, opened. What is not saved does not count.
    auto_update : bool
        True: annotations are those that are saved when an item is read. False: those that were when this was made.
    external : bool
        Whether values without a label are annotations.

    Raises
    ------
    KeyNotFoundError
        There is no project.
    """

    def __init__(self, project: Any, auto_update: bool, external: bool) -> None:
        self.project = project.path if isinstance(project, Project) else _found(project)
        self._worker = Worker.reading(project._session) if isinstance(project, Project) else None
        self._away = -math.inf
        self._auto_update, self._external = auto_update, external
        self._ids = tuple(self._live.descriptors.identifiers)
        self._pinned: Mapping[str, Versions] | None = None
        if not auto_update:
            self._pinned = {id: versions_of(self._live.descriptors[id]) for id in self._ids}
        self._kept: OrderedDict[str, tuple[Hashable, ProjectResource]] = OrderedDict()
        self._opened = 0

    @cached_property
    def _live(self) -> Project:
        assert self.project is not None
        if self._worker is None:
            return Project.load(self.project)
        project = Project.__new__(Project)
        project._hold(self._worker.session(""))
        return project

    def __getstate__(self) -> dict[str, Any]:
        # Every process opens the project itself; of a server, with a token that has not ended yet.
        if self._worker is not None:
            self._worker = Worker.reading(self._live._session)
        return {**{key: value for key, value in self.__dict__.items() if key != "_live"}, "_kept": OrderedDict()}

    @property
    def ids(self) -> Sequence[str]:
        """Identifiers in the order of import."""
        return self._ids

    def resource(self, number: int) -> Resource:
        """Return a resource, with what others have saved of it by now."""
        id = self._ids[number]
        stamp = self._stamp(id)
        kept = self._kept.get(id)
        if kept is None or (self._auto_update and kept[0] != stamp):
            self._opened += 1
            if self._opened > _MOST_OPENED and self._worker is None:
                self.__dict__.pop("_live", None)
                self._kept, self._opened = OrderedDict(), 0
            descriptor = self._live.descriptors[id]
            if self._auto_update and self._worker is None:
                descriptor.sync()
            pinned = None if self._pinned is None else self._pinned[id]
            kept = self._kept[id] = (stamp, ProjectResource(descriptor, pinned, self._external))
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return kept[1]

    def _stamp(self, id: str) -> Hashable:
        assert self.project is not None
        if self._worker is not None:
            self._ask()
            return self._live._session.record(id).model_dump_json()
        try:
            status = os.stat(os.path.join(self.project, "descriptors", f"{id}.json"))
        except FileNotFoundError:
            return None
        return (status.st_mtime_ns, status.st_ino, status.st_size)

    def _ask(self) -> None:
        """Take over what others have saved on the server; where it is away, what is known goes on to count."""
        if not self._auto_update or time.monotonic() < self._away + _AWAY:
            return
        try:
            self._live.sync()
        except StorageError as error:
            self._away = time.monotonic()
            warnings.warn(f"What is saved on the server is not known: {error.message}", stacklevel=6)

    def definitions(self, worklists: Any) -> LabelSets | None:
        """Return the labels of the layers that count, then those of tags and spaces.

        Raises
        ------
        KeyNotFoundError
            There is no such layer.
        DatasetError
            Two layers give one label different values.
        """
        if worklists is None:
            return None
        known = definitions_of(self._live)
        chosen = list(known) if isinstance(worklists, str) and worklists == "all" else list(worklists)
        for name in chosen:
            if name not in known:
                raise unknown("worklist (layer)", name, known)
        if wrong := contradictions(self._live, set(chosen)):
            raise DatasetError(
                f"Layers contradict each other: {'; '.join(wrong)}.",
                remedy="worklists=[...] with one of them, or None to take labels by name, or edit() the project",
            )
        found = LabelSets()
        for name in chosen:
            found = found.extended(known[name])
        return found

    def authors(self) -> set[str]:
        """Who the project's configuration names, who made records of spaces, and "unknown"."""
        said = self._live.configuration.get(ANNOTATORS, {})
        names = {Annotation.label("any", **told_of(self._live, layer)).author for layer in said}
        for id in self._ids:
            names |= authors_in(self._live.descriptors[id])
        return names | {"unknown"}

    @property
    def titles(self) -> set[str]:
        """Titles of the levels of grouping, names of tags, and "patient"."""
        return {"patient", *(title.lower() for title in self._live.grouping_hierarchy), *self._live.tags.names}


class ProjectResource(Resource):
    """A data set of a project.

    Parameters
    ----------
    descriptor : Descriptor
    pinned : mapping, optional
        Versions of layers and spaces; None: those that are saved.
    external : bool
        Whether values without a label are annotations.
    """

    def __init__(self, descriptor: Descriptor, pinned: Versions | None, external: bool) -> None:
        hierarchy = [title.lower() for title in descriptor.project.grouping_hierarchy]
        keys = [group.key for group in descriptor.grouping]
        patient = {"patient": descriptor.image_info.patient_id or ""}
        super().__init__(
            None,
            descriptor.name,
            id=descriptor.identifier,
            tags={tag.name: tag.value for tag in descriptor.tags if tag.value is not None},
            groups={**patient, **dict(zip(hierarchy, keys, strict=False))},
            version=descriptor.latest_edit_time.isoformat(),
        )
        self._descriptor, self._pinned, self._external = descriptor, pinned, external
        self._made: dict[tuple[Layout, bool], tuple[Annotation, ...]] = {}

    @property
    def descriptor(self) -> Descriptor:
        """The data set in its project."""
        return self._descriptor

    @property
    def _stored(self) -> bool:
        return True

    def _open(self, fetch: bool = False) -> Source:
        descriptor = self._descriptor
        if descriptor.project.is_remote and descriptor.own_copy:
            return of_server(f"{descriptor.load_path} {descriptor.shape}", descriptor.load_image, fetch)
        return cached(self.id, "", descriptor.load_image(), fetch)

    def fetch(self) -> int:
        """Copy the image into the cache where it is slow to read, and of a server's data set its label maps."""
        fetch_label_maps(self._descriptor, self._versions)
        return super().fetch()

    @property
    def _versions(self) -> Versions:
        return versions_of(self._descriptor) if self._pinned is None else self._pinned

    @property
    def key(self) -> Hashable:
        """What stands for the image as it is now."""
        path = self._descriptor.load_path
        stamp: tuple[int, ...] = ()
        if os.path.exists(path):
            status = os.stat(path)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        return ("image", self._descriptor.project.path, self.id, self._descriptor.axes, path, *stamp)

    @cached_property
    def _described(self) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
        return self._descriptor.axes, self._descriptor.shape

    @cached_property
    def _told_affine(self) -> npt.NDArray[np.float64] | None:
        """What the file said when it came into the project; of one that came before that was kept, what it says."""
        descriptor = self._descriptor
        told, path = descriptor._record.image.affine, descriptor.load_path
        if told is not None or descriptor.own_copy or not os.path.exists(path):
            return usable_affine(told, self.axes)
        return told_affine(path, self.axes)

    @property
    def is_silent(self) -> bool:
        """False: tags, layers and spaces have to be looked at."""
        return False

    def annotations(self, layout: Layout, exact: bool = True) -> tuple[Annotation, ...]:
        """Return what its layers, spaces and tags say; not `exact`: also labels that a label map may not have."""
        key = (layout, exact)
        if key not in self._made:
            self._made[key] = tuple(annotations_of(self._descriptor, layout, self._versions, self._external, exact))
        return self._made[key]


def at_server(project: Any, api_key: str | None, server_url: str | None) -> Any:
    """Open a project that is named by its URL, or by the server's and an id or name; others stay as they are."""
    if isinstance(project, Project):
        return project
    if not isinstance(project, str | os.PathLike):
        raise ParameterError(
            f"project is a {type(project).__name__}, neither a Project nor a path or URL of one.",
            remedy="pass sources, descriptors or files as resources=[...]",
        )
    given = os.fspath(project)
    if server_url:
        return Project.load(server_url, given, token=api_key or "")
    return Project.load(given, token=api_key or "") if "://" in given else project


def _found(path: Any) -> str:
    root = Path(os.fspath(path)).absolute()
    if not (root / "project.json").is_file():
        beside = [p.parent.name for p in root.parent.glob("*/project.json")] if root.parent.is_dir() else []
        raise unknown(f"project in {root.parent} called", root.name, beside)
    return str(root)
