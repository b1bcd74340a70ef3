"""What a run writes and reads, as it is written down: regions of storage, fingerprints, and stamps beside outputs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import NotReopenableError, ResumeConflict
from ..sources.base import Source
from ..sources.file import absolute_path
from ..sources.stores import is_url
from ..wrapper.base import Box, WrapperSource
from .files import listed, made_among_others, write_once
from .plan import Stage

_METADATA = ("zarr.json", ".zarray", "attributes.json", "info")
STAMPS = ".bioimage_py.runs"
CHUNKS = 16
"""Voxels of an input of which the chunks are looked at: who writes an input again writes most of them."""


@dataclass(frozen=True)
class Claim:
    """What a run writes: a storage and a box of whole write units in it, in voxels of the storage."""

    storage: str
    box: Box

    def overlaps(self, other: Claim) -> bool:
        """Whether two claims share a voxel."""
        if self.storage != other.storage:
            return False
        if len(self.box) != len(other.box):
            return True
        return all(a[0] < b[1] and b[0] < a[1] for a, b in zip(self.box, other.box, strict=True))


def claims_of(stages: Sequence[Stage]) -> list[Claim]:
    """What the stages write, rounded out to whole write units."""
    claims = []
    for stage in stages:
        if stage.units.groups is None:
            continue
        for output in stage.outputs:
            lead = [(0, size) for size in output.shape[: output.ndim - stage.units.groups.grid.ndim]]
            claims.append(_claim(output, [*lead, *stage.units.groups.grid.roi]))
    return claims


def _claim(output: Source, box: Sequence[tuple[int, int]]) -> Claim:
    source, region = output, tuple(box)
    while isinstance(source, WrapperSource) and (inner := source.inner_box(region)) is not None:
        source, region = source.source, inner
    units = source.write_chunks
    # counted from the write grid of the storage, so that boxes of sources that begin elsewhere can be compared
    region = tuple((b - origin, e - origin) for (b, e), origin in zip(region, source.grid_origin, strict=True))
    if source.concurrency == "single-writer":
        region = tuple((0, size) for size in source.shape)
    elif units is not None:
        region = tuple((b // u * u, -(-e // u) * u) for (b, e), u in zip(region, units, strict=True))
    return Claim(repr(source.identity), region)


def container_of(source: Source) -> Path | None:
    """Path of the file or container that holds a source; None where it has none on this machine."""
    spec = _inner_spec(source)
    return None if spec is None else Path(absolute_path(spec.path))


def _inner_spec(source: Source) -> Any:
    try:
        spec: Any = source.to_spec()
    except NotReopenableError:
        return None
    while spec.wrapped is not None:
        spec = spec.wrapped
    return None if spec.path is None or is_url(spec.path) else spec


def fingerprints(stages: Sequence[Stage]) -> dict[str, str]:
    """What tells whether an input, or an output's storage, has been made anew.

    Inode, time and size of its metadata; of an input, also those of some chunks, since data may be written again and
    their metadata stay.
    """
    prints: dict[str, str] = {}
    written = {path for stage in stages for output in stage.outputs if (path := _metadata_of(output)) is not None}
    for stage in stages:
        masks = () if stage.mask is None else (stage.mask,)
        for kind, sources in (("input", stage.inputs), ("mask", masks), ("output", stage.outputs)):
            for index, source in enumerate(sources):
                if (path := _metadata_of(source)) is not None:
                    # a file that this process has open for writing changes its time by itself
                    changes = path in written or _inner_spec(source).params.get("locking") is False
                    chunks = "" if path in written else _chunks_of(source, _region_of(stage, source))
                    prints[f"{stage.name}.{kind} {index}"] = _fingerprint(path, changes) + chunks
    return prints


def _metadata_of(source: Source) -> Path | None:
    spec = _inner_spec(source)
    if spec is None:
        return None
    path = Path(absolute_path(spec.path), spec.internal_path or "")
    files = [path / name for name in _METADATA]
    return next((file for file in files if file.is_file()), path if path.exists() else Path(spec.path))


def _fingerprint(path: Path, written: bool) -> str:
    if not path.exists():
        return f"{path} is missing"
    stat = path.stat()
    # the folder's inode tells a copy put in the same place; what a run writes changes times, never inodes of folders
    folder = f"{path.parent} {path.parent.stat().st_ino}" if path.name in _METADATA else ""
    times = "" if written else f" modified {stat.st_mtime_ns} size {stat.st_size}"
    return f"{path.name} {stat.st_ino}{times} in {folder or path}"


def _region_of(stage: Stage, source: Source) -> Box:
    grid = None if stage.units.groups is None else stage.units.groups.grid
    same = grid is not None and len(grid.roi) == source.ndim
    return tuple(grid.roi) if grid is not None and same else tuple((0, size) for size in source.shape)


def _chunks_of(source: Source, region: Box) -> str:
    """Inode, time and size of the chunks at some voxels of a region, evenly spread."""
    sizes = [end - begin for begin, end in region]
    if not all(sizes):
        return ""
    voxels = np.unique(np.linspace(0, math.prod(sizes) - 1, CHUNKS).astype(np.int64))
    told = {}
    for voxel in zip(*np.unravel_index(voxels, sizes), strict=True):
        roi = tuple(slice(begin + int(at), begin + int(at) + 1) for at, (begin, _) in zip(voxel, region, strict=True))
        files = source.unit_files(roi)
        if files is None or files.folder is None:
            inner = getattr(source, "source", None)
            return "" if inner is None else _chunks_of(inner, tuple((0, size) for size in inner.shape))
        for name in files.names:
            with suppress(FileNotFoundError):
                stat = os.stat(os.path.join(files.folder, name))
                told[name] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
    digest = hashlib.blake2b(repr(sorted(told.items())).encode(), digest_size=8).hexdigest()
    return f" with {len(told)} chunks {digest}"


def stamps_of(stages: Sequence[Stage], run: str) -> list[Path]:
    """Files that name a run beside its outputs: an output that was made anew has lost it."""
    return [folder / run for folder in _stamp_folders(stages)]


def _stamp_folders(stages: Sequence[Stage]) -> list[Path]:
    folders = []
    for stage in stages:
        for output in stage.outputs:
            files = output.unit_files(tuple(slice(0, 1) for _ in output.shape)) if output.size else None
            if files is not None and files.folder is not None:
                folders.append(Path(files.folder, STAMPS))
    return folders


def put_stamps(stamps: Sequence[Path], folder: Path) -> None:
    """Name a run's folder beside its outputs."""
    told = json.dumps({"folder": os.path.abspath(folder), "host": socket.gethostname()}).encode()
    for stamp in stamps:
        made_among_others(partial(write_once, stamp, told))


def remove_stamps(stamps: Sequence[Path]) -> None:
    """Remove the stamps of a run, and their folders where they were the last."""
    for stamp in stamps:
        with suppress(OSError):
            stamp.unlink()
        with suppress(OSError):
            stamp.parent.rmdir()


def stamped_folders(stages: Sequence[Stage]) -> Iterator[Path]:
    """Folders of the runs that are named beside the outputs, wherever they lie.

    Raises
    ------
    ResumeConflict
        A run of another machine is named, and its folder cannot be seen from here.
    """
    for folder in _stamp_folders(stages):
        for stamp in listed(folder):
            if stamp.name.startswith("."):
                continue
            try:
                told = json.loads(stamp.read_text())
            except (OSError, ValueError):
                continue
            if os.path.isdir(told["folder"]):
                yield Path(told["folder"])
            elif told["host"] == socket.gethostname():
                remove_stamps([stamp])
            else:
                raise ResumeConflict(
                    f"the unfinished run {stamp.name!r} of {told['host']} writes the same array, and its folder"
                    f" {told['folder']} cannot be seen from here",
                    remedy=f"repeat the call on {told['host']}, or forget that run: rm {str(stamp)!r}",
                )
