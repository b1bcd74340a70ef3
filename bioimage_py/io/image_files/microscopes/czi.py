"""CZI files of Zeiss: an image for each scene, put together from its tiles, at each level of its pyramid."""

from __future__ import annotations

import itertools
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ....errors import FormatError
from ....extras import need
from ....sources.axes import Axis, kind_of
from ....sources.file import Opened
from ....sources.indexing import normalize_index
from ...details import Details
from ..opening import (
    AGAIN,
    level_among,
    one_of_several,
    only_image,
    pixel_sizes,
    reading,
    require_memory,
    size_in_bytes,
    split_level,
    with_level,
)
from .czi_layout import COMPRESSIONS, NAME, PIXELS, Tile, read_directory, read_metadata, read_tile

_CACHE_BYTES = 128 * 2**20
_INSIDE = "SMYX"
_MOST_INDICES = 10_000_000


class Mosaic:
    """The tiles of a scene at one level as one read-only array; what no tile covers is 0.

    Any number of threads may read it.

    Parameters
    ----------
    path : str
        File.
    tiles : sequence of Tile
        Tiles of one scene and level; later ones lie above earlier ones.
    """

    thread_safe = True

    def __init__(self, path: str, tiles: Sequence[Tile]) -> None:
        self._path = os.path.abspath(path)
        names = [name for name in reversed(tiles[0].start) if name not in _INSIDE]
        self._factor = tiles[0].factor
        start = {name: min(tile.start.get(name, 0) for tile in tiles) for name in [*names, "Y", "X"]}
        stop = {name: max(tile.start.get(name, 0) + tile.size.get(name, 1) for tile in tiles) for name in start}
        self._names = [name for name in names if stop[name] - start[name] > 1]
        self.start = start
        samples = {PIXELS[tile.pixel][1] for tile in tiles}
        if len(samples) > 1:
            raise FormatError(f"{path} has tiles of {sorted(samples)} samples in one scene.", remedy="split the scene")
        self.samples = samples.pop()
        lead = tuple(stop[name] - start[name] for name in self._names)
        if np.prod(lead, dtype=object) > _MOST_INDICES:
            raise FormatError(f"{path} announces {lead} planes for {len(tiles)} tiles.", remedy=AGAIN)
        plane = tuple(-(-(stop[name] - start[name]) // self._factor) for name in "YX")
        self.shape = (*lead, *plane, *((self.samples,) if self.samples > 1 else ()))
        self.dtype = np.result_type(*{PIXELS[tile.pixel][0].newbyteorder("=") for tile in tiles})
        largest = tuple(min(max(tile.stored[n] for tile in tiles), size) for n, size in zip("YX", plane, strict=True))
        self.chunks = (*(1 for _ in lead), *largest, *self.shape[len(lead) + 2 :])
        self._lead = lead
        self._at: dict[tuple[int, ...], list[Tile]] = {}
        for tile in sorted(tiles, key=lambda tile: tile.start.get("M", 0)):
            if any(tile.size[name] > 1 for name in tile.size if name not in "MYX"):
                raise FormatError(f"{path} has tiles of several planes.", remedy="export it as OME-TIFF")
            self._at.setdefault(tuple(tile.start.get(name, 0) - start[name] for name in self._names), []).append(tile)
        self._lock = threading.Lock()
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """Letters of the axes."""
        return [*self._names, "Y", "X", *("S" if self.samples > 1 else "")]

    def __getitem__(self, index: Any) -> np.ndarray:
        selection = normalize_index(index, self.shape)
        n = len(self._lead)
        lead, (rows, columns) = selection.roi[:n], selection.roi[n : n + 2]
        require_memory(self._path, size_in_bytes(selection.roi_shape, self.dtype))
        region = np.zeros((*selection.roi_shape[: n + 2], self.samples), self.dtype)
        for place in itertools.product(*(range(part.start, part.stop) for part in lead)):
            plane = region[tuple(position - part.start for position, part in zip(place, lead, strict=True))]
            for tile in self._at.get(place, ()):
                y, x = ((tile.start[name] - self.start[name]) // self._factor for name in "YX")
                top, bottom = max(y, rows.start), min(y + tile.stored["Y"], rows.stop)
                left, right = max(x, columns.start), min(x + tile.stored["X"], columns.stop)
                if top < bottom and left < right:
                    pixels = self._tile(tile)[top - y : bottom - y, left - x : right - x]
                    plane[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = pixels
        if self.samples > 1:
            return selection.pick(region[..., selection.roi[n + 2]])
        return selection.pick(region[..., 0])

    def _tile(self, tile: Tile) -> np.ndarray:
        with self._lock:
            found = self._cache.get(tile.place)
            if found is not None:
                self._cache.move_to_end(tile.place)
                return found
        found = read_tile(self._path, tile)
        with self._lock:
            self._cache[tile.place] = found
            while len(self._cache) > 1 and sum(one.nbytes for one in self._cache.values()) > _CACHE_BYTES:
                self._cache.popitem(last=False)
        return found

    def files_of(self, roi: Sequence[slice]) -> tuple[str, ...]:
        """Return the path of the file."""
        return (self._path,)


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the images under their keys."""
    return {key: open_dataset(path, key, mode, {}).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return the numbers of the scenes; "" where there is one."""
    with reading(path, NAME):
        return list(_scenes(read_directory(path)[0]))


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open a scene at a level of its pyramid, its axes as they lie in the file."""
    arguments = dict(kwargs)
    level = arguments.pop("level", None)
    only_image(path, None, mode, NAME, arguments)
    with reading(path, NAME):
        tiles, metadata = read_directory(path)
        scenes = _scenes(tiles)
        key, level = split_level(key, level, list(scenes))
        name = one_of_several(path, key, list(scenes), "scenes")
        factors = sorted({tile.factor for tile in scenes[name]})
        number = level_among(path, level, len(factors))
        factor = factors[number]
        used = [tile for tile in scenes[name] if tile.factor == factor]
        if any(tile.compression for tile in used):
            need("imagecodecs", f"The compression of {path}")
        mosaic = Mosaic(path, used)
        return Opened(mosaic, with_level(name, number), _axes(mosaic, _described(path, metadata), factor))


def details(path: str, key: str | None) -> Details:
    """Return channels, scale and what else the XML of a file says; it holds for all of its scenes."""
    only_image(path, None, "r", NAME)
    with reading(path, NAME):
        tiles, metadata = read_directory(path)
        scenes = _scenes(tiles)
        key = split_level(key, None, list(scenes))[0] or next(iter(scenes))
        name = one_of_several(path, key, list(scenes), "scenes")
        finest = [tile for tile in scenes[name] if tile.factor == min(one.factor for one in scenes[name])]
        mosaic, root = Mosaic(path, finest), _described(path, metadata)
        axes = _axes(mosaic, root, finest[0].factor)
        image = root.find(".//Metadata/Information/Image")
        described = [] if image is None else image.findall("./Dimensions/Channels/Channel")
        shown = {node.get("Id"): node for node in root.iterfind(".//DisplaySetting/Channels/Channel")}
        names = tuple(node.get("Name") or node.get("Id") or f"Channel {n}" for n, node in enumerate(described))
        colors = tuple(_color(node, shown.get(node.get("Id"))) for node in described)
        bits = None if image is None else image.findtext("ComponentBitCount")
        objective = root.find(".//Information/Instrument/Objectives/Objective")
        return Details(
            raw={} if image is None else {node.tag: node.text for node in image if node.text and not len(node)},
            file={node.tag: node.text for node in root.iterfind(".//Information/Document/*") if node.text},
            standard={
                "image": {"name": root.findtext(".//Information/Document/Name")},
                "acquired": None if image is None else image.findtext("AcquisitionDateAndTime"),
                "objective": None
                if objective is None
                else {
                    "name": objective.get("Name"),
                    "magnification": _number(objective.findtext("NominalMagnification")),
                    "numerical_aperture": _number(objective.findtext("LensNA")),
                },
                "channels": [{"name": n, "color": c} for n, c in zip(names, colors, strict=True)],
                "pixel_sizes": pixel_sizes(axes),
            },
            channel_names=names or None,
            channel_colors=tuple(str(color) for color in colors) if colors and all(colors) else None,
            time_step=next((axis.scale for axis in axes if axis.kind == "time" and axis.unit), None),
            compression=COMPRESSIONS[finest[0].compression],
            bits=int(bits) if bits and bits.isdecimal() and int(bits) < 8 * mosaic.dtype.itemsize else None,
            is_rgb=mosaic.samples == 3,
        )


def _scenes(tiles: Sequence[Tile]) -> dict[str, list[Tile]]:
    """Return the tiles by scene, in the order of their numbers."""
    found: dict[int, list[Tile]] = {}
    for tile in tiles:
        found.setdefault(tile.start.get("S", 0), []).append(tile)
    if len(found) == 1:
        return {"": next(iter(found.values()))}
    return {str(number): found[number] for number in sorted(found)}


def _described(path: str, place: int) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(read_metadata(path, place) or b"<ImageDocument/>")
    except (ElementTree.ParseError, FormatError) as error:
        warnings.warn(f"{path}: its metadata are damaged ({error}); it is read without them.", stacklevel=2)
        return ElementTree.Element("ImageDocument")


def _axes(mosaic: Mosaic, root: ElementTree.Element, factor: int) -> tuple[Axis, ...]:
    meters = {node.get("Id"): _number(node.findtext("Value")) for node in root.iterfind(".//Scaling/Items/Distance")}
    step = _number(root.findtext(".//Information/Image/Dimensions/T/Positions/Interval/Increment"))
    axes = []
    for name in mosaic.names:
        kind = "channel" if name in "CS" else kind_of(name)
        unit, scale, start = None, 1.0, 0.0
        if (size := meters.get(name)) and name in "XYZ":
            by = factor if name in "XY" else 1
            unit, scale = "micrometer", size * 1e6 * by
            start = (by - 1) / 2 * size * 1e6
        elif name == "T" and step:
            unit, scale = "second", step
        axes.append(Axis(name.lower(), kind, unit, scale, start))
    return tuple(axes)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None


def _color(*nodes: ElementTree.Element | None) -> str | None:
    """Return a colour, which is "#AARRGGBB" or "#RRGGBB"."""
    for node in nodes:
        text = "" if node is None else (node.findtext("Color") or "").strip().lower()
        if text.startswith("#") and len(text) in (7, 9) and all(sign in "0123456789abcdef" for sign in text[1:]):
            return f"#{text[-6:]}"
    return None
