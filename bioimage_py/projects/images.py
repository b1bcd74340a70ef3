"""Images of data sets: where they are, how they come into a project, and how they look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import AccessError, FormatError, NotReopenableError, ParameterError, SourceTypeError
from ..io.create import create_array
from ..io.ome import check_axes, write_multiscales
from ..io.v3.functions import told_affine
from ..operations.copying import copy
from ..sources import Axis, Source, SourceSpec, as_source, from_spec
from ..sources.chunked.attributes import kind_of
from ..sources.file import FileSource, open_source
from ..sources.stores.paths import is_url
from ..wrapper.view import AxesSource  # saved specs name it by this module, too
from .storage.folder import Folder, new_stamp
from .storage.packs import ARRAY
from .values.kinds import DataType
from .values.records import ImageRecord, axis_documents, counts_of

THUMBNAIL_SIZE = 256
WITHHELD: dict[str, Any] = {"kind": "withheld", "path": None, "internal_path": None, "params": {}, "wrapped": None}
"""In the place of the spec of an image of which a server does not tell where it lies."""


def opened_image(image: Any) -> Source:
    """Return what is added as an image as a source."""
    if isinstance(image, str):
        return open_source(image)
    try:
        return as_source(image)
    except SourceTypeError as error:
        raise SourceTypeError(
            f"An object of type {type(image).__name__} is no image.",
            remedy="pass an array, a Source, or a pathlib.Path",
        ) from error


def image_axes(source: Source, given: Iterable[Axis | str] | None) -> tuple[Axis, ...]:
    """Return the axes of an image: those given (names take the scale that the source knows), else its own.

    Raises
    ------
    ParameterError
        Not one for each axis, names that occur twice, or without x and y.
    """
    axes = source.axes
    if given is not None:
        told = list(given)
        if len(told) != source.ndim:
            raise ParameterError(f"{len(told)} axes for the shape {source.shape}.", remedy="give one for each axis")
        pairs = zip(told, axes, strict=True)
        axes = tuple(
            replace(own, name=axis, kind=kind_of(axis)) if isinstance(axis, str) else axis for axis, own in pairs
        )
    names = [axis.name.lower() for axis in axes if axis.kind == "space"]
    if sorted(names) not in (["x", "y"], ["x", "y", "z"]) or len({axis.name for axis in axes}) != len(axes):
        raise ParameterError(
            f"An image of the shape {source.shape} with the axes {[axis.name for axis in axes]} has no y and x.",
            remedy='name its axes: add_descriptor(image, axes=("y", "x", "c"))',
        )
    return axes


def check_data_type(accepted: DataType, axes: tuple[Axis, ...], shape: tuple[int, ...], name: str) -> None:
    """Raise `ParameterError` for an image that the project does not accept."""
    counts = counts_of(axes, shape)
    found = DataType.of(counts.n_channels, counts.n_slices)
    if accepted not in (DataType.AnyDataType, found):
        raise ParameterError(
            f"The image {name!r} (shape {shape}, axes {[axis.name for axis in axes]}) is of type {found.name}; the"
            f" project accepts {accepted.name}.",
            remedy="name its axes with axes=, or set project.data_type = DataType.AnyDataType",
        )


def record_image(
    source: Source, axes: tuple[Axis, ...], root: Path, identifier: str, own_copy: bool, original: str
) -> ImageRecord:
    """Return how an image is opened again, after copying it where that is asked for or needed."""
    spec = _read_only_spec(source)
    affine = told_affine(source.path, axes) if isinstance(source, FileSource) else None
    if own_copy or spec is None:
        spec, own_copy = _copied(source, axes, root, identifier).to_spec(), True
    return ImageRecord(
        spec=relative_spec(_reading(spec.to_dict()), root),
        shape=list(source.shape),
        dtype=source.dtype.str.lstrip("<=|"),
        axes=axis_documents(axes),
        own_copy=own_copy,
        original_path=original,
        affine=None if affine is None else affine.tolist(),
    )


def can_be_referenced(source: Source) -> bool:
    """Whether an image can be opened again where it is, so that it need not be copied."""
    return _read_only_spec(source) is not None


def _read_only_spec(source: Source) -> SourceSpec | None:
    """Return the spec of an image that can be opened again without running code from the project's files."""
    try:
        spec = source.to_spec()
        return SourceSpec.from_json(spec.to_json())
    except (NotReopenableError, FormatError):
        return None


def _reading(spec: dict[str, Any]) -> dict[str, Any]:
    params = {**spec["params"]}
    if "mode" in params:
        params["mode"] = "r"
    wrapped = spec["wrapped"]
    return {**spec, "params": params, "wrapped": None if wrapped is None else _reading(wrapped)}


def _copied(source: Source, axes: tuple[Axis, ...], root: Path, identifier: str) -> Source:
    folder = root / "images"
    private, final = folder / f".new-{new_stamp()}.zarr", folder / f"{identifier}.zarr"
    try:
        output = create_array(private, ARRAY, shape=source.shape, dtype=source.dtype, axes=axes, format="zarr")
        with output:
            copy(source, output, job_type="local", progress=False)
        try:
            check_axes(axes)
        except ParameterError:
            pass  # the array keeps its axes; only OME-Zarr has no words for them
        else:
            write_multiscales(private, levels=[(ARRAY, axes)], name=identifier)
        os.sync()
        os.rename(private, final)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return open_source(final, ARRAY, format="zarr")


def remove_copy(folder: Folder, identifier: str) -> None:
    """Remove the copy of an image, unless its data set was saved."""
    if not folder.tells(identifier, identifier):
        shutil.rmtree(folder.root / "images" / f"{identifier}.zarr", ignore_errors=True)


def relative_spec(spec: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return a spec's document with paths in the project's folder relative to it, so that it can be moved."""
    path, wrapped = spec["path"], spec["wrapped"]
    if path is not None and not is_url(path) and Path(path).is_relative_to(root):
        path = Path(path).relative_to(root).as_posix()
    return {**spec, "path": path, "wrapped": None if wrapped is None else relative_spec(wrapped, root)}


def absolute_spec(spec: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return a spec's document with absolute paths."""
    path, wrapped = spec["path"], spec["wrapped"]
    if path is not None and not is_url(path):
        path = str(root / path)
    return {**spec, "path": path, "wrapped": None if wrapped is None else absolute_spec(wrapped, root)}


def open_image(record: ImageRecord, root: Path) -> Source:
    """Open an image for reading; AccessError where a server has left out where it lies."""
    if record.spec.get("kind") == WITHHELD["kind"]:
        raise AccessError(
            "The server does not tell you where this image lies.",
            remedy="ask a maintainer of the project (Members: who sees whom images show), or for own_copy=True",
        )
    return with_axes(from_spec(SourceSpec.from_json(absolute_spec(_reading(record.spec), root))), record)


def with_axes(source: Source, record: ImageRecord) -> Source:
    """Return an image with the axes that a data set says."""
    axes = record.axis_values()
    return source if source.axes == axes else AxesSource(source, axes)


def middle_plane(source: Source, axes: tuple[Axis, ...]) -> npt.NDArray[Any]:
    """Return the middle plane of an image (height, width, channels), of every n-th voxel so that it is small."""
    index: list[Any] = []
    for axis, size in zip(axes, source.shape, strict=True):
        if axis.kind == "space" and axis.name.lower() in ("x", "y"):
            index.append(slice(None, None, -(-size // THUMBNAIL_SIZE)))
        else:
            index.append(slice(0, 3) if axis.kind == "channel" else slice(size // 2, size // 2 + 1))
    order = {"y": 0, "x": 1}
    kinds = [order.get(a.name.lower(), 3) if a.kind == "space" else 2 if a.kind == "channel" else 3 for a in axes]
    plane = source.read(tuple(index)).transpose(np.argsort(kinds, kind="stable"))
    return plane.reshape(*plane.shape[:2], -1)


def picture(source: Source, axes: tuple[Axis, ...]) -> npt.NDArray[np.uint8]:
    """Return a small RGB picture (height, width, 3) of the middle of an image, from its 1st to its 99th percentile.

    Of several channels the first three are red, green and blue.
    """
    plane = middle_plane(source, axes).astype(np.float32)
    channels = [stretched(plane[..., i]) for i in range(min(3, plane.shape[2]))]
    if len(channels) == 1:
        channels *= 3
    channels += [np.zeros_like(channels[0])] * (3 - len(channels))
    return np.stack(channels, axis=-1)


def stretched(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return grey values from the 1st to the 99th percentile as 0 to 255."""
    finite = np.nan_to_num(plane)
    low, high = np.percentile(finite, [1, 99]) if plane.size else (0, 1)
    return (np.clip((finite - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
