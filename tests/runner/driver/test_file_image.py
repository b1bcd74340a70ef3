"""The image of an HDF5 file: with it the file is what it was, whichever of the writes was the last before a kill."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.runner.driver.file_image import keep_image, put_image_back

h5py = pytest.importorskip("h5py", reason="hdf5 needs h5py: pip install 'bioimage_py[io]'")

SHAPE = (24, 16, 16)
HALF = SHAPE[0] // 2


class Recorded(io.BytesIO):
    """A file in memory that keeps what was written, and how long it was then."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.log: list[tuple[int, bytes | None]] = []

    def write(self, data: Any) -> int:
        self.log.append((self.tell(), bytes(data)))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        end = self.tell() if size is None else size
        self.log.append((end, None))
        found = len(self.getvalue())
        return super().truncate(end) if end <= found else super().write(bytes(end - found))


def voxels(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, shape, "u1")


def made(path: Path, version: str, options: dict[str, Any], *, userblock: int = 0) -> None:
    with h5py.File(path, "w", libver=version, userblock_size=userblock) as file:
        file.create_dataset("g/other", data=voxels(1, SHAPE), chunks=(8, 8, 8), compression="gzip")
        out = file.create_dataset("g/out", shape=SHAPE, dtype="u1", **options)
        out[HALF - 3 :] = voxels(2, SHAPE)[HALF - 3 :]
        file.create_dataset("g/plain", data=voxels(3, SHAPE))


def state(content: bytes) -> str:
    """What of the file is not as it was."""
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            for name, seed in (("g/other", 1), ("g/plain", 3), ("g/out", 2)):
                begin = HALF if name == "g/out" else 0
                if not (file[name][begin:] == voxels(seed, SHAPE)[begin:]).all():
                    return f"{name} differs"
    except (OSError, RuntimeError, KeyError) as error:
        return str(error)
    return ""


def rewritten(content: bytes) -> bool:
    """Whether the part that was being written can be written."""
    file_like = io.BytesIO(content)
    with h5py.File(file_like, "r+") as file:
        file["g/out"][:HALF] = voxels(4, SHAPE)[:HALF]
    with h5py.File(io.BytesIO(file_like.getvalue()), "r") as file:
        return bool((file["g/out"][:HALF] == voxels(4, SHAPE)[:HALF]).all()) and not state(file_like.getvalue())


@pytest.mark.parametrize(
    ("version", "options", "userblock"),
    [
        ("earliest", {"chunks": (4, 4, 4), "compression": "gzip"}, 0),
        ("earliest", {"chunks": (4, 4, 4)}, 512),
        ("earliest", {}, 0),
        ("latest", {"chunks": (4, 5, 7), "compression": "gzip", "maxshape": (None, 16, 16)}, 512),
    ],
    ids=["compressed", "chunked", "contiguous", "latest"],
)
@pytest.mark.slow
def test_whichever_write_was_the_last(tmp_path: Path, version: str, options: dict[str, Any], userblock: int) -> None:
    path, image = tmp_path / "a.h5", tmp_path / "image"
    made(path, version, options, userblock=userblock)
    before = path.read_bytes()
    with h5py.File(path, "r") as file:
        keep_image(file, {"g/out": ((0, HALF), (0, 16), (0, 16))}, image)
    if not userblock:
        assert image.stat().st_size < len(before), "voxels that nobody writes are not copied"
    recorded = Recorded(before)
    with h5py.File(recorded, "r+") as file:
        for begin in range(0, HALF, 4):
            file["g/out"][begin : begin + 4] = voxels(4, SHAPE)[begin : begin + 4]
        file.flush()
        log = list(recorded.log)
    assert len(log) > 3
    torn, content = False, bytearray(before)
    for number, (start, data) in enumerate(log):
        if data is None:
            del content[start:]
        content.extend(bytes(max(0, start - len(content))))
        content[start : start + len(data or b"")] = data or b""
        torn = torn or bool(state(bytes(content)))
        path.write_bytes(content)
        put_image_back(image, str(path))
        assert state(path.read_bytes()) == "", number
        assert not put_image_back(image, str(path))
        if number % 32 == 0 or number > len(log) - 8:
            assert rewritten(path.read_bytes()), number
    if options and version == "earliest":
        assert torn, "a kill tears this file, so that the test says something"
