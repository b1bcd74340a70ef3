"""Runs whose outputs lie in buckets: exactly once, also in place, whatever fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import RunnerError
from bioimage_py.io import create_array
from bioimage_py.runner.worker.undo import Undo, can_keep
from bioimage_py.sources import Source
from bioimage_py.util import to_roi

SHAPE, CHUNKS = (16, 20, 20), (4, 10, 10)
CALL: dict[str, Any] = {"block_shape": (4, 20, 20), "job_type": "subprocess", "num_workers": 2}


def data() -> np.ndarray:
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint16)


class AddOne:
    """Adds one in place; in one block it fails after half of its writing, as long as a file is there."""

    def __init__(self, flag: Path, *, once: bool = False) -> None:
        self.flag, self.once = str(flag), once

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        roi = to_roi(block)
        outputs[0][roi] = inputs[0][roi] + 1
        if block.begin[0] == 8 and Path(self.flag).exists():
            if self.once:
                Path(self.flag).unlink()
            raise ValueError("broken on purpose")


@pytest.fixture
def output(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", str(tmp_path / "runs"))
    source = create_array(f"{s3}/a.zarr", "raw", shape=SHAPE, dtype="u2", chunks=CHUNKS)
    source[...] = data()
    return source


def test_units_of_a_bucket_are_kept(output: Source, tmp_path: Path) -> None:
    assert can_keep(output)
    undo = Undo(tmp_path / "undo", output)
    undo.keep((slice(0, 4), slice(0, 20), slice(0, 20)))
    output[...] = 0
    np.testing.assert_array_equal(undo.source[:4], data()[:4])
    assert (undo.source[4:] == 0).all(), "kept when it is first asked for"


def test_a_block_is_retried_on_what_was_there(output: Source, tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    flag.touch()
    bp.map_blocks(AddOne(flag, once=True), [output], [output], **CALL, retries=2)
    np.testing.assert_array_equal(output[...], data() + 1)


def test_an_interrupted_run_is_continued(output: Source, tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    flag.touch()
    with pytest.raises(RunnerError, match="broken on purpose"):
        bp.map_blocks(AddOne(flag), [output], [output], **CALL, retries=0)
    flag.unlink()
    bp.map_blocks(AddOne(flag), [output], [output], **CALL, retries=0)
    np.testing.assert_array_equal(output[...], data() + 1)
    assert not list((tmp_path / "runs").glob("run-*"))


def test_an_interrupted_run_is_forgotten(output: Source, tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    flag.touch()
    with pytest.raises(RunnerError, match="broken on purpose"):
        bp.map_blocks(AddOne(flag), [output], [output], **CALL, retries=0)
    assert (output[...] != data()).any()
    flag.unlink()
    bp.map_blocks(AddOne(flag), [output], [output], **CALL, resume="never")
    np.testing.assert_array_equal(output[...], data() + 1)
