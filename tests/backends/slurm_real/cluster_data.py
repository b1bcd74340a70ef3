"""Volumes, block functions and operations for the tests on the cluster; imported by workers too."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from bioimage_py.blocks import to_roi
from bioimage_py.runner import SlurmConfig, map_blocks
from bioimage_py.segmentation import label, relabel
from bioimage_py.sources.indexing import Roi
from bioimage_py.wrapper import WrapperSource

CHUNK = 16
SIZE = 256
BLOCK = (64, 64, 64)
N_BLOCKS = (SIZE // BLOCK[0]) ** 3
N_IDS = 1000
FAST, SLOW = 0.05, 3.0
FULL_SECONDS = 2.5
"""How long memory is held: where nothing limits it, the scheduler looks once a second."""


def volume(size: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((size,) * 3) > 0.7).astype(np.uint8)


def stored(path: Path, data: np.ndarray, chunk: int = CHUNK) -> Any:
    array = zarr.create_array(path, shape=data.shape, chunks=(chunk,) * data.ndim, dtype=data.dtype)
    array[...] = data
    return array


def empty(path: Path, shape: tuple[int, ...], dtype: str, chunk: int = CHUNK) -> Any:
    return zarr.create_array(path, shape=shape, chunks=(chunk,) * len(shape), dtype=dtype)


def checksum(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array[...])).hexdigest()[:10]


def config(**settings: Any) -> SlurmConfig:
    return SlurmConfig(
        **{"partition": "main", "mem": "400M", "time": 5, "latency_wait": 10.0, "poll_interval": 2.0, **settings}
    )


class PacedMask(WrapperSource):
    """A mask whose reading in a job takes as long as the file ``pace`` says, and is told in ``reads/<job>@<node>``.

    Parameters
    ----------
    source : source
        The mask itself.
    folder : str
        Of the files.
    hungry : int
        MiB that the reading of the block at ``(64, 64, 64)`` takes for a while.
    """

    def __init__(self, source: Any, folder: str, hungry: int = 0) -> None:
        super().__init__(source)
        self._folder = folder
        self._hungry = hungry

    def _params(self) -> dict[str, Any]:
        return {"folder": self._folder, "hungry": self._hungry}

    def _getitem(self, roi: Roi) -> np.ndarray:
        array, folder = os.environ.get("SLURM_ARRAY_JOB_ID"), Path(self._folder)
        if array is None:
            return self._source.read(roi)
        if self._hungry and all(one.start == edge for one, edge in zip(roi, BLOCK, strict=True)):
            full = np.ones(self._hungry * 2**20, np.uint8)
            time.sleep(FULL_SECONDS)
            del full
        worker = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}@{socket.gethostname()}"
        time.sleep(float((folder / "pace").read_text()))
        with open(folder / "reads" / worker, "a") as told:
            told.write(".")
        return self._source.read(roi)


def plus_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = to_roi(block)
    outputs[0][roi] = inputs[0][roi] + mask[roi]


def _blocks(inputs: Path, output: Any, mask: Any, **execution: Any) -> Any:
    return map_blocks(plus_one, [_opened(inputs / "mask.zarr")], [output], block_shape=BLOCK, mask=mask, **execution)


def _label(inputs: Path, output: Any, mask: Any, **execution: Any) -> Any:
    return label(_opened(inputs / "mask.zarr"), output, block_shape=BLOCK, mask=mask, **execution)


def _relabel(inputs: Path, output: Any, mask: Any, **execution: Any) -> Any:
    # a table that, applied twice to a voxel, shows
    table = np.random.default_rng(5).permutation(N_IDS).astype(np.uint16)
    return relabel(output, table, block_shape=BLOCK, mask=mask, **execution)


def _opened(path: Path) -> Any:
    return zarr.open_array(path, mode="r")


OPERATIONS: dict[str, tuple[Callable[..., Any], str, int]] = {
    "blocks": (_blocks, "bytes.zarr", N_BLOCKS // 4),
    "label": (_label, "labels.zarr", N_BLOCKS + N_BLOCKS // 4),
    "relabel": (_relabel, "ids.zarr", N_BLOCKS // 4),
}
"""Call, the array that is its output before the call, and the number of reads of the mask at which it is in full swing:
`label` reads all blocks, merges, and reads them again to write them."""


def make_inputs(folder: Path) -> None:
    """The volumes of all operations: 256³."""
    shape = (SIZE,) * 3
    stored(folder / "mask.zarr", volume(SIZE), 32)
    stored(folder / "ones.zarr", np.ones(shape, np.uint8), 64)
    empty(folder / "bytes.zarr", shape, "uint8", 64)
    empty(folder / "labels.zarr", shape, "uint64", 64)
    stored(folder / "ids.zarr", np.random.default_rng(1).integers(0, N_IDS, shape, np.uint16), 64)


class Job:
    """A call on 256³ that can be slowed down, and says how far it is.

    Parameters
    ----------
    operation : {"blocks", "label", "relabel"}
        `map_blocks`, `label`, or an in-place `relabel`.
    inputs : Path
        What `make_inputs` has made.
    folder : Path
        For the output and the run; one that has an output is the folder of a call that was begun.
    hungry : int
        See `PacedMask`.
    """

    def __init__(self, operation: str, inputs: Path, folder: Path, hungry: int = 0) -> None:
        self.operation, self.inputs, self.folder = operation, inputs, folder
        self.call, name, self.full_swing = OPERATIONS[operation]
        if not (folder / name).exists():
            (folder / "reads").mkdir()
            self.pace(FAST)
            shutil.copytree(inputs / name, folder / name)
        self.output = zarr.open_array(folder / name, mode="r+")
        self.mask = PacedMask(_opened(inputs / "ones.zarr"), str(folder), hungry)

    def __call__(self, **execution: Any) -> Any:
        """Run it; what it returns."""
        return self.call(self.inputs, self.output, self.mask, **execution)

    def elsewhere(self, **settings: Any) -> subprocess.Popen[str]:
        """The same call on the cluster, in another process."""
        script = (
            "from pathlib import Path; from cluster_data import Job, config; "
            f"Job({self.operation!r}, Path({str(self.inputs)!r}), Path({str(self.folder)!r}))("
            f"job_type='slurm', num_workers=3, job_config=config(**{settings!r}))"
        )
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONPATH": path}
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=pipe, stderr=pipe, text=True)

    def pace(self, seconds: float) -> None:
        """Seconds a block from now on."""
        (self.folder / "pace.new").write_text(str(seconds))
        (self.folder / "pace.new").rename(self.folder / "pace")

    def reads(self) -> dict[tuple[str, str], int]:
        """Blocks whose mask was read, by job and node."""
        counts = {}
        for path in (self.folder / "reads").iterdir():
            job, _, node = path.name.partition("@")
            with suppress(FileNotFoundError):
                counts[job, node] = path.stat().st_size
        return counts

    def in_full_swing(self) -> bool:
        """Whether about a quarter of the blocks is written."""
        return sum(self.reads().values()) >= self.full_swing

    def runs(self) -> list[Path]:
        """Folders of its unfinished runs."""
        return [path.parent for path in self.folder.glob(".bioimage_py/*/run.json")]
