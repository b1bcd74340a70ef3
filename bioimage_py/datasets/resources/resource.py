"""One image, and what is said of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Grid, to_roi
from ...errors import BioimageError, DatasetError, ShapeError, SourceNotFoundError
from ...io.v3.functions import told_affine
from ...sources import Axis, Source, as_source
from ...sources.file import open_source
from ..annotations.annotation import Annotation
from ..annotations.masks import CropMask, FrameMask
from ..annotations.processor import AnnotationProcessor
from ..layout import Frames, Layout, Region, affine_of, named_axes, told_for
from ..opening.cache import cached, is_cached
from ..opening.handles import forget, opened, read_from


class Resource:
    """An image with annotations, tags and groups, given by hand.

    Parameters
    ----------
    image : source-like
        An array, a Source, or a path. Paths are opened when something is read.
    name : str, optional
        None: that of the file, else "image".
    id : str, optional
        What splits know it by; must be unique in a data set. None: the path, else the name.
    axes : str or sequence of Axis or str, optional
        One for each axis of the image, such as "cyx"; None: what the image says itself (arrays: z, y, x).
    annotations : sequence of Annotation
    space : Space, str or os.PathLike, optional
        An annotation space of the image, or the path of one (`bioimage_py.spaces.write_space`), whose records count
        beside the annotations. A file is read again when it has changed.
    tags : mapping
        Values by name; True stands for a tag that is set.
    groups : mapping
        Keys by the title of a level, such as ``{"patient": "p7"}``.
    affine : array_like (4, 4), optional
        From a voxel (N, H, W, 1) to the world (x, y, z, 1) with x to the right of a patient, y to the front, z up.
        None: that of the file, if it tells one (NIfTI, NRRD, ...), else scale and offset of the axes.
    version : str, default ""
        Changes whenever the content does.

    Examples
    --------
    >>> mask = np.zeros((8, 8), bool)
    >>> Resource(np.zeros((2, 8, 8), "u2"), axes="cyx", annotations=[Annotation.segmentation("a", mask)]).shape
    (2, 8, 8)
    """

    def __init__(
        self,
        image: Any,
        name: str | None = None,
        *,
        id: str | None = None,
        axes: Sequence[Axis | str] | None = None,
        annotations: Sequence[Annotation] = (),
        space: Any = None,
        tags: Mapping[str, Any] | None = None,
        groups: Mapping[str, str] | None = None,
        affine: Any = None,
        version: str = "",
    ) -> None:
        self.image = os.fspath(image) if isinstance(image, os.PathLike) else image
        path = self.image if isinstance(self.image, str) else ""
        self.name = name or os.path.basename(path.rstrip("/")) or "image"
        self.id = id or path or self.name
        self.tags = dict(tags or {})
        self.groups = {key.lower(): value for key, value in (groups or {}).items()}
        self.version = version
        self.space = os.fspath(space) if isinstance(space, os.PathLike) else space
        self._given_axes = None if axes is None else tuple(axes)
        self._given_affine = None if affine is None else checked_affine(affine, self.name)
        self._annotations = tuple(annotation.of(self.id, i) for i, annotation in enumerate(annotations))

    def open(self) -> Source:
        """Return the image, read-only; opened once in a process.

        Raises
        ------
        SourceNotFoundError
            It is not where it was; names the resource.
        """
        if not self._stored:
            return as_source(self.image)
        try:
            return opened(self.key, self._open)
        except FileNotFoundError as error:
            raise self.gone(error) from error

    def read(self, layout: Layout, region: Region) -> npt.NDArray[Any]:
        """Read a box (C, N, H, W) of the image; see `open` for errors."""
        if not self._stored:
            return layout.read(as_source(self.image), region)
        try:
            return read_from(self.key, self._open, lambda source: layout.read(source, region))
        except FileNotFoundError as error:
            raise self.gone(error) from error

    @property
    def _stored(self) -> bool:
        """Whether the image is opened by its path."""
        return isinstance(self.image, str)

    def _open(self, fetch: bool = False) -> Source:
        return cached(self.id, self.version, open_source(str(self.image)), fetch)

    def fetch(self) -> int:
        """Copy the image into the cache where it is slow to read; return its bytes (uncompressed) if it is there."""
        if not self._stored:
            return 0
        try:
            source = self._open(fetch=True)
        except FileNotFoundError as error:
            raise self.gone(error) from error
        forget(self.key)  # what was opened before may be the image itself
        return source.nbytes if is_cached(source) else 0

    def gone(self, error: Exception) -> SourceNotFoundError:
        """The error of an image that is not there."""
        said = error.message if isinstance(error, BioimageError) else str(error)
        return SourceNotFoundError(
            f"The image of {self.name!r} (id {self.id!r}) is gone: {said}",
            remedy='put it back, or leave such resources out: on_error="skip"',
        )

    @property
    def key(self) -> Hashable:
        """What stands for the image as it is now: the file may be replaced by another one."""
        with_time: tuple[Any, ...] = ()
        try:
            status = os.stat(str(self.image))
            with_time = (status.st_mtime_ns, status.st_ino, status.st_size)
        except OSError:
            pass  # opening it tells
        return ("image", self.image, self.version, *with_time)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the image."""
        return self._described[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image, in its own axes."""
        return self._described[1]

    @cached_property
    def _described(self) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
        source = self.open()
        if self._given_axes is None:
            return source.axes, source.shape
        if len(self._given_axes) != source.ndim:
            raise DatasetError(
                f"{self.name!r} of the shape {source.shape} was given {len(self._given_axes)} axes.",
                remedy="give one for each axis",
            )
        return named_axes(self._given_axes, source.axes), source.shape

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_described"}

    def layout(self, frames: Frames) -> Layout:
        """Where the axes of an item lie in the image; see `Layout.of`."""
        return Layout.of(self.axes, self.shape, frames, self.name)

    def affine(self, layout: Layout) -> npt.NDArray[np.float64]:
        """Return the affine (4, 4) from a voxel (N, H, W, 1) to the world (x, y, z, 1)."""
        if self._given_affine is not None:
            return self._given_affine
        return affine_of(layout, self.axes) if self._told_affine is None else told_for(layout, self._told_affine)

    @property
    def has_affine(self) -> bool:
        """Whether an affine was given, or the file tells one, so that names of axes mean anatomy."""
        return self._given_affine is not None or self._told_affine is not None

    @cached_property
    def _told_affine(self) -> npt.NDArray[np.float64] | None:
        """What the file says: (4, axes of the image + 1), in the order of its axes; None where it says nothing."""
        return told_affine(self.image, self.axes) if isinstance(self.image, str) else None

    @property
    def unit(self) -> str | None:
        """Unit of the world."""
        return next((axis.unit for axis in self.axes if axis.name.lower() == "x"), None)

    @property
    def is_silent(self) -> bool:
        """Whether nothing is said of it, as far as that is known without opening its image."""
        return not self._annotations and self.space is None and self._stored

    def annotations(self, layout: Layout, exact: bool = True) -> tuple[Annotation, ...]:
        """Return all that is said of it, masks over the planes or frames, rows and columns of the layout.

        Parameters
        ----------
        layout : Layout
        exact : bool, default True
            False: also labels that a label map may have, so that it need not be looked through.
        """
        frames = layout.shape[1]
        found = []
        for ann in self._annotations:
            if ann.is_frame_scoped() and not 0 <= (ann.frame_index or 0) < frames:
                raise ShapeError(
                    f"The annotation {ann.id!r} of {self.name!r} is of frame {ann.frame_index} of {frames}.",
                    remedy=f"use 0 to {frames - 1}",
                )
            if ann.is_segmentation() and ann.mask is None and ann.file:
                ann = replace(ann, mask=CropMask.of(AnnotationProcessor({}, [], {}).load_segmentation_data(ann)))
            if ann.mask is not None and ann.is_frame_scoped() and ann.mask.shape[0] == 1:
                at = ann.frame_index or 0
                ann = replace(ann, mask=FrameMask(ann.mask, at, (frames, *ann.mask.shape[1:])))
            if ann.mask is not None:
                ann.mask.over(layout.shape[1:], f"{ann.identifier!r} ({ann.id!r}) of {self.name!r} (id {self.id!r})")
            found.append(ann)
        if self.space is not None:
            from .spaces import annotations_of_given  # spaces need what others do without

            found += annotations_of_given(self.space, layout, self.id, self.name)
        return tuple(found)

    @property
    def patient(self) -> str | None:
        """Key of the patient; None where none is known."""
        return self.groups.get("patient") or None

    def group(self, title: str) -> str | None:
        """Key of a level of grouping or value of a tag, as text; None where it has none."""
        if title.lower() in self.groups:
            return self.groups[title.lower()] or None
        value = self.tags.get(title)
        return None if value is None else str(value)

    def content_hash(self) -> str:
        """Return the SHA-256 of shape, data type and all voxels; reads the image once."""
        source = self.open()
        digest = hashlib.sha256(f"{source.shape} {source.dtype.str}".encode())
        grid = Grid(source.shape, _unit(source.shape))
        for number in range(grid.n_blocks if source.size else 0):
            digest.update(np.ascontiguousarray(source.view(to_roi(grid[number]))).tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, id={self.id!r})"


def _unit(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks that depend on the shape only, so that the hash does not depend on chunks."""
    return tuple(min(size, 256) for size in shape)


def checked_affine(affine: Any, name: str) -> npt.NDArray[np.float64]:
    """Return an affine as float64 (4, 4).

    Raises
    ------
    ShapeError
        It is none, or cannot be inverted.
    """
    found = np.asarray(affine, np.float64)
    if found.shape != (4, 4) or not np.isfinite(found).all() or abs(np.linalg.det(found[:3, :3])) < 1e-300:
        raise ShapeError(
            f"The affine of {name!r} is no invertible matrix (4, 4): {found.tolist()}.",
            remedy="pass the matrix from (n, h, w, 1) to (x, y, z, 1)",
        )
    return found


def as_resource(given: Any, number: int) -> Resource:
    """Return what was given in a list as a resource; arrays are called by their place."""
    if isinstance(given, Resource):
        return given
    if isinstance(given, str | os.PathLike):
        return Resource(given)
    return Resource(given, f"image {number}")
