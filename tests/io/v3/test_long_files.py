"""Proofs that take long: files of 20 GB in constant memory, and writers that are killed at any instant."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bioimage_py.io.v3 as iio

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [pytest.mark.long, pytest.mark.processes]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}

OPENED = """
import sys
from pathlib import Path
import numpy as np
import bioimage_py.io.v3 as iio
from bioimage_py.system.memory import peak_bytes
from sparse_tif import sparse_tif
path = Path(sys.argv[1])
iio.imwrite(path.with_suffix(".small.tif"), np.zeros((3, 64, 64), "u2"))
iio.imread(path.with_suffix(".small.tif"))
before = peak_bytes()
if sys.argv[2] == "npy":
    np.lib.format.open_memmap(path, "w+", "u2", (10000, 1024, 1024))
else:
    tile = (256, 256) if sys.argv[2] == "tiles" else None
    sparse_tif(path, 10000 if tile is None else 40, *((1024, 1024) if tile is None else (16384, 16384)), tile)
assert path.stat().st_size > 20e9
print(iio.improps(path).shape)
with iio.imopen(path, "r") as file:
    source = file.source()
    for z in (0, len(source) // 2 if hasattr(source, "__len__") else source.shape[0] // 2, source.shape[0] - 1):
        assert not source[z, 10:200, 20:300].any()
    for number, plane in enumerate(file.iter(axis="z", roi={"x": slice(0, 64)}) if sys.argv[2] != "npy" else ()):
        assert plane.shape[-1] == 64
        if number == 30:
            break
print((peak_bytes() - before) // 2**20)
"""


@pytest.mark.parametrize("kind", ["pages", "tiles", "npy"])
def test_a_file_of_20_gb_opens_in_little_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("a.npy" if kind == "npy" else "a.tif")
    call = [sys.executable, "-c", OPENED, str(path), kind]
    told = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stderr
    assert int(told.stdout.splitlines()[-1]) < 300, told.stdout


VIDEO = """
import sys
import numpy as np
import bioimage_py.io.v3 as iio
from bioimage_py.system.memory import peak_bytes

class Film:
    shape, dtype = (int(sys.argv[2]), 480, 640), np.dtype("u1")
    def __getitem__(self, index):
        first = np.arange(index[0].start, index[0].stop, dtype="u2")[:, None, None]
        return ((first + np.arange(480)[:, None] + np.arange(640)) % 256).astype("u1")[(slice(None), *index[1:])]

iio.imwrite(sys.argv[1], Film(), axes="tyx")
assert iio.improps(sys.argv[1]).shape[:3] == Film.shape
for number, frame in enumerate(iio.imiter(sys.argv[1])):
    pass
assert number + 1 == len(range(Film.shape[0]))
iio.imread(sys.argv[1], index=number // 2)
print(peak_bytes() // 2**20)
"""


def test_the_memory_of_a_video_does_not_grow_with_its_length(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="video needs av: pip install 'bioimage-blocks[video]'")
    peaks = []
    for frames in (200, 2000):
        call = [sys.executable, "-c", VIDEO, str(tmp_path / f"{frames}.mp4"), str(frames)]
        told = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
        assert told.returncode == 0, told.stderr
        peaks.append(int(told.stdout))
    assert peaks[1] - peaks[0] < 200, peaks


WRITER = """
import sys
import numpy as np
import bioimage_py as bp
import bioimage_py.io.v3 as iio
print("begun", flush=True)
data = np.load(sys.argv[3], mmap_mode="r")
if sys.argv[1] == "imwrite":
    while True:
        iio.imwrite(sys.argv[2], data)
elif sys.argv[1] == "append":
    while True:
        with iio.imopen(sys.argv[2], "a") as file:
            file.write(np.asarray(data))
else:
    bp.workflows.convert(data, sys.argv[2], pyramid=True, chunks=(8, 32, 32), overwrite=True)
    print("ended", flush=True)
"""
DATA = np.random.default_rng(0).integers(0, 4000, (24, 96, 96)).astype("u2")


def killed(way: str, target: Path, data: Path, seconds: float) -> bool:
    """Write, and kill the writer so many seconds after it begun; whether it was still at it."""
    call = [sys.executable, "-c", WRITER, way, str(target), str(data)]
    with subprocess.Popen(call, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        return "ended" not in writer.stdout.read()


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.ome.zarr", "a.h5", "a.npy", "a.nii", "a.zarr/raw", "a.h5/raw"])
def test_a_writer_that_is_killed_leaves_the_old_image_or_the_new_one(tmp_path: Path, name: str) -> None:
    generator = random.Random(name)
    target, data = tmp_path / name, tmp_path / "data.npy"
    np.save(data, DATA)
    old = DATA[:3] + 1
    iio.imwrite(target, old)
    for _ in range(5):
        killed("imwrite", target, data, generator.uniform(0, 0.5))
        found = iio.imread(target)
        assert np.array_equal(found, old) or np.array_equal(found, DATA)
    again = "import sys, bioimage_py.io.v3 as iio; iio.imwrite(sys.argv[1], iio.imread(sys.argv[2])[:3] + 1)"
    subprocess.run([sys.executable, "-c", again, str(target), str(data)], env=ENVIRONMENT, check=True)
    np.testing.assert_array_equal(iio.imread(target), old)
    above = tmp_path if "/" not in name or ".h5" in name else target.parent
    assert not [one for one in os.listdir(above) if one.startswith(".") and target.name.partition("/")[0] in one]


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.h5", "a.npz"])
def test_a_killed_append_loses_no_image(tmp_path: Path, name: str) -> None:
    generator = random.Random(name)
    target, data = tmp_path / name, tmp_path / "data.npy"
    np.save(data, DATA[:4])
    iio.imwrite(target, [DATA[:2], DATA[2:4]])
    count = 2
    for _ in range(4):
        killed("append", target, data, generator.uniform(0, 0.6))
        with iio.imopen(target, "r") as file:
            assert len(file) >= count
            count = len(file)
            np.testing.assert_array_equal(file.read(0), DATA[:2])
            np.testing.assert_array_equal(file.read(1), DATA[2:4])
            for number in range(2, count):
                np.testing.assert_array_equal(file.read(number), DATA[:4])


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_a_conversion_that_is_killed_goes_on_or_leaves_nothing(tmp_path: Path, name: str) -> None:
    generator = random.Random(name)
    target, data = tmp_path / name, tmp_path / "data.npy"
    np.save(data, DATA)
    options = {"chunks": (8, 32, 32)} if name.endswith("zarr") else {}
    for _ in range(8):
        if name.endswith("tif") and target.exists():
            target.unlink()
        script = WRITER if options else WRITER.replace(", chunks=(8, 32, 32)", "")
        call = [sys.executable, "-c", script, "convert", str(target), str(data)]
        with subprocess.Popen(call, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "begun\n"
            time.sleep(generator.uniform(0, 1))
            writer.kill()
        if name.endswith("tif"):
            assert not target.exists() or np.array_equal(iio.imread(target), DATA)
    assert subprocess.run(call, env=ENVIRONMENT, capture_output=True, timeout=300).returncode == 0
    np.testing.assert_array_equal(iio.imread(target), DATA)
