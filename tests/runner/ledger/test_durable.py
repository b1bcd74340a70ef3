"""Done means durable, for every row of the table in docs/runs.md: what is recorded, or has returned, survives."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soak_kinds
import zarr
from soak_kinds import KINDS

import bioimage_py as bp
from bioimage_py.errors import RunnerError, StorageError
from bioimage_py.io.formats import is_writable_format, supported_formats
from bioimage_py.runner.planning.defaults import reopenable
from bioimage_py.sources import as_source, open_source
from bioimage_py.sources.file import FileSource
from bioimage_py.sources.registry import _kinds
from bioimage_py.util import to_roi
from bioimage_py.wrapper import WrapperSource

DOCS = Path(__file__).parents[3] / "docs" / "runs.md"
SHAPE = (48, 32, 32)
NEEDED = {
    "z5py": "z5py",
    "HDF5": "h5py",
    "h5py": "h5py",
    "cloud-volume": "cloudvolume",
    "WebKnossos": "webknossos",
    "zarr-python": "numcodecs",
}
READ_ONLY = {"neurites", "dicom"}


def rows() -> dict[str, list[str]]:
    """The cells of the table by its first column."""
    text = DOCS.read_text().partition('## What "done" survives')[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells[2:]}


def content() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 1000, SHAPE, "u2")


def made(kind: str, folder: Path) -> Path:
    """An image, and an empty array of a kind; skipped where its library is not there."""
    for name, module in NEEDED.items():
        if name in kind:
            pytest.importorskip(module, reason=f"{kind} needs {module}")
    zarr.create_array(folder / "image.zarr", data=content(), chunks=(16, 16, 16))
    KINDS[kind].make(folder / "array", SHAPE)
    return folder / "array"


def called(kind: str, job: str, folder: Path, fault: str = "") -> str:
    """A call in a process that is killed: at a fault point, or when it has returned. What it said if it raised."""
    if fault:
        (folder / "token").touch()
        fault = f"{fault}:{folder / 'token'}"
    environment = {"BIOIMAGE_PY_RUN_ROOT": str(folder / "runs")}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "SOAK_"))}
    process = soak_kinds.forking().Process(target=soak_kinds.end_killed, args=(kind, job, folder, environment, fault))
    process.start()
    process.join(300)
    said = "" if process.exitcode == -signal.SIGKILL else (folder / "said").read_text()
    assert not (fault and said), said
    return said


def test_the_table_has_a_row_for_every_kind_that_is_written(tmp_path: Path) -> None:
    assert list(rows()) == list(KINDS)
    assert all(len(row) == 3 and all(row) for row in rows().values())
    for kind, (_, again, _) in rows().items():
        assert ("refused" in again) != KINDS[kind].in_place, kind
    kinds, formats = set(), set()
    for number, kind in enumerate(KINDS):
        if "S3" in kind:
            continue
        (folder := tmp_path / str(number)).mkdir()
        with soak_kinds.opened(kind, made(kind, folder)) as source:
            assert source.writable
            kinds.add(source.to_spec().kind)
            if isinstance(source, FileSource):
                formats.add(source.format)
    own = {"run array", "output folder"}  # a zarr array in the run folder, and one without voxels
    own |= {"project draft", "project version"}  # a server keeps it: tests/server/transfer
    assert kinds | READ_ONLY | own == set(_kinds), "a kind of spec that is new has a row, or is read-only"
    assert formats == {name for name in supported_formats() if is_writable_format(name)}


@pytest.mark.some(6)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "S3" not in kind])
@pytest.mark.slow
def test_what_is_recorded_and_what_has_returned_survives_a_kill(tmp_path: Path, kind: str) -> None:
    path, job = made(kind, tmp_path), "copy"
    if KINDS[kind].in_place:  # where it shows what is done twice
        job = "add"
        with looked_at(kind, path) as source:
            source[...] = content()
            source.flush()
    called(kind, job, tmp_path, "before-copy:1" if "HDF5" in kind or "h5py" in kind else "after-journal:2")
    assert len(list((tmp_path / "runs").glob("[!.]*"))) == 1, "it was killed on its way"
    said = called(kind, job, tmp_path)
    if "open it again" in said:  # the caller's own handle was opened before the file was put back
        assert kind == "dataset of h5py"
        said = called(kind, job, tmp_path)
    assert said == ""
    assert not list((tmp_path / "runs").glob("[!.]*"))
    with looked_at(kind, path) as source:
        np.testing.assert_array_equal(source[...], content() + (7 if job == "add" else 0))


def test_the_same_in_a_bucket(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOAK_BUCKET", s3)
    test_what_is_recorded_and_what_has_returned_survives_a_kill(tmp_path, "zarr in S3, Google Cloud Storage")


def looked_at(kind: str, path: Path) -> Any:
    """An array opened so that closing it closes the file."""
    return soak_kinds.opened("HDF5" if kind == "dataset of h5py" else kind, path)


def unrecorded(folder: Path) -> dict[str, Any]:
    """Arrays that no other process can open."""
    import tensorstore

    soak_kinds.make_zarr(folder / "a.zarr", SHAPE)
    store = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/a.zarr/"}}
    return {
        "memory": np.zeros(SHAPE, "u2"),
        "map": np.memmap(folder / "a.raw", "u2", "w+", shape=SHAPE),
        "zip": zarr.create_array(zarr.storage.ZipStore(folder / "a.zip", mode="w"), shape=SHAPE, dtype="u2"),
        "zarr in memory": zarr.create_array(zarr.storage.MemoryStore(), shape=SHAPE, dtype="u2"),
        "transaction": tensorstore.open(store).result().with_transaction(tensorstore.Transaction()),
    }


def test_nothing_is_recorded_of_what_does_not_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", str(tmp_path / "runs"))
    for name, array in unrecorded(tmp_path).items():
        assert not reopenable(as_source(array)), name
        bp.copy(content(), array, block_shape=16, num_workers=2)
        np.testing.assert_array_equal(as_source(array)[...], content())
        assert not (tmp_path / "runs").exists(), name


class Buffered(bp.sources.Source):
    """A source that keeps back what is written until it is flushed."""

    def __init__(self, target: Any) -> None:
        self.target, self.held, self.flushed = as_source(target), np.zeros(SHAPE, "u2"), 0

    shape = property(lambda self: SHAPE)  # type: ignore[assignment]
    dtype = property(lambda self: np.dtype("u2"))  # type: ignore[assignment]
    writable = property(lambda self: True)  # type: ignore[assignment]
    chunks = property(lambda self: (16, 16, 16))  # type: ignore[assignment]

    def to_spec(self) -> Any:
        return self.target.to_spec()

    def _getitem(self, roi: Any) -> np.ndarray:
        return self.held[roi].copy()

    def _setitem(self, roi: Any, value: np.ndarray) -> None:
        self.held[roi] = value

    def flush(self) -> None:
        self.flushed += 1
        self.target[...] = self.held


def test_a_source_is_flushed_before_its_blocks_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bioimage_py.runner.ledger.journal import _Writer

    output = Buffered(soak_kinds.make_zarr(tmp_path / "a.zarr", SHAPE))
    write, recorded = _Writer.write, []

    def noted(self: Any, record: Any) -> None:
        recorded.append(all((output.target[to_roi(grid[number])] == 5).all() for number in record.ids))
        write(self, record)

    grid = bp.blocks.Grid(SHAPE, (16, 16, 16))
    monkeypatch.setattr(_Writer, "write", noted)

    def fill(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][to_roi(block)] = 5

    bp.map_blocks(fill, [], [output], block_shape=16, num_workers=1)
    assert len(recorded) > 1
    assert all(recorded)
    assert output.flushed >= len(recorded)


def remove(path: Path, kind: str) -> None:
    """Delete an array, or what describes it."""
    if path.is_file():
        path.unlink()
        return
    names = ("zarr.json", ".zarray", "attributes.json", "info", "header.wkw")
    for name in [name for found in names for name in path.rglob(found)]:
        name.unlink()


def replace(path: Path, kind: str) -> None:
    """Put an empty array of the same shape in its place."""
    path.unlink() if path.is_file() else shutil.rmtree(path)
    KINDS[kind].make(path, SHAPE)


GOING = ["zarr version 3", "n5", "HDF5", "dataset of h5py", "precomputed", "WebKnossos wkw", "WebKnossos zarr"]


@pytest.mark.parametrize("how", [remove, replace])
@pytest.mark.parametrize("kind", [*GOING, "handle of tensorstore", "precomputed through cloud-volume"])
def test_an_output_that_is_gone_is_an_error(tmp_path: Path, kind: str, how: Any) -> None:
    if kind not in GOING and how is replace:
        pytest.skip("nothing tells that array from another of the same description")
    path = made(kind, tmp_path)

    def block(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][to_roi(block)] = inputs[0][to_roi(block)]
        if block.id == 2:
            how(path, kind)

    image = open_source(tmp_path / "image.zarr")
    with (
        soak_kinds.opened(kind, path) as output,
        pytest.raises((OSError, RunnerError), match=re.escape(str(path))) as error,
    ):
        bp.map_blocks(block, [image], [output], block_shape=16, num_workers=1)
    # wkw reads its header for each file that it writes, and so fails before the end
    assert "deleted or replaced" in str(error.value) or "header.wkw" in str(error.value)


class Removing(WrapperSource):
    """Whoever reads it removes a file."""

    def __init__(self, source: Any, path: Path) -> None:
        super().__init__(source)
        self.path = path

    def _getitem(self, roi: Any) -> np.ndarray:
        self.path.unlink(missing_ok=True)
        return self.source._getitem(roi)


def test_an_output_that_goes_in_an_earlier_stage_is_an_error(tmp_path: Path) -> None:
    output = soak_kinds.make_zarr(tmp_path / "labels.zarr", SHAPE, dtype="u8")
    source = Removing(content(), tmp_path / "labels.zarr" / "zarr.json")
    with pytest.raises((StorageError, RunnerError), match=r"labels.zarr was deleted or replaced"):
        bp.segmentation.label(source, output, threshold=500, block_shape=16, num_workers=1)
