"""What a path on the command line means: arrays of files, of precomputed layers and of WebKnossos datasets."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SourceNotFoundError
from .common import place

if TYPE_CHECKING:
    from ..sources import Source

_SERVED = re.compile(r"https?://[^/]+/(datasets|annotations)/")


@dataclass(frozen=True)
class Array:
    """An array that a path leads to.

    Parameters
    ----------
    key : str
        Its key in the container, dataset or layer; "" for what is one array itself.
    open : callable
        Opens it for reading.
    format : str
        Name of the format of a layer; "" where the source tells it.
    codec : str, optional
        How a layer stores its voxels.
    folder : str, optional
        Where a layer has it on a local disk.
    """

    key: str
    open: Callable[[], Source]
    format: str = ""
    codec: str | None = None
    folder: str | None = None


def open_input(path: str, key: str | None, roi: tuple[slice, ...] | None = None) -> Source:
    """Open an array for reading, and a region of it: of a WebKnossos mag and a precomputed scale what the layer has.

    A path may end with a region, such as volume.zarr/raw::0:64,:,10 (`common.place`).
    Without a key (as an option, or at the end of the path): the only array of a container; of the only layer of a
    dataset, or of the layer that the path or key names, the finest mag or scale.
    """
    from ..sources.file import open_source
    from ..wrapper import RoiSource

    path, box = place(path)
    layers = layers_at(path)
    source: Source = open_source(path, key) if layers is None else _pick(path, key, *layers).open()
    for region in (box, roi):
        source = source if region is None else RoiSource(source, region)
    return source


def arrays_at(path: str) -> Iterator[Array]:
    """All arrays that a path leads to; of one with a region behind it, this region."""
    if place(path)[1] is not None:
        yield Array(os.path.basename(path), lambda: open_input(path, None), "region")
        return
    layers = layers_at(path)
    if layers is None:
        yield from _arrays_of_files(path)
    else:
        arrays, inside = layers
        yield from [array for array in arrays if _within(array.key, inside)] or [_pick(path, None, *layers)]


def layers_at(path: str) -> tuple[list[Array], str] | None:
    """The arrays of the WebKnossos dataset or precomputed layer that a path is in, and the key in it; None: in none."""
    return _webknossos(path) or _precomputed(path)


def _pick(path: str, key: str | None, arrays: list[Array], inside: str) -> Array:
    from ..io.keys import no_key, wrong_key

    wanted = "/".join(part.strip("/") for part in (inside, key or "") if part)
    found = [array for array in arrays if _within(array.key, wanted)]
    place = path.removesuffix("/").removesuffix(inside).removesuffix("/")
    keys = [array.key for array in arrays]
    if not found:
        raise wrong_key(place, wanted, keys)
    if len({os.path.dirname(array.key) for array in found}) > 1:
        raise no_key(place, keys)
    return found[0]


def _within(key: str, wanted: str) -> bool:
    return not wanted or key == wanted or key.startswith(f"{wanted}/")


def _webknossos(path: str) -> tuple[list[Array], str] | None:
    from ..sources.stores.paths import is_url, resolve
    from ..sources.webknossos.opening import layers_of
    from ..sources.webknossos.server import PROPERTIES
    from ..sources.webknossos.source import open_webknossos

    dataset, inside = path, ""
    if not _SERVED.match(path):
        local = resolve(path)
        if is_url(local):
            return None
        above = [folder for folder in (Path(local), *Path(local).parents) if (folder / PROPERTIES).is_file()]
        if not above:
            return None
        dataset, inside = str(above[0]), os.path.relpath(local, above[0]).removeprefix(".")

    def array(layer: str, mag: str, stored: str) -> Array:
        def opened() -> Source:
            return open_webknossos(dataset, layer_name=layer, mag=mag)

        folder = os.path.join(dataset, layer, mag)
        return Array(f"{layer}/{mag}", opened, "webknossos", stored, folder if os.path.isdir(folder) else None)

    layers = layers_of(dataset)
    if inside and inside.partition("/")[0] not in layers:
        return None  # something else that lies in the folder
    return [array(layer, mag, stored) for layer, (stored, mags) in layers.items() for mag in mags], inside


def _precomputed(path: str) -> tuple[list[Array], str] | None:
    from ..io.formats import format_for_extension, split_path
    from ..sources.precomputed.cloudvolume import open_cloudvolume
    from ..sources.precomputed.info import INFO
    from ..sources.stores.location import locate

    if path.startswith("graphene://"):
        return [Array("", lambda: open_cloudvolume(path, mode="r"), "graphene")], ""
    bare = path.removeprefix("precomputed://").rstrip("/")
    ending = os.path.splitext(split_path(bare)[0])[1]
    if bare == path.rstrip("/") and ending and format_for_extension(ending) is not None:
        return None
    for layer, inside in ((bare, ""), (os.path.dirname(bare), os.path.basename(bare))):
        if not layer or layer.endswith(":/"):
            continue
        place = locate(layer)
        scales = place.read_json(INFO).get("scales")
        if not isinstance(scales, list) or (inside and inside not in [str(scale.get("key")) for scale in scales]):
            continue

        def array(mip: int, key: str, encoding: str, layer: str = layer) -> Array:
            folder = locate(layer).folder
            where = None if folder is None else os.path.join(folder, key)
            return Array(key, lambda: open_cloudvolume(layer, mip, mode="r"), "precomputed", encoding, where)

        return [array(mip, str(s.get("key")), str(s.get("encoding"))) for mip, s in enumerate(scales)], inside
    if path.startswith("precomputed://"):
        raise SourceNotFoundError(
            f"{path}: there is no precomputed layer, whose file 'info' lists its scales.", remedy=f"check {bare}"
        )
    return None


def _arrays_of_files(path: str) -> Iterator[Array]:
    from ..io.formats import array_keys_of, split_path
    from ..io.image_files.slices import pictures_in
    from ..io.keys import array_keys
    from ..io.tif import is_stack
    from ..sources.arrays.tensorstore import detect_driver
    from ..sources.file import open_source
    from ..sources.stores.location import locate

    def array(key: str) -> Array:
        return Array(key, lambda: open_source(container, key))

    container, key = split_path(path)
    place = locate(container) / (key or "")
    itself = Array(key or "", lambda: open_source(path))
    if place.folder is None:
        keys = [] if detect_driver(place) is not None else array_keys(place)
        yield from [array(f"{key or ''}/{inner}") for inner in keys] or [itself]
    elif os.path.isfile(container) and (names := array_keys_of(container)) is not None:
        yield from (array(name) for name in names if _within(name, key or ""))
    elif not os.path.isdir(place.folder) or detect_driver(place) is not None or is_stack(place.folder):
        yield itself
    else:
        found = False
        for inner, names, _ in os.walk(place.folder):
            names.sort()
            if detect_driver(locate(inner)) is not None:
                names.clear()
                found = True
                yield array(os.path.relpath(inner, container))
        if not found and pictures_in(place.folder):
            yield itself
