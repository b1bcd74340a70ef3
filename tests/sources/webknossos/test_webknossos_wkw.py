"""wkw files: what happens to them when they are damaged, and when a write is cut off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import StorageError
from bioimage_py.sources import open_webknossos

from .webknossos_data import VOXEL, add_layer, add_mag, empty, wk

pytestmark = pytest.mark.filterwarnings("ignore:.*(INFO|WARNING):UserWarning")


@pytest.mark.parametrize("compress", [True, False])
def test_a_damaged_wkw_file_is_named(tmp_path: Path, compress: bool) -> None:
    """The library reads most damaged files as zeros."""
    source = open_webknossos(empty(tmp_path / "d", "wkw", compress=compress), mode="r+")
    source[...] = 5
    found = source.unit_files((slice(0, 1), slice(0, 1), slice(0, 1)))
    assert found is not None
    file = Path(str(found.folder), found.names[0])
    whole = file.read_bytes()
    for damaged in (b"", whole[:8], whole[:100], whole[:-1], b"x" * len(whole), whole + b"more"):
        file.write_bytes(damaged)
        for touch in (lambda: source[:4, :4, :4], lambda: source.__setitem__((0, 0, 0), 1)):
            with pytest.raises(StorageError, match=r"z1/y1/x0.wkw is damaged") as caught:
                touch()
            assert "delete it" in str(caught.value)
        assert (source[4:, 20:] == 5).all(), "other files are readable"
    file.unlink()
    assert not source[:2, :12, :6].any()
    (Path(str(found.folder)) / "header.wkw").write_bytes(b"nonsense nonsense")
    with pytest.raises(StorageError, match=r"wkw"):
        open_webknossos(tmp_path / "d")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.slow
def test_a_write_that_is_cut_off_changes_nothing(tmp_path: Path, compress: bool, monkeypatch: Any) -> None:
    """A file is replaced whole; what was being written goes."""
    source = open_webknossos(empty(tmp_path / "d", "wkw", compress=compress), mode="r+")
    source[...] = 5
    folder = tmp_path / "d" / "seg" / "1"
    before = sorted(str(path) for path in folder.rglob("*"))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(StorageError, match="No space left") as caught:
            source[1:30, 2:40] = 6
        assert caught.value.errno == 28
    assert (source[...] == 5).all()
    assert sorted(str(path) for path in folder.rglob("*")) == before
    source.durable()[1:30, 2:40] = 6
    assert (source[1:30, 2:40] == 6).all()
    assert (source[30:] == 5).all()


KILLED = """
import sys
import numpy as np
from bioimage_py.sources.webknossos.wkw import WKWBacking
array = WKWBacking(sys.argv[1], writable=True)
whole = tuple(slice(0, size) for size in array._unit)
print("begun", flush=True)
for value in range(6, 10**9):
    part = (whole[0], slice(1, None) if value % 2 else whole[1], *whole[2:])
    part = tuple(slice(*p.indices(n)) for p, n in zip(part, array._unit))
    array.write(part, np.full([p.stop - p.start for p in part], value, array.dtype))
"""


@pytest.mark.parametrize("compress", [True, False])
def test_a_kill_at_any_instant_tears_no_file(tmp_path: Path, compress: bool) -> None:
    """After every kill the file is whole, and holds what one write has left."""
    layer = add_layer(wk.Dataset(tmp_path / "d", voxel_size=VOXEL), "s", "wkw", dtype="uint32", topleft=(0, 0, 0))
    add_mag(layer, 1, compress=compress, shard=64)
    source = open_webknossos(tmp_path / "d", roi=(slice(0, 32),) * 3)
    for wait in (0.0, 0.003, 0.011):
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "d" / "s" / "1")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        time.sleep(wait)
        writer.kill()
        writer.communicate()
        values = np.unique(source[:, :, 1:])
        assert values.size == 1
        assert np.unique(source[:, :, 0]).tolist() in ([values[0]], [values[0] - 1]) or not values[0]
