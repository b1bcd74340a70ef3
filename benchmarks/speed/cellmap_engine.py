"""cellmap-analyze: its tools on zarr arrays, in processes of a local Dask cluster, as its documentation starts them.

Its holes are others than those of the work: what the border of the volume closes is one too.
"""

from __future__ import annotations

import csv
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case

DASK = """
jobqueue:
  local: {ncpus: 1, processes: 1, cores: 1, log-directory: job-logs, name: dask-worker}
distributed:
  scheduler: {work-stealing: true}
"""


def _run(case: Case) -> dict[str, Any]:
    """What all of its tools take; it reads the settings of its cluster from the working folder."""
    Path(case.output).mkdir()
    os.chdir(case.output)
    Path("dask-config.yaml").write_text(DASK)
    return {"num_workers": case.workers, "chunk_shape": (case.block,) * 3}


def _label(case: Case, connectivity: int) -> None:
    from cellmap_analyze.process.connected_components import ConnectedComponents

    what: dict[str, Any] = {"intensity_threshold_minimum": 1, "connectivity": connectivity, "delete_tmp": True}
    where = {"input_path": case.input("binary"), "output_path": f"{case.output}/made.zarr/labels"}
    ConnectedComponents(**where, **what, **_run(case)).get_connected_components()


def regionprops(case: Case) -> list[int]:
    from cellmap_analyze.analyze.measure import Measure

    Measure(case.input("cells"), f"{case.output}/measured", **_run(case)).get_measurements()
    with next(Path(f"{case.output}/measured").glob("*.csv")).open() as table:
        lengths = [float(row["Principal Axis Length 1 (nm)"]) for row in csv.DictReader(table)]
    return [len(lengths), round(sum(lengths))]


WORKS = {
    "label 6": partial(_label, connectivity=1),
    "label 26": partial(_label, connectivity=3),
    "regionprops": regionprops,
}
