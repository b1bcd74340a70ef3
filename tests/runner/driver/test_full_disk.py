"""A full disk stops a run at once, naming the path; after space is freed the same call finishes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import soak_kinds
import zarr

import bioimage_py as bp
from bioimage_py.errors import RunnerError, StorageError
from bioimage_py.runner import RunnerConfig, map_blocks
from bioimage_py.runner.execution import Execution

cloudpickle.register_pickle_by_value(sys.modules[__name__])

SIZE = 2 * 2**20
SHAPE = (16, 32, 32, 32)
BLOCK = (1, 32, 32, 32)
DATA = np.random.default_rng(0).integers(0, 250, SHAPE, "u1")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Take all space but some bytes."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(folder).free - leave)))
    return ballast


def array(path: Path, data: Any = None) -> Any:
    made = zarr.create_array(path, shape=SHAPE, chunks=BLOCK, dtype="u1", compressors=None, overwrite=True)
    if data is not None:
        made[...] = data
    return made


def valued(block: Any, inputs: Any, outputs: Any, mask: Any) -> bytes:
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi] + 1
    return bytes(2**14) + bytes([block.id])


def silent(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    valued(block, inputs, outputs, mask)


def short(block: Any, inputs: Any, outputs: Any, mask: Any) -> bytes:
    return valued(block, inputs, outputs, mask)[-1000:]


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
@pytest.mark.parametrize("what", ["output", "results", "in place"])
def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path: Path, small: Path, what: str, job_type: str) -> None:
    source = array((small if what == "in place" else tmp_path) / "in.zarr", DATA)
    output = source if what == "in place" else array((small if what == "output" else tmp_path) / "out.zarr")
    root = tmp_path / "runs" if what == "output" else small / "runs"
    # some blocks fit: what is kept of blocks in place takes space too
    ballast = fill(small, 5 * 2**15)
    how = Execution(job_type, 2, RunnerConfig(tmp_root=root), progress=False)

    def call() -> Any:
        options = {"block_shape": BLOCK, "name": "job", "execution": how, "has_return_val": what == "results"}
        return map_blocks(valued if what == "results" else silent, [source], [output], **options).results

    with pytest.raises(RunnerError, match="No space left on device") as error:
        call()
    assert str(small) in str(error.value), "the path is named"
    assert 0 < len(error.value.failed_block_ids) <= 16
    assert Path(str(error.value.tmp_folder)).parent == root
    ballast.unlink()
    values = call()
    np.testing.assert_array_equal(output[...], DATA + 1)
    if what == "results":
        assert [value[-1] for value in values] == list(range(16))
    assert not list(root.glob("job-*"))


@pytest.mark.slow
@pytest.mark.long
def test_wherever_the_disk_of_the_ledger_is_full_the_run_stops_and_then_finishes(tmp_path: Path, small: Path) -> None:
    """From no space at all to enough, page by page: at the start, in claims, journals, results, and at the end."""
    source, output = array(tmp_path / "in.zarr", DATA), array(tmp_path / "out.zarr")
    how = Execution("local", 2, RunnerConfig(tmp_root=small / "runs"), progress=False)
    refused = []
    for leave in range(0, 2**20, 2**13):
        ballast = fill(small, leave)

        def call() -> Any:
            options = {"block_shape": BLOCK, "name": "job", "execution": how, "has_return_val": True}
            return map_blocks(short, [source], [output], **options).results

        try:
            values = call()
        except (RunnerError, OSError) as error:
            refused.append(str(error))
            ballast.unlink()
            values = call()
        else:
            ballast.unlink()
        assert [value[-1] for value in values] == list(range(16))
        np.testing.assert_array_equal(output[...], DATA + 1)
        assert not list((small / "runs").glob("job-*"))
        if len(refused) < (leave >> 13):
            break
    assert len(refused) > 10
    assert [text for text in refused if "No space left on device" not in text or str(small) not in text] == []


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_a_permission_that_is_missing_stops_the_run(tmp_path: Path, job_type: str) -> None:
    source, output = array(tmp_path / "in.zarr", DATA), array(tmp_path / "out.zarr")
    calls = tmp_path / "calls"
    calls.mkdir()

    def forbidden(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        (calls / f"{block.id}-{len(list(calls.iterdir()))}").touch()
        if block.id == 3:
            raise PermissionError(13, "Permission denied", "/data/secret.npy")
        valued(block, inputs, outputs, mask)

    with pytest.raises(RunnerError, match=r"Permission denied: '/data/secret.npy'") as error:
        map_blocks(forbidden, [source], [output], block_shape=BLOCK, job_type=job_type, num_workers=1, retries=5)
    assert 3 in error.value.failed_block_ids
    assert len([path for path in calls.iterdir() if path.name.startswith("3-")]) == 1, "no retry can help"


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_a_shard_that_does_not_fit_leaves_the_old_one(tmp_path: Path, small: Path, job_type: str) -> None:
    source = array(tmp_path / "in.zarr", DATA)
    shards = (4, 32, 32, 32)
    output = zarr.create_array(
        small / "out.zarr", shape=SHAPE, chunks=BLOCK, shards=shards, dtype="u1", compressors=None
    )
    output[...] = 9
    stored = {path: path.stat().st_size for path in (small / "out.zarr" / "c").rglob("*") if path.is_file()}
    assert len(stored) == 4
    ballast = fill(small, 2**16)
    how = Execution(job_type, 2, RunnerConfig(tmp_root=tmp_path / "runs"), progress=False)

    def call() -> None:
        bp.copy(source, output, block_shape=shards, execution=how)

    with pytest.raises(RunnerError, match=r"Cannot write 'c/\d/0/0/0' .*No space left on device"):
        call()
    assert (output[...] == 9).all()
    assert {path: path.stat().st_size for path in (small / "out.zarr" / "c").rglob("*") if path.is_file()} == stored
    ballast.unlink()
    call()
    np.testing.assert_array_equal(output[...], DATA)


@pytest.mark.parametrize("kind", [kind for kind in soak_kinds.KINDS if "S3" not in kind])
def test_every_kind_of_output_on_a_full_disk(tmp_path: Path, small: Path, kind: str) -> None:
    """The call fails, keeps its run folder, and goes on when there is space; HDF5 while it computes and copies in."""
    image = np.random.default_rng(0).integers(0, 2**16, (48, 32, 32), "u2")
    how = Execution("local", 2, RunnerConfig(tmp_root=tmp_path / "runs"), progress=False)
    try:
        soak_kinds.KINDS[kind].make(small / "array", image.shape)
    except ImportError as error:
        pytest.skip(str(error))
    output = soak_kinds.opened(kind, small / "array")
    # HDF5 has a scratch array of the same size there, for which the second time there is space
    for leave in (2**15, 2**17) if "HDF5" in kind or "h5py" in kind else (2**15,):
        ballast = fill(small, leave)
        with pytest.raises((RunnerError, OSError), match=r"No space left on device|errno = 28|os error 28") as error:
            bp.copy(image_of(tmp_path, image), output, block_shape=16, execution=how)
        assert str(small) in str(error.value)
        assert len(list((tmp_path / "runs").glob("[!.]*"))) == 1
        ballast.unlink()
    if kind == "dataset of h5py":  # after a failed write, what HDF5 has in memory is not to be trusted
        with pytest.raises(StorageError, match="open it again"):
            bp.copy(image_of(tmp_path, image), output, block_shape=16, execution=how)
        output.array.file.close()
        output = soak_kinds.opened(kind, small / "array")
    bp.copy(image_of(tmp_path, image), output, block_shape=16, execution=how)
    assert not list((tmp_path / "runs").glob("[!.]*"))
    output.close()
    output = soak_kinds.opened(kind, small / "array")
    np.testing.assert_array_equal(output[...], image)
    output.close()


def image_of(folder: Path, image: np.ndarray) -> Any:
    """The image in a file, so that the call can be repeated."""
    path = folder / "image.zarr"
    return zarr.open_array(path, mode="r") if path.exists() else zarr.create_array(path, data=image, chunks=(16,) * 3)
