"""An unfinished run that version 0.1.0 has left is refused by name, with what to do; its plan is not opened."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import ResumeConflict
from bioimage_py.io import create_array
from bioimage_py.runner.execute import resume_run
from bioimage_py.sources import open_source
from bioimage_py.system.frames import frame

RUN = "add-4abc509c"
PROGRESS = "0300000000000000ffffffffffffffff00000000000000000300000000000000"
"""Of its only worker."""


class Planted:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What 0.1.0 leaves of a run of which one of four blocks has failed, as far as it is looked at."""
    array = create_array(tmp_path / "v.zarr", "", shape=(40,), chunks=(10,), dtype="u1")
    array[:30] = 1
    path, made = str(tmp_path / "v.zarr"), tmp_path / ".bioimage_py" / RUN
    made.mkdir(parents=True, mode=0o755)
    spec = {
        "internal_path": "",
        "kind": "file",
        "params": {"format": "zarr"},
        "path": path,
        "version": 1,
        "wrapped": None,
    }
    source, storage = json.dumps(spec, sort_keys=True), str(("file", path, ""))
    definition = {"casting": "checked", "add.function": "164ad64fa0c282714dd4bdb9ca114962", "add.mask": "None"}
    definition |= {"add.reduce": "ee862f71c5642b2236c1cce92d454586", "add.setup": "ee862f71c5642b2236c1cce92d454586"}
    definition |= {"add.input 0": source, "add.output 0": source, "add.halo": "None", "add.returns": "none"}
    definition |= {"add.grid": "shape (40,) blocks (10,) roi ((0, 40),) anchor (0,)", "add.block_ids": "all 4"}
    told = {
        "run": RUN,
        "name": "add",
        "state": "failed",
        "created": 1795907083336560693,
        "driver": {"host": "vm", "boot": "9019b356", "space": "4026531836", "pid": 3109, "start": "1578631"},
        "versions": {"python": "3.11", "numpy": "2.4", "bioimage_py": "0.1.0"},
        "claims": [{"storage": storage, "box": [[0, 40]]}],
        "definition": definition,
        "inputs": dict.fromkeys(("add.input 0", "add.output 0"), f"zarr.json 1 in {path} 2"),
        "blocks": [4],
        "repeatable": True,
        "sessions": 1,
        "adopted": [],
        "kept_nothing": False,
        "stamped": [{"url": path}],
    }
    (made / "run.json").write_text(json.dumps(told))
    (made / "plan.pkl").write_bytes(frame(pickle.dumps(Planted(tmp_path / "opened"))))
    (made / "progress").mkdir()
    (made / "progress/s1w0").write_bytes(bytes.fromhex(PROGRESS))
    stamp = {"call": "add", "begun": 1795907083.3, "host": "vm", "folder": str(made), "near": f"../.bioimage_py/{RUN}"}
    stamp |= {"array": path, "real": path, "inode": os.stat(path).st_ino, "boxes": [[[0, 40]]], "in_place": True}
    (tmp_path / "v.zarr/.bioimage_py.runs").mkdir()
    (tmp_path / "v.zarr/.bioimage_py.runs" / RUN).write_text(json.dumps(stamp))
    for part in ("run.json", "plan.pkl"):
        (made / part).chmod(0o644)
    return made


def plus_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi] + 1


def call(folder: Path, **how: Any) -> None:
    with open_source(folder.parents[1] / "v.zarr", mode="r+") as array:
        bp.map_blocks(plus_one, [array], [array], block_shape=10, num_workers=1, progress=False, name="add", **how)


def values(folder: Path) -> list[int]:
    return np.unique(open_source(folder.parents[1] / "v.zarr")[...]).tolist()


def test_the_same_call_names_both_versions_and_what_to_type(folder: Path) -> None:
    with pytest.raises(ResumeConflict, match=f"bioimage_py: then 0.1.0, now {bp.__version__}") as error:
        call(folder)
    assert RUN in str(error.value)
    assert f"resume={str(folder)!r}" in error.value.remedy
    assert 'resume="never"' in error.value.remedy
    assert values(folder) == [0, 1]


def test_its_plan_is_not_opened(folder: Path) -> None:
    with pytest.raises(ResumeConflict, match=f"begun by bioimage_py 0.1.0; this is {bp.__version__}") as error:
        resume_run(folder)
    assert f"resume={str(folder)!r}" in error.value.remedy
    for line in (["resume", str(folder)], ["replay", str(folder), "3"]):
        done = CliRunner().invoke(main, ["runs", *line])
        assert done.exit_code == 1
        assert "begun by bioimage_py 0.1.0" in done.output
        assert "version 0.1.0" in done.output.partition("Remedy:")[2]
    assert not (folder.parents[1] / "opened").exists()
    assert values(folder) == [0, 1]


def test_it_is_listed_and_can_be_forgotten(folder: Path) -> None:
    done = CliRunner().invoke(main, ["runs", "list", str(folder.parent)])
    assert done.exit_code == 0
    assert RUN in done.output
    assert CliRunner().invoke(main, ["runs", "clean", str(folder), "--yes"]).exit_code == 0
    call(folder)
    assert values(folder) == [1, 2], "as they were, and one more"
