"""Checking that all that a project's files say of each other is so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BioimageError, ParameterError
from ...sources import Source
from ...sources.stores.paths import is_url
from ..drafts import regions
from ..layers import LabelMapLayer, LiveLayer, TableLayer
from ..storage.packs import ARRAY
from ..storage.versions import chunk_files
from ..values.names import is_space, space_id

if TYPE_CHECKING:
    from ..descriptor import Descriptor
    from ..project import Project


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def validate(project: Project, *, chunks: bool = True) -> Iterator[Problem]:
    """Check every document of a project, and everything that it refers to; nothing is changed.

    Documents must follow their schema, tags, groups and layers must be those of the settings, images must be where they
    were, and label maps, their chunks, and tables must be there as the descriptor says. An id in spaces stands for one
    object of one data set.

    Parameters
    ----------
    project : Project
    chunks : bool, default True
        Also decode every chunk of every label map, which takes as long as reading them.

    Yields
    ------
    Problem
    """
    if project.is_remote:
        raise ParameterError(f"{project.path} is checked where it lies.", remedy="bioimage-py server check FOLDER")
    folder = project._session.folder
    known, objects = set(project.descriptors.identifiers), dict[str, str]()
    for path in sorted(folder.root.glob("annotations/*")):
        if path.name not in known:
            yield Problem(f"annotations/{path.name}", "belongs to no data set; project.prune() removes it")
    for descriptor in project.descriptors:
        where = f"descriptors/{descriptor.identifier}.json"
        try:
            record = descriptor._record
        except BioimageError as error:
            yield Problem(where, error.message)
            continue
        if record.identifier != descriptor.identifier:
            yield Problem(where, f"says that it is {record.identifier!r}")
            continue
        yield from (Problem(where, what) for what in _metadata(descriptor))
        for layer in (*descriptor.labelmap_layers, *descriptor.boundingbox_layers, *descriptor.landmark_layers):
            if (stored := layer._stored()) is not None:
                place = os.path.relpath(layer._path_of(stored), folder.root)
                yield from (Problem(place, what) for what in _annotations(descriptor, layer, chunks))
        for key, stored in record.layers.items():
            if is_space(key):
                path = project._spaces.path_of(descriptor.identifier, space_id(key), stored.version)
                place = os.path.relpath(path, folder.root)
                yield from (Problem(place, what) for what in _space(descriptor, space_id(key), objects))


def _metadata(descriptor: Descriptor) -> Iterator[str]:
    project, record = descriptor.project, descriptor._record
    levels = len(project.grouping_hierarchy)
    if record.grouping and len(record.grouping) != levels:
        yield f"has {len(record.grouping)} groups, the hierarchy has {levels} levels"
    tags = {tag.id: tag for tag in project.tags}
    for id, value in record.tags.items():
        if id not in tags:
            continue  # of a tag that was deleted, which restore_backup may bring back
        try:
            tags[id].check(value)
        except BioimageError as error:
            yield error.message
    path = descriptor.load_path
    if not path or is_url(path):
        return
    if not os.path.exists(path):
        yield f"the image is not at {path} any more"
        return
    try:
        with descriptor.load_image() as source:
            if source.shape != descriptor.shape or source.dtype != descriptor.dtype:
                yield (
                    f"the image at {path} is {source.shape} {source.dtype} now, it was {descriptor.shape}"
                    f" {descriptor.dtype}"
                )
                return
            for corner in (0, -1):  # the first voxel and the last: a header alone does not say that there is anything
                source.read(
                    tuple(slice(max(0, at), max(0, at) + 1) for at in (corner % n if n else 0 for n in source.shape))
                )
    except (BioimageError, OSError) as error:
        yield f"the image at {path} does not open: {error}"


def _annotations(descriptor: Descriptor, layer: LiveLayer, chunks: bool) -> Iterator[str]:
    stored = layer._stored()
    try:
        if isinstance(layer, LabelMapLayer):
            yield from _label_map(descriptor, layer, chunks)
        elif isinstance(layer, TableLayer) and stored is not None:
            rows = layer._load() or ()
            if len(rows) != stored.units:
                yield f"has {len(rows)} rows, the data set says {stored.units}"
    except (BioimageError, OSError) as error:
        yield error.message if isinstance(error, BioimageError) else str(error)


def _space(descriptor: Descriptor, id: str, objects: dict[str, str]) -> Iterator[str]:
    """Say what is wrong with a space; `objects` are the data sets of those that were seen, by id."""
    try:
        space = descriptor.space(id)
    except (BioimageError, OSError) as error:
        yield error.message if isinstance(error, BioimageError) else str(error)
        return
    mine = descriptor.identifier
    names = [name for table in space._tables.values() for name in table.instances()]
    if again := [name for name in names if objects.setdefault(name, mine) != mine]:
        yield f"has {len(again)} ids of another data set, such as {again[0]!r} of {objects[again[0]]}"


def _label_map(descriptor: Descriptor, layer: LabelMapLayer, chunks: bool) -> Iterator[str]:
    stored, source = layer._stored(), layer.load()
    assert stored is not None
    assert source is not None
    if source.shape != descriptor.spatial_shape:
        yield f"has the shape {source.shape}, the image {descriptor.spatial_shape}"
        return
    if source.dtype != np.dtype(stored.dtype):
        yield f"holds {source.dtype}, the data set says {stored.dtype}"
    files = list(chunk_files(Path(layer.path()) / ARRAY))
    if len(files) != stored.units:
        yield f"has {len(files)} chunks, the data set says {stored.units}"
    units, shape = source.stored_units(), source.write_chunks
    if units is not None and shape is not None:
        grid = -(-np.array(source.shape) // np.array(shape))
        if len(outside := units[np.any((units < 0) | (units >= grid), axis=1)]):
            yield f"has chunks outside of the image, such as {outside[0].tolist()}"
    if chunks:
        yield from _damaged(source)


def _damaged(source: Source) -> Iterator[str]:
    for roi in regions(source.shape, source.write_chunks):
        try:
            source.view(roi)
        except (BioimageError, OSError, ValueError) as error:
            yield f"the chunk at {roi} does not decode: {error}"
