"""WebKnossos datasets as image files: an image for each layer, its magnifications are levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...sources.file import Opened
from ...sources.stores.location import RETRIES
from ...sources.stores.paths import is_url
from ...sources.webknossos.opening import Found, find, layers_of
from ...sources.webknossos.source import open_webknossos
from ..details import Details
from ..image_files.opening import one_of_several, pixel_sizes
from .told import Told, check_arguments, level_named, stays_inside

_KNOWN = ("level", "storage_options")


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, Any]:
    """Return the layers under their names."""
    return {key: open_dataset(path, key, mode, kwargs).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return the names of the layers."""
    return list(layers_of(path))


def open_dataset(path: str, key: str | None, mode: Any, kwargs: Mapping[str, Any]) -> Opened:
    """Open a magnification of a layer, with the axes z, y, x, or c, z, y, x where it has several channels.

    Parameters
    ----------
    path : str
        Folder of a dataset, or URL of one on a server.
    key : str, optional
        Name of a layer, or of a magnification of it: "color", "color/2-2-1".
    mode : str
        "r" or "r+".
    kwargs : mapping
        ``level`` (number or name of a magnification, the finest is 0), ``storage_options``.
    """
    shown = path.partition("?")[0] if is_url(path) else path
    check_arguments(shown, kwargs, _KNOWN)
    options = kwargs.get("storage_options")
    retries = int((options or {}).get("retries", RETRIES))
    layers = layers_of(path, retries)
    layer, level = (key or None), kwargs.get("level")
    if layer and layer not in layers and level is None:
        layer, _, level = layer.rpartition("/")
    name = one_of_several(shown, layer, list(layers), "layers")
    mags = layers[name][1]
    at = level_named(f"{shown}:{name}", level, mags)
    found = find(path, None, name, mags[at], retries)
    if not found.remote:
        stays_inside(path, str(found.view.path), f"open_webknossos({path!r}, layer_name={name!r}), if it is your own")
    source = open_webknossos(path, layer_name=name, mag=mags[at], mode=mode, storage_options=options)
    shapes = _shapes(found, len(found.view.normalized_bounding_box.axes), source.shape, at)
    return Told(source, len(layers), shapes, lambda: _details(found)).opened(f"{name}/{mags[at]}" if at else name)


def details(path: str, key: str | None) -> Details:
    """Return what the description of a dataset says of a layer."""
    layers = layers_of(path)
    name = key if key in layers else (key or "").rpartition("/")[0]
    name = name or next(iter(layers))
    return _details(find(path, None, name, layers[name][1][0], RETRIES))


def _shapes(found: Found, ndim: int, shape: tuple[int, ...], at: int) -> tuple[tuple[int, ...], ...]:
    views = [view for _, view in sorted(found.view.layer.mags.items())]
    placed = [Found(view, found.where).place(ndim, None, None, None) for view in views]
    shapes = [place.pick(place.sizes) for place in placed]
    shapes[at] = shape
    return tuple(shapes)


def _details(found: Found) -> Details:
    layer = found.view.layer
    ids = str(layer.category) == "segmentation"
    box = layer.normalized_bounding_box
    placed = found.place(len(box.axes), None, None, None)
    raw = {
        "name": found.layer,
        "category": str(layer.category),
        "data_format": str(layer.data_format),
        "num_channels": int(layer.num_channels),
        "mags": [mag.to_layer_name() for mag in sorted(layer.mags)],
        "voxel_size": list(found.voxel_size.values()),
        "bounding_box": {"axes": list(box.axes), "topleft": list(box.topleft), "size": list(box.size)},
    }
    if ids:
        raw["largest_segment_id"] = layer.largest_segment_id
    axes = [axis for axis in placed.axes(dict.fromkeys("xyz", 1), found.voxel_size) if axis.name in "xyz"]
    return Details(
        raw=raw,
        file={"name": str(layer.dataset.name)},
        standard={"image": {"name": found.layer}, "pixel_sizes": pixel_sizes(axes)},
        is_label=ids,
    )
