"""A kill while results are copied into an HDF5 file: the file itself tells that it holds a part of them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bioimage_py.cli import main

h5py = pytest.importorskip("h5py", reason="hdf5 needs h5py: pip install 'bioimage-blocks[io]'")

SHAPE, UNIT = (24, 8, 8), (8, 8, 8)
CODE = """
import sys
import bioimage_py as bp
from bioimage_py.errors import ResumeConflict
from bioimage_py.runner.driver import single_writer

single_writer._SLAB_BYTES = 8 * 8 * 8 * 2


def plus_one(block, inputs, outputs, mask):
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi] + 1


path, roi = sys.argv[1], eval(sys.argv[2])
how = dict(block_shape=(8, 8, 8), progress=False, num_workers=1, name="add", roi=roi, **eval(sys.argv[3]))
with bp.open_source(path, "out", mode="r+") as out:
    try:
        bp.map_blocks(plus_one, [out], [out], **how)
    except ResumeConflict as error:
        print(error)
        print("REMEDY", error.remedy)
"""


def made(folder: Path) -> Path:
    with h5py.File(folder / "v.h5", "w") as file:
        # compressed chunks, and a header without room for another attribute
        file.create_dataset("out", data=np.ones(SHAPE, "u2"), chunks=UNIT, compression="gzip")
    return folder / "v.h5"


def called(path: Path, fault: str = "", roi: str = "None", how: str = "{}") -> str:
    environment = dict(os.environ)
    if fault:
        (token := path.with_name("token")).touch()
        environment["BIOIMAGE_PY_FAULT"] = f"{fault}:{token}"
    line = [sys.executable, "-c", CODE, str(path), roi, how]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (-9 if fault else 0), done.stderr
    return done.stdout


def found(path: Path) -> tuple[list[int], int]:
    """The values in the file, and how many stamps."""
    with h5py.File(path, "r") as file:
        return np.unique(file["out"][...]).tolist(), len([name for name in file["out"].attrs if "runs/" in name])


def lose(path: Path) -> None:
    """Lose the run folder and the scratch array."""
    shutil.rmtree(path.parent / ".bioimage_py")
    for scratch in path.parent.glob("*.scratch.zarr"):
        shutil.rmtree(scratch)


@pytest.mark.parametrize("fault", ["before-copy:2", "after-copy:1"])
def test_the_same_call_ends_the_copy_and_takes_the_stamp_away(fault: str, tmp_path: Path) -> None:
    path = made(tmp_path)
    called(path, fault)
    assert called(path) == ""
    assert found(path) == ([2], 0)
    assert sorted(os.listdir(tmp_path)) == ["v.h5"]


def test_a_half_copied_file_without_its_run_is_a_conflict(tmp_path: Path) -> None:
    path = made(tmp_path)
    called(path, "before-copy:2")
    lose(path)
    assert found(path)[1] == 1
    for how in ("{}", "dict(resume='never')"):
        said = called(path, how=how)
        assert f"{path} holds a part of what the run" in said
        assert "(of add, begun " in said
    remedy = said.rpartition("take them as they are: ")[2]
    assert CliRunner().invoke(main, shlex.split(remedy)[1:]).exit_code == 0
    assert found(path)[1] == 0
    assert called(path) == ""


def test_a_part_that_was_not_copied_is_free(tmp_path: Path) -> None:
    path = made(tmp_path)
    called(path, "before-copy:1", roi="(slice(0, 8), slice(0, 8), slice(0, 8))")
    lose(path)
    before = found(path)[0]
    assert called(path, roi="(slice(8, 24), slice(0, 8), slice(0, 8))") == ""
    assert found(path) == (sorted({*before, 2}), 1)
    assert "holds a part" in called(path)


def test_a_file_that_was_copied_while_it_was_written_is_a_conflict(tmp_path: Path) -> None:
    path = made(tmp_path)
    called(path, "before-copy:2")
    (tmp_path / "other").mkdir()
    shutil.copy(path, tmp_path / "other")
    assert "is a copy of" in called(tmp_path / "other" / "v.h5")
    assert called(path) == ""
    assert found(path) == ([2], 0)


def test_cleaning_the_run_takes_the_stamp_away(tmp_path: Path) -> None:
    path = made(tmp_path)
    called(path, "before-copy:2")
    folder = next((tmp_path / ".bioimage_py").glob("[!.]*"))
    done = CliRunner().invoke(main, ["runs", "clean", str(folder), "--yes"])
    assert done.exit_code == 0, done.output
    assert found(path)[1] == 0


def test_resuming_by_the_folder_takes_the_stamp_away(tmp_path: Path) -> None:
    path = made(tmp_path)
    called(path, "before-copy:2")
    folder = next((tmp_path / ".bioimage_py").glob("[!.]*"))
    line = [sys.executable, "-m", "bioimage_py", "runs", "resume", str(folder)]
    for _ in range(2):  # the file is an input, too: the first time it is put back under this process's feet
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if "run the script again" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    assert found(path) == ([2], 0)
