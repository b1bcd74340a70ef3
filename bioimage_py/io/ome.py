"""OME-Zarr multiscale metadata: reading 0.4 and 0.5, writing 0.5 (0.4 into zarr version 2 groups)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ParameterError
from ..sources.axes import Axis, describe_axes, require_sizes
from ..sources.chunked.attributes import multiscales_of, parse_axes, read_attributes
from ..sources.stores.location import Location, locate
from .details import Details, own_channel_names, own_metadata
from .keys import label_names_of, series_of
from .mirror import mirrored_metadata

Options = Mapping[str, Any] | None
_UNFINISHED = "bioimage_py_unfinished"


@dataclass(frozen=True)
class Multiscale:
    """One image at several resolutions.

    Parameters
    ----------
    name : str
        Name, "" if it has none.
    levels : tuple of (str, tuple of Axis)
        For every level, finest first, the key of its array in the group and its axes (scale and offset of the level).
    method : str, optional
        How the levels were made.
    """

    name: str
    levels: tuple[tuple[str, tuple[Axis, ...]], ...]
    method: str | None = None


def read_multiscales(
    path: str | os.PathLike[str], key: str = "", *, storage_options: Options = None
) -> list[Multiscale]:
    """Return the images that an OME-Zarr group (0.4 or 0.5) describes; empty if it describes none.

    Parameters
    ----------
    path : str or os.PathLike
        Container: folder, zip archive or URL.
    key : str, default ""
        Group in it.
    storage_options : mapping, optional
        How a remote store is reached; see `open_source`.
    """
    images = []
    for entry in multiscales_of(read_attributes(_container(path, storage_options) / key)):
        datasets = [dataset for dataset in entry["datasets"] if isinstance(dataset, Mapping) and "path" in dataset]
        levels = tuple(
            (str(dataset["path"]), parse_axes(entry, dataset, _ndim(entry, dataset))) for dataset in datasets
        )
        images.append(Multiscale(str(entry.get("name") or ""), levels, entry.get("type")))
    return images


def _ndim(entry: Mapping[str, Any], dataset: Mapping[str, Any]) -> int:
    if entry.get("axes"):
        return len(entry["axes"])
    for step in dataset.get("coordinateTransformations") or []:
        if "scale" in step:
            return len(step["scale"])
    return 5  # before version 0.3 all images had the axes t, c, z, y, x


def details(path: str, key: str | None) -> Details:
    """Return what the group of an image says of it: attributes, channels, whether it is one of labels."""
    root = locate(path)
    place = root / (key or "")
    found = read_attributes(place)
    images = series_of(root) if not key else []
    if images and not multiscales_of(found):
        place = root / images[0]
        found = read_attributes(place)
    ome: Any = found.get("ome") if isinstance(found.get("ome"), dict) else found
    omero = ome.get("omero")
    listed = omero.get("channels") if isinstance(omero, dict) else None
    channels = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    names = tuple(str(entry["label"]) for entry in channels if entry.get("label"))
    colors = tuple(f"#{str(entry['color']).lower()}" for entry in channels if entry.get("color"))
    image = next((str(entry["name"]) for entry in multiscales_of(found) if entry.get("name")), None)
    standard: dict[str, Any] = {"image": {"name": image}} if image else {}
    if channels:
        standard["channels"] = [
            {"name": entry.get("label"), "color": entry.get("color") and f"#{str(entry['color']).lower()}"}
            for entry in channels
        ]
    own = own_channel_names(found)
    if own and not channels:
        standard["channels"] = [{"name": name} for name in own]
    return Details(
        raw={**found, **own_metadata(found)},
        standard=standard,
        channel_names=names if names and len(names) == len(channels) else own,
        channel_colors=colors if colors and len(colors) == len(channels) else None,
        is_label="image-label" in ome or None,
    )


def read_label_names(path: str | os.PathLike[str], key: str = "", *, storage_options: Options = None) -> list[str]:
    """Return the names of the label images of an OME-Zarr image; each opens as ``key + "/labels/" + name``."""
    return label_names_of(_container(path, storage_options) / key)


def read_series(path: str | os.PathLike[str], *, storage_options: Options = None) -> list[str]:
    """Return the keys of the images in a container of the bioformats2raw layout; empty for other containers."""
    return series_of(_container(path, storage_options))


def _container(path: str | os.PathLike[str], options: Options) -> Location:
    return locate(path, options)


def write_multiscales(
    path: str | os.PathLike[str],
    key: str = "",
    *,
    levels: Sequence[tuple[str, Sequence[Axis]]],
    name: str = "",
    method: str | None = None,
    label: bool = False,
    source: str | None = None,
    storage_options: Options = None,
) -> None:
    """Describe arrays of a group as one image at several resolutions.

    Arrays are not touched. What else the group describes stays; an image of the same name is replaced. The group is
    made if it is missing. The version is 0.5, or 0.4 where the container is of zarr version 2.

    Parameters
    ----------
    path : str or os.PathLike
        Container.
    key : str, default ""
        Group in it, such as "labels/cells".
    levels : sequence of (str, sequence of Axis)
        For every level, finest first, the key of its array in the group and its axes.
    name : str, default ""
        Name of the image.
    method : str, optional
        How the levels were made, such as "mean" or "mode".
    label : bool, default False
        True for a label image; where the group above it is called "labels", it is listed there.
    source : str, optional
        For a label image: path from its group to that of the image, such as "../../".
    storage_options : mapping, optional
        How a bucket is reached; see `open_source`.

    Raises
    ------
    ParameterError
        If the format cannot describe these axes (2 to 5; time, then channels or others, then 2 or 3 of space).
    """
    import zarr

    container = _container(path, storage_options)
    if not levels:
        raise ParameterError("levels is empty.", remedy="pass at least one (key, axes)")
    for _, axes in levels:
        check_axes(axes)
    version: Literal[2, 3] = 2 if container.exists(".zgroup") else 3
    key = key.strip("/")
    parent, _, own = key.rpartition("/")
    with mirrored_metadata(container, key) as mirror:
        root = zarr.open_group(mirror, mode="a", zarr_format=version, use_consolidated=False)
        group = root.require_group(key) if key else root
        old = multiscales_of(dict(group.attrs))
        update: dict[str, Any] = {
            "multiscales": [_entry(levels, name, method), *(other for other in old if other.get("name", "") != name)]
        }
        if label:
            update["image-label"] = {"source": {"image": source}} if source else {}
        _update(group, update, version)
        if label and parent.rpartition("/")[2] == "labels":
            names = label_names_of(container / parent.rpartition("/")[0])
            if own not in names:
                _update(root.require_group(parent), {"labels": [*names, own]}, version)


def mark_unfinished(path: str, unfinished: bool = True) -> None:
    """Note in a local container that its image is being written, or is not any more."""
    import zarr

    root = locate(path)
    version: Literal[2, 3] = 2 if root.exists(".zgroup") else 3
    with mirrored_metadata(root) as mirror:
        group = zarr.open_group(mirror, mode="a", zarr_format=version, use_consolidated=False)
        if unfinished:
            group.attrs[_UNFINISHED] = True
        elif _UNFINISHED in group.attrs:
            del group.attrs[_UNFINISHED]


def is_marked_unfinished(path: str) -> bool:
    """Whether a container says that its image is being written: by a process that is at it, or was killed."""
    return _UNFINISHED in read_attributes(locate(path))


def _update(group: Any, update: Mapping[str, Any], version: int) -> None:
    if version == 3:
        old = group.attrs.get("ome")
        group.attrs["ome"] = {**(old if isinstance(old, dict) else {}), "version": "0.5", **update}
        return
    for entry in update.get("multiscales", []):
        entry["version"] = "0.4"
    group.attrs.update(dict(update))


def _entry(levels: Sequence[tuple[str, Sequence[Axis]]], name: str, method: str | None) -> dict[str, Any]:
    datasets = [
        {"path": key, "coordinateTransformations": describe_axes(axes)["coordinateTransformations"]}
        for key, axes in levels
    ]
    entry: dict[str, Any] = {"axes": describe_axes(levels[0][1])["axes"], "datasets": datasets}
    if name:
        entry["name"] = name
    if method:
        entry["type"] = method
    return entry


def check_axes(axes: Sequence[Axis]) -> None:
    """Raise `ParameterError` if OME-Zarr cannot describe the axes; see `require_sizes`."""
    require_sizes(axes)
    ranks = [{"time": 0, "space": 2}.get(axis.kind, 1) for axis in axes]
    names = [axis.name for axis in axes]
    good = 2 <= len(axes) <= 5 and ranks == sorted(ranks) and 2 <= ranks.count(2) <= 3 and len(set(names)) == len(names)
    if not good or ranks.count(0) > 1 or ranks.count(1) > 1:
        raise ParameterError(
            f"OME-Zarr cannot describe the axes {[(axis.name, axis.kind) for axis in axes]}.",
            remedy="use 2 to 5 axes: time at most once, then one channel or other axis, then 2 or 3 of space",
        )
