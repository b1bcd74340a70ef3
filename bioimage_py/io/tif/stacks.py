"""tif stacks and folders of tif slices, read-only: mapped where uncompressed, else page by page with a cache."""

from __future__ import annotations

import math
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ...errors import BioimageError, DtypeError, FormatError, KeyNotFoundError, ParameterError, ShapeError, StorageError
from ...extras import need
from ...sources.axes import Axis, default_axes
from ...sources.file import Opened
from ...sources.forks import check_opened, count
from ..details import Details
from ..formats import keep_local
from .axes import level_axes, tif_axes
from .known import MOST_PAGES, Layout, Once, recall, remember, state_of
from .metadata import series_details
from .pages import Pages
from .segments import TiledPages, in_segments
from .whole import open_tif, reading_structure, require_chain, require_files, require_page, warn_of_gaps

ENDINGS = (".tif", ".tiff")
_IN_ONE_PIECE = ("shaped", "imagej")
"""Kinds of series that may lie in one piece, whose length the metadata say; of others the pages are counted."""
_one_at_a_time = threading.Lock()


class ImageStack(Mapping[str, Any]):
    """A file, or a folder of slices, as a container with one array under the key "".

    Parameters
    ----------
    array : array_like
    axes : tuple of Axis, optional
    """

    default_key = ""

    count = 1
    level_shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self, array: Any, axes: tuple[Axis, ...] | None) -> None:
        self._array = array
        self.axes = axes
        self.level_shapes = (tuple(array.shape),)
        self.describe: Callable[[], Details] = Details

    def details(self) -> Details:
        """What the file says of its image."""
        return self.describe()

    def __getitem__(self, key: str) -> Any:
        if key != "":
            raise KeyError(key)
        return self._array

    def __iter__(self) -> Iterator[str]:
        return iter([""])

    def __len__(self) -> int:
        return 1

    def __enter__(self) -> ImageStack:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        if hasattr(self._array, "close"):
            self._array.close()


def construct(path: str, mode: str = "r", pattern: str | None = None, series: int | None = None) -> ImageStack:
    """Open a series of a tif file, or all tif files of a folder, as one array.

    Parameters
    ----------
    path : str
        File or folder.
    mode : str, default "r"
        Ignored: these files are only read.
    pattern : str, optional
        Take only the files of a folder that match, such as "raw_*.tif".
    series : int, optional
        Number of the series in a file. None: the first; a warning tells if there are others.

    Raises
    ------
    FormatError
        If it is no tif file, or a damaged one, or the folder has none.
    KeyNotFoundError
        If the file has no such series.
    SourceNotFoundError
        If another file is missing over which the image spreads.
    ShapeError, DtypeError
        If the slices of a folder differ in shape or data type.
    """
    keep_local(path, "tif")
    return _open_slices(path, pattern) if os.path.isdir(path) else _open_series(path, series)[0]


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the array; the key is the number of a series in a file ("0", or "0/1" for a level of it), or a pattern of
    file names in a folder.
    """
    keep_local(path, "tif")
    arguments = dict(kwargs)
    level = arguments.pop("level", 0)
    if os.path.isdir(path):
        stack = construct(path, mode, **{"pattern": key or None, **arguments})
        return Opened(stack[""], key or "", stack.axes, stack)
    chosen = arguments.pop("series", None)
    if key:
        key, _, inner = key.partition("/")
        level = int(inner) if inner.isdecimal() else level
        if not key.isdecimal() or (inner and not inner.isdecimal()) or chosen not in (None, int(key)):
            raise KeyNotFoundError(
                f"{path} has series 0, 1, ... as keys, not {key!r}" + f" and series={chosen!r}." * (chosen is not None),
                remedy=f"open_source({path!r}), or bioimage-py info {path} to list them",
            )
        chosen = int(key)
    if arguments:
        raise ParameterError(f"tif files take no {', '.join(arguments)}.", remedy="leave it out; series=1 is known")
    stack, number = _open_series(path, chosen, level)
    return Opened(stack[""], number, stack.axes, stack)


def keys(path: str) -> list[str]:
    """Return the keys of the series in a file: one "" where there is only one."""
    need("tifffile", "A tif file")
    with reading_structure(path), open_tif(path) as file:
        count = len(_found_series(path, file))
    return [""] if count == 1 else [str(number) for number in range(count)]


def _open_series(path: str, chosen: int | None, level: int | str = 0) -> tuple[ImageStack, str]:
    """Open a level of a series; its key is "" in a file that has only one series, for the finest level."""
    state = state_of(path)
    if level == 0 and (known := recall(path, chosen, state)):
        return _mapped(path, known), known.key
    with reading_structure(path), ExitStack() as on_error:
        file = on_error.enter_context(open_tif(path))
        found = _series_of(path, file, chosen)
        key = "" if len(file.series) == 1 else str(chosen or 0)
        number = _level_of(path, found, level)
        if number:
            key = f"{chosen or 0}/{number}"
        level_found = found.levels[number]
        axes = level_axes(tif_axes(file, found), found.shape, level_found.shape)
        stack = _stack_of(path, file, level_found, axes)
        stack.count = count = len(file.series)
        stack.level_shapes = tuple(tuple(one.shape) for one in found.levels)
        stack.describe = Once(lambda: series_details(path, file, chosen or 0))
        on_error.pop_all()
    array = stack[""]
    small = len(found) <= MOST_PAGES
    if isinstance(array, np.memmap) and not number and small and (count == 1 or chosen is not None):  # else it warns
        parts = (array.offset, array.shape, array.dtype, axes, key, count, stack.level_shapes, stack.describe)
        remember(path, chosen, state, Layout(*parts))
    return stack, key


def _mapped(path: str, known: Layout) -> ImageStack:
    with reading_structure(path):
        stack = ImageStack(np.memmap(path, known.dtype, "r", known.offset, known.shape), known.axes)
    stack.count, stack.level_shapes, stack.describe = known.count, known.level_shapes, known.describe
    return stack


def _found_series(path: str, file: Any) -> Any:
    if not file.series:
        raise FormatError(
            f"{path} begins as a tif file, and has no pages.", remedy="pass format=... if it is something else"
        )
    return file.series


def _series_of(path: str, file: Any, chosen: int | None) -> Any:
    known = _found_series(path, file)
    if chosen is not None and not 0 <= chosen < len(known):
        raise KeyNotFoundError(
            f"{path} has no series {chosen}; it has {len(known)}, counted from 0.",
            remedy=f"open_source({path!r}, '0'), or bioimage-py info {path} to list them",
        )
    series = known[chosen or 0]
    if 0 in series.shape:
        raise FormatError(
            f"{path} says that its image has the shape {tuple(series.shape)}, which cannot be.",
            remedy="copy the file again, or restore it",
        )
    if series.dataoffset is None or series.kind not in _IN_ONE_PIECE:
        require_chain(path, file)
    require_files(path, file, series)
    if chosen is None and len(known) > 1:
        warnings.warn(
            f"{path} holds {len(known)} series, of which the first is opened, of shape {tuple(series.shape)}; the next"
            f" has {tuple(known[1].shape)} and is open_source({path!r}, '1').",
            stacklevel=2,
        )
    return series


def _level_of(path: str, series: Any, level: int | str) -> int:
    count = len(series.levels)
    number = int(level) if isinstance(level, str) and level.isdecimal() else level
    if not isinstance(number, int) or not -count <= number < count:
        raise KeyNotFoundError(
            f"{path} has no level {level!r}; it has {count}, counted from 0.",
            remedy=f"level={count - 1}, or leave it out",
        )
    return number % count


def _stack_of(path: str, file: Any, series: Any, axes: tuple[Axis, ...]) -> ImageStack:
    _need_codecs(series.keyframe, path)
    dtype = np.dtype(series.dtype)
    # The library names the native type whatever the order of the file.
    native = dtype.newbyteorder(file.byteorder).isnative
    if series.dataoffset is not None and not series.is_multifile:
        end, size = series.dataoffset + math.prod(series.shape) * dtype.itemsize, file.filehandle.size
        if end > size:
            raise FormatError(
                f"{path} is cut off: its voxels end at byte {end}, the file at byte {size}.",
                remedy="copy the file again, or restore it",
            )
        if native:
            offset, shape = series.dataoffset, series.shape
            file.close()
            return ImageStack(np.memmap(path, dtype, "r", offset, shape), axes)
    page_shape = tuple(series.keyframe.shape)
    split = len(series.shape) - len(page_shape)
    file.filehandle.set_lock(True)
    forks = count()

    def page_of(number: int) -> Any:
        page = unchecked(number)
        require_page(path, number, page)
        return page

    def unchecked(number: int) -> Any:
        check_opened(forks, path)
        return series.pages[number]

    if split < 0 or tuple(series.shape[split:]) != page_shape:
        # An arrangement of pages that is not a stack of them: the library knows it, as a whole.
        for number, page in enumerate(series.pages):
            require_page(path, number, page)
        whole = np.asarray(series.asarray())
        file.close()
        whole.flags.writeable = False
        return ImageStack(whole.astype(dtype.newbyteorder("="), copy=False), axes)
    if in_segments(series.keyframe) and not series.is_multifile:
        lead = tuple(series.shape[:split])
        return ImageStack(TiledPages(lead, series.keyframe, unchecked, file.close, path), axes)

    def load(number: int, out: np.ndarray | None = None) -> np.ndarray:
        try:
            page = page_of(number)
            with _open_file_of(page, file):
                return np.asarray(page.asarray(out=out, maxworkers=1)).reshape(page_shape)
        except BioimageError:
            raise
        except Exception as error:  # codecs raise types of their own for damaged data
            raise StorageError(
                f"Cannot read page {number} of {path}: {type(error).__name__}: {error}",
                remedy="copy the file again, or restore it",
            ) from error

    def file_of(number: int) -> str:
        page = series.pages[number]
        return os.path.abspath(path if page is None else page.parent.filehandle.path)

    pages = Pages(tuple(series.shape[:split]), page_shape, dtype.newbyteorder("="), load, file.close, file_of, load)
    return ImageStack(pages, axes)


@contextmanager
def _open_file_of(page: Any, file: Any) -> Iterator[None]:
    """Have the file of a page open: the library closes all but the first of an image that spreads over several."""
    handle = page.parent.filehandle
    if handle is file.filehandle:
        yield
        return
    with _one_at_a_time:
        handle.open()
        try:
            yield
        finally:
            handle.close()


def _open_slices(path: str, pattern: str | None) -> ImageStack:
    import fnmatch

    names = [entry.name for entry in os.scandir(path) if entry.is_file() and entry.name.lower().endswith(ENDINGS)]
    if pattern is not None:
        names = fnmatch.filter(names, pattern)
    if not names:
        matching = f" that match {pattern!r}" if pattern else ""
        raise FormatError(f"{path} has no tif files{matching}.", remedy="pass format=... if it is something else")
    names.sort(key=natural_key)
    warn_of_gaps(path, names)
    shape, dtype = _header(os.path.join(path, names[0]))
    for name in names[1:]:
        other_shape, other_dtype = _header(os.path.join(path, name))
        if other_shape != shape:
            raise ShapeError(
                f"{name} has shape {other_shape}, {names[0]} has {shape} (folder {path}).",
                remedy="keep slices of one shape in a folder, or select them: open_source(path, 'raw_*.tif')",
            )
        if other_dtype != dtype:
            raise DtypeError(
                f"{name} has data type {other_dtype}, {names[0]} has {dtype} (folder {path}).",
                remedy="convert the slices to one data type",
            )

    def load(number: int) -> np.ndarray:
        name = os.path.join(path, names[number])
        with reading_structure(name), open_tif(name) as file:
            for position, page in enumerate(file.series[0].pages):
                require_page(name, position, page)
            return np.asarray(file.series[0].asarray(maxworkers=1))

    def file_of(number: int) -> str:
        return os.path.join(os.path.abspath(path), names[number])

    axes = (Axis("z"), Axis("y"), Axis("x")) if len(shape) == 2 else default_axes(len(shape) + 1)
    return ImageStack(Pages((len(names),), shape, dtype.newbyteorder("="), load, lambda: None, file_of), axes)


def is_stack(folder: str) -> bool:
    """Tell whether a folder holds slices."""
    return any(entry.name.lower().endswith(ENDINGS) and entry.is_file() for entry in os.scandir(folder))


def _need_codecs(page: Any, path: str) -> None:
    """Raise where only imagecodecs decompresses a page, before the first one is read."""
    from tifffile import TIFF

    if page.compression not in TIFF.DECOMPRESSORS or page.predictor not in TIFF.UNPREDICTORS:
        need("imagecodecs", f"The compression of {path}")


def _header(path: str) -> tuple[tuple[int, ...], np.dtype]:
    with reading_structure(path), open_tif(path) as file:
        series = file.series[0]
        _need_codecs(series.keyframe, path)
        return tuple(series.shape), np.dtype(series.dtype)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names by value: slice_2 before slice_10."""
    return [
        (0, int(part), part) if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part
    ]
