"""From any image file to any other, block by block."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import FormatError, OptionError, ParameterError, StorageError
from ..io.create import array_exists, create_array
from ..io.details import Image, own_metadata
from ..io.formats import Format, format_named, require_library, split_path
from ..io.keys import array_keys
from ..io.ome import is_marked_unfinished
from ..io.target import OME_ENDING
from ..io.v3.functions import imwrite
from ..io.v3.images import Wanted
from ..io.v3.replacing import check_replaced, refuse_own_levels, refuse_same
from ..io.v3.target import checked_target, format_to_write
from ..io.written.array_images import is_ome, lost_of_array, require_ome
from ..io.written.said import kept_metadata
from ..operations.copying import copy
from ..runner.execution import Execution, current_execution
from ..runner.lease.stamp_places import InFolder
from ..sources import Source, as_source
from ..sources.chunked.attributes import multiscales_of, read_attributes
from ..sources.file import FileSource, open_source
from ..sources.spec import load_qualified
from ..sources.stores.location import locate
from ..sources.stores.paths import is_url
from ..system.alone import alone
from .ome_image import block_of, write_ome_image
from .trying import tried

_COMPARED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Conversion:
    """What a conversion has written, or would write.

    Attributes
    ----------
    output : str
        Where to.
    format : str
        Name of its format.
    shape : tuple of int
    dtype : str
    axes : tuple of str
        Names of the axes.
    lost : tuple of str
        What the format had no place for.
    written : bool
        False for a dry run.
    verified : bool
        Whether all voxels were compared, and are equal.
    """

    output: str
    format: str
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[str, ...]
    lost: tuple[str, ...] = ()
    written: bool = True
    verified: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Its values by name."""
        return asdict(self)

    def summary(self) -> str:
        """Return a line that says it."""
        what = (
            f"{self.output}: {self.format}, {'x'.join(map(str, self.shape))} {self.dtype}, axes {','.join(self.axes)}"
        )
        notes = [f"lost: {', '.join(self.lost)}"] if self.lost else []
        notes += ["all voxels are equal"] if self.verified else []
        notes += [] if self.written else ["not written"]
        return "; ".join([what, *notes])


@dataclass(frozen=True)
class Target:
    """What is to be written; see `convert`."""

    output: str
    dtype: Any = None
    rescale: tuple[float, float] | None = None
    axes: Any = None
    pyramid: bool = False
    overwrite: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def convert(
    input: Any,
    output: str | os.PathLike[str],
    *,
    dtype: Any = None,
    rescale: tuple[float, float] | None = None,
    axes: Any = None,
    pyramid: bool = False,
    labels: bool | None = None,
    overwrite: bool = False,
    verify: bool = False,
    dry_run: bool = False,
    execution: Execution | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Any,
) -> Conversion:
    """Write an image in the format that the name of the output says.

    Axes, scale, units, names of channels, and the metadata that `imwrite` or `create_array` was given are kept where
    the format has a place for them.

    Parameters
    ----------
    input : source-like
        Such as ``open_source(path)``.
    output : str or os.PathLike
        To zarr, n5 and HDF5 blocks are copied on any backend; other formats are written by this process, as `imwrite`
        does.
    dtype : dtype_like, optional
        Convert to this data type; what does not fit is an error.
    rescale : tuple of float, optional
        Map this range to the ends of `dtype`.
    axes : str, optional
        Names of the axes, where the input does not say them.
    pyramid : bool, default False
        Coarser levels too (OME-Zarr, tif): means; of labels the id that most voxels have.
    labels : bool, optional
        Whether the values are ids. By default what the input says of itself; where it says nothing, integers of 32 and
        64 bits are reduced as ids are, without the output being described as labels.
    overwrite : bool, default False
        Replace what is there.
    verify : bool, default False
        Read the output and compare all voxels.
    dry_run : bool, default False
        Check, and say what would be written.
    execution : Execution, optional
        How to run.
    metadata : mapping, optional
        Further entries, beside those that the input has.
    **options
        Of the format: ``chunks``, ``shards``, ``compression``, ...

    Returns
    -------
    Conversion

    Raises
    ------
    FormatError, DtypeError, ShapeError
        If the format cannot hold the image; labels that are no integers.
    OptionError
        If the format has no such option.
    StorageError
        If the output is there already, or differs from the input after all. A conversion to zarr or n5 that was
        killed is there, and is continued by the same call.
    AliasError
        If the input is made of what would be replaced.
    RunningError
        If another process writes to the same container.
    """
    target = Target(os.fspath(output), dtype, rescale, axes, pyramid, overwrite, options)
    source = as_source(input)
    path = checked_target(output, "w" if overwrite or is_unfinished(os.fspath(output)) else "x")
    entry = format_to_write(path, None, None)
    require_library(entry)
    check_replaced(path, entry)
    if overwrite and entry.stores:
        refuse_own_levels(path, [source])
    if entry.create is not None:
        _check_options(entry, options)
    wanted = Wanted(axes=axes, dtype=dtype, rescale=rescale, labels=labels, metadata=metadata)
    image = _with_details(wanted.image(source, entry.name), source)
    found = Conversion(
        target.output,
        entry.name,
        tuple(image.array.shape),
        image.array.dtype.name,
        tuple(axis.name for axis in image.axes),
        written=not dry_run,
    )
    if pyramid and "pyramid" not in entry.options:
        raise FormatError(f"The format {entry.name!r} has no levels.", remedy='".ome.zarr" or ".ome.tif"')
    more = {**options, **({"pyramid": True} if pyramid and entry.create is None else {})}
    ome = entry.name == "zarr" and split_path(path)[1] is None and is_ome(path, {"pyramid": pyramid})
    if ome:
        require_ome(image)
    if entry.create is None:
        more |= {"channel_names": image.details.channel_names, "labels": image.details.is_label}
        more["metadata"] = image.details.raw
    if dry_run:
        lost = lost_of_array(image, ome) if entry.create is not None else tried(image, path, entry, more)
        return replace(found, lost=lost)
    if entry.create is not None:
        container = split_path(path)[0]
        with nullcontext() if is_url(container) else alone(container):
            _copy(image, path, entry.name, target, current_execution(execution))
        lost = lost_of_array(image, ome)
    else:
        report = imwrite(path, image.array, axes=image.axes, overwrite=overwrite, report=True, **more)
        lost = report.lost
    if verify:
        _verify(image.array, path, entry.name)
    return replace(found, lost=lost, verified=verify)


def _with_details(image: Image, source: Source) -> Image:
    """The image with what its file says of its channels, whether it is one of labels, and what its writer was told."""
    if not isinstance(source, FileSource) or not (entry := format_named(source.format)).details:
        return image
    try:
        key = source.internal_path
        key = _describing(source.path, key) if entry.stores and entry.container else key
        found = load_qualified(entry.details)(source.path, key or None)
    except Exception as error:  # noqa: BLE001 - what describes an image must not cost its voxels
        warnings.warn(f"{source.path}: its metadata are damaged: {type(error).__name__}: {error}", stacklevel=3)
        return image
    channels = [size for size, axis in zip(image.array.shape, image.axes, strict=True) if axis.kind == "channel"]
    fits = found.channel_names is not None and channels == [len(found.channel_names)] and not image.details.is_rgb
    return replace(
        image,
        details=replace(
            image.details,
            raw={**own_metadata(found.raw), **image.details.raw},
            channel_names=found.channel_names if fits else None,
            channel_colors=found.channel_colors if fits else None,
            is_label=said
            if (said := image.details.is_label) is not None or image.array.dtype.kind not in "iu"
            else found.is_label,
        ),
    )


def _describing(path: str, key: str) -> str:
    """The key of what describes an array: of the image one of whose levels it is, else its own."""
    parts, root = key.split("/"), locate(path)
    for count in range(len(parts)):
        above, name = "/".join(parts[:count]), "/".join(parts[count:])
        levels = [one for image in multiscales_of(read_attributes(root / above)) for one in image["datasets"]]
        if name in [one.get("path") for one in levels if isinstance(one, Mapping)]:
            return above
    return key


def _check_options(entry: Format, options: Mapping[str, Any]) -> None:
    known = ("chunks", "compression", "shards")  # of `create_array`, for all formats that have arrays created
    if unknown := [name for name in options if name not in known]:
        raise OptionError(
            f"{', '.join(unknown)}: no keyword of converting to {entry.name!r}; it knows {', '.join(known)}.",
            remedy=f"leave {unknown[0]} out",
        )


def is_unfinished(output: str) -> bool:
    """Whether a run has begun to write the arrays of a local container, and has not ended."""
    container, key = split_path(output)
    if is_url(container) or not os.path.isdir(container):
        return False
    root = locate(container)
    if key is None and is_marked_unfinished(container):
        return True
    return any(InFolder(os.path.join(container, one)).names() for one in ([key] if key else array_keys(root)))


def _copy(image: Image, path: str, format: str, target: Target, how: Execution) -> None:
    """Copy blocks to a new array, and make its pyramid."""
    container, key = split_path(path)
    ome = format == "zarr" and key is None and (target.pyramid or container.lower().endswith(OME_ENDING))
    if target.pyramid and not ome:
        raise ParameterError("A pyramid is made of a whole zarr container.", remedy='"out.ome.zarr"')
    inner = "0" if ome else "data" if format == "hdf5" and key is None else key or ""
    if target.overwrite and array_exists(container, inner, format):
        with open_source(container, inner, format=format) as there:
            refuse_same(path, there, [image.array])
    if ome:
        write_ome_image(image, container, target.pyramid, target.options, target.overwrite, how)
        return
    made = create_array(
        container,
        inner,
        shape=image.array.shape,
        dtype=image.array.dtype,
        chunks=target.options.get("chunks"),
        shards=target.options.get("shards"),
        compressor=target.options.get("compression"),
        format=format,
        axes=image.axes,
        channel_names=image.details.channel_names or (),
        metadata=kept_metadata(image, None),
        overwrite=target.overwrite,
    )
    copy(image.array, made, block_shape=block_of(as_source(image.array), [made], how), execution=how)


def _verify(array: Any, path: str, format: str) -> None:
    container, key = split_path(path)
    chosen = key if key is not None else "data" if format == "hdf5" else "0" if format == "tif" else None
    with open_source(container, chosen, format=format) as written:
        if written.shape != tuple(array.shape) or written.dtype != array.dtype.newbyteorder("="):
            raise StorageError(
                f"{path} reads as {written.shape} {written.dtype}, but {array.shape} {array.dtype} was written.",
                remedy="write to .ome.zarr, which keeps axes of length 1",
            )
        for box in _boxes(written):
            here, there = np.asarray(array[box]), written[box]
            same = (here == there) | ((here != here) & (there != there))
            if not same.all():
                at = tuple(int(i) + part.start for i, part in zip(np.argwhere(~same)[0], box, strict=True))
                raise StorageError(
                    f"{path} differs from the input at voxel {at}: {here[~same][0]} was written, {there[~same][0]} is"
                    " read.",
                    remedy="a format without losses: .tif, .ome.zarr",
                )


def _boxes(source: Source) -> Iterator[tuple[slice, ...]]:
    """Cut a source into boxes along its first axes, each small enough to be compared in memory."""
    shape: Sequence[int] = source.shape
    box = list(shape)
    for axis in range(len(box)):
        while int(np.prod(box, dtype=object)) * source.dtype.itemsize > _COMPARED_BYTES and box[axis] > 1:
            box[axis] = -(-box[axis] // 2)
    for start in itertools.product(*(range(0, size, side) for size, side in zip(shape, box, strict=True))):
        yield tuple(slice(low, min(low + side, size)) for low, side, size in zip(start, box, shape, strict=True))
