"""Versions of label maps on disk: OME-Zarr label images that never change, and share the chunks that are equal.

A new version begins as hard links to the chunks of the one before. The storage engine replaces chunk files, so writing
to the new version leaves the old one as it is; where there are no hard links, chunks are copied.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import SourceNotFoundError, StorageError
from ...io.create import create_array
from ...io.ome import write_multiscales
from ...sources.axes import Axis
from ...sources.chunked.unit_files import METADATA_FILES
from ...sources.file import FileSource, open_source
from ...sources.stores.paths import for_zarr
from ...system.faults import fault
from ...system.files import sync_folder, write_once
from ..values.models import Label
from .folder import new_stamp
from .packs import ARRAY

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}
_MANY = 32


def open_version(path: Path, mode: str = "r") -> FileSource:
    """Open the array of a version."""
    return open_source(path, ARRAY, format="zarr", mode=mode)


def make_version(
    path: Path,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    axes: Sequence[Axis],
    labels: Iterable[Label],
    old: Path | None,
    note: str,
) -> None:
    """Make a version to write into, which appears whole; one that is there already stays.

    Parameters
    ----------
    path : Path
        Where.
    shape, dtype, axes
        Of the array.
    labels : iterable of Label
        Names and colours for viewers.
    old : Path, optional
        Version to begin with, of the same shape and dtype; None: all voxels are 0.
    note : str
        Kept in a file of it, see `note_of`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f".new-{new_stamp()}.zarr")
    try:
        if old is None:
            create_array(private, ARRAY, shape=shape, dtype=dtype, axes=axes, format="zarr").close()
        else:
            _link_tree(old / ARRAY, private / ARRAY)
        write_multiscales(private, levels=[(ARRAY, axes)], name="labels", label=True)
        describe(private, list(labels))
        (private / ".made-from").write_text(note)
        fault("project-draft")
        os.rename(private, path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    finally:
        shutil.rmtree(private, ignore_errors=True)


def note_of(path: Path) -> str:
    """Return what `make_version` kept."""
    return (path / ".made-from").read_text()


def annotate(path: Path, note: str) -> None:
    """Replace what `make_version` kept."""
    write_once(path / ".made-from", note.encode(), sync=True)


def dtype_of(path: Path) -> np.dtype[Any]:
    """Data type of the array of a version."""
    with open_version(path) as source:
        return source.dtype


def describe(path: Path, labels: list[Label]) -> None:
    """Tell viewers the names and colours of labels, as OME-Zarr has it."""
    import zarr

    group = zarr.open_group(for_zarr(os.fspath(path)), mode="r+")
    ome: Any = group.attrs["ome"]
    colors = [{"label-value": label.value, "rgba": [*label.color, 255]} for label in labels]
    names = [{"label-value": label.value, "name": label.name} for label in labels]
    described: dict[str, Any] = {"colors": colors, "properties": names} if labels else {}
    group.attrs["ome"] = {**ome, "image-label": {"version": "0.5", **described}}


def _link_tree(old: Path, new: Path) -> None:
    new.mkdir(parents=True)
    for name in METADATA_FILES:
        if (old / name).exists():
            shutil.copyfile(old / name, new / name)
    made = set()
    for name in chunk_files(old):
        target = new / name
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        _link(old / name, target)


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(old, new)


def chunk_files(array: Path) -> Iterator[str]:
    """Paths of the stored chunks, relative to the array's folder."""
    for folder, folders, names in os.walk(array):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = os.path.relpath(folder, array)
        for name in names:
            if not (name.startswith(".") or (inner == "." and name in METADATA_FILES)):
                yield name if inner == "." else f"{inner}/{name}"


def share(old: Path, new: Path) -> tuple[list[str], bool]:
    """Replace chunks of a version that are equal to those of an older one by links to them.

    Returns
    -------
    list of str
        Chunks that differ.
    bool
        Whether the versions hold the same voxels.
    """
    differing, count = [], 0
    for name in list(chunk_files(new / ARRAY)):
        count += 1
        before, after = old / ARRAY / name, new / ARRAY / name
        if not before.exists():
            differing.append(name)
        elif not os.path.samefile(before, after):
            if not _equal(before, after):
                differing.append(name)
                continue
            private = after.with_name(f".{after.name}")
            private.unlink(missing_ok=True)
            _link(before, private)
            os.replace(private, after)
    return differing, not differing and count == sum(1 for _ in chunk_files(old / ARRAY))


def _equal(first: Path, second: Path) -> bool:
    # not by filecmp: it keeps answers by size and time, and a chunk may be written twice within a tick of the clock
    return first.stat().st_size == second.stat().st_size and first.read_bytes() == second.read_bytes()


def settle(version: Path, written: Iterable[str] | None) -> None:
    """Wait until a version is on disk, without what runs left in it; with None, all of its chunks were written."""
    for path in (version / ARRAY).glob(".*"):
        if path.is_dir():
            shutil.rmtree(path)
    names = list(chunk_files(version / ARRAY) if written is None else written)
    if len(names) > _MANY:
        os.sync()
        return
    files = [version / ARRAY / name for name in names]
    metadata = [version / "zarr.json", version / ARRAY / "zarr.json"]
    for path in (*files, *metadata):
        _sync_file(path)
    for folder, _, _ in os.walk(version):
        sync_folder(Path(folder))


def _sync_file(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path} can't be made durable: {error.strerror}", remedy="check the disk") from error


def rebase(draft: Path, base: Path | None, stored: Path | None) -> list[str]:
    """Take over into a draft the chunks that another version changed and the draft did not.

    Parameters
    ----------
    draft : Path
    base : Path, optional
        Version that the draft was made from; None: all voxels were 0.
    stored : Path, optional
        Version that was published since; None as for `base`.

    Returns
    -------
    list of str
        Chunks that both changed, each to something else; the draft keeps its own.

    Raises
    ------
    SourceNotFoundError
        One of the versions was pruned.
    """
    for path in (base, stored):
        if path is not None and not path.is_dir():
            raise SourceNotFoundError(f"The version {path} is not there any more.", remedy="make a new draft")
    both = []
    versions = [None if path is None else path / ARRAY for path in (draft, base, stored)]
    mine, before, theirs = versions
    assert mine is not None
    for name in sorted({name for path in versions if path is not None for name in chunk_files(path)}):
        if _same(before, theirs, name):
            continue
        if not _same(mine, before, name):
            if not _same(mine, theirs, name):
                both.append(name)
            continue
        target = mine / name
        if theirs is None or not (theirs / name).exists():
            target.unlink(missing_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        private = target.with_name(f".{target.name}")
        private.unlink(missing_ok=True)
        _link(theirs / name, private)
        os.replace(private, target)
    return both


def differing(draft: Path, stored: Path | None, names: Iterable[str]) -> list[str]:
    """Return those of some chunks that are not the same in a draft and in a version (None: all voxels are 0)."""
    theirs = None if stored is None else stored / ARRAY
    return sorted(name for name in names if not _same(draft / ARRAY, theirs, name))


def _same(one: Path | None, other: Path | None, name: str) -> bool:
    first, second = (None if array is None or not (array / name).exists() else array / name for array in (one, other))
    if first is None or second is None:
        return first is second
    return os.path.samefile(first, second) or _equal(first, second)
