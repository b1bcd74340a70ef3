"""`bioimage-py info`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BioimageError, KeyNotFoundError
from .common import Command, json_option, print_json
from .inputs import Array, arrays_at

if TYPE_CHECKING:
    from ..sources import FileSource, Source
    from ..sources.stores.location import Location


@click.command(cls=Command)
@click.argument("path", required=False)
@click.option("--backends", is_flag=True, help="List the backends that are known here, in place of arrays.")
@click.option("--no-size", is_flag=True, help="Don't add up the sizes of files, which takes long for millions.")
@json_option
def info(path: str | None, backends: bool, no_size: bool, as_json: bool) -> None:
    """List the arrays in PATH: shape, type, chunks, axes, codec, and size on disk.

    PATH is a file, a folder or URL with arrays, a folder of TIFF slices, a precomputed layer or a WebKnossos dataset,
    or a path into one of these. Exit code 1 where there is no array, or none that can be read.

    \b
    Example:
      bioimage-py info volume.zarr
    """  # noqa: D301
    if backends == (path is not None):
        raise click.UsageError("give a PATH, or --backends")
    if path is None:
        _list_backends(as_json)
        return
    arrays, failed = list[dict[str, Any]](), list[BioimageError]()
    for one in arrays_at(path):
        try:
            arrays.append(_describe(one, not no_size))
        except BioimageError as error:  # the others are listed all the same
            failed.append(error)
            arrays.append({"key": one.key, "error": error.message})
    if not arrays:
        raise KeyNotFoundError(
            f"{path} has no arrays.",
            remedy="give the path of a zarr, n5, HDF5 or TIFF file, of a folder of slices, or of a layer",
        )
    if len(failed) == len(arrays):
        raise failed[0]
    if as_json:
        print_json({"path": path if "://" in path else os.path.abspath(path), "arrays": arrays})
        return
    for array in arrays:
        for line in _lines(array):
            click.echo(line)


def _list_backends(as_json: bool) -> None:
    from ..backends import list_backends

    found = list_backends()
    if as_json:
        print_json({"backends": [one.to_dict() for one in found]})
        return
    words = {
        "shares_memory": "shares the memory of the call",
        "kills_blocks": "ends blocks",
        "detaches": "goes on without the call",
        "one_machine": "one machine",
    }
    for one in found:
        click.echo(f"{one.name}: {one.about or 'without a description'}")
        can = "depends on what it is given"
        if one.limits is not None:
            can = ", ".join(text for name, text in words.items() if getattr(one.limits, name)) or "many machines"
        click.echo(f"    {can if not one.missing else f'missing: {one.missing}'}")


def _describe(array: Array, with_size: bool) -> dict[str, Any]:
    from ..sources.file import FileSource
    from ..sources.stores.location import locate

    source = array.open()
    described: dict[str, Any] = {
        "key": array.key,
        "format": array.format,
        "shape": list(source.shape),
        "dtype": str(source.dtype),
        "chunks": None if source.chunks is None else list(source.chunks),
        "shards": None if source.shards is None else list(source.shards),
        "axes": [
            {"name": axis.name, "kind": axis.kind, "unit": axis.unit, "scale": axis.scale, "offset": axis.offset}
            for axis in source.axes
        ],
        "codec": array.codec,
        "bytes": source.nbytes,
    }
    folder = array.folder
    if isinstance(source, FileSource):
        place = locate(source.path) / source.internal_path
        described |= {"key": source.internal_path, "format": source.format, "codec": _codec(source, place)}
        folder = place.folder
    if with_size and folder is not None:
        described["bytes_on_disk"] = _disk_bytes(source, folder)
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


def _disk_bytes(source: Source, folder: str) -> int:
    of_file = getattr(getattr(getattr(source, "array", None), "id", None), "get_storage_size", None)
    if of_file is not None:  # one of the arrays of an HDF5 file
        return int(of_file())
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
