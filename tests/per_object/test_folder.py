"""The folder of a run's files is that of one run at a time, and nothing that others have put there goes."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ArgumentError, ParameterError, ResumeConflict, RunnerError, RunningError
from bioimage_py.mesh import surface_blocks
from bioimage_py.per_object.folder import Begin, check_free, left_by_others, output_folder
from bioimage_py.runner.control.cancel import forget_run
from bioimage_py.runner.ledger.stage_record import Results

LABELS = np.pad(np.ones((4, 4, 4), np.uint8), 2)


def made(folder: Path, **how: Any) -> Path:
    bp.mesh.surfaces(LABELS, folder, **{"format": "ply", "progress": False, **how})
    return folder


def begun(place: Path, run: str) -> str:
    return Begin(str(place), False)(Results([], [].__getitem__, run))


def test_a_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    place = tmp_path / "out"
    assert begun(place, "one") != begun(place, "other")
    assert begun(place, "one") == begun(place, "one")  # killed before it could tell, and continued
    for wrong in ("gs://bucket/x", 3, ""):
        with pytest.raises(ArgumentError):
            output_folder(wrong, overwrite=False)


@pytest.mark.parametrize(
    "told",
    [{"run": "x"}, {"software": "other", "run": "x", "files": []}, {"software": "bioimage_py", "run": 3}, [], "text"],
)
def test_a_provenance_of_others_protects_their_folder(tmp_path: Path, told: Any) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    check_free(str(folder), overwrite=False)
    (folder / "provenance.json").write_text(json.dumps(told))
    for overwrite in (False, True):
        with pytest.raises(ParameterError, match="something else"):
            made(folder, overwrite=overwrite)
    assert json.loads((folder / "provenance.json").read_text()) == told
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError):
        check_free(str(tmp_path / "file"), overwrite=True)


@pytest.mark.parametrize("what", ["notes.txt", "2.ply", "segment_properties/info", ".hidden"])
def test_overwriting_keeps_what_others_have_put_there(tmp_path: Path, what: str) -> None:
    folder = made(tmp_path / "out")
    (folder / what).parent.mkdir(exist_ok=True)
    (folder / what).write_text("mine")
    with pytest.raises(ParameterError, match=what.partition("/")[0]):
        made(folder, overwrite=True)
    assert (folder / what).read_text() == "mine"
    (folder / what).rename(tmp_path / "kept")
    if "/" in what:
        (folder / what).parent.rmdir()
    (folder / "1.ply").unlink()  # what is missing is in nobody's way
    assert (made(folder, overwrite=True) / "1.ply").exists()


def test_what_comes_while_a_run_works_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "out")

    def comes(*given: Any) -> Any:
        (folder / "notes.txt").write_text("mine")
        return surfaces_of(*given)

    surfaces_of = surface_blocks.surfaces_of  # type: ignore[attr-defined]
    monkeypatch.setattr(surface_blocks, "surfaces_of", comes)
    with pytest.raises(ParameterError, match=r"notes\.txt"):
        made(folder, overwrite=True)
    (folder / "notes.txt").rename(tmp_path / "kept")
    monkeypatch.undo()
    made(folder, overwrite=True)  # goes on
    assert not left_by_others(str(folder))


def test_two_runs_into_a_folder_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go = threading.Event(), threading.Event()

    def waits(*given: Any) -> Any:
        inside.set()
        assert go.wait(60)
        return surfaces_of(*given)

    surfaces_of = surface_blocks.surfaces_of  # type: ignore[attr-defined]
    monkeypatch.setattr(surface_blocks, "surfaces_of", waits)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    first = threading.Thread(target=made, args=(tmp_path / "real/out",))
    first.start()
    try:
        assert inside.wait(60)
        for place in ("real/out", "link/out"):
            with pytest.raises(RunningError, match="same region"):
                made(tmp_path / place, format="stl", overwrite=True)
        with pytest.raises(RunningError, match="same region"):
            bp.skeleton.trace(LABELS, tmp_path / "real/out", progress=False)
    finally:
        go.set()
        first.join()
    assert sorted(path.name for path in (tmp_path / "real/out").iterdir()) == ["1.ply", "provenance.json"]


def test_a_run_that_is_forgotten_takes_its_files_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, index: int, context: Any) -> Any:
        raise OSError("the disk is away")

    place = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(surface_blocks.WriteObjects, "__call__", fails)
        for _ in range(2):
            with pytest.raises(RunnerError, match="the disk is away"):
                made(place)
    (left,) = left_by_others(str(place))
    (run,) = tmp_path.glob(".bioimage_py/surfaces*")
    with pytest.raises(ResumeConflict, match="resume="):
        made(place, format="obj")
    other = tmp_path / f"{left.name[:-12]}0123456789ab"
    other.mkdir()
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**state, "hidden": [*state["hidden"], str(other)]}))
    forget_run(run)
    assert not left.exists()
    assert other.exists()  # its name is not that of the run
    assert (made(place) / "1.ply").exists()
