"""A call whose function was edited is no continuation; one whose text alone has changed is."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import zarr

DATA = np.arange(64, dtype=np.int32)
MAIN = """
    import os
    import zarr
    import bioimage_py as bp
    import steps

    def function(block, inputs, outputs, mask):
        if block.id == 9 and os.path.exists("fail"):
            raise OSError("not today")
        roi = bp.to_roi(block)
        value = inputs[0][roi] + 1
        outputs[0][roi] = steps.finished(value)

    if __name__ == "__main__":
        source, target = zarr.open_array("in.zarr", mode="r"), zarr.open_array("out.zarr", mode="r+")
        bp.map_blocks(function, [source], [target], block_shape=4, retries=0, num_workers=2, progress=False,
                      job_type="JOB_TYPE")
"""
STEPS = """
    def finished(value):
        return 10 * value
"""
CELLS = """
    import zarr
    import bioimage_py as bp

    def cell(number):
        # as a notebook does: each run of a cell compiles its text anew, in a file of its own name
        exec(compile(open("cell.txt").read(), f"<ipython-input-{number}>", "exec"), globals())

    if __name__ == "__main__":
        cell(1)
        try:
            run()
        except bp.errors.RunnerError:
            pass
        import os
        os.unlink("fail")
        cell(2)
        run()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("in", "out"):
        zarr.create_array(tmp_path / f"{name}.zarr", shape=(64,), chunks=(4,), dtype="i4")[:] = DATA
    (tmp_path / "fail").touch()
    (tmp_path / "steps.py").write_text(textwrap.dedent(STEPS))
    return tmp_path


def called(place: Path, text: str) -> subprocess.CompletedProcess[str]:
    (place / "main.py").write_text(textwrap.dedent(text))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "main.py"]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_an_edited_function_is_a_conflict_and_edited_text_is_not(job_type: str, place: Path) -> None:
    main = MAIN.replace("JOB_TYPE", job_type)
    assert "not today" in called(place, main).stderr
    (place / "fail").unlink()

    edited = called(place, main.replace("+ 1", "+ 2"))
    assert "ResumeConflict" in edited.stderr, "in __main__"
    assert "definition of blocks.function: then" in edited.stderr

    (place / "steps.py").write_text(textwrap.dedent(STEPS.replace("10", "11")))
    assert "ResumeConflict" in called(place, main).stderr, "in a module that it calls"

    (place / "steps.py").write_text('"""About."""\n\n\n' + textwrap.dedent(STEPS.replace(":\n", ":\n    # ten\n\n")))
    again = called(place, main.replace("        roi =", "\n        # where\n        roi ="))
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(zarr.open_array(place / "out.zarr", mode="r")[:], 10 * (DATA + 1))
    assert not (place / ".bioimage_py").exists()


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_a_cell_that_is_run_again_goes_on(job_type: str, place: Path) -> None:
    body, call = textwrap.dedent(MAIN).split('if __name__ == "__main__":')
    call = "def run():" + call.replace("JOB_TYPE", job_type)
    (place / "cell.txt").write_text(body + call)
    run = called(place, CELLS)
    assert run.returncode == 0, run.stderr
    np.testing.assert_array_equal(zarr.open_array(place / "out.zarr", mode="r")[:], 10 * (DATA + 1))
