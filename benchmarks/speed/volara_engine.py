"""volara: those of its block-wise tasks that are works here, in worker processes; `LambdaTask` has no halo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


def _output(case: Case, like: Path, dtype: Any) -> Path:
    """An array with the chunks that all engines write; the task is told not to make its own."""
    import zarr

    shape = zarr.open_array(like, mode="r").shape
    zarr.create_array(case.output, shape=shape, chunks=(min(case.chunk, *shape),) * 3, dtype=dtype)
    return Path(case.output)


def _run(task: Any, case: Case) -> None:
    from volara.logging import set_log_basedir

    set_log_basedir(Path(f"{case.output}-logs"))
    task.run_blockwise(multiprocessing=True)


def copy(case: Case) -> None:
    from volara.blockwise import LambdaTask
    from volara.datasets import Raw

    path = Path(case.input("raw"))
    task = LambdaTask(
        in_data=Raw(store=path, writable=False),
        out_data=Raw(store=_output(case, path, np.uint8)),
        lambda_func=lambda block: block,
        init_out=False,
        block_size=(case.block,) * 3,
        num_workers=case.workers,
    )
    _run(task, case)


def relabel(case: Case) -> None:
    from volara.blockwise import Relabel
    from volara.datasets import Labels
    from volara.lut import LUT

    table = np.load(f"{case.data}/table.npy")
    lut = LUT(path=Path(f"{case.output}-table.npz"))
    lut.save(np.stack([np.arange(len(table)), table.astype(np.int64)]))
    task = Relabel(
        frags_data=Labels(store=Path(case.input("labels")), writable=False),
        seg_data=Labels(store=Path(case.output)),
        lut=lut,
        block_size=(case.block,) * 3,
        num_workers=case.workers,
    )
    _run(task, case)


WORKS = {"copy": copy, "relabel": relabel}
