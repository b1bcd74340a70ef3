"""Run functions block by block over volumes of any size, anywhere, with the same bits.

Public names are imported on first use, because a worker pays for this import at every start.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__version__ = "0.2.1"

if TYPE_CHECKING:
    from . import (
        datasets,
        errors,
        evaluation,
        filters,
        graph,
        inference,
        io,
        mesh,
        morphology,
        operations,
        projects,
        runner,
        sample,
        segmentation,
        skeleton,
        sources,
        spaces,
        stats,
        transformation,
        util,
        viz,
        workflows,
        wrapper,
    )
    from .blocks import Block, BlockWithHalo, Grid, to_roi
    from .errors import RunnerError
    from .io.v3 import imiter, immeta, imopen, improps, imread, imwrite
    from .operations.copying import copy
    from .operations.downsampling import downsample
    from .operations.own import map
    from .operations.pyramids import pyramid
    from .pipelines import pipeline
    from .runner import RunReport, SlurmConfig, config_file_path, get_runner, map_blocks, write_slurm_config
    from .runner.execution import Execution, execution
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
else:
    from .lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "Block": ".blocks",
            "BlockWithHalo": ".blocks",
            "Execution": ".runner.execution",
            "Grid": ".blocks",
            "RunReport": ".runner",
            "RunnerError": ".errors",
            "SlurmConfig": ".runner",
            "Source": ".sources",
            "SourceSpec": ".sources",
            "TensorStorePrecomputedSource": ".sources",
            "as_source": ".sources",
            "config_file_path": ".runner",
            "copy": ".operations.copying",
            "downsample": ".operations.downsampling",
            "execution": ".runner.execution",
            "from_spec": ".sources",
            "get_runner": ".runner",
            "imiter": ".io.v3",
            "immeta": ".io.v3",
            "imopen": ".io.v3",
            "improps": ".io.v3",
            "imread": ".io.v3",
            "imwrite": ".io.v3",
            "map": ".operations.own",
            "map_blocks": ".runner",
            "open_cloudvolume": ".sources",
            "open_source": ".sources",
            "open_tensorstore_precomputed": ".sources",
            "open_webknossos": ".sources",
            "pipeline": ".pipelines",
            "pyramid": ".operations.pyramids",
            "register_source": ".sources",
            "to_roi": ".blocks",
            "unregister_source": ".sources",
            "write_slurm_config": ".runner",
        },
    )

__all__ = [
    "Block",
    "BlockWithHalo",
    "Execution",
    "Grid",
    "RunReport",
    "RunnerError",
    "SlurmConfig",
    "Source",
    "SourceSpec",
    "TensorStorePrecomputedSource",
    "__version__",
    "as_source",
    "config_file_path",
    "copy",
    "datasets",
    "downsample",
    "errors",
    "evaluation",
    "execution",
    "filters",
    "from_spec",
    "get_runner",
    "graph",
    "imiter",
    "immeta",
    "imopen",
    "improps",
    "imread",
    "imwrite",
    "inference",
    "io",
    "map",
    "map_blocks",
    "mesh",
    "morphology",
    "open_cloudvolume",
    "open_source",
    "open_tensorstore_precomputed",
    "open_webknossos",
    "operations",
    "pipeline",
    "projects",
    "pyramid",
    "register_source",
    "runner",
    "sample",
    "segmentation",
    "skeleton",
    "sources",
    "spaces",
    "stats",
    "to_roi",
    "transformation",
    "unregister_source",
    "util",
    "viz",
    "workflows",
    "wrapper",
    "write_slurm_config",
]


def _warn_of_another(site: str) -> None:
    """Warn where pip has installed another distribution into the same folder, which then is a mixture of both."""
    names = os.listdir(site) if os.path.isdir(site) else []
    others = [name for name in names if name.startswith("bioimage_py-") and name.endswith(".dist-info")]
    if others:
        import warnings

        warnings.warn(
            f"{others[0].removesuffix('.dist-info')} is installed beside bioimage-blocks in {site}. Both are the module"
            " bioimage_py: files of one have replaced files of the other. Type:"
            " pip uninstall bioimage-py bioimage-blocks; then install the one that you want.",
            stacklevel=3,
        )


_warn_of_another(os.path.dirname(os.path.dirname(__file__)))
