"""Files and formats: which format a path has, opening and creating containers and arrays, OME-Zarr metadata."""

from .formats import (
    constructor_for_format,
    format_for_extension,
    infer_format,
    is_writable_format,
    open_file,
    register_format,
    supported_extensions,
    supported_formats,
)

_LAZY = {
    "Multiscale": "ome",
    "create_array": "create",
    "read_label_names": "ome",
    "read_multiscales": "ome",
    "read_series": "ome",
    "split_path": "formats",
    "write_multiscales": "ome",
}

__all__ = [
    "Multiscale",
    "constructor_for_format",
    "create_array",
    "format_for_extension",
    "infer_format",
    "is_writable_format",
    "open_file",
    "read_label_names",
    "read_multiscales",
    "read_series",
    "register_format",
    "split_path",
    "supported_extensions",
    "supported_formats",
    "write_multiscales",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
