"""What data is: sources, their specs, and the registry that connects both with objects and files."""

from .base import Axis, Source, default_axes
from .registry import SourceLike, as_source, from_spec, register_source, unregister_source
from .spec import SourceSpec, register_callable

_LAZY = {
    "ArraySource": "array",
    "CloudVolumeSource": "cloudvolume_source",
    "FileSource": "file",
    "TensorStorePrecomputedSource": "tensorstore_source",
    "open_cloudvolume": "cloudvolume_source",
    "WebKnossosSource": "webknossos_source",
    "open_source": "file",
    "open_webknossos": "webknossos_source",
    "open_tensorstore_precomputed": "tensorstore_source",
}

__all__ = [
    "ArraySource",
    "Axis",
    "CloudVolumeSource",
    "FileSource",
    "Source",
    "SourceLike",
    "SourceSpec",
    "TensorStorePrecomputedSource",
    "WebKnossosSource",
    "as_source",
    "default_axes",
    "from_spec",
    "open_cloudvolume",
    "open_source",
    "open_tensorstore_precomputed",
    "open_webknossos",
    "register_callable",
    "register_source",
    "unregister_source",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
