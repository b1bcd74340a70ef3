"""A worker that is held dead keeps its blocks until it is known that it cannot write."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from bioimage_py.backends.dismissal import Dismissal
from bioimage_py.run_folder import RunFolder


@pytest.fixture
def inside(tmp_path: Path) -> RunFolder:
    inside = RunFolder(tmp_path / "run")
    for folder in (inside.beats, inside.gone, inside.ends):
        folder.mkdir(parents=True)
    return inside


def held_dead(inside: RunFolder) -> Dismissal:
    return Dismissal(inside.path, "s1w0", inside.beats / "s1w0")


def test_one_that_never_began_is_over(inside: RunFolder) -> None:
    assert held_dead(inside).over
    assert (inside.gone / "s1w0").exists(), "or it would begin"


def test_one_that_has_begun_is_not(inside: RunFolder) -> None:
    (inside.beats / "s1w0").write_text("{}")
    assert not held_dead(inside).over


def test_a_folder_that_cannot_be_listed_says_nothing(inside: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    one, listing = held_dead(inside), os.listdir

    def fails(path: str | Path) -> list[str]:
        if Path(path) == inside.beats:
            raise OSError(errno.ESTALE, "Stale file handle")
        return listing(path)

    monkeypatch.setattr(os, "listdir", fails)
    assert not one.over


def test_a_run_folder_that_has_gone_says_nothing(inside: RunFolder) -> None:
    one = held_dead(inside)
    shutil.rmtree(inside.path)
    assert not one.over
