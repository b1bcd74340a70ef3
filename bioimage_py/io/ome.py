"""OME-Zarr multiscale metadata: reading 0.4 and 0.5, writing 0.5 (0.4 into zarr version 2 groups)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ParameterError
from ..sources.base import Axis
from ..sources.file import absolute_path
from ..sources.metadata import multiscales_of, parse_axes, read_attributes, unit_name


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


def read_multiscales(path: str | os.PathLike[str], key: str = "") -> list[Multiscale]:
    """Return the images that a local OME-Zarr group (0.4 or 0.5) describes; empty if it describes none.

    Parameters
    ----------
    path : str or os.PathLike
        Container.
    key : str, default ""
        Group in it.
    """
    folder = os.path.join(absolute_path(path), key.strip("/"))
    images = []
    for entry in multiscales_of(read_attributes(folder)):
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


def read_label_names(path: str | os.PathLike[str], key: str = "") -> list[str]:
    """Return the names of the label images of an OME-Zarr image."""
    attributes = read_attributes(os.path.join(absolute_path(path), key.strip("/"), "labels"))
    ome = attributes.get("ome")
    names = (ome if isinstance(ome, Mapping) else attributes).get("labels")
    return [str(name) for name in names] if isinstance(names, list) else []


def write_multiscales(
    path: str | os.PathLike[str],
    key: str = "",
    *,
    levels: Sequence[tuple[str, Sequence[Axis]]],
    name: str = "",
    method: str | None = None,
    label: bool = False,
    source: str | None = None,
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

    Raises
    ------
    ParameterError
        If the format cannot describe these axes (2 to 5; time, then channels or others, then 2 or 3 of space).
    """
    import zarr

    folder = absolute_path(path)
    if not levels:
        raise ParameterError("levels is empty.", remedy="pass at least one (key, axes)")
    for _, axes in levels:
        check_axes(axes)
    version: Literal[2, 3] = 2 if os.path.isfile(os.path.join(folder, ".zgroup")) else 3
    root = zarr.open_group(folder, mode="a", zarr_format=version)
    key = key.strip("/")
    group = root.require_group(key) if key else root
    entry = _entry(levels, name, method)
    old = multiscales_of(dict(group.attrs))
    update: dict[str, Any] = {"multiscales": [entry, *(other for other in old if other.get("name", "") != name)]}
    if label:
        update["image-label"] = {"source": {"image": source}} if source else {}
    _update(group, update, version)
    parent, _, own = key.rpartition("/")
    if label and parent.rpartition("/")[2] == "labels":
        names = read_label_names(folder, parent.rpartition("/")[0])
        if own not in names:
            _update(root.require_group(parent), {"labels": [*names, own]}, version)


def _update(group: Any, update: Mapping[str, Any], version: int) -> None:
    if version == 3:
        old = group.attrs.get("ome")
        group.attrs["ome"] = {**(old if isinstance(old, dict) else {}), "version": "0.5", **update}
        return
    for entry in update.get("multiscales", []):
        entry["version"] = "0.4"
    group.attrs.update(dict(update))


def _entry(levels: Sequence[tuple[str, Sequence[Axis]]], name: str, method: str | None) -> dict[str, Any]:
    named = []
    for axis in levels[0][1]:
        described: dict[str, Any] = {"name": axis.name, "type": axis.kind}
        if unit := unit_name(axis.unit):
            described["unit"] = unit
        named.append(described)
    datasets = []
    for key, axes in levels:
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": [float(axis.scale) for axis in axes]}]
        if any(axis.offset for axis in axes):
            steps.append({"type": "translation", "translation": [float(axis.offset) for axis in axes]})
        datasets.append({"path": key, "coordinateTransformations": steps})
    entry: dict[str, Any] = {"axes": named, "datasets": datasets}
    if name:
        entry["name"] = name
    if method:
        entry["type"] = method
    return entry


def check_axes(axes: Sequence[Axis]) -> None:
    """Raise `ParameterError` if OME-Zarr cannot describe the axes."""
    ranks = [{"time": 0, "space": 2}.get(axis.kind, 1) for axis in axes]
    names = [axis.name for axis in axes]
    good = 2 <= len(axes) <= 5 and ranks == sorted(ranks) and 2 <= ranks.count(2) <= 3 and len(set(names)) == len(names)
    if not good or ranks.count(0) > 1 or ranks.count(1) > 1:
        raise ParameterError(
            f"OME-Zarr cannot describe the axes {[(axis.name, axis.kind) for axis in axes]}.",
            remedy="use 2 to 5 axes: time at most once, then one channel or other axis, then 2 or 3 of space",
        )
