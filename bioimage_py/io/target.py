"""Where an array is created: the container, the key in it, and the format, told from a path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FormatError, ParameterError
from ..sources.arrays.tensorstore import detect_driver
from ..sources.chunked.attributes import multiscales_of, read_attributes
from ..sources.stores.location import Location, locate
from ..sources.stores.paths import resolve
from .formats import creatable_formats, format_of, split_path

OME_ENDING = ".ome.zarr"


class OwnPath(type(Path())):  # type: ignore[misc]
    """A path whose content belongs to who gives it: an array there that does not fit is replaced."""


class Target(NamedTuple):
    """A place for an array.

    Attributes
    ----------
    root : Location
        The container.
    path : str
        The same, as text.
    key : str
        Of the array in it, "" if it is the array.
    format : str
        Name of the format.
    image : bool
        The container is to be described as an OME-Zarr image of this one level.
    """

    root: Location
    path: str
    key: str
    format: str
    image: bool


def target_of(
    path: str | os.PathLike[str],
    key: str | None = None,
    format: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Target:
    """Return the place that a path and a key stand for; see `create_array`.

    Raises
    ------
    FormatError
        If no array can be created in the format, or the name ends as files of another format do.
    """
    container = resolve(path)
    for what, value, example in (("key", key, "raw"), ("format", format, "zarr")):
        if not (value is None or isinstance(value, str)):
            raise ParameterError(f"{what}={value!r} is not text", remedy=f'{what}="{example}"')
    if key is None and format is None:
        container, key = split_path(container)
    root = locate(container, storage_options)
    name = format or _format(root)
    if name not in [entry.name for entry in creatable_formats()]:
        raise FormatError(
            f"{container}: arrays cannot be created in the format {name!r}.",
            remedy=f'a path such as "out.zarr": {_known()}',
        )
    if key is None and name == "zarr" and root.url.rstrip("/").lower().endswith(OME_ENDING):
        return Target(root, container, *_level(root))
    return Target(root, container, (key or "").strip("/"), name, False)


def _level(root: Location) -> tuple[str, str, bool]:
    """Key, format and need of a description of the finest level of an OME-Zarr image, which may be there already."""
    if detect_driver(root) is not None:  # not an image, but an array of that name
        return "", "zarr", False
    for entry in multiscales_of(read_attributes(root)):
        for dataset in entry["datasets"]:
            return str(dataset["path"]).strip("/"), "zarr", False
    return "0", "zarr", True


def _format(root: Location) -> str:
    try:
        found = format_of(root)
    except FormatError:
        name = os.path.basename(root.url.partition("?")[0].rstrip("/"))
        ending = os.path.splitext(name)[1][1:]
        if ending and not ending.isdigit():  # "run.2" is a name, "labels.png" a mistake
            raise FormatError(
                f"{root}: no writer makes files that end in {ending!r}.",
                remedy=f'a name such as "{name.partition(".")[0]}.zarr": {_known()}; or format="zarr"',
            ) from None
        return "zarr"
    return "zarr" if found == "folder" else found


def _known() -> str:
    endings = [ending for entry in creatable_formats() for ending in entry.extensions]
    return f"arrays are written to {', '.join(endings)}"
