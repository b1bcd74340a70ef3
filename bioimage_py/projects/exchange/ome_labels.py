"""Label maps as OME-Zarr label images, in a folder of their own or beside the images that they belong to."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import KeyNotFoundError, ParameterError, SourceNotFoundError
from ...io.create import create_array
from ...io.ome import check_axes, read_label_names, write_multiscales
from ...operations.copying import copy
from ...sources import Source
from ...sources.file import open_source
from ...sources.stores.paths import is_url
from ..storage.packs import ARRAY
from ..storage.versions import describe

if TYPE_CHECKING:
    from ..descriptor import Descriptor
    from ..layers import LabelMapLayer
    from ..project import Project


def import_ome_labels(
    project: Project, folder: str | os.PathLike[str] | None = None, *, layer: str, label: str | None = None
) -> list[Descriptor]:
    """Take label maps from OME-Zarr label images, chunk by chunk.

    Parameters
    ----------
    project : Project
    folder : path, optional
        Folder of ``NAME.zarr``, where NAME is the identifier or name of a data set, as `export_ome_labels` writes
        them. None: the label images beside the images, ``IMAGE.zarr/labels/LABEL``.
    layer : str
        Pixelwise layer, made if it is missing.
    label : str, optional
        Which label image, by default called like the layer.

    Returns
    -------
    list of Descriptor
        Those that have one.

    Raises
    ------
    ShapeError, DtypeError
        One does not fit its image; names it. Nothing is saved.
    ParameterError
        None was found.
    """
    found = []
    with project:
        if layer not in project.labelmap_layers.names:
            project.add_labelmap_layer(layer)
        for descriptor in project.descriptors:
            source = _beside(descriptor, label or layer) if folder is None else _in_folder(Path(folder), descriptor)
            if source is None:
                continue
            try:
                descriptor.labelmap_layers[layer].save_new_data(source)
            except (ValueError, TypeError) as error:
                error.add_note(f"data set: {descriptor.name!r}")
                raise
            found.append(descriptor)
        if not found:
            where = "beside the images" if folder is None else f"in {folder}"
            raise ParameterError(f"No label images {where}.", remedy="give the folder of NAME.zarr label images")
    return found


def _in_folder(folder: Path, descriptor: Descriptor) -> Source | None:
    if not folder.is_dir():
        raise SourceNotFoundError(f"{folder} is no folder.", remedy="give the folder of the label images")
    for name in (descriptor.identifier, file_name(descriptor.name)):
        if (folder / f"{name}.zarr").is_dir():
            return open_source(folder / f"{name}.zarr", ARRAY)
    return None


def _beside(descriptor: Descriptor, label: str) -> Source | None:
    path = descriptor.load_path
    if is_url(path) or not os.path.isdir(path):
        return None
    key = descriptor.sub_file_id.rpartition("/")[0]
    try:
        if label not in read_label_names(path, key):
            return None
        return open_source(path, f"{key}/labels/{label}".lstrip("/"))
    except KeyNotFoundError:
        return None


def file_name(name: str) -> str:
    """Return a name that can be that of a file."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "image"


def unique_names(project: Project) -> dict[str, str]:
    """Return a file name for each identifier: that of the data set where it is the only one, else the identifier."""
    wanted = {found.identifier: file_name(found.name) for found in project.descriptors}
    times = Counter(wanted.values())
    return {key: name if times[name] == 1 else key for key, name in wanted.items()}


def export_ome_labels(project: Project, folder: str | os.PathLike[str], *, layer: str) -> list[str]:
    """Write the label maps of a layer as OME-Zarr label images ``NAME.zarr``, with names and colours of the labels.

    Parameters
    ----------
    project : Project
    folder : path
        Made if it is missing; label images that it has already are replaced.
    layer : str

    Returns
    -------
    list of str
        Paths written; data sets without a label map have none.

    Raises
    ------
    KeyNotFoundError
        There is no such layer.
    ParameterError
        OME-Zarr has no words for the axes of an image.
    """
    root = Path(folder)
    project.labelmap_layers[layer]
    written = []
    for identifier, name in unique_names(project).items():
        live = project.descriptors[identifier].labelmap_layers[layer]
        if (source := live.load()) is not None:
            written.append(_write(source, root / f"{name}.zarr", live))
    return written


def _write(source: Source, path: Path, live: LabelMapLayer) -> str:
    check_axes(source.axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_array(
        path, ARRAY, shape=source.shape, dtype=source.dtype, axes=source.axes, format="zarr", overwrite=True
    ) as output:
        copy(source, output, job_type="local", progress=False)
    write_multiscales(path, levels=[(ARRAY, source.axes)], name=live.name, label=True)
    describe(path, list(live.labels))
    return str(path)
