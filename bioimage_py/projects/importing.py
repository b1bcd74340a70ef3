"""Bringing images and labels into a project: folders, DICOM, COCO, OME-Zarr labels, nnU-Net."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ParameterError, SourceNotFoundError
from ..extras import needing
from ..io.formats import supported_extensions
from ..io.keys import array_keys
from ..sources import Source
from ..sources.file import open_source
from ..sources.storage import detect_driver
from ..sources.stores import locate
from .coco import import_coco
from .dicom import read_series
from .grouping import HIERARCHY, info_groups
from .nnunet import import_nnunet
from .omelabels import import_ome_labels

if TYPE_CHECKING:
    from .descriptor import Descriptor
    from .project import Project

__all__ = ["import_coco", "import_dicom", "import_folder", "import_nnunet", "import_ome_labels"]


def import_folder(project: Project, folder: str | os.PathLike[str], *, own_copy: bool = False) -> list[Descriptor]:
    """Add the images in a folder, in groups by the names of the folders that they lie in.

    Used are files (and zarr or n5 folders) exactly as many folders deep as the project's `grouping_hierarchy` has
    levels. Each array of a container of several is an image of its own.

    Parameters
    ----------
    project : Project
    folder : path
    own_copy : bool, default False
        Copy the images into the project.

    Returns
    -------
    list of Descriptor
        Added in one transaction.

    Raises
    ------
    SourceNotFoundError
        There is no such folder.
    ParameterError
        It has no images at that depth.
    """
    root = _existing(folder)
    depth = len(project.grouping_hierarchy)
    added = []
    with project:
        for path in _images(root, depth):
            groups = path.relative_to(root).parts[:-1]
            for source in _arrays(path):
                key = source.to_spec().internal_path
                name = f"{path.name}:{key}" if key and detect_driver(locate(str(path))) is None else path.name
                added.append(project.add_descriptor(source, name, own_copy, grouping=groups))
        if not added:
            raise ParameterError(
                f"{root} has no images {depth} folders deep ({project.grouping_hierarchy}).",
                remedy="set project.grouping_hierarchy to one title for each level of folders",
            )
    return added


def _existing(folder: str | os.PathLike[str]) -> Path:
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise SourceNotFoundError(f"{root} is no folder.", remedy="give the path of a folder")
    return root


def _images(folder: Path, depth: int) -> Iterator[Path]:
    known = tuple(filter(None, supported_extensions()))
    for path in sorted(folder.iterdir()):
        is_image = path.name.lower().endswith(known)
        if path.name.startswith("."):
            continue
        if depth == 0 and is_image:
            yield path
        elif depth > 0 and path.is_dir() and not is_image:
            yield from _images(path, depth - 1)


def _arrays(path: Path) -> list[Source]:
    """The arrays of a file or container; of an OME-Zarr image the one of full resolution."""
    place = locate(str(path))
    if path.is_file() and path.suffix.lower() not in (".h5", ".hdf5", ".hdf"):
        return [open_source(path)]
    if path.is_dir() and detect_driver(place) is None:
        keys = [key for key in array_keys(place) if "/labels/" not in f"/{key}"]
        levels = [key for key in keys if key.isdigit()]
        return [open_source(path, key) for key in (levels[:1] or keys)]
    if path.is_dir():
        return [open_source(path)]
    with needing("h5py", "An HDF5 file"):
        import h5py

    keys = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, node: keys.append(name) if isinstance(node, h5py.Dataset) else None)
    return [open_source(path, key) for key in keys]


def import_dicom(project: Project, folder: str | os.PathLike[str], *, own_copy: bool = False) -> list[Descriptor]:
    """Add the DICOM series in a folder and below, in groups of patient, study and series.

    Headers are read, voxels are not, unless they are copied. `image_info`, spacing, `scale` and `shift` (rescale slope
    and intercept) come from the files. A project without data sets gets the hierarchy Patient, Study, Series.

    Parameters
    ----------
    project : Project
    folder : path
    own_copy : bool, default False
        Copy the images into the project.

    Returns
    -------
    list of Descriptor
        Added in one transaction.

    Raises
    ------
    SourceNotFoundError
        There is no such folder.
    ParameterError
        It has no DICOM images, or the project has another number of levels of grouping.
    """
    root = _existing(folder)
    added = []
    with project:
        if not project.grouping_hierarchy and not len(project.descriptors):
            project.grouping_hierarchy = list(HIERARCHY)
        for series in read_series(root):
            found = project.add_descriptor(
                series.source,
                series.name,
                own_copy,
                grouping=info_groups(series.info) or (),
                image_info=series.info,
                original_data_path=series.source.to_spec().path or "",
            )
            found.scale, found.shift = series.scale, series.shift
            added.append(found)
        if not added:
            raise ParameterError(f"{root} has no DICOM images.", remedy="give the folder of a study")
    return added
