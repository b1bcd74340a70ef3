"""Tables of new ids that lie in files: mapped, never loaded; what was changed is another table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from bioimage_py import segmentation
from bioimage_py.errors import DtypeError, FormatError, RunnerError, ShapeError, SourceNotFoundError, ValueRangeError
from bioimage_py.segmentation import mapped_table
from bioimage_py.segmentation.mapped_table import MappedTable

LABELS = np.array([[1, 2, 0], [5, 9, 9]], "u2")


def saved(folder: Path, values: Any) -> Path:
    path = folder / "table.npy"
    np.save(path, values)
    return path


@pytest.mark.parametrize("dtype", ["u1", ">u4", "u8", "i8"])
def test_a_file_does_what_its_array_does(tmp_path: Path, dtype: str) -> None:
    table = np.arange(100)[::-1].astype(dtype)
    path = saved(tmp_path, table)
    mapped = np.load(path, mmap_mode="r")
    for labels in (LABELS, LABELS.astype(">i8"), LABELS.astype(bool), LABELS[:0]):
        output = segmentation.relabel(labels, table, np.zeros(labels.shape, "u8"))
        for labeling in (path, mapped):
            for blocks in (None, 2):
                ours = segmentation.relabel(labels, labeling, np.zeros(labels.shape, "u8"), block_shape=blocks)
                np.testing.assert_array_equal(ours, output)


def test_workers_map_it(tmp_path: Path) -> None:
    labels = zarr.create_array(tmp_path / "in.zarr", shape=LABELS.shape, chunks=(1, 3), dtype="u8")
    output = zarr.create_array(tmp_path / "out.zarr", shape=LABELS.shape, chunks=(1, 3), dtype="u8")
    labels[...] = LABELS
    path = saved(tmp_path, np.arange(10, dtype="u8") + np.uint64(2**63))
    segmentation.relabel(labels, path, output, job_type="subprocess", num_workers=2)
    np.testing.assert_array_equal(output[...], LABELS + np.uint64(2**63))


@pytest.mark.parametrize("part", [slice(3, None), slice(None, None, 2), slice(None, None, -1), slice(0, 0)])
def test_parts_of_a_mapped_array_are_those_parts(tmp_path: Path, part: slice) -> None:
    mapped = np.load(saved(tmp_path, np.arange(100, 200)), mmap_mode="r")[part]
    labels = np.zeros(3, "i8") if len(mapped) else np.zeros(0, "i8")
    table = MappedTable.of(mapped)
    assert (table is None) == (part.step is not None or not len(mapped))
    assert segmentation.relabel(labels, mapped).tolist() == np.array(mapped)[labels].tolist()


def test_changes_in_memory_only_are_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, np.zeros(10, "i8"))
    private, shared = np.load(path, mmap_mode="c"), np.load(path, mmap_mode="r+")
    private[1], shared[1] = 7, 8
    assert segmentation.relabel(np.array([1]), private).tolist() == [7]
    assert segmentation.relabel(np.array([1]), shared).tolist() == [8]
    assert segmentation.relabel(np.array([1]), shared + 1).tolist() == [9]


def test_a_changed_file_is_another_table(tmp_path: Path) -> None:
    path = saved(tmp_path, np.zeros(10, "i8"))
    before = MappedTable.of(path)
    assert before == MappedTable.of(path)
    saved(tmp_path, np.ones(10, "i8"))
    assert before != MappedTable.of(path)
    assert segmentation.relabel(np.array([1]), path).tolist() == [1]


def test_ids_without_an_entry_and_ids_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, np.arange(10) * 100)
    with pytest.raises(RunnerError, match=r"id 11 .* 10 entries"):
        segmentation.relabel(np.array([1, 11]), path, block_shape=1, retries=0)
    for piece in (2**22, 2):
        monkeypatch.setattr(mapped_table, "_PIECE", piece)
        with pytest.raises(ValueRangeError, match="maps id 3 to 300"):
            segmentation.relabel(np.array([1], "u1"), path)
    assert segmentation.relabel(np.array([3], "u1"), path, casting="unsafe").tolist() == [44]


def test_files_that_hold_no_table(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        segmentation.relabel(LABELS, tmp_path / "none.npy")
    with pytest.raises(ShapeError):
        segmentation.relabel(LABELS, saved(tmp_path, np.zeros((2, 2), int)))
    with pytest.raises(DtypeError):
        segmentation.relabel(LABELS, saved(tmp_path, np.zeros(2)))
    (tmp_path / "table.npy").write_bytes(b"no array")
    with pytest.raises(FormatError):
        segmentation.relabel(LABELS, tmp_path / "table.npy")
