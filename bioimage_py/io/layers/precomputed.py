"""Precomputed layers (Neuroglancer's format) as image files: one image each, its scales are levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import FormatError, KeyNotFoundError
from ...sources.file import Opened
from ...sources.precomputed.cloudvolume import open_cloudvolume
from ...sources.precomputed.info import Scale, find_scale, read_info
from ...sources.stores.location import locate
from ..details import Details
from ..image_files.opening import checked_shape, pixel_sizes
from .told import Told, check_arguments, level_named, stays_inside

_KNOWN = ("level", "fill_missing", "storage_options")
_CHECK = "restore the file 'info' of the layer"


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, Any]:
    """Return the finest scale under the key ""."""
    return {"": open_dataset(path, None, mode, kwargs).array}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open a scale, with the axes z, y, x, or c, z, y, x where it has several channels.

    Parameters
    ----------
    path : str
        Folder or URL of the layer.
    key : str, optional
        Key of a scale, such as "8_8_40".
    mode : str
        "r" or "r+".
    kwargs : mapping
        ``level`` (number, or key of a scale), ``fill_missing`` (missing chunks are zero, default False),
        ``storage_options``.
    """
    check_arguments(path, kwargs, _KNOWN)
    info, scales = _scales(path, kwargs.get("storage_options"))
    names = [scale.key for scale in scales]
    if key and key not in names:
        raise KeyNotFoundError(f"{path} has no scale {key!r}; it has {', '.join(names)}.", remedy="leave the key out")
    at = level_named(path, key or kwargs.get("level"), names)
    source = open_cloudvolume(
        path,
        at,
        fill_missing=bool(kwargs.get("fill_missing", False)),
        mode="r+" if mode != "r" else "r",
        storage_options=kwargs.get("storage_options"),
        info=info,
    )
    shapes = tuple(_shape(scale) for scale in scales)
    return Told(source, 1, shapes, lambda: _details(info, scales)).opened(names[at] if at else "")


def details(path: str, key: str | None) -> Details:
    """Return what the file ``info`` of a layer says."""
    return _details(*_scales(path, None))


def _details(info: Mapping[str, Any], scales: list[Scale]) -> Details:
    kind = info.get("type")
    return Details(
        raw=dict(info),
        standard={"pixel_sizes": pixel_sizes(scales[0].axes()[1:])},
        compression=None if scales[0].encoding == "raw" else scales[0].encoding,
        is_label=kind == "segmentation" if isinstance(kind, str) else None,
    )


def _shape(scale: Scale) -> tuple[int, ...]:
    channels = (scale.channels,) if scale.channels > 1 else ()
    return (*channels, *scale.size[::-1])


def _scales(path: str, options: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[Scale]]:
    place = locate(path, options)
    info = read_info(place)
    if not isinstance(info["scales"], list):
        raise FormatError(f"{path}/info has scales that are no list.", remedy=_CHECK)
    found = [find_scale(info, n, path) for n in range(len(info["scales"]))]
    for scale in found:
        checked_shape(path, (scale.channels, *scale.size))
        checked_shape(path, scale.chunk_size)
        if scale.dtype.kind not in "uif" or not np.isfinite(scale.resolution).all() or min(scale.resolution) <= 0:
            raise FormatError(
                f"{path}/info has voxels of {scale.dtype} and {scale.resolution} nanometers.", remedy=_CHECK
            )
        if place.folder is not None:
            stays_inside(place.folder, scale.key, f"open_cloudvolume({path!r}), if the layer is your own")
    return info, found
