"""What data is: sources, their specs, and the registry that connects both with objects and files."""

from .base import Axis, Source, default_axes
from .registry import SourceLike, as_source, from_spec, register_source, unregister_source
from .spec import SourceSpec

_LAZY = {
    "ArraySource": "array",
    "FileSource": "file",
    "open_source": "file",
}

__all__ = [
    "ArraySource",
    "Axis",
    "FileSource",
    "Source",
    "SourceLike",
    "SourceSpec",
    "as_source",
    "default_axes",
    "from_spec",
    "open_source",
    "register_source",
    "unregister_source",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
