"""tif stacks and folders of tif slices, read-only: mapped where uncompressed, else page by page with a cache."""

from __future__ import annotations

import itertools
import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..errors import DtypeError, FormatError, KeyNotFoundError, ShapeError, StorageError
from ..sources.base import Axis, default_axes
from ..sources.file import Opened
from ..sources.index import normalize_index
from ..sources.metadata import kind_of, unit_name
from .datasets import keep_local

CACHE_BYTES = 128 * 2**20

_ENDINGS = (".tif", ".tiff")


class Pages:
    """Equal pages as one read-only array; any number of threads may read it.

    Parameters
    ----------
    lead : tuple of int
        Shape of the axes in front of the page.
    page_shape : tuple of int
        Shape of a page.
    dtype : numpy.dtype
        Data type.
    load : callable
        ``load(i)`` decodes page i (C order over ``lead``).
    close : callable
        Closes the files.
    file_of : callable, optional
        ``file_of(i)`` is the absolute path of the file that page i lies in.
    """

    thread_safe = True

    def __init__(
        self,
        lead: tuple[int, ...],
        page_shape: tuple[int, ...],
        dtype: np.dtype,
        load: Callable[[int], np.ndarray],
        close: Callable[[], None],
        file_of: Callable[[int], str] | None = None,
    ) -> None:
        self._lead = lead
        self._page_shape = page_shape
        self.shape = (*lead, *page_shape)
        self.dtype = dtype
        self.chunks = (*(1 for _ in lead), *page_shape)
        self.close = close
        self._load = load
        self._file_of = file_of
        self._lock = threading.Lock()
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        page_bytes = max(1, math.prod(page_shape) * dtype.itemsize)
        self._capacity = max(1, CACHE_BYTES // page_bytes)

    def files_of(self, roi: Sequence[slice]) -> tuple[str, ...]:
        """Return the paths of the files that the pages of a box lie in."""
        if self._file_of is None:
            return ()
        lead = [range(part.start, part.stop) for part in roi[: len(self._lead)]]
        pages = (int(np.ravel_multi_index(at, self._lead)) if at else 0 for at in itertools.product(*lead))
        return tuple(dict.fromkeys(map(self._file_of, pages)))

    def __getitem__(self, index: Any) -> np.ndarray:
        selection = normalize_index(index, self.shape)
        lead, inner = selection.roi[: len(self._lead)], selection.roi[len(self._lead) :]
        region = np.empty(selection.roi_shape, self.dtype)
        for position in np.ndindex(region.shape[: len(lead)]):
            at = [part.start + offset for part, offset in zip(lead, position, strict=True)]
            region[position] = self._page(int(np.ravel_multi_index(at, self._lead)) if at else 0)[inner]
        return selection.pick(region)

    def _page(self, number: int) -> np.ndarray:
        with self._lock:
            page = self._cache.get(number)
            if page is not None:
                self._cache.move_to_end(number)
                return page
        page = self._load(number)
        if page.shape != self._page_shape:
            raise ShapeError(
                f"Page {number} has shape {page.shape}, the first one {self._page_shape}.",
                remedy="store pages of one shape in a file",
            )
        with self._lock:
            self._cache[number] = page
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        return page


class ImageStack(Mapping[str, Any]):
    """A file, or a folder of slices, as a container with one array under the key ""."""

    default_key = ""

    def __init__(self, array: Any, axes: tuple[Axis, ...] | None) -> None:
        self._array = array
        self.axes = axes

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


def construct(path: str, mode: str = "r", pattern: str | None = None) -> ImageStack:
    """Open a tif file, or all tif files of a folder, as one array.

    Parameters
    ----------
    path : str
        File or folder.
    mode : str, default "r"
        Ignored: these files are only read.
    pattern : str, optional
        Take only the files of a folder that match, such as "raw_*.tif".

    Raises
    ------
    FormatError
        If it is no tif file, or the folder has none.
    ShapeError, DtypeError
        If the slices of a folder differ in shape or data type.
    """
    keep_local(path, "tif")
    return _open_slices(path, pattern) if os.path.isdir(path) else _open_stack(path)


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the array; for a folder the key may be a pattern of file names."""
    keep_local(path, "tif")
    if key and not os.path.isdir(path):
        raise KeyNotFoundError(f"{path} is one array and has no key {key!r}.", remedy=f"open_source({path!r})")
    stack = construct(path, mode, **{"pattern": key or None, **kwargs})
    return Opened(stack[""], key or "", stack.axes, stack)


def _open_stack(path: str) -> ImageStack:
    import tifffile

    try:
        file = tifffile.TiffFile(path)
        series = file.series[0]
    except (tifffile.TiffFileError, IndexError) as error:
        raise FormatError(
            f"{path} is no tif file: {error}", remedy="pass format=... if it is something else"
        ) from error
    except OSError as error:
        raise StorageError(f"Cannot open {path}: {error}", remedy="check the file and its permissions") from error
    axes = _tif_axes(file, series)
    dtype = np.dtype(series.dtype)
    # The library names the native type whatever the order of the file.
    native = dtype.newbyteorder(file.byteorder).isnative
    if series.dataoffset is not None and native and not series.is_multifile:
        offset, shape = series.dataoffset, series.shape
        file.close()
        return ImageStack(np.memmap(path, dtype, "r", offset, shape), axes)
    page_shape = tuple(series.keyframe.shape)
    split = len(series.shape) - len(page_shape)
    if split < 0 or tuple(series.shape[split:]) != page_shape:
        # An arrangement of pages that is not a stack of them: the library knows it, as a whole.
        whole = np.asarray(series.asarray())
        file.close()
        whole.flags.writeable = False
        return ImageStack(whole.astype(dtype.newbyteorder("="), copy=False), axes)
    file.filehandle.set_lock(True)

    def load(number: int) -> np.ndarray:
        page = series.pages[number]
        if page is None:
            return np.zeros(page_shape, dtype.newbyteorder("="))
        try:
            return np.asarray(page.asarray(maxworkers=1)).reshape(page_shape)
        except Exception as error:  # codecs raise types of their own for damaged data
            raise StorageError(f"Cannot read page {number} of {path}: {error}", remedy="check the file") from error

    def file_of(number: int) -> str:
        page = series.pages[number]
        return os.path.abspath(path if page is None else page.parent.filehandle.path)

    pages = Pages(tuple(series.shape[:split]), page_shape, dtype.newbyteorder("="), load, file.close, file_of)
    return ImageStack(pages, axes)


def _open_slices(path: str, pattern: str | None) -> ImageStack:
    import fnmatch

    import tifffile

    names = [entry.name for entry in os.scandir(path) if entry.is_file() and entry.name.lower().endswith(_ENDINGS)]
    if pattern is not None:
        names = fnmatch.filter(names, pattern)
    if not names:
        matching = f" that match {pattern!r}" if pattern else ""
        raise FormatError(f"{path} has no tif files{matching}.", remedy="pass format=... if it is something else")
    names.sort(key=natural_key)
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
        return np.asarray(tifffile.imread(os.path.join(path, names[number]), maxworkers=1))

    def file_of(number: int) -> str:
        return os.path.join(os.path.abspath(path), names[number])

    axes = (Axis("z"), Axis("y"), Axis("x")) if len(shape) == 2 else default_axes(len(shape) + 1)
    return ImageStack(Pages((len(names),), shape, dtype.newbyteorder("="), load, lambda: None, file_of), axes)


def _header(path: str) -> tuple[tuple[int, ...], np.dtype]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            return tuple(series.shape), np.dtype(series.dtype)
    except (tifffile.TiffFileError, IndexError) as error:
        raise FormatError(f"{path} is no tif file: {error}", remedy="remove it from the folder") from error


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names by value: slice_2 before slice_10."""
    return [
        (0, int(part), part) if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part
    ]


def _tif_axes(file: Any, series: Any) -> tuple[Axis, ...]:
    scales = _ome_scales(file.ome_metadata) if file.is_ome else _imagej_scales(file, series)
    letters = str(series.axes)
    unknown = [letter for letter in letters if letter not in "TCZYXS"]
    names: list[str] = []
    for index, letter in enumerate(letters):
        if letter in unknown:
            letter = "Z" if len(unknown) == 1 and "Z" not in letters else f"d{index}"
        names.append("c" if letter == "S" and "C" not in letters else letter.lower())
    return tuple(Axis(name, "channel" if name == "s" else kind_of(name), *_scale(scales, name)) for name in names)


def _scale(scales: Mapping[str, tuple[str | None, float]], name: str) -> tuple[str | None, float]:
    return scales.get(name, (None, 1.0))


def _imagej_scales(file: Any, series: Any) -> dict[str, tuple[str | None, float]]:
    """Return unit and scale by axis; resolutions of other programs are mostly those of a printer, and not used."""
    found = file.imagej_metadata if file.is_imagej else None
    if not found:
        return {}
    unit = unit_name(str(found["unit"])) if "unit" in found else None
    scales: dict[str, tuple[str | None, float]] = {}
    for name, tag in (("x", "XResolution"), ("y", "YResolution")):
        value = series.keyframe.tags.get(tag)
        if value is not None and value.value[0] and unit is not None:
            scales[name] = (unit, value.value[1] / value.value[0])
    if "spacing" in found:
        scales["z"] = (unit, float(found["spacing"]))
    if "finterval" in found:
        scales["t"] = ("second", float(found["finterval"]))
    return scales


def _ome_scales(xml: str | None) -> dict[str, tuple[str | None, float]]:
    try:
        root = ElementTree.fromstring(xml or "")
    except ElementTree.ParseError:
        return {}
    pixels: Sequence[Any] = [node for node in root.iter() if node.tag.endswith("}Pixels")]
    if not pixels:
        return {}
    scales: dict[str, tuple[str | None, float]] = {}
    for name in "xyz":
        value = pixels[0].get(f"PhysicalSize{name.upper()}")
        if value is not None:
            # The schema's default for lengths without a unit is the micrometer.
            scales[name] = (unit_name(pixels[0].get(f"PhysicalSize{name.upper()}Unit", "µm")), float(value))
    if (interval := pixels[0].get("TimeIncrement")) is not None:
        scales["t"] = (unit_name(pixels[0].get("TimeIncrementUnit", "s")), float(interval))
    return scales
