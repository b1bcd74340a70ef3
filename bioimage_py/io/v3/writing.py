"""An image file that is being written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from ...errors import (
    FormatError,
    NotReopenableError,
    OptionError,
    ParameterError,
    ReadOnlyError,
    SourceTypeError,
    StorageError,
)
from ...sources.axes import Axis
from ...sources.spec import load_qualified
from ...sources.stores.location import Location
from ...system.files import clone
from ..details import Image, own_metadata
from ..formats import Format, require_library, split_path
from ..keys import series_of
from ..written.array_images import is_ome, write_layout
from ..written.read_back import changed
from .contents import contents_of
from .images import Wanted, images_of
from .info import Request
from .replacing import check_replaced, in_place_of
from .resource import Resource, Scratch, require_open
from .target import BYTES, checked_target, format_to_write

MODES = ("r", "w", "a", "x")
_OF_IMAGE = ("axes", "scale", "unit", "channel_names", "metadata", "dtype", "casting", "rescale", "name", "labels")


@dataclass(frozen=True)
class WriteReport:
    """What became of images that were written.

    Parameters
    ----------
    path : str
        Where they are.
    format : str
        Name of the format.
    lost : tuple of str
        What the format had no place for.
    """

    path: str
    format: str
    lost: tuple[str, ...]


class WriteHandle:
    """A file that is written when it is closed; made by `imopen`. One thread writes it.

    Parameters
    ----------
    uri : object
        What was given.
    path : str or Scratch
        Where it will be.
    entry : Format
        Its format.
    mode : {"w", "a", "x"}
        "a" keeps the images that are there.
    options : mapping
        Of the format, for all images.
    """

    def __init__(self, uri: Any, path: str | Scratch, entry: Format, mode: str, options: Mapping[str, Any]) -> None:
        self.request = Request(uri, mode)
        self.encoded: bytes | None = None
        """The file, of "<bytes>"."""
        self.report: WriteReport | None = None
        """What became of it, once it is closed."""
        self._scratch = path if isinstance(path, Scratch) else None
        self._path = path.path if isinstance(path, Scratch) else path
        self._entry = entry
        self._options = _checked_options(entry, options)
        self._images: list[Image] = []
        self._closed = False
        self._first: tuple[Sequence[Axis], tuple[int, ...]] | None = None

    def write(self, image: Any, *, is_batch: bool = False, copy: bool = True, **options: Any) -> None:
        """Add an image, or several (``is_batch=True``, or a list); see `imwrite`.

        Parameters
        ----------
        image : array_like
            A numpy array is copied, so that it may be changed afterwards; a source is read when the file is closed.
        is_batch : bool, default False
            The first axis counts images.
        copy : bool, default True
            False spares the copy of an array that stays as it is.
        **options
            As of `imwrite`.
        """
        if self._closed:
            raise StorageError(f"{self.request.uri!r:.200} is closed.", remedy="imopen(uri, 'w')")
        wanted = Wanted(**{name: options.pop(name) for name in _OF_IMAGE if name in options})
        self._options |= _checked_options(self._entry, options)
        for found in images_of(image, wanted, self._entry.name, is_batch):
            array = found.array
            if copy and isinstance(array, np.ndarray):
                found = replace(found, array=np.array(array))
            self._images.append(found)

    def read(self, *_: Any, **__: Any) -> Any:
        """Refuse: the file is open for writing."""
        raise ReadOnlyError(f"{self.request.uri!r:.200} is open for writing.", remedy='imopen(uri, "r")')

    iter = properties = metadata = source = applied = read

    def close(self) -> None:
        """Write the file; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if not self._images:
            raise ParameterError(f"No image was written to {self.request.uri!r:.200}.", remedy="handle.write(image)")
        writer = load_qualified(self._entry.write)
        adds = self.request.mode == "a" and split_path(self._path)[1] is None
        if adds and (count := _numbered_images(self._path, self._entry, self._options)):
            self._finish(_add_images(self._path, self._entry, count, self._images, self._options))
            return
        with in_place_of(self._path, self._entry, [image.array for image in self._images], adds) as beside:
            added = self._added(beside) if adds else None
            if added is None:
                images = [*self._there(self._path), *self._images] if adds else self._images
                added = writer(beside, images, self._options)
        self._finish(tuple(added))

    def _added(self, beside: str) -> tuple[str, ...] | None:
        """Add the images to a copy of the file; None where it has to be written anew."""
        if not self._entry.add or not os.path.isfile(self._path) or not os.path.getsize(self._path):
            return None
        contents_of(Resource(self._path, self._path), self._entry.name, None, {})
        clone(self._path, beside)
        found: tuple[str, ...] | None = load_qualified(self._entry.add)(beside, self._images, self._options)
        return found

    def checked_report(self) -> WriteReport | None:
        """The report, after a look at the file that was written."""
        if self.report is None or self._first is None or not os.path.lexists(split_path(self._path)[0]):
            return self.report
        if any(said.startswith("axis ") for said in self.report.lost):  # the format has told it
            return self.report
        return replace(self.report, lost=(*self.report.lost, *changed(self._path, self._entry, *self._first)))

    def _finish(self, lost: tuple[str, ...]) -> None:
        self.report = WriteReport(self._path, self._entry.name, lost)
        if self.request.mode != "a":
            self._first = (self._images[0].axes, tuple(self._images[0].array.shape))
        uri = self.request.uri
        if uri == BYTES or hasattr(uri, "write"):
            with open(self._path, "rb") as file:
                content = file.read()
            if self._scratch is not None:
                self._scratch.close()
            if uri == BYTES:
                self.encoded = content
            else:
                uri.write(content)
        self._images = []

    def _there(self, path: str) -> list[Image]:
        """The images of the file that is added to, lazily."""
        if not os.path.lexists(path):
            return []
        contents = contents_of(Resource(path, path), self._entry.name, None, {})
        found = []
        for key in contents.images():
            source, details = contents.source(key), contents.details(key)
            array = source.read() if source.nbytes < 2**24 else source
            found.append(Image(array, source.axes, "", replace(details, raw=own_metadata(details.raw))))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # half of a file is none
            self._closed = True
            return
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        raise NotReopenableError("A file that is being written cannot be sent.", remedy="close it, and send its path")


def writer_of(
    uri: Any, mode: str, plugin: Any, extension: str | None, options: Mapping[str, Any] | None = None
) -> WriteHandle:
    """Return a handle for writing; nothing is made before it is closed.

    Raises
    ------
    FormatError
        If no format of that name can be written.
    ParameterError
        If "<bytes>" or a file object comes without `extension` or `plugin`.
    """
    if uri == BYTES if isinstance(uri, str) else hasattr(uri, "write"):
        if extension is None and plugin is None:
            raise ParameterError(f"{uri!r:.80} does not say which format is wanted.", remedy='extension=".tif"')
        if mode == "a":
            raise ParameterError("mode 'a' adds to a file, bytes are none.", remedy='mode="w"')
        require_open(uri)
        entry = format_to_write("", plugin, extension)
        require_library(entry)
        if entry.stores:
            raise FormatError(f"{entry.name} is a folder, and no bytes.", remedy='a path, or extension=".h5"')
        ending = extension or entry.extensions[0]
        return WriteHandle(uri, Scratch(ending), entry, "w", options or {})
    if isinstance(uri, bytes | bytearray | memoryview):
        raise SourceTypeError("bytes cannot be written to.", remedy='imwrite("<bytes>", image, extension=".tif")')
    path = checked_target(uri, mode)
    entry = format_to_write(path, plugin, extension)
    require_library(entry)
    check_replaced(path, entry, mode == "a")
    return WriteHandle(uri, path, entry, mode, options or {})


def _checked_options(entry: Format, options: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in options if name not in entry.options]
    if unknown:
        known = ", ".join([*entry.options, *_OF_IMAGE, "report", "is_batch", "overwrite"])
        raise OptionError(
            f"{', '.join(unknown)}: no keyword of writing the format {entry.name!r}; it knows {known}.",
            remedy=f"leave {unknown[0]} out",
        )
    return dict(options)


def _numbered_images(path: str, entry: Format, options: Mapping[str, Any]) -> int:
    """Return how many images a container has under "0", "1", ...; 0 where it is to be written anew to hold more."""
    if not entry.container or not os.path.lexists(path):
        return 0
    keys = contents_of(Resource(path, path), entry.name, None, {}).images()
    count = len(keys)
    if count < 2 or set(keys) != {str(number) for number in range(count)}:
        return 0
    if entry.stores and bool(series_of(Location(path))) != (entry.name == "zarr" and is_ome(path, options)):
        return 0
    return count


def _add_images(
    path: str, entry: Format, count: int, images: Sequence[Image], options: Mapping[str, Any]
) -> tuple[str, ...]:
    """Add images under the next numbers; each is there when it is complete, and what was there stays.

    Parameters
    ----------
    path : str
        Container.
    entry : Format
        Its format.
    count : int
        Images that it has; see `_numbered_images`.
    images : sequence of Image
        Those that are added.
    options : mapping
        Of the format.

    Returns
    -------
    tuple of str
        What has no place in the container.
    """
    write = load_qualified(entry.write)
    lost: list[str] = []
    with ExitStack() as whole:
        place = path
        if not entry.stores:  # a file that is written in its place does not outlive a kill
            place = whole.enter_context(in_place_of(path, entry, []))
            clone(path, place)
        for number, image in enumerate(images, count):
            if not entry.stores:
                lost += write(f"{place}/{number}", [image], options)
                continue
            with in_place_of(f"{path}/{number}", entry, [image.array]) as beside:
                lost += write(beside, [image], options)
            if entry.name == "zarr" and is_ome(path, options):
                write_layout(path, number + 1)
    return tuple(dict.fromkeys(lost))
