"""Something complete takes a place in one step; whenever a process is killed, the next call finds all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.system import swap

DATA = np.arange(4 * 6 * 8, dtype="u2").reshape(4, 6, 8)


def dead(place: Path, end: str = "") -> Path:
    """A name as a process of this system has left it that does not live."""
    return place.parent / f".{swap._system()}-{os.getpid()}-1-abcdef.{place.name}{end}"


def content(place: Path) -> str:
    return (place / "content").read_text()


def folder(place: Path, text: str) -> Path:
    place.mkdir()
    (place / "content").write_text(text)
    return place


def without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "_exchange", lambda *_: False)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        without_exchange(monkeypatch)
    place = folder(tmp_path / "a.zarr", "old")
    new = folder(Path(swap.beside(str(place))), "new")
    swap.put(str(new), str(place))
    assert content(place) == "new"
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.skipif(sys.platform != "linux", reason="which file systems know it depends on the system")
def test_no_instant_is_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", None)
    monkeypatch.setattr(os, "replace", None)
    place = folder(tmp_path / "a.zarr", "old")
    swap.put(str(folder(Path(swap.beside(str(place))), "new")), str(place))
    assert content(place) == "new"


@pytest.mark.parametrize("step", ["before the new one", "after the new one", "only the old one"])
def test_a_kill_between_two_renames_is_ended(tmp_path: Path, step: str) -> None:
    place = tmp_path / "a.zarr"
    old = folder(dead(place, ".old"), "old")
    if step == "before the new one":
        folder(dead(place), "new")
    if step == "after the new one":
        folder(place, "new")
    assert swap.recover(str(place))
    assert content(place) == ("old" if step == "only the old one" else "new")
    swap.clear(str(place))
    assert os.listdir(tmp_path) == ["a.zarr"]
    assert not old.exists()


def test_an_old_folder_comes_back_when_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_exchange(monkeypatch)
    place = folder(tmp_path / "a.zarr", "old")
    new = folder(Path(swap.beside(str(place))), "new")
    real = os.rename

    def rename(one: str, other: str) -> None:
        if one == str(new):
            raise PermissionError("no")
        real(one, other)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(PermissionError):
        swap.put(str(new), str(place))
    assert content(place) == "old"


def test_another_process_that_rolls_back_in_between_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_exchange(monkeypatch)
    place = folder(tmp_path / "a.zarr", "old")
    new = folder(Path(swap.beside(str(place))), "new")
    real, met = os.rename, []

    def rename(one: str, other: str) -> None:
        if one == str(new) and not met:
            met.append(1)
            real(f"{new}.old", place)
        real(one, other)

    monkeypatch.setattr(os, "rename", rename)
    swap.put(str(new), str(place))
    assert met
    assert content(place) == "new"


def test_what_living_processes_and_other_systems_write_stays(tmp_path: Path) -> None:
    place = tmp_path / "a.zarr"
    living = folder(Path(swap.beside(str(place))), "x")
    foreign = folder(tmp_path / ".000000-1-1-abcdef.a.zarr", "x")
    other = folder(dead(tmp_path / "b.zarr"), "x")
    swap.clear(str(place))
    assert all(path.exists() for path in (living, foreign))
    assert not other.exists()


@pytest.mark.parametrize("name", ["a.zarr", "a.n5", "a.zarr/raw"])
def test_the_next_read_finds_what_a_kill_left(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    iio.imwrite(path, DATA)
    os.rename(path, dead(path, ".old"))
    np.testing.assert_array_equal(iio.imread(path), DATA)
    os.rename(path, dead(path, ".old"))
    np.testing.assert_array_equal(bp.open_source(path)[...], DATA)


def test_a_folder_that_has_no_other_is_never_removed(tmp_path: Path) -> None:
    place = tmp_path / "a.zarr"
    old = folder(dead(place, ".old"), "old")
    swap.clear(str(tmp_path / "b.zarr"))
    assert content(place) == "old"
    assert not old.exists()


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_the_next_write_finds_what_a_kill_left(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    iio.imwrite(path, DATA)
    rest = dead(path)
    rest.mkdir() if name == "a.zarr" else rest.write_bytes(b"half")
    if name == "a.zarr":
        (rest / "half").write_text("x")
        os.rename(path, dead(path, ".old"))
        os.rename(rest, path.parent / "aside")
        with pytest.raises(bp.errors.StorageError, match="there already"):
            iio.imwrite(path, DATA + 1, overwrite=False)
        os.rename(path.parent / "aside", rest)
    swap._cleared.discard(str(tmp_path))
    iio.imwrite(path, DATA + 1)
    np.testing.assert_array_equal(iio.imread(path), DATA + 1)
    assert os.listdir(tmp_path) == [name]


KILLED = """
import os, sys, numpy as np
from bioimage_py.system import swap
import bioimage_py.io.v3 as iio
swap._exchange = lambda *_: False
real, count = os.rename, [0]
def rename(one, other):
    if count[0] == int(sys.argv[2]):
        os._exit(9)
    count[0] += 1
    real(one, other)
os.rename = rename
iio.imwrite(sys.argv[1], np.full((4, 6, 8), 7, "u2"))
"""


@pytest.mark.processes
@pytest.mark.parametrize("renames", [0, 1])
def test_a_process_that_ends_at_a_rename(tmp_path: Path, renames: int) -> None:
    path = tmp_path / "a.zarr"
    iio.imwrite(path, DATA)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), str(renames)], timeout=120)
    assert ended.returncode == 9
    found = iio.imread(path)
    np.testing.assert_array_equal(found, DATA if renames == 0 else np.full_like(DATA, 7))
    iio.imwrite(path, DATA)
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_who_may_read_stays(tmp_path: Path, mode: int) -> None:
    place, inner = tmp_path / "a.tif", tmp_path / "a.zarr"
    place.write_text("old")
    inner.mkdir()
    place.chmod(mode)
    inner.chmod(mode | 0o100)
    for one in (place, inner):
        new = Path(swap.beside(str(one)))
        new.mkdir() if one is inner else new.write_text("new")
        swap.put(str(new), str(one))
    assert place.read_text() == "new"
    assert place.stat().st_mode & 0o777 == mode
    assert inner.stat().st_mode & 0o777 == mode | 0o100
