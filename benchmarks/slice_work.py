"""One timed job of the slice benchmark in this process: `python slice_work.py JOB FOLDER OUTPUT BLOCK`.

Runs with whichever `bioimage_py` the interpreter has, this package or the peer, through calls that both have. Prints
one JSON line: wall and processor seconds of the call, peak memory of the process, scalar results.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

CHUNK = 64
WORKERS = 2
SIGMA = 2.0


@dataclass(frozen=True)
class Job:
    """A call, its input's name, its output's data type (None: scalars are returned) and the factor of the shapes."""

    call: Callable[[Any, Any, dict[str, Any]], Any]
    source: str = "raw"
    dtype: str | None = "uint8"
    factor: int = 1


def _copy(source: Any, output: Any, run: dict[str, Any]) -> None:
    import bioimage_py as bp

    bp.copy(source, output, **run)


def _gaussian(source: Any, output: Any, run: dict[str, Any]) -> None:
    from bioimage_py import filters

    filters.gaussian_smoothing(source, SIGMA, output, **run)


def _label(source: Any, output: Any, run: dict[str, Any]) -> None:
    from bioimage_py import segmentation

    segmentation.label(source, output, **run)


def _downsample(source: Any, output: Any, run: dict[str, Any]) -> None:
    import bioimage_py as bp

    bp.downsample(source, 2, output, **run)


def _downsample_mean(source: Any, output: Any, run: dict[str, Any]) -> None:
    import inspect

    import bioimage_py as bp

    # the peer has no block mean: its fastest sampling, order 0, stands against ours
    method = {"method": "mean"} if "method" in inspect.signature(bp.downsample).parameters else {}
    bp.downsample(source, 2, output, **method, **run)


def _statistics(source: Any, output: Any, run: dict[str, Any]) -> list[float]:
    from bioimage_py import stats

    return [float(stats.mean(source, **run)), float(stats.max(source, **run))]


JOBS = {
    "copy": Job(_copy),
    "gaussian": Job(_gaussian, dtype="float32"),
    "label": Job(_label, source="binary", dtype="uint64"),
    "downsample": Job(_downsample, factor=2),
    "downsample mean": Job(_downsample_mean, factor=2),
    "mean and max": Job(_statistics, dtype=None),
}


def create(path: Path, shape: tuple[int, ...], dtype: str, chunk: int = CHUNK) -> Any:
    """A new zarr v3 array with zstd (zarr's default codec), replacing what is there."""
    return zarr.create_array(
        str(path), shape=shape, chunks=(min(chunk, min(shape)),) * len(shape), dtype=dtype, overwrite=True
    )


def run_once(job: Job, source: Any, output_path: Path, block: int) -> dict[str, Any]:
    """Create the output, time the call."""
    shape = tuple(-(-size // job.factor) for size in source.shape)
    output = None if job.dtype is None else create(output_path, shape, job.dtype, source.chunks[0])
    run = {"block_shape": (block,) * 3, "num_workers": WORKERS}
    before = time.perf_counter(), time.process_time()
    result = job.call(source, output, run)
    after = time.perf_counter(), time.process_time()
    return {"wall": after[0] - before[0], "cpu": after[1] - before[1], "result": result}


def warm_up(job: Job) -> None:
    """The same call on a tiny array, so that imports and first-call set-up are not timed."""
    with tempfile.TemporaryDirectory() as folder:
        source = create(Path(folder) / "input.zarr", (32, 32, 32), "uint8", 16)
        source[:] = (np.arange(32**3) % 2).reshape(source.shape)
        run_once(job, source, Path(folder) / "output.zarr", 16)


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss may be that of the parent, whose memory the child had until it started Python
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Run the job named on the command line."""
    name, folder, output, block = sys.argv[1:5]
    job = JOBS[name]
    warm_up(job)
    source = zarr.open_array(str(Path(folder) / f"{job.source}.zarr"), mode="r")
    started = peak_megabytes()
    measured = run_once(job, source, Path(output), int(block))
    print(json.dumps({**measured, "peak": peak_megabytes(), "peak before": started}))


if __name__ == "__main__":
    main()
