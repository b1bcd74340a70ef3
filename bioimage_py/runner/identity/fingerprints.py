"""Fingerprints: whether an input is still what it was when the run began."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterator, Sequence, Set
from pathlib import Path

import numpy as np

from ...blocks.boxes import Bounds
from ...sources.base import Source
from ...sources.chunked.marks import marks_of
from ...sources.file import absolute_path
from ...sources.output_folder import OutputFolder
from ...wrapper.base import WrapperSource
from ..planning.stage import Stage
from .locations import _inner_spec

_METADATA = ("zarr.json", ".zarray", "attributes.json", "info")


CHUNKS = 16
"""Voxels of an input of which the chunks are looked at: who writes an input again writes most of them."""


def fingerprints(stages: Sequence[Stage], files: Set[Path] = frozenset()) -> dict[str, str]:
    """What tells whether an input, or an output's storage, has been made anew.

    Inode, time and size of its metadata; of an input, also those of some chunks, since data may be written again and
    their metadata stay. In a bucket it is what the store tells of its objects, see `marks_of`. Of what lies in `files`,
    which the run writes at its end, the times count as little as of its outputs.
    """
    prints: dict[str, str] = {}
    outputs = [part for stage in stages for output in stage.outputs for part in output.parts]
    written = {part.identity for part in outputs}
    paths = {*files, *(path for part in outputs if (path := _metadata_of(part)) is not None)}
    for stage in stages:
        masks = () if stage.mask is None else (stage.mask,)
        for kind, sources in (("input", stage.inputs), ("mask", masks), ("output", stage.outputs)):
            for index, source in enumerate(sources):
                told = [_told_of(part, box, written, paths) for part, box in _parts(source, _region_of(stage, source))]
                if any(told):
                    prints[f"{stage.name}.{kind} {index}"] = "; ".join(told)
    return prints


def _parts(source: Source, region: Bounds) -> Iterator[tuple[Source, Bounds]]:
    """The sources that a source is made of, each with the box of it that is read."""
    if not isinstance(source, WrapperSource):
        yield source, region
        return
    alone = len(source.sources) == 1
    for inner in source.sources:
        box = source.inner_box(region) if alone else None
        yield from _parts(inner, tuple((0, size) for size in inner.shape) if box is None else box)


def _told_of(part: Source, region: Bounds, written: Set[Hashable], paths: Set[Path]) -> str:
    if isinstance(part, OutputFolder):
        return ""  # it has its name when the run is at its end; what was there before plays no part
    path = _metadata_of(part)
    # a file that this process has open for writing changes its time by itself
    changes = part.identity in written or path in paths
    changes = changes or (path is not None and _inner_spec(part).params.get("locking") is False)
    metadata = _of_bucket(part) if path is None else _fingerprint(path, changes)
    return metadata + ("" if changes else _chunks_of(part, region))


def _metadata_of(source: Source) -> Path | None:
    spec = _inner_spec(source)
    if spec is None:
        return None
    archive, pipe, _ = spec.path.partition("|zip:")
    if pipe:
        return Path(absolute_path(archive))
    path = Path(absolute_path(spec.path), spec.internal_path or "")
    files = [path / name for name in _METADATA]
    return next((file for file in files if file.is_file()), path if path.exists() else Path(spec.path))


def _of_bucket(source: Source) -> str:
    files = source.stored_in(tuple(slice(0, 1) for _ in source.shape)) if source.size else None
    if files is None or files.folder is not None:
        return ""
    return f"objects in {files.place} {_hash(marks_of(files.place, _METADATA))}"


def _fingerprint(path: Path, written: bool) -> str:
    if not path.exists():
        return f"{path} is missing"
    stat = path.stat()
    # the folder's inode tells a copy put in the same place; what a run writes changes times, never inodes of folders
    folder = f"{path.parent} {path.parent.stat().st_ino}" if path.name in _METADATA else ""
    times = "" if written else f" modified {stat.st_mtime_ns} size {stat.st_size}"
    return f"{path.name} {stat.st_ino}{times} in {folder or path}"


def _region_of(stage: Stage, source: Source) -> Bounds:
    grid = None if stage.units.groups is None else stage.units.groups.grid
    same = grid is not None and len(grid.roi) == source.ndim
    return tuple(grid.roi) if grid is not None and same else tuple((0, size) for size in source.shape)


def _chunks_of(source: Source, region: Bounds) -> str:
    """What is told of the files at some voxels of a region, evenly spread."""
    sizes = [end - begin for begin, end in region]
    if not all(sizes):
        return ""
    voxels = np.unique(np.linspace(0, math.prod(sizes) - 1, CHUNKS).astype(np.int64))
    place, names = None, dict[str, None]()
    for voxel in zip(*np.unravel_index(voxels, sizes), strict=True):
        roi = tuple(slice(begin + int(at), begin + int(at) + 1) for at, (begin, _) in zip(voxel, region, strict=True))
        files = source.stored_in(roi)
        if files is None:
            return ""
        place = files.place
        names.update(dict.fromkeys(files.names))
    told = {} if place is None else marks_of(place, tuple(names))
    return f" with {len(told)} chunks {_hash(told)}"


def _hash(told: dict[str, str]) -> str:
    return hashlib.blake2b(repr(sorted(told.items())).encode(), digest_size=8).hexdigest()
