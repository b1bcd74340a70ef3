"""Annotations of a descriptor, read from its layers, spaces and tags: the one place that knows how projects store them.

``project.configuration["annotators"]`` says who made a layer, by its name: ``{"cells by ann": "ann@lab.org"}``, or
``{"cells by net": {"created_by_model": "net 3", "source": "model"}}`` with fields of `Annotation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DatasetError, SourceNotFoundError, StorageError
from ...projects import BoxSet, Descriptor, LandmarkSet, Layer, LayerKind, Project, TagKind
from ...projects.values.sets import from_table
from ...sources import Source
from ...sources.file import open_source
from ..annotations.annotation import Annotation
from ..annotations.label_index import label_index
from ..annotations.label_sets import LabelSets
from ..annotations.masks import LabelMask
from ..layout import Layout
from ..opening.cache import of_server
from ..opening.handles import forget
from .spaces import annotations_of_space, authors_of, labels_of

ANNOTATORS = "annotators"
_FIELDS = {"created_by", "created_by_model", "source", "status", "created_at", "set_name"}
Sets = Mapping[str, LabelSets]
SPACES, TAGS = "spaces", "tags"
"""Names of what is defined beside layers."""


def told_of(project: Project, layer: str) -> dict[str, Any]:
    """Return what the project's configuration says of the annotations of a layer.

    Raises
    ------
    DatasetError
        It says something that is no field of an annotation.
    """
    said = project.configuration.get(ANNOTATORS, {})
    said = said.get(layer, {}) if isinstance(said, Mapping) else {}
    known = {"created_by": said} if isinstance(said, str) else said
    if not isinstance(known, Mapping) or not _FIELDS.issuperset(known):
        raise DatasetError(
            f'project.configuration["{ANNOTATORS}"][{layer!r}] is {said!r}.',
            remedy=f"a name, or a mapping of {sorted(_FIELDS)}",
        )
    return dict(known)


def layers_of(project: Project) -> list[Layer]:
    """Definitions of all layers: label maps, boxes, landmarks, each in the project's order."""
    kinds = (project.labelmap_layers, project.boundingbox_layers, project.landmark_layers)
    return [layer.definition for kind in kinds for layer in kind]


def definitions_of(project: Project) -> Sets:
    """Return the labels that a project defines, by layer; of tags under "tags", of the ontology under "spaces"."""
    found = {}
    for layer in layers_of(project):
        names = tuple(label.name for label in layer.labels if label.value != 0)
        if layer.kind == LayerKind.PIXELWISE:
            found[layer.name] = LabelSets(segmentation=names or (layer.name,))
        elif layer.kind == LayerKind.BOUNDINGBOX:
            found[layer.name] = LabelSets(box=names)
    labels = tuple(tag.name for tag in project.tags if tag.kind == TagKind.Bool)
    categories = tuple((tag.name, option) for tag in project.tags if tag.kind == TagKind.Enum for option in tag.options)
    found[TAGS] = LabelSets(image=labels, image_categories=categories)
    found[SPACES] = labels_of(project.ontology)
    return found


def versions_of(descriptor: Descriptor) -> dict[str, dict[str, str]]:
    """Return the version of everything that is stored of a descriptor: of layers by their id, of spaces by theirs."""
    kinds = (descriptor.labelmap_layers, descriptor.boundingbox_layers, descriptor.landmark_layers)
    layers = {layer.id: layer.version for kind in kinds for layer in kind if layer.version}
    return {"layers": layers, SPACES: descriptor.space_versions}


def authors_in(descriptor: Descriptor) -> set[str]:
    """Who made the records of a descriptor's spaces."""
    spaces = (_space(descriptor, id, version) for id, version in descriptor.space_versions.items())
    return {name for space in spaces for name in authors_of(space)}


def contradictions(project: Project, names: set[str]) -> list[str]:
    """Labels that two layers of those named store with different values."""
    seen: dict[str, tuple[str, int | None]] = {}
    found = []
    for layer in layers_of(project):
        if layer.kind == LayerKind.PIXELWISE and layer.name in names:
            for label in layer.labels:
                first = seen.setdefault(label.name, (layer.name, label.value))
                if first[1] != label.value:
                    found.append(f"{label.name!r} is {first[1]} in {first[0]!r} and {label.value} in {layer.name!r}")
    return found


def annotations_of(
    descriptor: Descriptor, layout: Layout, versions: Mapping[str, Mapping[str, str]], external: bool, exact: bool
) -> Iterator[Annotation]:
    """Return what a descriptor's layers, spaces and tags say.

    Parameters
    ----------
    descriptor : Descriptor
    layout : Layout
        Of its items.
    versions : mapping
        What to read, of those that `versions_of` returned once.
    external : bool
        Whether values of a label map that no label of its layer has are annotations, "layer/value".
    exact : bool
        False: all labels of a layer that has data, whether or not its label map has them, without looking through it.
    """
    for layer in (*descriptor.labelmap_layers, *descriptor.boundingbox_layers, *descriptor.landmark_layers):
        version = versions["layers"].get(layer.id)
        if version is None:
            continue
        stored = (path_of(layer, version), version)
        common = {
            "resource_id": descriptor.identifier,
            "annotation_worklist_id": layer.id,
            "annotation_worklist_name": layer.name,
            "resource_filename": descriptor.name,
            "resource_modality": descriptor.modality or None,
            **told_of(descriptor.project, layer.name),
        }
        if layer.kind == LayerKind.PIXELWISE:
            yield from _of_labelmap(descriptor, layer, layout, stored, common, external, exact)
        else:
            yield from _of_table(descriptor, layer, layout, stored, common)
    for id, version in versions[SPACES].items():
        modality = descriptor.modality or None
        space = _space(descriptor, id, version)
        yield from annotations_of_space(
            space, layout, descriptor.identifier, descriptor.name, resource_modality=modality
        )
    yield from _of_tags(descriptor)


def _space(descriptor: Descriptor, id: str, version: str) -> Any:
    try:
        return descriptor.read_space(id, version)
    except SourceNotFoundError as error:
        raise pruned(error.message, descriptor.name) from error


def _of_labelmap(
    descriptor: Descriptor,
    layer: Any,
    layout: Layout,
    stored: tuple[str, str],
    common: dict[str, Any],
    external: bool,
    exact: bool,
) -> Iterator[Annotation]:
    path, version = stored
    order = layout.over_space(descriptor.axes)
    open_it = partial(open_version, layer, version)
    space = descriptor.spatial_shape
    shape = tuple(1 if axis is None else space[axis] for axis in order)
    labels = layer.definition.labels
    names = {label.value: label.name for label in labels}
    values: list[int] = [label.value for label in labels if label.value]
    index = None
    if exact or external or not labels:
        index = label_index(path, open_it)
        values = index.unique()
    for value in values:
        name = names.get(value, layer.name if not labels else f"{layer.name}/{value}")
        if labels and value not in names and not external:
            continue
        box = None if index is None else index.box(value)
        extent = None if box is None else tuple(slice(0, 1) if axis is None else box[axis] for axis in order)
        yield Annotation(
            id=f"{descriptor.identifier}/{layer.id}/{version}/{value}",
            identifier=name,
            scope="image",
            annotation_type="segmentation",
            associated_file=path,
            mask=LabelMask(path, open_it, order, value, shape, extent),
            **common,
        )


def path_of(layer: Any, version: str) -> str:
    """Return where a version of a layer lies, or what a server calls it."""
    if not layer.project.is_remote:
        return str(layer.version_path(version))
    return f"{layer.project.path}/descriptors/{layer._dataset.identifier}/layers/{layer.id}/versions/{version}"


def open_version(layer: Any, version: str, fetch: bool = False) -> Source:
    """Open a stored label map; with `fetch`, that of a server is copied into the cache.

    Raises
    ------
    StorageError
        It was removed, as `Project.prune` does with old versions.
    """
    path, dataset, remote = path_of(layer, version), layer._dataset, layer.project._session.remote
    if remote is not None:
        return of_server(path, lambda: remote.label_map(dataset.identifier, layer.id, version), fetch)
    if not Path(path).is_dir():
        raise pruned(path, dataset.name)
    return open_source(path, "0", format="zarr")


def fetch_label_maps(descriptor: Descriptor, versions: Mapping[str, Mapping[str, str]]) -> None:
    """Copy label maps that a server has into the cache."""
    for layer in descriptor.labelmap_layers if descriptor.project.is_remote else ():
        if version := versions["layers"].get(layer.id):
            open_version(layer, version, fetch=True)
            forget(path_of(layer, version))


def pruned(path: str, name: str) -> StorageError:
    """The error of a version that is not there any more."""
    return StorageError(
        f"The annotations of {name!r} that this data set began with ({path}) were removed, as prune() does.",
        remedy="make the data set again, or with auto_update=True",
    )


def _of_table(
    descriptor: Descriptor, layer: Any, layout: Layout, stored: tuple[str, str], common: dict[str, Any]
) -> Iterator[Annotation]:
    path, version = stored
    if (remote := descriptor.project._session.remote) is not None:
        text = remote.table(descriptor.identifier, layer.id, version)
    elif Path(path).exists():
        text = Path(path).read_text(encoding="utf-8")
    else:
        raise pruned(path, descriptor.name)
    by_name = {axis.name.lower(): axis for axis in descriptor.axes if axis.kind == "space"}
    scale = np.array([by_name[n].scale if n in by_name else 1.0 for n in "xyz"])
    offset = np.array([by_name[n].offset if n in by_name else 0.0 for n in "xyz"])
    frames, axis = layout.shape[1], layout.units[0]
    over_time = axis is not None and descriptor.axes[axis].kind == "time"
    names = {label.id: label.name for label in layer.definition.labels}
    kind = BoxSet if layer.kind == LayerKind.BOUNDINGBOX else LandmarkSet
    for number, row in enumerate(from_table(text, kind, names, path, scale)):
        geometry = [((corner - offset) / scale + 0.5).tolist() for corner in row[2:]]
        if len(geometry) == 2 and frames > 1 and (over_time or geometry[0][2] == geometry[1][2]):  # in its frame
            geometry[0][2], geometry[1][2] = float(row.frame), row.frame + 1.0
        flat = [x for corner in geometry for x in (corner if frames > 1 or len(geometry) == 1 else corner[:2])]
        yield Annotation(
            id=f"{descriptor.identifier}/{layer.id}/{version}/{number}",
            identifier=row.type,
            scope="image",
            annotation_type="box" if len(geometry) == 2 else "point",
            frame_index=row.frame,
            geometry=flat,
            **common,
        )


def _of_tags(descriptor: Descriptor) -> Iterator[Annotation]:
    for tag in descriptor.tags:
        if tag.value is None or tag.value is False or tag.kind == TagKind.Float:
            continue
        yield Annotation(
            id=f"{descriptor.identifier}/{tag.id}",
            identifier=tag.name,
            scope="image",
            annotation_type="label" if tag.kind == TagKind.Bool else "category",
            resource_id=descriptor.identifier,
            text_value=None if tag.kind == TagKind.Bool else str(tag.value),
            resource_filename=descriptor.name,
        )
