"""What data is: sources, their specs, and the registry that connects both with objects and files."""

from typing import TYPE_CHECKING

from .axes import Axis, default_axes
from .base import Source
from .registry import SourceLike, as_source, from_spec, register_source, unregister_source
from .spec import SourceSpec, register_callable

if TYPE_CHECKING:
    from .array import ArraySource
    from .file import FileSource, open_source
    from .precomputed.cloudvolume import CloudVolumeSource, open_cloudvolume
    from .precomputed.tensorstore_source import TensorStorePrecomputedSource, open_tensorstore_precomputed
    from .webknossos.source import WebKnossosSource, open_webknossos
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "ArraySource": ".array",
            "CloudVolumeSource": ".precomputed.cloudvolume",
            "FileSource": ".file",
            "TensorStorePrecomputedSource": ".precomputed.tensorstore_source",
            "WebKnossosSource": ".webknossos.source",
            "open_cloudvolume": ".precomputed.cloudvolume",
            "open_source": ".file",
            "open_tensorstore_precomputed": ".precomputed.tensorstore_source",
            "open_webknossos": ".webknossos.source",
        },
    )

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
