"""Images written to containers of arrays: zarr, OME-Zarr, n5 and HDF5; one array for each, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import ParameterError, ShapeError
from ...sources.axes import Axis
from ...sources.base import Source
from ...sources.chunked.conventions import OWN_ATTRIBUTE
from ...sources.file import FileSource
from ...sources.registry import as_source
from ...sources.stores.paths import for_zarr
from ...wrapper.reduced import ReducedOutput
from ..create import create_array
from ..details import Image
from ..formats import split_path
from ..ome import check_axes, write_multiscales
from ..target import OME_ENDING
from .blocks import copy_blocks
from .halves import factors_of, halved, number_of_levels
from .said import kept_metadata, lost_metadata


def write_arrays(format: str, path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write images into a container, or one of them as an array of it ("a.zarr/raw").

    Parameters
    ----------
    format : str
        "zarr", "n5" or "hdf5".
    path : str
    images : sequence of Image
        One is the container itself (HDF5: "data"); several have the keys "0", "1", ...
    options : mapping
        ``chunks``, ``compression`` (see `create_array`), ``pyramid`` (levels at half the resolution along all axes of
        space; makes a zarr container an OME-Zarr image, as the ending ".ome.zarr" does).

    Returns
    -------
    tuple of str
        What has no place in the container.
    """
    container, key = split_path(path)
    if key is not None and len(images) > 1:
        raise ParameterError(f"{path} is one array, not {len(images)}.", remedy=f"imwrite({container!r}, images)")
    lost: list[str] = []
    ome = format == "zarr" and is_ome(container, options)
    for image in images if ome else ():
        require_ome(image)
    if ome and len(images) > 1:
        write_layout(container, len(images))
    for number, image in enumerate(images):
        own = key if key is not None else str(number) if len(images) > 1 else "data" if format == "hdf5" else ""
        lost += lost_of_array(image, ome)
        if ome:
            _write_ome(container, own, image, options)
            continue
        said = {"channel_names": image.details.channel_names or (), "metadata": kept_metadata(image, None)}
        with _created(format, container, own, image.array, image.axes, options, **said) as target:
            copy_blocks(as_source(image.array), [target])
    return tuple(dict.fromkeys(lost))


def require_ome(image: Image) -> None:
    """Refuse what OME-Zarr cannot describe, before a block of it is written.

    Raises
    ------
    ShapeError
        It has fewer axes than 2, or more than 5.
    ParameterError
        Its axes are others than there are, or in another order.
    """
    if not 2 <= len(image.axes) <= 5:
        raise ShapeError(
            f"An OME-Zarr image has 2 to 5 axes, not the {len(image.axes)} of the shape {tuple(image.array.shape)}.",
            remedy='an array of a container, which has any number: "volume.zarr"',
        )
    check_axes(image.axes)


def lost_of_array(image: Image, ome: bool) -> tuple[str, ...]:
    """Return what of an image an array has no place for; or the levels of an OME-Zarr image."""
    affine = () if image.details.affine is None else ("affine",)
    labels = ("labels",) if image.details.is_label and not ome else ()
    return (*lost_metadata(image, kept_metadata(image, None)), *affine, *labels)


def is_ome(container: str, options: Mapping[str, Any]) -> bool:
    """Tell whether images of a zarr container are written as OME-Zarr: by its name, or because they have levels."""
    return container.lower().rstrip("/").endswith(OME_ENDING) or bool(options.get("pyramid"))


def write_zarr(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write images as zarr or OME-Zarr; see `write_arrays`."""
    return write_arrays("zarr", path, images, options)


def write_n5(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write images as n5; see `write_arrays`."""
    return write_arrays("n5", path, images, options)


def write_hdf5(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write images as HDF5; see `write_arrays`."""
    return write_arrays("hdf5", path, images, options)


def _created(
    format: str,
    container: str,
    key: str,
    array: Any,
    axes: Sequence[Axis],
    options: Mapping[str, Any],
    **said: Any,
) -> FileSource:
    return create_array(
        container,
        key,
        shape=array.shape,
        dtype=array.dtype,
        format=format,
        chunks=options.get("chunks"),
        compressor=options.get("compression"),
        axes=axes,
        overwrite=True,
        **said,
    )


def _write_ome(container: str, group: str, image: Image, options: Mapping[str, Any]) -> None:
    """Write an OME-Zarr image, every level with the one after it: of the image no block is read twice."""
    source, axes = as_source(image.array), tuple(image.axes)
    factors = factors_of(axes, "".join(axis.name for axis in axes if axis.kind == "space"))
    view, levels = source, []
    for level in range(1 + number_of_levels(options.get("pyramid"), source.shape, axes)):
        if level:
            view, axes = halved(view, factors, image), coarser_axes(axes, factors)
        levels.append(_created("zarr", container, f"{group}/{level}".lstrip("/"), view, axes, options))
    first = 0
    while first < len(levels):
        outputs: list[Source] = [levels[first]]
        if first + 1 < len(levels) and levels[first].lossless and levels[first].dtype == source.dtype:
            outputs.append(ReducedOutput(levels[first + 1], factors, levels[first].shape, image.reduced_by))
        copy_blocks(halved(levels[first - 1], factors, image) if first else source, outputs)
        first += len(outputs)
    describe_image(container, group, image, [(str(number), level.axes) for number, level in enumerate(levels)])


def describe_image(container: str, group: str, image: Image, levels: Sequence[tuple[str, Sequence[Axis]]]) -> None:
    """Describe levels that have been written as an OME-Zarr image, with what is known of it."""
    write_multiscales(
        container,
        group,
        levels=levels,
        name=image.name,
        method=image.reduced_by,
        label=bool(image.details.is_label),
    )
    if image.details.channel_names:
        _write_channels(container, group, image)
    if metadata := kept_metadata(image, None):
        node = zarr_group(container, group)
        node.attrs[OWN_ATTRIBUTE] = {"metadata": metadata}


def coarser_axes(axes: Sequence[Axis], factors: Sequence[int]) -> tuple[Axis, ...]:
    """Axes of a level, each voxel of which stands for a block of the one before."""
    return tuple(
        replace(axis, scale=axis.scale * factor, offset=axis.offset + (factor - 1) / 2 * axis.scale)
        for axis, factor in zip(axes, factors, strict=True)
    )


def zarr_group(container: str, group: str) -> Any:
    """A group of a container, to be changed."""
    import zarr

    return zarr.open_group(for_zarr(container), path=group, mode="r+", use_consolidated=False)


def _write_channels(container: str, group: str, image: Image) -> None:
    names = image.details.channel_names or ()
    colors = image.details.channel_colors or ("#ffffff",) * len(names)
    limits = (0, int(np.iinfo(image.array.dtype).max) if image.array.dtype.kind in "iu" else 1)
    window = {"start": limits[0], "min": limits[0], "end": limits[1], "max": limits[1]}
    entries: Any = [
        {"label": name, "color": color.lstrip("#"), "active": True, "window": window}
        for name, color in zip(names, colors, strict=False)
    ]
    node = zarr_group(container, group)
    found = node.attrs.get("ome")
    if isinstance(found, dict):
        node.attrs["ome"] = {**found, "omero": {"channels": entries}}
    else:
        node.attrs["omero"] = {"channels": entries}


def write_layout(container: str, count: int) -> None:
    """Say that a container holds several images, by the layout of bioformats2raw."""
    import zarr

    root = zarr.open_group(for_zarr(container), mode="a", zarr_format=3)
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    listed = [str(number) for number in range(count)]
    root.require_group("OME").attrs["ome"] = {"version": "0.5", "series": listed}
