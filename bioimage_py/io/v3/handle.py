"""An image file that is open for reading."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from ...arguments import data_type
from ...errors import (
    DtypeError,
    IndexingError,
    NotReopenableError,
    ParameterError,
    ReadOnlyError,
    StorageError,
)
from ...sources.axes import Axis
from ...sources.base import Source
from ...sources.casting import convert_values
from ..details import Details
from .contents import Contents, contents_of, described
from .index import Part, checked_index, one_of, position
from .info import ImageInfo, Request
from .metadata import View
from .planes import lead_of, plane_of, require_equal, slice_of
from .properties import ImageProperties, spacing_of, time_step_of
from .reading import checked_out, read_box
from .resource import resource_of


class ReadHandle:
    """An open file; made by `imopen`. Any number of threads may read it.

    Parameters
    ----------
    contents : Contents
        The file.
    spec : tuple
        What `imopen` was called with, to open it again in another process.
    """

    def __init__(self, contents: Contents, spec: tuple[Any, ...]) -> None:
        self.request = Request(contents.resource.uri, "r")
        self._contents: Contents | None = contents
        self._spec = spec
        self._lock = threading.RLock()
        self._open: dict[tuple[str | None, int | str], Source] = {}
        self._details: dict[str | None, Details] = {}
        self._keys: list[str | None] | None = None

    def read(
        self,
        index: Any = None,
        *,
        key: str | None = None,
        level: int | str = 0,
        roi: Any = None,
        axes: str | Sequence[str] | None = None,
        out: np.ndarray | None = None,
        dtype: Any = None,
        page: int | None = None,
        series: int | None = None,
    ) -> np.ndarray:
        """Return an image, or all of them stacked (``index=...``); see `imread`."""
        if page is not None:
            return self._page(page, one_of(index, series))
        part = Part(roi, axes)
        found = one_of(index, series)
        if found is not Ellipsis or self._counts_frames(key):
            source = self._chosen(found, key, level)
            return self._part(source, part, out, dtype)
        keys = self._listed(key)
        sources = [self._source(one, level) for one in keys]
        require_equal(self._checked().resource.name, sources)
        boxes = [part.box(source.shape, source.axes) for source in sources]
        shape = tuple(one.stop - one.start for one in boxes[0])
        self._checked().check_size(len(keys) * math.prod(shape) * sources[0].dtype.itemsize)
        arrays = [self._part(source, part, None, dtype) for source in sources]
        if out is not None:
            target = checked_out(out, (len(arrays), *arrays[0].shape), arrays[0].dtype)
            return np.stack(arrays, out=target)
        return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)

    def iter(self, index: Any = None, *, axis: str | None = None, **options: Any) -> Iterator[np.ndarray]:
        """Yield the images in the order of the file; with `axis`, the slices of one image along it. See `imiter`."""
        index = checked_index(index)
        if axis is not None or (index not in (None, Ellipsis) and not self._counts_frames(None)):
            yield from self._along(index, axis, options)
            return
        if self._counts_frames(None):
            numbers = range(self._count(None)) if index in (None, Ellipsis) else [index]
            for number in numbers:
                yield self.read(number, **options)
            return
        for number in range(len(self._listed(None))):
            yield self.read(number, **options)

    def iter_pages(self, index: Any = ..., **options: Any) -> Iterator[np.ndarray]:
        """Yield the planes of one image, or of all of them (``index=...``)."""
        index = checked_index(index)
        sources = [self._chosen(index, None, 0)] if index is not Ellipsis else map(self._source, self._listed(None))
        for source in sources:
            lead = lead_of(source, self._rgb(source))
            for at in np.ndindex(lead):
                yield self._part(plane_of(source, at), Part(**options), None, None)

    def properties(
        self,
        index: Any = None,
        *,
        key: str | None = None,
        level: int | str = 0,
        page: int | None = None,
        series: int | None = None,
        axes: str | Sequence[str] | None = None,
        roi: Any = None,
    ) -> ImageProperties:
        """Return the properties of what `read` returns for the same arguments, without reading it."""
        index = one_of(index, series)
        if page is not None:
            source = plane_of(*self._page_at(page, index))
            return self._properties(source, source.shape, source.axes, Details(), None, False)
        frames = self._counts_frames(key)
        stacked = index is Ellipsis and not frames
        keys = self._listed(key) if stacked else [self._key(None if frames else index, key)]
        sources = [self._source(keys[0], level)] if not stacked else [self._source(one, level) for one in keys]
        if stacked:
            require_equal(self._checked().resource.name, sources)
        source = sources[0] if stacked else self._chosen(index, key, level)
        shape, named = source.shape, source.axes
        if roi is not None or axes is not None:
            part = Part(roi, axes)
            sizes = tuple(one.stop - one.start for one in part.box(shape, named))
            shown, named = part.arranged(np.broadcast_to(np.zeros((), source.dtype), sizes), named)
            shape = shown.shape
        batch = stacked or (frames and index in (None, Ellipsis))
        shape = (len(keys), *shape) if stacked else shape
        all_axes = (Axis("image", "other"), *named) if stacked else named
        count = (len(keys) if stacked else self._count(key)) if batch else None
        return self._properties(source, shape, all_axes, self._detail(keys[0]), count, batch, (keys[0], level))

    def metadata(
        self,
        index: Any = None,
        exclude_applied: bool = True,
        *,
        key: str | None = None,
        standard: bool = False,
        json: bool = False,
    ) -> dict[str, Any]:
        """Return what the file says of an image and of itself; of itself alone with ``index=...``. See `immeta`."""
        index = checked_index(index)
        view = View(exclude_applied, standard, json)
        first = None if index is Ellipsis or self._counts_frames(key) else index
        found = self._key(first, key) if index is not Ellipsis or key else self._listed(None)[0]
        if self._counts_frames(key) and isinstance(index, int):
            position(index, self._count(key), "image", self._checked().resource.name)
        details = self._detail(found)
        if standard:
            return view.model(details, self._source(found).axes)
        return view.raw(details, image=index is not Ellipsis, file=not isinstance(index, int))

    def applied(self, index: Any = None) -> dict[str, Any]:
        """Return what reading does to the voxels, by the names of the metadata: not to be done again."""
        index = checked_index(index)
        first = None if index is Ellipsis or self._counts_frames(None) else index
        return dict(self._detail(self._key(first, None)).applied)

    def source(self, index: Any = None, level: int | str = 0, *, key: str | None = None) -> Source:
        """Return an image as a source, which reads when it is asked for voxels and outlives the handle."""
        index = checked_index(index)
        if index is Ellipsis:
            raise ParameterError("A source is one image, and index=... all of them.", remedy="index=0")
        contents = self._checked()
        if not self._counts_frames(key) or index is None:
            return contents.source(self._key(index, key), level)
        number = position(index, self._count(key), "image", contents.resource.name)
        return plane_of(contents.source(key, level), (number,))

    @property
    def images(self) -> list[ImageInfo]:
        """What the file holds."""
        return [self[number] for number in range(len(self))]

    def __len__(self) -> int:
        return len(self._listed(None))

    def __getitem__(self, index: int) -> ImageInfo:
        found = checked_index(index)
        if not isinstance(found, int):
            raise IndexingError(f"{index!r} is no number of an image.", remedy="handle[0]")
        contents = self._checked()
        keys = self._listed(None)
        key = keys[position(found, len(keys), "image", contents.resource.name)]
        source, details = self._source(key), self._detail(key)
        name = str((details.standard.get("image") or {}).get("name") or key or "")
        planes = math.prod(lead_of(source, details.is_rgb))
        levels = contents.level_shapes(key, source)
        return ImageInfo(name, source.shape, source.dtype, source.axes, levels, details.channel_names or (), planes)

    def write(self, *_: Any, **__: Any) -> None:
        """Refuse: the file is open for reading."""
        raise ReadOnlyError(f"{self.request.uri!r:.200} is open for reading.", remedy='imopen(uri, "w")')

    def close(self) -> None:
        """Close the file; sources of it that were asked for stay."""
        with self._lock:
            opened, self._open, self._contents = self._open, {}, None
        for source in opened.values():
            source.close()

    def __enter__(self) -> Self:
        self._checked()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        if hasattr(self.request.uri, "read"):
            raise NotReopenableError("An open file object cannot be sent to another process.", remedy="pass its path")
        uri, *more = self._spec
        return open_to_read, (bytes(uri) if isinstance(uri, memoryview) else uri, *more)

    def _checked(self) -> Contents:
        contents = self._contents
        if contents is None:
            raise StorageError(f"{self.request.uri!r:.200} is closed.", remedy="imopen(uri, 'r')")
        return contents

    def _listed(self, key: str | None) -> list[str | None]:
        if key is not None:
            return [key]
        contents = self._checked()
        with self._lock:
            if self._keys is None:
                known = described(self._open.get((contents.first(), 0)))
                self._keys = [contents.first()] if known is not None and known.count == 1 else contents.images()
        return self._keys

    def _key(self, index: Any, key: str | None) -> str | None:
        """The key of an image; None where the format chooses, or complains that it cannot."""
        contents = self._checked()
        if key is not None or (index is None and (contents.entry.container or contents.entry.first)):
            return key if key is not None else contents.first()
        keys = self._listed(None)
        return keys[position(index or 0, len(keys), "image", contents.resource.name)]

    def _counts_frames(self, key: str | None) -> bool:
        return self._checked().entry.frames and key is None

    def _count(self, key: str | None) -> int:
        """How many images an index counts."""
        if self._counts_frames(key):
            return self._source(None).shape[0]
        known = described(self._open.get((self._checked().first(), 0)))
        return known.count if known is not None else len(self._listed(None))

    def _source(self, key: str | None, level: int | str = 0) -> Source:
        contents = self._checked()
        with self._lock:
            if (key, level) not in self._open:
                self._open[key, level] = contents.source(key, level)
            return self._open[key, level]

    def _detail(self, key: str | None) -> Details:
        contents = self._checked()
        with self._lock:
            if key not in self._details:
                self._details[key] = contents.details(key, self._open.get((key, 0)))
            return self._details[key]

    def _chosen(self, index: Any, key: str | None, level: int | str) -> Source:
        """The source that an index stands for: of an image, or of a frame of it."""
        if not self._counts_frames(key):
            return self._source(self._key(None if index is Ellipsis else index, key), level)
        source = self._source(None, level)
        if not isinstance(index, int):
            return source
        return plane_of(source, (position(index, source.shape[0], "image", self._checked().resource.name),))

    def _part(self, source: Source, part: Part, out: np.ndarray | None, dtype: Any) -> np.ndarray:
        box = part.box(source.shape, source.axes)
        part.order(source.shape if part.roi is None else tuple(b.stop - b.start for b in box), source.axes)
        nbytes = math.prod(one.stop - one.start for one in box) * source.dtype.itemsize
        self._checked().check_size(nbytes)
        kind = source.dtype if dtype is None else data_type(dtype)
        if kind.kind not in "biufc":
            raise DtypeError(f"dtype={dtype!r}: voxels are numbers.", remedy='dtype="uint8"')
        straight = part.axes is None and kind == source.dtype
        if out is not None and straight:
            return read_box(source, box, checked_out(out, tuple(one.stop - one.start for one in box), kind))
        array, _ = part.arranged(read_box(source, box), source.axes)
        array = convert_values(array, kind)
        if out is None:
            return array
        target = checked_out(out, array.shape, kind)
        target[...] = array
        return target

    def _along(self, index: Any, axis: str | None, options: dict[str, Any]) -> Iterator[np.ndarray]:
        source = self._chosen(None if index is Ellipsis else index, options.pop("key", None), options.pop("level", 0))
        names = [one.name for one in source.axes]
        if axis is None:
            yield self._part(source, Part(**options), None, None)
            return
        if axis not in names:
            raise ParameterError(f"axis={axis!r}, but the image has the axes {names}.", remedy=f"axis={names[0]!r}")
        for number in range(source.shape[names.index(axis)]):
            yield self._part(slice_of(source, names.index(axis), number), Part(**options), None, None)

    def _page(self, page: int, index: Any) -> np.ndarray:
        source, at = self._page_at(page, index)
        plane = source.shape[len(at) :]
        self._checked().check_size(math.prod(plane) * source.dtype.itemsize)
        box = (*(slice(one, one + 1) for one in at), *(slice(0, size) for size in plane))
        return read_box(source, box).reshape(plane)

    def _page_at(self, page: int, index: Any) -> tuple[Source, tuple[int, ...]]:
        """Where a plane lies, by its number within an image, or within the file."""
        number = checked_index(page)
        if not isinstance(number, int):
            raise ParameterError(f"page={page!r} is no number.", remedy="page=0")
        sources = list(map(self._source, self._listed(None))) if index is Ellipsis else [self._chosen(index, None, 0)]
        leads = [lead_of(source, self._rgb(source)) for source in sources]
        left = position(number, sum(map(math.prod, leads)), "page", self._checked().resource.name)
        for source, lead in zip(sources, leads, strict=True):
            if left < math.prod(lead):
                return source, tuple(map(int, np.unravel_index(left, lead))) if lead else ()
            left -= math.prod(lead)
        raise AssertionError("a page is in one of the images")

    def _rgb(self, source: Source) -> bool:
        if source.axes[-1].kind != "channel":
            return False
        found = [key for (key, _), one in self._open.items() if one is source]
        return self._detail(found[0]).is_rgb if found else False

    def _properties(
        self,
        source: Source,
        shape: tuple[int, ...],
        axes: tuple[Axis, ...],
        details: Details,
        count: int | None,
        batch: bool,
        chosen: tuple[str | None, int | str] | None = None,
    ) -> ImageProperties:
        known = spacing_of(axes)
        contents = self._checked()
        levels: tuple[tuple[int, ...], ...] = (source.shape,)
        if chosen is not None and chosen[1] == 0 and contents.entry.levels:
            levels = contents.level_shapes(chosen[0], source)
        return ImageProperties(
            shape=tuple(shape),
            dtype=source.dtype,
            n_images=count,
            is_batch=batch,
            spacing=known,
            axes=tuple(axis.name for axis in axes),
            unit=tuple(axis.unit for axis in axes),
            origin=tuple(float(axis.offset) for axis in axes) if known or any(axis.offset for axis in axes) else None,
            affine=details.affine,
            channel_names=details.channel_names,
            channel_colors=details.channel_colors,
            time_step=time_step_of(axes) if details.time_step is None else details.time_step,
            positions=details.positions,
            levels=levels,
            chunks=source.chunks,
            compression=details.compression,
            bits=details.bits,
            is_label=details.is_label,
            is_rgb=details.is_rgb,
            format=contents.entry.name,
            n_total=self._count(None),
        )


def open_to_read(uri: Any, plugin: Any, extension: str | None, options: Mapping[str, Any]) -> ReadHandle:
    """Open a file; see `imopen`."""
    contents = contents_of(resource_of(uri, extension), plugin, extension, options)
    return ReadHandle(contents, (uri, plugin, extension, dict(options)))
