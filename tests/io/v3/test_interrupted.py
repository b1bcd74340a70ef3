"""A write that is cut short, by a kill or a full disk: the old file is there, and nothing under the name but that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp

pytest.importorskip("tifffile")
pytestmark = pytest.mark.processes

OLD = np.arange(8 * 64 * 64, dtype="u2").reshape(8, 64, 64)

WHOLE = """
import os, signal, sys
import numpy as np
import bioimage_py as bp

bp.imwrite(sys.argv[1], np.ones((8, 64, 64), "u2"), axes="zyx", **eval(sys.argv[2]))
"""
KILLED = WHOLE.replace("bp.imwrite", "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nbp.imwrite")
"""All is written, but for its name."""
FULL = """
import resource, sys
import numpy as np
import bioimage_py as bp
from bioimage_py.errors import StorageError

image = np.random.default_rng(0).integers(0, 2**16, (8, 64, 64)).astype("u2")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    bp.imwrite(sys.argv[1], image, axes="zyx", **eval(sys.argv[2]))
except StorageError as error:
    assert error.remedy and isinstance(error, OSError), error
    print("refused")
"""
FULL_OF_PICTURES = """
import os, resource, signal, sys
import numpy as np
import bioimage_py as bp
from bioimage_py.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
picture = np.random.default_rng(0).integers(0, 2**8, (64, 80)).astype("u1")
for name in ("a.jpg", "a.bmp", "a.png", "a.gif", "a.webp"):
    bp.imwrite(name, picture)
    size = os.path.getsize(name)
    bp.imwrite(name, picture[:8, :8])
    old = bp.imread(name)
    for most in (size - 1, size // 2, 10):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, -1))
        try:
            bp.imwrite(name, picture)
        except StorageError:
            print("refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        assert np.array_equal(bp.imread(name), old)
"""
CASES = [("a.tif", {}), ("a.tif", {"tiles": (16, 16), "pyramid": True}), ("a.nii.gz", {}), ("a.npy", {}), ("a.mha", {})]


def run(script: str, path: Path, options: dict[str, object]) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-B", "-c", script, str(path), repr(options)]
    return subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize(("name", "options"), CASES[1:3])
def test_a_writer_that_is_killed(name: str, options: dict[str, object], tmp_path: Path) -> None:
    bp.imwrite(tmp_path / name, OLD, axes="zyx")
    assert run(KILLED, tmp_path / name, options).returncode == -9
    assert run(KILLED, tmp_path / f"new-{name}", options).returncode == -9
    np.testing.assert_array_equal(bp.imread(tmp_path / name), OLD)
    assert not (tmp_path / f"new-{name}").exists()
    assert list(tmp_path.glob(".*")), "what was being written lies beside it"
    assert run(WHOLE, tmp_path / name, options).returncode == 0
    assert not list(tmp_path.glob(".*")), "and is removed by the next process that writes there"


def test_a_disk_that_is_full_of_pictures(tmp_path: Path) -> None:
    script = f"import os, sys\nos.chdir(sys.argv[1])\n{FULL_OF_PICTURES}"
    done = run(script, tmp_path, {})
    assert (done.returncode, done.stdout) == (0, "refused\n" * 15), done.stderr
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize(("name", "options"), CASES[1:])
def test_a_disk_that_is_full(name: str, options: dict[str, object], tmp_path: Path) -> None:
    bp.imwrite(tmp_path / name, OLD, axes="zyx")
    done = run(FULL, tmp_path / name, options)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
    np.testing.assert_array_equal(bp.imread(tmp_path / name), OLD)
    assert [path.name for path in tmp_path.iterdir()] == [name]
