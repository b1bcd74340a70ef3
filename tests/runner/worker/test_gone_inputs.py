"""Inputs that are taken away while blocks read them: fill values are never taken for what was there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.blocks import to_roi
from bioimage_py.errors import BioimageError
from bioimage_py.runner import map_blocks

pytestmark = pytest.mark.processes
N = 8


def move(here: Path, away: Path) -> None:
    os.rename(here, away)


def grow(here: Path, _: Path) -> None:
    zarr.open_array(here, mode="r+").resize((16 * N,))


def say(here: Path, _: Path) -> None:
    zarr.open_array(here, mode="r+").attrs["said"] = "meanwhile"


def copied(here: Path, away: Path, change: Callable[[Path, Path], None]) -> Callable[..., None]:
    """A function of blocks that does something to its input in the fourth block, once, when both workers have it."""

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        roi = to_roi(block)
        (here.parent / f"worker-{os.getpid()}-{threading.get_ident()}").touch()
        while block.id == 3 and len(list(here.parent.glob("worker-*"))) < 2:
            time.sleep(0.01)
        if block.id == 3 and not away.with_suffix(".once").exists():
            away.with_suffix(".once").touch()
            change(here, away)
        outputs[0][roi] = inputs[0][roi]

    return function


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
@pytest.mark.parametrize("change", [move, grow, say])
def test_an_input_that_changes_while_blocks_read_it(tmp_path: Path, change: Any, job_type: str) -> None:
    here, away = tmp_path / "in.zarr", tmp_path / "away.zarr"
    zarr.create_array(here, shape=(8 * N,), chunks=(8,), dtype="u1")[...] = 7
    output = bp.io.create_array(tmp_path / "out.zarr", "x", shape=(8 * N,), dtype="u1", chunks=(8,))
    how = {"job_type": job_type, "num_workers": 2, "progress": False, "retries": 0, "block_shape": 8}
    function = copied(here, away, change)
    if change is move:
        with pytest.raises(BioimageError, match=r"removed, moved or replaced|moved away|no array"):
            map_blocks(function, [bp.open_source(here)], [output], **how)
        os.rename(away, here)
    map_blocks(function, [bp.open_source(here)], [output], **how)
    np.testing.assert_array_equal(output[...], 7)
