"""The images of a file: their keys, how each is opened, and what the file says of it."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ...errors import BioimageError, FormatError, KeyNotFoundError, MemoryBudgetError, OptionError, SourceNotFoundError
from ...sources.base import Source
from ...sources.spec import load_qualified
from ...sources.stores.location import locate
from ...system.memory import available_bytes
from ..datasets import open_file_source
from ..details import Described, Details
from ..formats import Format, require_library, require_path, split_path
from ..keys import array_keys, ome_levels, series_of
from ..recognize import recognized, require_signs
from .plugins import format_of_plugin
from .resource import Resource


@dataclass(frozen=True)
class Contents:
    """A file that was recognized, and what it holds.

    Parameters
    ----------
    resource : Resource
        Where it lies.
    path : str
        The container.
    key : str, optional
        Of the one image that is meant, where the path leads to it.
    entry : Format
        Its format.
    options : mapping
        For whoever opens it.
    """

    resource: Resource
    path: str
    key: str | None
    entry: Format
    options: Mapping[str, Any] = field(default_factory=dict)

    def images(self) -> list[str | None]:
        """Return the keys of all images; None alone where the file is one."""
        if self.key is not None:
            return [self.key]
        if self.entry.stores and self.entry.container:
            root = locate(self.path, self.options.get("storage_options"))
            series = series_of(root)
            if series or ome_levels(root):
                return list(series) or [None]
            return [None if key == "." else key for key in array_keys(root, limit=None)] or [None]
        if self.entry.keys and (self.entry.stores or os.path.isfile(self.path)):
            require_library(self.entry)
            listed: list[str] = load_qualified(self.entry.keys)(self.path)
            return list(listed) if len(listed) != 1 else [self.first()]
        return [None]

    def first(self) -> str | None:
        """Return the key of the image that is meant where none is chosen; None where the format chooses."""
        if self.key is not None or not (self.entry.stores and self.entry.container):
            return self.key or (self.entry.first if os.path.isfile(self.path) else None) or None
        series = series_of(locate(self.path, self.options.get("storage_options")))
        return series[0] if series else None

    def source(self, key: str | None, level: int | str = 0) -> Source:
        """Open an image, lazily where its format can."""
        chosen = None if level == 0 else level
        if chosen is not None and not self.entry.levels:
            raise KeyNotFoundError(
                f"{self.resource.name} is of the format {self.entry.name!r}, which has one level only.",
                remedy="leave level out",
            )
        options = {name: value for name, value in self.options.items() if name != "storage_options"}
        source = open_file_source(self.path, key, self.entry, "r", options, chosen, self.options.get("storage_options"))
        if self.resource.scratch is not None:
            weakref.finalize(source, _keep, self.resource.scratch)
        return source

    def details(self, key: str | None, source: Source | None = None) -> Details:
        """Return what the file says of an image; a damaged description gives a warning, and no more than that."""
        if not self.entry.details:
            return Details()
        known = described(source)
        try:
            found: Details = known.details() if known else load_qualified(self.entry.details)(self.path, key)
        except Exception as error:  # noqa: BLE001 - what describes an image must not cost its voxels
            if source is None:
                self.source(key).close()  # what is no image at all has no metadata that are damaged
            kind = type(error).__name__
            warnings.warn(f"{self.resource.name}: its metadata are damaged: {kind}: {error}", stacklevel=4)
            return Details()
        return found

    def level_shapes(self, key: str | None, source: Source) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the levels of an image, given its finest one."""
        known = described(source)
        if known is not None:
            return known.level_shapes
        shapes = [source.shape]
        while self.entry.levels:
            try:
                with self.source(key, len(shapes)) as coarser:
                    shapes.append(coarser.shape)
            except BioimageError:  # there are no more of them
                break
        return tuple(shapes)

    def check_size(self, nbytes: int, roi: Any = None) -> None:
        """Raise `MemoryBudgetError` before an image is allocated that cannot be what the file says."""
        if nbytes <= _ALWAYS_THERE:
            return
        there = available_bytes()
        claimed = nbytes > there
        if not claimed and nbytes > _UNSUSPECTED and os.path.isfile(self.path):
            claimed = nbytes > _MOST_RATIO * max(1, os.path.getsize(self.path))
        if claimed:
            size = f", and is a file of {os.path.getsize(self.path)} bytes" if os.path.isfile(self.path) else ""
            raise MemoryBudgetError(
                f"{self.resource.name} claims an image of {nbytes} bytes{size}; there are {there} bytes of memory.",
                remedy="read a part: roi={'z': slice(0, 10)}, or open it lazily: imopen(path, 'r').source()",
            )


def described(source: Source | None) -> Described | None:
    """The container of a source, if it knows what else would take another look at the file."""
    container = getattr(source, "container", None)
    return container if hasattr(container, "level_shapes") else None


_ALWAYS_THERE = 16 * 2**20
_UNSUSPECTED = 256 * 2**20
_MOST_RATIO = 20000
"""Bytes of an image for each of its file: what the best codecs make of nothing but zeros."""


def _keep(scratch: object) -> None:
    """Called when a source is gone; until then the file is kept."""


def contents_of(resource: Resource, plugin: Any, extension: str | None, options: Mapping[str, Any]) -> Contents:
    """Recognize a file.

    Raises
    ------
    SourceNotFoundError, FormatError, ParameterError, MissingDependencyError
    """
    path, key = resource.path, None
    if resource.scratch is None:
        path, key = split_path(path)
        _require(path)
    if plugin is None:
        entry = recognized(locate(path, options.get("storage_options")), extension, strict=True)
    else:
        entry = format_of_plugin(plugin)
        _require_fit(resource.name, path, entry)
    require_library(entry)
    _check_options(entry, options)
    return Contents(resource, path, key, entry, dict(options))


def _require(path: str) -> None:
    try:
        require_path(path)
    except SourceNotFoundError as error:
        folder, name = os.path.split(path)
        near = get_close_matches(name, os.listdir(folder), 3) if os.path.isdir(folder) else []
        if near:
            error.remedy = f"{error.remedy}; near: {', '.join(near)}"
        raise


def _require_fit(name: str, path: str, entry: Format) -> None:
    try:
        require_signs(path, entry)
        if os.path.isfile(path) and (entry.inside is not None or "" in entry.extensions):
            raise FormatError(f"{path} is no folder.", remedy="no plugin=")
    except FormatError:
        try:
            found = recognized(locate(path)).name
        except FormatError:
            found = "nothing that is known"
        raise FormatError(f"plugin={entry.name!r} does not read {name}: it is {found}.", remedy="no plugin=") from None


def _check_options(entry: Format, options: Mapping[str, Any]) -> None:
    if entry.reads is None:
        return
    known = [*entry.reads, *(["storage_options"] if entry.stores else [])]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise OptionError(
            f"{', '.join(unknown)}: no keyword of reading the format {entry.name!r}; it knows"
            f" {', '.join([*known, 'index', 'key', 'level', 'roi', 'axes', 'page', 'out', 'dtype'])}.",
            remedy=f"leave {unknown[0]} out",
        )
