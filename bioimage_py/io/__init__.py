"""Files and formats: which format a path has, opening and creating containers and arrays, OME-Zarr metadata."""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from . import v3
    from .create import create_array
    from .details import NewArray
    from .formats import split_path
    from .ome import Multiscale, read_label_names, read_multiscales, read_series, write_multiscales
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "Multiscale": ".ome",
            "NewArray": ".details",
            "create_array": ".create",
            "read_label_names": ".ome",
            "read_multiscales": ".ome",
            "read_series": ".ome",
            "split_path": ".formats",
            "write_multiscales": ".ome",
        },
    )

__all__ = [
    "Multiscale",
    "NewArray",
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
    "v3",
    "write_multiscales",
]
