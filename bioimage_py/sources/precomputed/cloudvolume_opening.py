"""Which way a CloudVolume layer is read and written: decided by what each way can do."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import FormatError, ParameterError, ReadOnlyError
from ...extras import need
from ..stores.location import Location, locate
from .chunks import ChunkedLayer
from .cloudvolume_library import LibraryLayer, open_volume
from .codec import SUFFIXES
from .info import Scale, find_scale, read_info
from .layer import Layer, LayerOptions
from .shards import ShardedLayer

Mode = Literal["r", "r+"]

_FORMAT = re.compile(r"(precomputed|graphene|boss|n5|zarr[23]?)://", re.IGNORECASE)
_SEALED = re.compile(r"graphene://|(\w+://)?(\w+\+)?https?://", re.IGNORECASE)
_OWN_SERVER = re.compile(r"s3://(https?://[^/]+)/(.+)", re.IGNORECASE)
# Arguments of CloudVolume that are followed here, and those that change how fast it is, not what is read or written.
_FOLLOWED = {"background_color", "compress", "compress_level", "delete_black_uploads", "info"}
_SPEED = {"cache_locking", "codec_threads", "compress_cache", "green_threads", "lru_bytes", "lru_encoding", "parallel"}
_GZIPPED = ("raw", "compressed_segmentation", "compresso", "crackle")


@dataclass(frozen=True)
class CloudVolumeArguments:
    """What `open_cloudvolume` was given, but for the region.

    Parameters
    ----------
    path : str
        The cloudpath.
    mip, fill_missing, bounded, cache, non_aligned_writes, mode, storage_options
        As in `open_cloudvolume`.
    further : mapping
        Further arguments of CloudVolume.
    """

    path: str
    mip: int | Sequence[float] = 0
    fill_missing: bool = False
    bounded: bool = True
    cache: bool | str = False
    non_aligned_writes: bool = True
    mode: Mode | None = None
    storage_options: Mapping[str, Any] | None = None
    further: Mapping[str, Any] = field(default_factory=dict)

    def volume(self) -> Any:
        """Open the layer with cloud-volume."""
        own = {
            "mip": self.mip if isinstance(self.mip, int) else list(self.mip),
            "fill_missing": self.fill_missing,
            "bounded": self.bounded,
            "cache": self.cache,
            "non_aligned_writes": self.non_aligned_writes,
        }
        return open_volume(library_path(self.path), {**own, **self.further})


def library_path(path: str) -> str:
    """Return a path as cloud-volume wants it: local ones with ``file://``."""
    return path if "://" in path else f"file://{os.path.abspath(os.path.expanduser(path))}"


def place_of(path: str, options: Mapping[str, Any] | None = None) -> Location | None:
    """Return where a precomputed layer lies, None if tensorstore has no way to get there.

    Parameters
    ----------
    path : str
        A cloudpath: ``file://``, ``http(s)://``, ``s3://`` or ``gs://``, also behind ``precomputed://``; a local path.
        ``s3://https://server/bucket/key`` names an S3 server of one's own.
    options : mapping, optional
        See `stores.locate`.
    """
    found = _FORMAT.match(path)
    if found:
        if found[1].lower() != "precomputed":
            return None
        path = path[found.end() :]
    if own := _OWN_SERVER.match(path):
        path, options = f"s3://{own[2]}", {"endpoint_url": own[1], **(options or {})}
    try:
        return locate(path, options)
    except FormatError:
        return None


def open_layer(given: CloudVolumeArguments) -> Layer:
    """Open one scale of a layer: through tensorstore, or else through cloud-volume.

    Raises
    ------
    SourceNotFoundError
        If there is no layer.
    ParameterError
        If it has no such mip, or an argument is wrong.
    ReadOnlyError
        If ``mode="r+"`` is asked for and the layer cannot be written.
    """
    if given.mode not in (None, "r", "r+"):
        raise ParameterError(f"mode is {given.mode!r}.", remedy="use mode='r' or mode='r+'")
    place = place_of(given.path, given.storage_options)
    only_library = set(given.further) - _FOLLOWED - _SPEED
    if place is None or given.cache or only_library:
        return _through_library(given)
    info = given.further.get("info") or read_info(place)
    if "redirect" in info:
        return _through_library(given)
    scale = find_scale(info, given.mip, given.path)
    packing = _packing(given.further.get("compress"), scale, place)
    writable = _writable(given, place, scale)
    if packing and writable and place.folder is None and not scale.sharded:
        return _through_library(given)  # it alone can say in an object's header that it is compressed
    level = given.further.get("compress_level")
    options = LayerOptions(
        fill_missing=given.fill_missing,
        background_color=given.further.get("background_color", 0),
        non_aligned_writes=given.non_aligned_writes,
        delete_black_uploads=bool(given.further.get("delete_black_uploads", False)),
        packing=packing,
        **({} if level is None else {"level": int(level)}),
    )
    kind = ShardedLayer if scale.sharded else ChunkedLayer
    layer = kind(place, info, scale, options, writable=writable)
    if given.mode == "r+" and not layer.writable:
        raise ReadOnlyError(f"{given.path} has shards that tensorstore cannot write.", remedy="open it with mode='r'")
    return layer


def _through_library(given: CloudVolumeArguments) -> Layer:
    if given.storage_options:
        raise ParameterError(
            f"{given.path} is opened by cloud-volume here, which has no storage_options.",
            remedy="put its keys into ~/.cloudvolume/secrets, or pass secrets={...}",
        )
    return layer_of_volume(given.volume(), given.mode)


def layer_of_volume(volume: Any, mode: Mode | None) -> LibraryLayer:
    """Return a layer over a handle of cloud-volume."""
    sealed = bool(_SEALED.match(str(volume.cloudpath)))
    if mode == "r+" and sealed:
        raise ReadOnlyError(f"{volume.cloudpath} cannot be written.", remedy="open it with mode='r'")
    return LibraryLayer(volume, place_of(str(volume.cloudpath)), writable=mode != "r" and not sealed)


def _packing(compress: Any, scale: Scale, place: Location) -> str:
    """Return the compression of new chunk files: cloud-volume's rules, but objects are not compressed by default."""
    if compress is None:
        return "gzip" if scale.encoding in _GZIPPED and place.folder is not None and not scale.sharded else ""
    packing = {True: "gzip", False: "", "bz2": "bzip2", "lzma": "xz"}.get(compress, compress)
    if packing not in SUFFIXES:
        raise ParameterError(
            f"compress is {compress!r}.", remedy=f"use None, True, False, or one of {', '.join(filter(None, SUFFIXES))}"
        )
    if packing not in ("", "gzip"):
        need("cloudfiles", f"compress={compress!r}")
    return str(packing)


def _writable(given: CloudVolumeArguments, place: Location, scale: Scale) -> bool:
    """Whether voxels can be written; for mode None that decides, for "r+" it is an error if not."""
    if given.mode == "r":
        return False
    why = None
    if not place.writable:
        why = f"{place.scheme} can only be read"
    elif scale.locked:
        why = f"its owner has locked mip {scale.index}"
    elif place.folder is not None and os.path.isdir(place.folder) and not os.access(place.folder, os.W_OK):
        why = "the folder is not writable"
    if why and given.mode == "r+":
        raise ReadOnlyError(f"{given.path} is read-only: {why}.", remedy="open it with mode='r'")
    return why is None
