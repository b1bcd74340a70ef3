"""KNOSSOS cubes (.k.toml, knossos.conf): a folder of small volumes at each magnification, read as they are needed."""

from __future__ import annotations

import io
import itertools
import os
import re
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FormatError, SourceNotFoundError, StorageError
from ...extras import needing
from ...sources.arrays.backing import gone
from ...sources.axes import Axis
from ...sources.file import Opened
from ...sources.indexing import normalize_index
from ..details import Details
from .opening import (
    AGAIN,
    checked_shape,
    head_of,
    level_among,
    no_such,
    one_of_several,
    only_image,
    pixel_sizes,
    reading,
    require_memory,
    size_in_bytes,
    split_level,
    with_level,
)

_NAME = "KNOSSOS"
_MOST_CONFIG = 1 << 20
_CUBE = 128
_DTYPES: dict[str, np.dtype[Any]] = {".raw": np.dtype("<u1"), ".seg": np.dtype("<u8"), ".seg.sz.zip": np.dtype("<u8")}
_LINE = re.compile(r'^\s*(experiment name|boundary [xyz]|scale [xyz]|magnification)\s+"?([^";]*)"?\s*;?\s*$')


@dataclass(frozen=True)
class Layer:
    """One layer, as a configuration describes it.

    Parameters
    ----------
    name : str
        Name that its files begin with.
    shape : tuple of int
        ``(z, y, x)`` at magnification 1.
    sizes : list of tuple of float
        Voxel sizes in nanometres, z first, of each magnification.
    numbers : list of int
        What the magnifications are called.
    cube : tuple of int
        Shape of a cube, z first.
    ending : str
        Of the files.
    """

    name: str
    shape: tuple[int, ...]
    sizes: list[tuple[float, ...]]
    numbers: list[int]
    cube: tuple[int, ...]
    ending: str


class Cubes:
    """The cubes of one magnification as one read-only array; those that were not stored are 0.

    Any number of threads may read it.

    Parameters
    ----------
    folder : str
        Folder with the folders x0000, x0001, ...
    layer : Layer
        What is stored there.
    number : int
        What the magnification is called.
    shape : tuple of int
        ``(z, y, x)``.
    """

    thread_safe = True

    def __init__(self, folder: str, layer: Layer, number: int, shape: tuple[int, ...]) -> None:
        self._folder, self._layer, self._number = os.path.realpath(folder), layer, number
        self.shape, self.chunks = shape, layer.cube
        dtype = _DTYPES[layer.ending]
        if layer.ending == ".raw" and (first := next(self._stored(), None)) is not None:
            double = os.path.getsize(first) == 2 * int(np.prod(layer.cube))
            dtype = np.dtype("<u2") if double else dtype
        self.dtype = dtype.newbyteorder("=")

    def _stored(self) -> Iterator[str]:
        for folder, folders, names in os.walk(self._folder):
            folders.sort()
            yield from (os.path.join(folder, name) for name in sorted(names) if name.endswith(self._layer.ending))

    def _path(self, z: int, y: int, x: int) -> str:
        name = f"{self._layer.name}_mag{self._number}_x{x:04}_y{y:04}_z{z:04}{self._layer.ending}"
        return os.path.join(self._folder, f"x{x:04}", f"y{y:04}", f"z{z:04}", name)

    def _cubes(self, roi: Sequence[slice]) -> Iterator[tuple[tuple[int, ...], str]]:
        ranges = (
            range(part.start // size, -(-part.stop // size)) for part, size in zip(roi, self._layer.cube, strict=True)
        )
        for place in itertools.product(*ranges):
            yield place, self._path(*place)

    def files_of(self, roi: Sequence[slice]) -> tuple[str, ...]:
        """Return the paths of the cubes that hold the voxels of a region, also of those that are not stored."""
        return tuple(path for _, path in self._cubes(roi))

    def __getitem__(self, index: Any) -> np.ndarray:
        selection = normalize_index(index, self.shape)
        require_memory(self._folder, size_in_bytes(selection.roi_shape, self.dtype))
        region = np.zeros(selection.roi_shape, self.dtype)
        for place, path in self._cubes(selection.roi):
            if not os.path.exists(path):
                if not os.path.isdir(self._folder):  # it has no cubes because it has gone
                    raise gone(self._folder)
                continue
            there, here = [], []
            for position, size, part in zip(place, self._layer.cube, selection.roi, strict=True):
                begin, end = max(part.start, position * size), min(part.stop, (position + 1) * size)
                there.append(slice(begin - position * size, end - position * size))
                here.append(slice(begin - part.start, end - part.start))
            region[tuple(here)] = self._cube(path)[tuple(there)]
        return selection.pick(region)

    def _cube(self, path: str) -> np.ndarray:
        if not os.path.realpath(path).startswith(self._folder + os.sep):
            raise StorageError(f"{path} is a link out of its folder.", remedy="copy the cube there")
        dtype = self.dtype.newbyteorder("<")
        needed = size_in_bytes(self._layer.cube, dtype)
        if self._layer.ending == ".seg.sz.zip":
            return np.asarray(_unpacked(path, needed).view(dtype).reshape(self._layer.cube))
        if os.path.getsize(path) != needed:
            raise StorageError(
                f"The cube {path} has {os.path.getsize(path)} bytes, {self._layer.cube} {dtype} take {needed}.",
                remedy=AGAIN,
            )
        return np.asarray(np.memmap(path, dtype, "r", 0, self._layer.cube))


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the layers under their keys."""
    return {key: open_dataset(path, key, mode, {}).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return the names of the layers; "" where there is one."""
    return list(_layers(path))


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open a layer at a magnification as ``(z, y, x)``."""
    arguments = dict(kwargs)
    level = arguments.pop("level", None)
    only_image(path, None, mode, _NAME, arguments)
    layers = _layers(path)
    key, level = split_level(key, level, list(layers))
    name = one_of_several(path, key, list(layers), "layers")
    layer = layers[name]
    at = level_among(path, level, len(layer.numbers))
    factors = [round(size / first) for size, first in zip(layer.sizes[at], layer.sizes[0], strict=True)]
    shape = tuple(-(-size // max(1, factor)) for size, factor in zip(layer.shape, factors, strict=True))
    cubes = Cubes(_folder(path, layer, layer.numbers[at]), layer, layer.numbers[at], shape)
    return Opened(cubes, with_level(name, at), _axes(layer, at))


def details(path: str, key: str | None) -> Details:
    """Return what the configuration says of a layer."""
    only_image(path, None, "r", _NAME)
    layers = _layers(path)
    key = split_level(key, None, list(layers))[0] or next(iter(layers))
    layer = layers[one_of_several(path, key, list(layers), "layers")]
    return Details(
        raw={"name": layer.name, "magnifications": layer.numbers, "cube": list(layer.cube), "ending": layer.ending},
        standard={"image": {"name": layer.name}, "pixel_sizes": pixel_sizes(_axes(layer, 0))},
        compression="snappy" if layer.ending.endswith(".zip") else None,
        is_label=layer.ending.startswith(".seg") or None,
    )


def _axes(layer: Layer, at: int) -> tuple[Axis, ...]:
    return tuple(
        Axis(name, "space", "nanometer", size, (size - first) / 2)
        for name, size, first in zip("zyx", layer.sizes[at], layer.sizes[0], strict=True)
    )


def _layers(path: str) -> dict[str, Layer]:
    found = head_of(path, _MOST_CONFIG)
    with reading(path, _NAME):
        text = found.decode()
        layers = _of_toml(path, text) if path.lower().endswith(".toml") else [_of_conf(path, text)]
        for layer in layers:
            checked_shape(path, layer.shape)
            checked_shape(path, layer.cube)
            if not re.fullmatch(r"[\w.+ -]{1,200}", layer.name) or layer.name.startswith("."):
                raise FormatError(f"{path} has a layer called {layer.name!r}.", remedy="give it the name of its files")
            for size in layer.sizes:
                if len(size) != 3 or not np.isfinite(size).all() or min(size) <= 0:
                    raise FormatError(f"{path} has voxels of {size} nanometres.", remedy="repair the scale")
    if not layers or not all(layer.numbers for layer in layers):
        raise FormatError(f"{path} describes no layer that is stored beside it.", remedy="look at its folder")
    return {"": layers[0]} if len(layers) == 1 else {layer.name: layer for layer in layers}


def _of_toml(path: str, text: str) -> list[Layer]:
    found = []
    for said in tomllib.loads(text)["Layer"]:
        endings = said.get("FileExtension", [".raw"])
        endings = [endings] if isinstance(endings, str) else list(endings)
        known = [ending for ending in endings if ending in _DTYPES]
        if not known or said.get("ServerFormat", "knossos") not in ("", "knossos"):
            kind = f"{said.get('ServerFormat', 'knossos')} {', '.join(map(str, endings))}"
            raise FormatError(
                f"{path} keeps the layer {said['Name']!r} as {kind}; known are {', '.join(_DTYPES)}.",
                remedy="open_cloudvolume(url) for precomputed layers, else export raw cubes",
            )
        sizes = [tuple(float(value) for value in reversed(size)) for size in said["VoxelSize_nm"]]
        shape = tuple(int(size) for size in reversed(said["Extent_px"]))
        cube = tuple(int(size) for size in reversed(said["CubeShape_px"]))
        # magnifications are counted, whatever their factors
        there = [n for n in range(len(sizes)) if os.path.isdir(os.path.join(os.path.dirname(path), f"mag{n + 1}"))]
        numbers = [n + 1 for n in there]
        found.append(Layer(str(said["Name"]), shape, [sizes[n] for n in there], numbers, cube, known[0]))
    return found


def _of_conf(path: str, text: str) -> Layer:
    said = {match[1]: match[2].strip() for line in text.splitlines() if (match := _LINE.match(line))}
    if not {"experiment name", "boundary x", "boundary y", "boundary z"} <= set(said):
        raise no_such(path, _NAME, text.encode()[:8])
    shape = tuple(int(said[f"boundary {axis}"]) for axis in "zyx")
    scale = tuple(float(said.get(f"scale {axis}", 1)) for axis in "zyx")
    name, _, own = said["experiment name"].rpartition("_mag")
    if not (name and own.isdecimal()):
        name, own = said["experiment name"], ""
    folder = os.path.dirname(os.path.abspath(path))
    if own and os.path.isdir(
        os.path.join(folder, "x0000")
    ):  # a configuration for each magnification, with its own scale
        return Layer(name, shape, [scale], [int(own)], (_CUBE,) * 3, ".raw")
    numbers = [1 << n for n in range(20) if os.path.isdir(os.path.join(folder, f"mag{1 << n}"))]
    sizes = [tuple(size * number for size in scale) for number in numbers]
    return Layer(name, shape, sizes, numbers, (_CUBE,) * 3, ".raw")


def _folder(path: str, layer: Layer, number: int) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    inner = os.path.join(folder, f"mag{number}")
    if os.path.isdir(inner):
        return inner
    if os.path.isdir(os.path.join(folder, "x0000")):
        return folder
    raise SourceNotFoundError(f"{inner} does not exist.", remedy=f"copy the cubes of {layer.name} there")


def _unpacked(path: str, needed: int) -> np.ndarray:
    with needing("imagecodecs", f"The compression of {path}"):
        import imagecodecs
    try:
        with zipfile.ZipFile(path) as archive:
            (info,) = archive.infolist()
            if info.file_size > 2 * needed + 1024:
                raise ValueError(f"{info.file_size} bytes")
            with archive.open(info) as file:
                stored = file.read(2 * needed + 1024)
        # the length in front of the stream is what is allocated
        if _announced(stored) != needed:
            raise ValueError(f"{_announced(stored)} bytes of voxels in place of {needed}")
        return np.frombuffer(imagecodecs.snappy_decode(stored), np.uint8)
    except Exception as error:
        raise StorageError(f"The cube {path} is damaged: {error}", remedy=AGAIN) from error


def _announced(stored: bytes) -> int:
    value = 0
    for n, byte in enumerate(io.BytesIO(stored).read(5)):
        value |= (byte & 127) << 7 * n
        if byte < 128:
            break
    return value
