"""BigDataViewer's XML, and the HDF5 file or n5 folder beside it: an image for each view setup."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ....errors import FormatError, SourceNotFoundError
from ....sources.arrays.adapters import open_zarr
from ....sources.arrays.backing import Backing
from ....sources.arrays.hdf5 import HDF5Backing
from ....sources.arrays.hdf5_parts import open_file, reading_structure
from ....sources.axes import Axis, unit_name
from ....sources.file import Opened
from ....sources.stores.location import Location
from ...details import Details
from ..opening import (
    checked_shape,
    head_of,
    level_among,
    no_such,
    one_of_several,
    only_image,
    pixel_sizes,
    reading,
    split_level,
    with_level,
)
from ..world import SAME, affine
from .tiles import BackingStack

_NAME = "BigDataViewer"
_MOST_XML = 64 * 2**20


@dataclass(frozen=True)
class Setup:
    """One view setup.

    Parameters
    ----------
    key : str
        Its number.
    name : str
        Its name.
    shape : tuple of int
        ``(z, y, x)``.
    unit : str, optional
        Unit of `size`.
    size : tuple of float
        Size of a voxel, z first.
    attributes : mapping
        Channel, angle, tile, illumination: numbers of what it shows.
    """

    key: str
    name: str
    shape: tuple[int, ...]
    unit: str | None
    size: tuple[float, ...]
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Scene:
    """What an XML says: how and where the voxels are stored, the time points, and the view setups."""

    kind: str
    place: str
    times: tuple[int, ...]
    setups: dict[str, Setup]
    matrices: dict[str, list[float]]


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the images under the numbers of their view setups."""
    return {key: open_dataset(path, key, mode, {}).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return the numbers of the view setups."""
    return list(_scene(path).setups)


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open a resolution level of a view setup as ``([t,] z, y, x)``."""
    arguments = dict(kwargs)
    level = arguments.pop("level", None)
    only_image(path, None, mode, _NAME, arguments)
    scene = _scene(path)
    key, level = split_level(key, level, list(scene.setups))
    setup = scene.setups[one_of_several(path, key, list(scene.setups), "view setups")]
    open_level, factors, close = _LOADERS[scene.kind](path, scene, setup)
    try:
        number = level_among(path, level, max(1, len(factors)))
        factor = factors[number] if factors else (1.0, 1.0, 1.0)
        first = open_level(scene.times[0], number)
        lead = (len(scene.times),) if len(scene.times) > 1 else ()
        stack = BackingStack(
            lead,
            first.shape,
            lambda at: open_level(scene.times[at[0] if at else 0], number),
            close,
            (scene.place,) if os.path.isfile(scene.place) else (),
        )
    except BaseException:
        close()
        raise
    return Opened(stack, with_level(setup.key, number), _axes(scene, setup, factor), stack)


def details(path: str, key: str | None) -> Details:
    """Return name, voxel size, attributes and registration of a view setup."""
    only_image(path, None, "r", _NAME)
    scene = _scene(path)
    key = split_level(key, None, list(scene.setups))[0] or next(iter(scene.setups))
    setup = scene.setups[one_of_several(path, key, list(scene.setups), "view setups")]
    axes = _axes(scene, setup, (1.0, 1.0, 1.0))
    matrix = None
    if (rows := scene.matrices.get(setup.key)) is not None:
        table = np.asarray(rows, float).reshape(3, 4)
        columns: list[Any] = [table[:, n].tolist() for n in (2, 1, 0)]
        matrix = affine([*([None] * (len(axes) - 3)), *columns], table[:, 3].tolist(), SAME)
    return Details(
        raw={"name": setup.name, "format": scene.kind, **setup.attributes},
        standard={"image": {"name": setup.name}, "pixel_sizes": pixel_sizes(axes)},
        affine=matrix,
    )


def _axes(scene: Scene, setup: Setup, factor: tuple[float, ...]) -> tuple[Axis, ...]:
    space = tuple(
        # a coarse voxel lies around the middle of those that it is made of
        Axis(name, "space", setup.unit, size * by, (by - 1) / 2 * size)
        for name, size, by in zip("zyx", setup.size, factor, strict=True)
    )
    return (Axis("t", "time"), *space) if len(scene.times) > 1 else space


def _scene(path: str) -> Scene:
    found = head_of(path, _MOST_XML)
    if b"<SpimData" not in found[:4096]:
        raise no_such(path, _NAME, found)
    with reading(path, _NAME):
        root = ElementTree.fromstring(found)
        loader = root.find("SequenceDescription/ImageLoader")
        kind = "" if loader is None else loader.get("format", "")
        if loader is None or kind not in _LOADERS:
            raise FormatError(
                f"{path} keeps its voxels as {kind!r}; known are {', '.join(_LOADERS)}.",
                remedy="export it as HDF5 with BigDataViewer",
            )
        named = loader.find("hdf5") if kind == "bdv.hdf5" else loader.find("n5")
        place = _beside(path, "" if named is None else (named.text or "").strip())
        setups = {setup.key: setup for setup in map(_setup, root.iterfind("SequenceDescription/ViewSetups/ViewSetup"))}
        if not setups:
            raise FormatError(f"{path} has no view setups.", remedy="export it again")
        for setup in setups.values():
            checked_shape(path, setup.shape)
        return Scene(kind, place, _times(path, root), setups, _matrices(root))


def _beside(path: str, name: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    place = os.path.realpath(os.path.join(folder, name))
    if not name or os.path.commonpath([os.path.realpath(folder), place]) != os.path.realpath(folder):
        raise FormatError(
            f"{path} says that its voxels are in {name!r}, which is not in its folder.",
            remedy="put both into one folder, and the bare name into the XML",
        )
    if not os.path.exists(place):
        raise SourceNotFoundError(
            f"{path} says that its voxels are in {name!r}, which does not exist.", remedy=f"copy it to {folder}"
        )
    return os.path.join(folder, name)


def _setup(node: ElementTree.Element) -> Setup:
    size = [float(word) for word in node.findtext("voxelSize/size", "1 1 1").split()]
    shape = [int(word) for word in node.findtext("size", "").split()]
    if len(size) != 3 or len(shape) != 3 or not np.isfinite(size).all() or min(size) <= 0:
        raise ValueError(f"a view setup with the size {shape} and voxels of {size}")
    attributes = {part.tag: (part.text or "").strip() for part in node.iterfind("attributes/*")}
    key = str(int(node.findtext("id", "0")))
    unit = unit_name(node.findtext("voxelSize/unit"))
    return Setup(key, node.findtext("name", ""), tuple(shape[::-1]), unit, tuple(size[::-1]), attributes)


def _times(path: str, root: ElementTree.Element) -> tuple[int, ...]:
    node = root.find("SequenceDescription/Timepoints")
    if node is None:
        return (0,)
    if node.get("type") == "range":
        first, last = int(node.findtext("first", "0")), int(node.findtext("last", "0"))
        if not 0 <= first <= last < first + 10**6:
            raise FormatError(f"{path} has time points from {first} to {last}.", remedy="export it again")
        return tuple(range(first, last + 1))
    pattern = node.findtext("integerpattern", "") or "0"
    found: list[int] = []
    for part in pattern.split(","):
        low, _, high = part.strip().partition("-")
        if int(high or low) - int(low) > 10**6:
            raise FormatError(f"{path} has the time points {part}.", remedy="export it again")
        found += range(int(low), int(high or low) + 1)
    return tuple(found) or (0,)


def _matrices(root: ElementTree.Element) -> dict[str, list[float]]:
    """Return the product of the matrices of each view setup at its first time point: from voxels to the world."""
    found: dict[str, list[float]] = {}
    for node in root.iterfind("ViewRegistrations/ViewRegistration"):
        key = node.get("setup", "")
        if key in found:
            continue
        whole = np.eye(4)
        for step in node.iterfind("ViewTransform/affine"):
            rows = np.fromstring(step.text or "", sep=" ")
            if rows.size == 12:
                whole = whole @ np.vstack([rows.reshape(3, 4), [0, 0, 0, 1]])
        found[key] = whole[:3].reshape(-1).tolist()
    return found


_Level = Callable[[int, int], Backing]
_Loaded = tuple[_Level, list[tuple[float, ...]], Callable[[], None]]


def _from_hdf5(path: str, scene: Scene, setup: Setup) -> _Loaded:
    file = open_file(scene.place, "r")
    number = int(setup.key)

    def open_level(time: int, level: int) -> Backing:
        with reading_structure(scene.place):
            return HDF5Backing(file[f"t{time:05}/s{number:02}/{level}/cells"])

    with reading_structure(scene.place):
        table = file.get(f"s{number:02}/resolutions")
        factors = (
            [] if table is None else [tuple(row[::-1]) for row in np.asarray(table, float).reshape(-1, 3).tolist()]
        )
    return open_level, factors, file.close


def _from_n5(path: str, scene: Scene, setup: Setup) -> _Loaded:
    root = Location(scene.place)
    said = root.read_json(f"setup{setup.key}/attributes.json").get("downsamplingFactors") or [[1, 1, 1]]
    factors = [tuple(float(value) for value in row[::-1]) for row in said]

    def open_level(time: int, level: int) -> Backing:
        return open_zarr(root, f"setup{setup.key}/timepoint{time}/s{level}", "r")

    return open_level, factors, lambda: None


_LOADERS: dict[str, Callable[[str, Scene, Setup], _Loaded]] = {"bdv.hdf5": _from_hdf5, "bdv.n5": _from_n5}
