"""Run functions block by block over volumes of any size, anywhere, with the same bits.

Public names are imported on first use, because a worker pays for this import at every start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import (
        errors,
        evaluation,
        filters,
        io,
        operations,
        projects,
        runner,
        sample,
        segmentation,
        sources,
        stats,
        util,
        viz,
        workflows,
        wrapper,
    )
    from .blocks import Block, BlockWithHalo, Grid, to_roi
    from .errors import RunnerError
    from .executing import Execution, execution
    from .ops.copying import copy
    from .ops.downsampling import downsample
    from .ops.pyramids import pyramid
    from .runner import RunReport, get_runner, map_blocks
    from .sources import (
        Source,
        SourceSpec,
        TensorStorePrecomputedSource,
        as_source,
        from_spec,
        open_cloudvolume,
        open_source,
        open_tensorstore_precomputed,
        open_webknossos,
        register_source,
        unregister_source,
    )

_NAMES = {
    "Execution": "executing",
    "execution": "executing",
    "Block": "blocks",
    "BlockWithHalo": "blocks",
    "Grid": "blocks",
    "to_roi": "blocks",
    "RunnerError": "errors",
    "copy": "ops.copying",
    "downsample": "ops.downsampling",
    "pyramid": "ops.pyramids",
    "RunReport": "runner",
    "get_runner": "runner",
    "map_blocks": "runner",
    "Source": "sources",
    "SourceSpec": "sources",
    "as_source": "sources",
    "from_spec": "sources",
    "TensorStorePrecomputedSource": "sources",
    "open_cloudvolume": "sources",
    "open_source": "sources",
    "open_tensorstore_precomputed": "sources",
    "open_webknossos": "sources",
    "register_source": "sources",
    "unregister_source": "sources",
}

__all__ = [
    "Block",
    "BlockWithHalo",
    "Execution",
    "Grid",
    "RunReport",
    "RunnerError",
    "Source",
    "SourceSpec",
    "TensorStorePrecomputedSource",
    "__version__",
    "as_source",
    "copy",
    "downsample",
    "errors",
    "evaluation",
    "execution",
    "filters",
    "from_spec",
    "get_runner",
    "io",
    "map_blocks",
    "open_cloudvolume",
    "open_source",
    "open_tensorstore_precomputed",
    "open_webknossos",
    "operations",
    "projects",
    "pyramid",
    "register_source",
    "runner",
    "sample",
    "segmentation",
    "sources",
    "stats",
    "to_roi",
    "unregister_source",
    "util",
    "viz",
    "workflows",
    "wrapper",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    elif name in __all__:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
