"""The folder layout of nnU-Net (version 2): imagesTr, labelsTr, imagesTs and dataset.json."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FormatError, ParameterError, SourceNotFoundError, StorageError
from ...extras import need, needing
from ...sources import Axis, Source
from ...sources.array import ArraySource
from ...sources.file import open_source
from ...system.files import listed, read_small, write_once
from ...system.json_text import parse_json
from ...wrapper.view import AxesSource
from .ome_labels import unique_names

if TYPE_CHECKING:
    from ..descriptor import Descriptor
    from ..project import Project

NIFTI = (".nii.gz", ".nii")
_MOST = 1000
"""Channels, or labels, of a data set."""
_EXAMPLE = {"channel_names": '{"0": "raw"}', "labels": '{"background": 0, "cell": 1}'}


def import_nnunet(
    project: Project, folder: str | os.PathLike[str], *, layer: str = "labels", own_copy: bool = False
) -> list[Descriptor]:
    """Add the cases of an nnU-Net data set, with the label maps of those for training.

    Images of one channel stay where they are if they are tif; NIfTI files, and cases of several channels (axis "c"
    first), are copied. The spacing comes from the JSON file beside a tif image, or from NIfTI, in millimetres.

    Parameters
    ----------
    project : Project
    folder : path
        Holds dataset.json.
    layer : str, default "labels"
        Pixelwise layer, made with the labels of dataset.json if it is missing.
    own_copy : bool, default False
        Copy the images into the project.

    Returns
    -------
    list of Descriptor
        Added in one transaction; named after the cases.

    Raises
    ------
    SourceNotFoundError, FormatError
        There is no such data set.
    ShapeError
        A label map does not fit its image.
    """
    root = Path(folder)
    about = _about(root)
    ending = about["file_ending"]
    added = []
    with project:
        _layer(project, layer, about["labels"])
        for part in ("imagesTr", "imagesTs"):
            for case, files in _cases(root / part, ending, len(about["channel_names"])):
                descriptor = project.add_descriptor(
                    _image(files), case, own_copy, original_data_path=os.path.abspath(files[0])
                )
                labels = root / part.replace("images", "labels") / f"{case}{ending}"
                if labels.is_file():
                    descriptor.labelmap_layers[layer].save_new_data(_opened(labels))
                added.append(descriptor)
        if not added:
            raise FormatError(f"{root} has no images *{ending} in imagesTr.", remedy="look at file_ending")
    return added


def _about(root: Path) -> dict[str, Any]:
    """What dataset.json says, of which everything else is refused before anything is read."""
    path = root / "dataset.json"
    if not path.is_file():
        raise SourceNotFoundError(f"{root} has no dataset.json.", remedy="give the folder of an nnU-Net data set")
    try:
        told = parse_json(read_small(path))
    except (ValueError, StorageError) as error:
        raise FormatError(f"{path} is no JSON: {error}", remedy="check the file") from error
    told = told if isinstance(told, dict) else {}
    about = {"file_ending": told.get("file_ending", ".nii.gz"), "labels": told.get("labels", {})}
    about["channel_names"] = told.get("channel_names")
    ending = about["file_ending"]
    if not isinstance(ending, str) or "/" in ending or not ending.startswith("."):
        raise FormatError(f"{path}: file_ending is {ending!r}.", remedy='an ending, such as ".nii.gz"')
    for name in ("channel_names", "labels"):
        if not isinstance(about[name], dict) or len(about[name]) > _MOST:
            raise FormatError(
                f"{path}: {name} is {str(about[name])[:60]}, no mapping of at most {_MOST} names.",
                remedy=f'a mapping, such as "{name}": {_EXAMPLE[name]}',
            )
    return about


def _layer(project: Project, layer: str, labels: dict[str, Any]) -> None:
    if layer not in project.labelmap_layers.names:
        project.add_labelmap_layer(layer)
    live = project.labelmap_layers[layer]
    for name, value in labels.items():
        if isinstance(value, int) and value not in live.values:
            live.add_annotation(name, value)


def _cases(folder: Path, ending: str, channels: int) -> Iterator[tuple[str, list[Path]]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in listed(folder):
        if path.name.startswith(".") or not path.name.endswith(ending) or not path.is_file():
            continue
        found[path.name[: -len(ending)].rpartition("_")[0]].append(path)
    for case, files in found.items():
        if len(files) != channels:
            raise FormatError(
                f"The case {case!r} in {folder} has {len(files)} channels, dataset.json names {channels}.",
                remedy=f"add {case}_{len(files):04}{ending}, or change channel_names",
            )
        yield case, files


def _image(files: list[Path]) -> Any:
    first = _opened(files[0])
    if len(files) == 1:
        return first
    stacked = ArraySource(np.stack([first.read(), *(_opened(path).read() for path in files[1:])]))
    return _named(stacked, (Axis("c", "channel"), *first.axes))


def _opened(path: Path) -> Source:
    source = open_source(path)
    if source.ndim > 3:
        raise FormatError(f"{path} has {source.ndim} axes, an image has z, y and x.", remedy="a file for each channel")
    if path.name.endswith(NIFTI):
        sizes: list[float] | None = [axis.scale for axis in source.axes]
    else:
        sizes = _spacing(path, source.ndim)
    unit = "millimeter" if sizes else None
    named = zip("zyx"[-source.ndim :], sizes or [1.0] * source.ndim, strict=True)
    return _named(source, [Axis(name, "space", unit, size) for name, size in named])


def _spacing(path: Path, ndim: int) -> list[float] | None:
    """What the JSON file beside a tif image says; None where there is none."""
    beside = path.with_name(f"{path.name.removesuffix(path.suffix).rpartition('_')[0]}.json")
    if not beside.is_file() and not (beside := path.with_suffix(".json")).is_file():
        return None
    try:
        sizes = [float(size) for size in parse_json(read_small(beside))["spacing"]][-ndim:]
        if len(sizes) == ndim and all(0 < size < math.inf for size in sizes):
            return sizes
    except (ValueError, TypeError, KeyError, OverflowError, StorageError):
        pass
    raise FormatError(f"{beside} names no spacing of {ndim} axes.", remedy='{"spacing": [2.0, 0.5, 0.5]}')


def _named(source: Source, axes: Any) -> Source:
    return AxesSource(source, axes)


def _nibabel() -> Any:
    with needing("nibabel", "A NIfTI file"):
        return importlib.import_module("nibabel")


def export_nnunet(
    project: Project, folder: str | os.PathLike[str], *, layer: str = "labels", file_ending: str = ".tif"
) -> list[str]:
    """Write images and label maps as an nnU-Net data set.

    Data sets with a label map go to imagesTr and labelsTr, the others to imagesTs. A channel is a file; the spacing
    goes to a JSON file beside a tif image, or into the NIfTI header.

    Parameters
    ----------
    project : Project
    folder : path
        Made if it is missing.
    layer : str, default "labels"
    file_ending : {".tif", ".nii.gz", ".nii"}

    Returns
    -------
    list of str
        Names of the cases.

    Raises
    ------
    KeyNotFoundError
        There is no such layer.
    ParameterError
        An image has other axes than those of space and channels, or not as many channels as the others; or no label
        has the value 0, 1, 2, ....
    """
    if file_ending in NIFTI:
        need("nibabel", "A NIfTI file")
    else:
        need("tifffile", "A TIFF file")
    root, live = Path(folder), project.labelmap_layers[layer]
    values = {"background": 0} | {label.name: label.value for label in live.labels if label.value}
    if sorted(values.values()) != list(range(len(values))):
        raise ParameterError(
            f"nnU-Net wants labels with the values 0, 1, 2, ..., not {sorted(values.values())}.",
            remedy="edit() the project: renumber the labels of the layer",
        )
    channels = {_channels(descriptor) for descriptor in project.descriptors}
    if len(channels) != 1:
        raise ParameterError(
            f"The images have different numbers of channels: {sorted(channels)}.", remedy="export less"
        )
    names, training = unique_names(project), 0
    for identifier, name in names.items():
        descriptor = project.descriptors[identifier]
        labels = descriptor.labelmap_layers[layer].load()
        part = "Ts" if labels is None else "Tr"
        training += labels is not None
        for channel in range(_channels(descriptor)):
            path = root / f"images{part}" / f"{name}_{channel:04}{file_ending}"
            _write(path, _planes(descriptor, channel), descriptor)
        if labels is not None:
            _write(root / "labelsTr" / f"{name}{file_ending}", labels, descriptor)
    about = {
        "channel_names": {str(channel): f"channel {channel}" for channel in range(channels.pop())},
        "labels": values,
        "numTraining": training,
        "file_ending": file_ending,
        "name": project.name,
    }
    write_once(root / "dataset.json", (json.dumps(about, indent=1) + "\n").encode())
    return list(names.values())


def _channels(descriptor: Descriptor) -> int:
    for axis, size in zip(descriptor.axes, descriptor.shape, strict=True):
        if axis.kind not in ("space", "channel") and size > 1:
            raise ParameterError(
                f"{descriptor.name!r} has the axis {axis.name!r}, which nnU-Net does not know.",
                remedy="export a project of its volumes",
            )
    return descriptor.n_channels


def _planes(descriptor: Descriptor, channel: int) -> Source:
    """One channel of an image as a source over its spatial axes."""
    from ...wrapper.roi import RoiSource

    one = {"channel": slice(channel, channel + 1), "space": slice(None)}
    picked = [one.get(axis.kind, slice(0, 1)) for axis in descriptor.axes]
    return RoiSource(descriptor.load_image(), tuple(picked))


def _write(path: Path, source: Source, descriptor: Descriptor) -> None:
    order = [axis.name.lower() for axis in descriptor.axes if axis.kind == "space"]
    sizes = [axis.scale for axis in descriptor.axes if axis.kind == "space"]
    wanted = [order.index(name) for name in "zyx" if name in order]
    array = source.read().reshape(descriptor.spatial_shape).transpose(wanted)
    spacing = [sizes[index] for index in wanted]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(NIFTI):
        nibabel = _nibabel()
        affine = np.diag([*spacing[::-1], *([1.0] * (3 - len(spacing))), 1.0])
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array.T), affine), path)
        return
    import tifffile

    tifffile.imwrite(
        path,
        np.ascontiguousarray(array),
        compression="zlib",
        photometric="minisblack",
        metadata={"axes": "ZYX"[-array.ndim :]},
    )
    stem = path.name.removesuffix(path.suffix)
    case = stem if path.parent.name.startswith("labels") else stem.rpartition("_")[0]
    write_once(path.with_name(f"{case}.json"), json.dumps({"spacing": [1.0] * (3 - len(spacing)) + spacing}).encode())
