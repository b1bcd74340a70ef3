"""Bringing images and labels into a project: folders, DICOM, COCO, OME-Zarr labels, nnU-Net."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FormatError, ParameterError, SourceNotFoundError
from ..extras import needing
from ..io.formats import supported_extensions
from ..io.image_files.dicom.series import read_series
from ..io.keys import array_keys
from ..sources import Source, SourceSpec
from ..sources.arrays.tensorstore import detect_driver
from ..sources.chunked.attributes import multiscales_of, read_attributes
from ..sources.file import open_source
from ..sources.stores.location import Location, locate
from .exchange.coco import import_coco
from .exchange.dicom import image_info
from .exchange.nnunet import import_nnunet
from .exchange.ome_labels import import_ome_labels
from .images import absolute_spec
from .values.grouping import HIERARCHY, info_groups

if TYPE_CHECKING:
    from .descriptor import Descriptor
    from .project import Project

__all__ = ["import_coco", "import_dicom", "import_folder", "import_nnunet", "import_ome_labels"]


def import_folder(project: Project, folder: str | os.PathLike[str], *, own_copy: bool = False) -> list[Descriptor]:
    """Add the images in a folder, in groups by the names of the folders that they lie in.

    Used are files (and zarr or n5 folders) exactly as many folders deep as the project's `grouping_hierarchy` has
    levels. Each array of a container of several is an image of its own, apart from the lower levels of pyramids. What
    is in the project already is left alone, so that a growing folder can be imported again and again.

    Parameters
    ----------
    project : Project
    folder : path
    own_copy : bool, default False
        Copy the images into the project.

    Returns
    -------
    list of Descriptor
        Added in one transaction; none where all were there before.

    Raises
    ------
    SourceNotFoundError
        There is no such folder.
    ParameterError
        It has no images at that depth.
    """
    root = _existing(folder)
    depth = len(project.grouping_hierarchy)
    added, n_found, known = [], 0, _origins(project)
    with project:
        for path in _images(root, depth):
            groups = path.relative_to(root).parts[:-1]
            for source in _arrays(path):
                key = source.to_spec().internal_path
                name = f"{path.name}:{key}" if key and detect_driver(locate(str(path))) is None else path.name
                n_found += 1
                if _is_known(known, source.to_spec(), name, ""):
                    continue
                added.append(project.add_descriptor(source, name, own_copy, grouping=groups))
        if not n_found:
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


_BESIDE = (".conf", ".dcm", ".dicom", ".hdr", ".hdr.gz", ".xml")
"""Endings of formats whose files mostly lie beside images: settings, headers, and slices (see `import_dicom`)."""


def _images(folder: Path, depth: int) -> Iterator[Path]:
    known = tuple(ending for ending in supported_extensions() if ending and ending not in _BESIDE)
    for path in sorted(folder.iterdir()):
        is_image = path.name.lower().endswith(known)
        if path.name.startswith("."):
            continue
        if depth == 0 and is_image:
            yield path
        elif depth > 0 and path.is_dir() and not is_image:
            yield from _images(path, depth - 1)


def _arrays(path: Path) -> list[Source]:
    """The arrays of a file or container; of pyramids those of full resolution."""
    place = locate(str(path))
    if path.is_file() and path.suffix.lower() not in (".h5", ".hdf5", ".hdf"):
        return [open_source(path)]
    if path.is_dir() and detect_driver(place) is None:
        keys = [key for key in array_keys(place, None) if "/labels/" not in f"/{key}"]
        levels = [key for key in keys if key.isdigit()]
        coarse = {key for key in keys if _is_coarse(place, key)}
        return [open_source(path, key) for key in (levels[:1] or keys) if key not in coarse]
    if path.is_dir():
        return [open_source(path)]
    with needing("h5py", "An HDF5 file"):
        import h5py

    keys = []

    def look(name: str, node: Any) -> None:
        # a resolution table of BigDataViewer, the lower levels of its files and of Imaris' are no images of their own
        if isinstance(node, h5py.Dataset) and node.ndim > 1 and not _HDF5_LEVEL.search(name):
            keys.append(name)

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return [open_source(path, key) for key in keys]


_HDF5_LEVEL = re.compile(r"^s\d+/(resolutions|subdivisions)$|^t\d+/s\d+/[1-9]\d*/cells$|^DataSet/ResolutionLevel [1-9]")


def _is_coarse(place: Location, key: str) -> bool:
    """Whether an array is a lower level of a pyramid, by the metadata of the groups above it or its n5 name."""
    parts = key.split("/")
    if re.fullmatch(r"s[1-9]\d*", parts[-1]) and (place / "/".join([*parts[:-1], "s0"])).exists("attributes.json"):
        return True
    for depth in range(len(parts)):
        group = place / "/".join(parts[:depth]) if depth else place
        for scales in multiscales_of(read_attributes(group)):
            lower = [dataset.get("path") for dataset in scales.get("datasets", [])[1:]]
            if "/".join(parts[depth:]) in lower:
                return True
    return False


def import_dicom(project: Project, folder: str | os.PathLike[str], *, own_copy: bool = False) -> list[Descriptor]:
    """Add the DICOM series in a folder and below, in groups of patient, study and series.

    Headers are read, voxels are not, unless they are copied. `image_info`, spacing, `scale` and `shift` (rescale slope
    and intercept; applied to the voxels, as floats, where slices differ in them) come from the files. A project without
    data sets gets the hierarchy Patient, Study, Series. What is in the project already is left alone. A file with a
    damaged header, and a series with missing slices, uneven distances or slices that are there twice, is left out with
    a warning that names it.

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
    FormatError
        None of its images can be used; says why of the first.
    """
    root = _existing(folder)
    added, refused = [], list[FormatError]()
    known = _origins(project)
    with project:
        if not project.grouping_hierarchy and not len(project.descriptors):
            project.grouping_hierarchy = list(HIERARCHY)
        n_found = 0
        for series in read_series(root, refused):
            n_found += 1
            info = image_info(series.header)
            if _is_known(known, series.source.to_spec(), series.name, info.series_instance_uid or ""):
                continue
            found = project.add_descriptor(
                series.source,
                series.name,
                own_copy,
                grouping=info_groups(info) or (),
                image_info=info,
                original_data_path=series.source.to_spec().path or "",
            )
            found.scale, found.shift = series.scale, series.shift
            added.append(found)
        if not n_found:
            if refused:
                raise refused[0]
            raise ParameterError(f"{root} has no DICOM images.", remedy="give the folder of a study")
    for error in refused:
        warnings.warn(f"left out: {error.message}; {error.remedy}", stacklevel=2)
    return added


def _origin(spec: SourceSpec) -> tuple[Any, ...]:
    """What tells an image from another, below all views: path, key, files, and the part of the file."""
    while spec.wrapped is not None:
        spec = spec.wrapped
    parts = [spec.params.get(name) for name in ("files", "series", "level")]
    return (spec.path, spec.internal_path, *map(repr, parts))


def _is_known(known: set[tuple[Any, ...]], spec: SourceSpec, name: str, series: str) -> bool:
    return _origin(spec) in known or (spec.path, name, series) in known


def _origins(project: Project) -> set[tuple[Any, ...]]:
    """The images of a project; copies as what they were copied from."""
    found = set()
    for descriptor in project.descriptors:
        image = descriptor._record.image
        if image.own_copy:
            found.add((image.original_path, descriptor._record.name, descriptor.series_instance_uid))
        else:
            found.add(_origin(SourceSpec.from_json(absolute_spec(image.spec, descriptor._root))))
    return found
