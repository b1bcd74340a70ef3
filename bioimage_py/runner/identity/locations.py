"""Where the data of a source lie, below all views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import NotReopenableError
from ...sources.base import Source
from ...sources.file import absolute_path
from ...sources.stores.paths import is_url


def container_of(source: Source) -> Path | None:
    """Path of the file or container that holds a source; None where it has none on this machine."""
    spec = _inner_spec(source)
    return None if spec is None else Path(absolute_path(spec.path))


def _inner_spec(source: Source) -> Any:
    try:
        spec: Any = source.to_spec()
    except NotReopenableError:
        return None
    while spec.wrapped is not None:
        spec = spec.wrapped
    return None if spec.path is None or is_url(spec.path) else spec
