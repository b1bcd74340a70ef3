"""One writer at a time: places of one's own, while others clear up what killed ones have left."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from bioimage_py.errors import RunningError
from bioimage_py.system.alone import alone, private


def test_one_holds_a_place(tmp_path: Path) -> None:
    place = str(tmp_path / "a")
    with alone(place), pytest.raises(RunningError, match="a is being written"), alone(place):
        raise AssertionError
    assert not list(tmp_path.iterdir())


def test_what_was_left_goes_and_what_is_used_stays(tmp_path: Path) -> None:
    for left in (".copy-01234567", ".copy-not-one", ".other-01234567"):
        (tmp_path / left).touch()
    (tmp_path / "..copy-89abcdef.writing").touch()
    with private(tmp_path, "copy") as first:
        first.mkdir()
        with private(tmp_path, "copy") as second:
            second.touch()
            assert first.is_dir()
            assert first != second
    assert sorted(path.name for path in tmp_path.iterdir()) == [".copy-not-one", ".other-01234567"]


def test_a_place_whose_file_is_just_looked_at_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, others = fcntl.flock, []

    def after_somebody(descriptor: int, kind: int) -> None:
        if not others:  # who clears up sees the new file, and is the first to hold it
            others.append(os.open(os.readlink(f"/proc/self/fd/{descriptor}"), os.O_RDWR))
            lock(others[0], kind)
        lock(descriptor, kind)

    monkeypatch.setattr("bioimage_py.system.alone.fcntl.flock", after_somebody)
    try:
        with private(tmp_path, "copy") as place:
            place.mkdir()
            assert place.is_dir()
    finally:
        os.close(others[0])
    assert not place.exists()
