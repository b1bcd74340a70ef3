"""HDF5 outputs of runs in worker processes: one process writes the file, whatever the workers do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ResumeConflict, RunnerError
from bioimage_py.io import create_array
from bioimage_py.runner.driver import single_writer
from bioimage_py.sources import Axis, open_source
from bioimage_py.sources.arrays.hdf5 import HDF5Backing
from bioimage_py.util import to_roi

h5py = pytest.importorskip("h5py", reason="hdf5 needs h5py: pip install 'bioimage-blocks[io]'")

SHAPE = (24, 40, 40)


def data() -> np.ndarray:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 251).astype(np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened.create_dataset("raw", data=data(), chunks=(8, 16, 16))
        opened.create_dataset("out", shape=SHAPE, dtype="u2", chunks=(8, 16, 16), fillvalue=0)
        opened.create_dataset("plain", data=np.full(SHAPE, 9, "u2"))
    return tmp_path / "a.h5"


def add_seven(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = to_roi(block)
    outputs[0][roi] = inputs[0][roi].astype("u2") + 7


def add_to_itself(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = to_roi(block)
    outputs[0][roi] = outputs[0][roi] + 1


class FailAtFirst:
    """Fails in one block as long as a file is there."""

    def __init__(self, flag: str) -> None:
        self.flag = flag

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.begin[0] == 8 and os.path.exists(self.flag):
            raise ValueError("broken on purpose")
        add_to_itself(block, inputs, outputs, mask)


def left_over(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if "scratch" in name)


@pytest.mark.parametrize(("key", "block_shape"), [("out", (8, 16, 16)), ("plain", (5, 40, 40))])
def test_workers_write_hdf5_through_one_process(file: Path, key: str, block_shape: tuple[int, ...]) -> None:
    raw = open_source(file, "raw", mode="r+")  # the same file, open for writing in this process
    out = open_source(file, key, mode="r+")
    with bp.execution("subprocess", num_workers=2):
        bp.map_blocks(add_seven, [raw], [out], block_shape=block_shape)
    np.testing.assert_array_equal(out[...], data().astype("u2") + 7)
    raw.close(), out.close()
    with h5py.File(file) as opened:
        np.testing.assert_array_equal(opened[key][...], data().astype("u2") + 7)
    assert left_over(file.parent) == []


def test_in_place_and_in_a_region(file: Path) -> None:
    """What the function reads of its output is what it was, what it doesn't write stays, with a view between too."""
    out = open_source(file, "plain", mode="r+")
    with bp.execution("subprocess", num_workers=2):
        bp.map_blocks(
            add_to_itself, [out], [out], block_shape=(8, 16, 16), roi=(slice(3, 20), slice(0, 40), slice(5, 9))
        )
    expected = np.full(SHAPE, 9)
    expected[3:20, :, 5:9] = 10
    np.testing.assert_array_equal(out[...], expected)
    assert left_over(file.parent) == []


def test_a_failed_run_leaves_the_file_alone_and_is_continued(file: Path) -> None:
    raw, out = open_source(file, "raw", mode="r+"), open_source(file, "plain", mode="r+")
    flag = Path(f"{file}.broken")
    flag.touch()
    call: dict[str, Any] = {"block_shape": (8, 40, 40), "job_type": "subprocess", "num_workers": 2, "retries": 0}
    with pytest.raises(RunnerError, match="broken on purpose"):
        bp.map_blocks(FailAtFirst(str(flag)), [raw], [out], **call)
    assert (out[...] == 9).all()
    assert len(left_over(file.parent)) == 1
    flag.unlink()
    bp.map_blocks(FailAtFirst(str(flag)), [raw], [out], **call)
    assert (out[...] == 10).all(), "every block once, also those that were done before"
    assert left_over(file.parent) == []


def test_handles_of_the_user(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened["raw"] = data()
        out = opened.create_dataset("sub/out", shape=SHAPE, dtype="u2", chunks=(8, 16, 16))
        bp.operations.add(opened["raw"], 7, out, job_type="subprocess", num_workers=2)
        np.testing.assert_array_equal(out[...], data().astype("u2") + 7)
    assert left_over(tmp_path) == []


def test_many_processes_read_hdf5(file: Path, tmp_path: Path) -> None:
    out = create_array(tmp_path / "out.zarr", "sum", shape=SHAPE, dtype="u2", chunks=(8, 16, 16))
    with bp.execution("subprocess", num_workers=2):
        bp.operations.add(open_source(file, "raw"), 7, out)
    np.testing.assert_array_equal(out[...], data().astype("u2") + 7)


def test_axes_travel_through_hdf5(tmp_path: Path) -> None:
    axes = (Axis("z", "space", "nanometer", 40.0, 8.0), Axis("y", "space", "nanometer", 4.0))
    source = create_array(tmp_path / "a.h5", "raw", shape=(4, 4), dtype="u1", axes=axes)
    assert source.axes == axes
    assert source.to_ome()["coordinateTransformations"] == [
        {"type": "scale", "scale": [40.0, 4.0]},
        {"type": "translation", "translation": [8.0, 0.0]},
    ]


def test_a_kill_while_the_file_is_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is half copied is copied again by the next call; no block is computed twice on changed data."""
    out = open_source(file, "plain", mode="r+")
    call: dict[str, Any] = {"block_shape": (8, 40, 40), "job_type": "subprocess", "num_workers": 2}
    monkeypatch.setattr(single_writer, "_SLAB_BYTES", 8 * 40 * 40 * 2)
    written, write = [], HDF5Backing.write

    def fail_at_the_second(self: HDF5Backing, roi: Any, value: np.ndarray) -> None:
        written.append(roi)
        if len(written) == 2:
            raise OSError("killed")
        write(self, roi, value)

    with monkeypatch.context() as broken:
        broken.setattr(HDF5Backing, "write", fail_at_the_second)
        with pytest.raises(OSError, match="killed"):
            bp.map_blocks(add_to_itself, [out], [out], **call)
    assert {int(value) for value in np.unique(out[...])} == {9, 10}
    with pytest.raises(ResumeConflict, match="died while it copied its results"):
        bp.map_blocks(add_to_itself, [out], [out], resume="never", **call)
    bp.map_blocks(add_to_itself, [out], [out], **call)
    assert (out[...] == 10).all()
    assert left_over(file.parent) == []


def test_workers_that_stay_see_what_earlier_calls_wrote(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        raw = file.create_dataset("raw", data=data(), chunks=(8, 16, 16))
        halves = [file.create_dataset(f"half{n}", shape=[s >> n for s in SHAPE], dtype="u1") for n in (1, 2)]
        with bp.execution("subprocess", num_workers=1, progress=False):
            bp.downsample(raw, 2, halves[0], method="mean", block_shape=8)
            bp.downsample(halves[0], 2, halves[1], method="mean", block_shape=8)
            halves[0][:] = 7
            bp.downsample(halves[0], 2, halves[1], method="mean", block_shape=4)
        assert (halves[1][:] == 7).all()
