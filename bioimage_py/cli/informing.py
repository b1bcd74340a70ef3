"""`bioimage-py info`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BioimageError
from .common import Command, json_option, print_json

if TYPE_CHECKING:
    from ..sources.file import FileSource
    from ..sources.stores import Location


@click.command(cls=Command)
@click.argument("path")
@click.option("--no-size", is_flag=True, help="Don't add up the sizes of files, which takes long for millions.")
@json_option
def info(path: str, no_size: bool, as_json: bool) -> None:
    """List the arrays in PATH: shape, type, chunks, axes, codec, and size on disk."""
    found = list(_arrays(path))
    failed = [error for _, error in found if isinstance(error, BioimageError)]
    if failed and len(failed) == len(found):
        raise failed[0]
    arrays = [
        {"key": key, "error": source.message} if isinstance(source, BioimageError) else _describe(source, not no_size)
        for key, source in found
    ]
    if as_json:
        print_json({"path": path if "://" in path else os.path.abspath(path), "arrays": arrays})
        return
    if not arrays:
        click.echo(f"{path} has no arrays.")
    for array in arrays:
        for line in _lines(array):
            click.echo(line)


def _arrays(path: str) -> Iterator[tuple[str, FileSource | BioimageError]]:
    """Keys of the arrays, with each array, or what is wrong with it."""
    from ..io.formats import split_path
    from ..io.keys import array_keys
    from ..sources.file import open_source
    from ..sources.storage import detect_driver
    from ..sources.stores import locate

    container, key = split_path(path)
    place = locate(container) / (key or "")
    if place.folder is None:
        keys = [] if detect_driver(place) is not None else array_keys(place)
        yield from (_opened(container, f"{key or ''}/{inner}") for inner in keys)
        if not keys:
            yield key or "", open_source(path)
        return
    if not os.path.isdir(place.folder) or detect_driver(place) is not None:
        yield from _keyed(container, key) if os.path.isfile(container) else [(key or "", open_source(path))]
        return
    for inner, names, _ in os.walk(place.folder):
        names.sort()
        if detect_driver(locate(inner)) is not None:
            names.clear()
            yield _opened(container, os.path.relpath(inner, container))


def _opened(container: str, key: str) -> tuple[str, FileSource | BioimageError]:
    from ..sources.file import open_source

    try:
        return key, open_source(container, key)
    except BioimageError as error:  # the others are listed all the same
        return key, error


def _keyed(path: str, key: str | None) -> Iterator[tuple[str, FileSource | BioimageError]]:
    """Arrays of a file that is a container (HDF5, tif with several series), or the one of a file that is not."""
    from ..io.formats import infer_format
    from ..sources.file import open_source

    format = infer_format(path)
    if format == "hdf5":
        from ..io.hdf5 import dataset_keys

        keys = [name for name in dataset_keys(path) if key is None or name == key or name.startswith(f"{key}/")]
    elif format == "tif" and key is None:
        from ..io.tif import series_keys

        keys = series_keys(path)
    else:
        yield key or "", open_source(path, key)
        return
    yield from (_opened(path, name) for name in keys)


def _describe(source: FileSource, with_size: bool) -> dict[str, Any]:
    from ..sources.stores import locate

    place = locate(source.path) / source.internal_path
    described: dict[str, Any] = {
        "key": source.internal_path,
        "format": source.format,
        "shape": list(source.shape),
        "dtype": str(source.dtype),
        "chunks": None if source.chunks is None else list(source.chunks),
        "shards": None if source.shards is None else list(source.shards),
        "axes": [
            {"name": axis.name, "kind": axis.kind, "unit": axis.unit, "scale": axis.scale, "offset": axis.offset}
            for axis in source.axes
        ],
        "codec": _codec(source, place),
        "bytes": source.nbytes,
    }
    if with_size and place.folder is not None:
        described["bytes_on_disk"] = _disk_bytes(source, place.folder)
    source.close()
    return described


def _codec(source: FileSource, place: Location) -> str | None:
    if codecs := place.read_json("zarr.json").get("codecs"):
        return " + ".join(_codec_names(codecs))
    if old := place.read_json(".zarray"):
        return str((old.get("compressor") or {}).get("id", "raw"))
    if compression := place.read_json("attributes.json").get("compression"):
        return str(compression.get("type"))
    compression = getattr(source.array, "compression", None)
    return None if compression is None else str(compression)


def _codec_names(codecs: list[dict[str, Any]]) -> list[str]:
    names: list[str] = []
    for codec in codecs:
        settings = codec.get("configuration", {})
        if codec["name"] == "sharding_indexed":
            names.append(f"shards of {' + '.join(_codec_names(settings.get('codecs', [])))}")
        elif codec["name"] != "bytes":
            names.append(codec["name"] + (f" level {settings['level']}" if "level" in settings else ""))
    return names or ["raw"]


def _disk_bytes(source: FileSource, folder: str) -> int:
    if source.format == "hdf5":
        return int(source.array.id.get_storage_size())
    root = Path(folder)
    if root.is_file():
        return root.stat().st_size
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def _lines(array: dict[str, Any]) -> Iterator[str]:
    name = array["key"] or "(the file itself)"
    if "error" in array:
        yield f"{name}: cannot be read: {array['error']}"
        return
    yield f"{name}: {'x'.join(map(str, array['shape']))} {array['dtype']} ({array['format']})"
    grid = "not chunked" if array["chunks"] is None else f"chunks {'x'.join(map(str, array['chunks']))}"
    if array["shards"] is not None:
        grid += f", shards {'x'.join(map(str, array['shards']))}"
    yield f"  {grid}, codec {array['codec'] or 'unknown'}"
    axes = ", ".join(
        f"{axis['name']} {axis['scale']:g} {axis['unit'] or 'voxel'}"
        + (f" from {axis['offset']:g}" * bool(axis["offset"]))
        for axis in array["axes"]
    )
    yield f"  axes {axes}"
    if "bytes_on_disk" in array:
        yield f"  {_size(array['bytes_on_disk'])} on disk, {_size(array['bytes'])} uncompressed"
    else:
        yield f"  {_size(array['bytes'])} uncompressed"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
