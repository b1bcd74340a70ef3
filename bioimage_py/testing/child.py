"""The other process of the conformance suite: opens a spec, says what it finds, writes units when it is told to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..sources.base import Source
from ..sources.indexing import Roi
from ..sources.registry import from_spec
from ..sources.spec import SourceSpec

TIMEOUT = 120


class Child:
    """A new interpreter that opens a source by the JSON of its spec.

    Parameters
    ----------
    folder : Path
        Where both processes leave files for each other; made.
    spec : SourceSpec
        What is opened.
    boxes : sequence of tuple of slice
        What `write` will write.
    content : numpy.ndarray
        Voxels of the whole source, from which the boxes are taken.
    """

    def __init__(self, folder: Path, spec: SourceSpec, boxes: Sequence[Roi], content: np.ndarray) -> None:
        folder.mkdir()
        self._folder = folder
        bounds = [[(part.start, part.stop) for part in box] for box in boxes]
        (folder / "job.json").write_text(json.dumps({"spec": spec.to_dict(), "boxes": bounds}))
        np.save(folder / "content.npy", content)
        command = [sys.executable, "-c", f"import {__name__} as child; child.main()", str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def found(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Wait until the source was read; the voxels, and what the source says of itself."""
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "read":
            self.end()
        return np.load(self._folder / "voxels.npy"), json.loads((self._folder / "found.json").read_text())

    def write(self) -> None:
        """Let it write its boxes; returns at once."""
        assert self._process.stdin is not None
        self._process.stdin.write("write\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait for its end; AssertionError with its output if it failed."""
        try:
            _, errors = self._process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        assert self._process.returncode == 0, f"the other process failed:\n{errors}"


def described(source: Source) -> dict[str, Any]:
    """What a source says of itself, as JSON values."""
    return {
        "shape": list(source.shape),
        "dtype": source.dtype.str,
        "chunks": list(source.chunks or ()),
        "shards": list(source.shards or ()),
        "write_chunks": list(source.write_chunks or ()),
        "grid_origin": list(source.grid_origin),
        "axes": [[axis.name, axis.kind, axis.unit, axis.scale, axis.offset] for axis in source.axes],
        "writable": source.writable,
        "concurrency": source.concurrency,
        "identity": repr(source.identity),
    }


def main() -> None:
    """Do the job of the folder in ``sys.argv[1]``."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    with from_spec(SourceSpec.from_json(job["spec"], allow_pickle=True)) as source:
        np.save(folder / "voxels.npy", source[...])
        (folder / "found.json").write_text(json.dumps(described(source)))
        sys.stdout.write("read\n")
        sys.stdout.flush()
        if not job["boxes"] or not sys.stdin.readline():
            return
        content = np.load(folder / "content.npy")
        for bounds in job["boxes"]:
            box = tuple(slice(*part) for part in bounds)
            source[box] = content[box]
