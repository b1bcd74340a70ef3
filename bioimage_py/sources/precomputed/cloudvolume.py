"""CloudVolume (Neuroglancer precomputed) layers as sources."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ...errors import NotReopenableError
from ..spec import SourceSpec
from .cloudvolume_opening import CloudVolumeArguments, Mode, layer_of_volume, library_path, open_layer, place_of
from .layer import Layer
from .source import XYZ, PrecomputedSource, box_of, select_channel


class CloudVolumeSource(PrecomputedSource):
    """A handle of cloud-volume as a source with the axes z, y, x (c, z, y, x for several channels).

    Voxels go through tensorstore where it can reach and decode the layer, else through the handle, one call at a time;
    so any number of threads may use the source.

    Parameters
    ----------
    volume : cloudvolume.CloudVolume
        The handle; its path, mip and settings are followed, and are in the spec.
    offset : tuple of int, optional
        First voxel of the box in the order x, y, z: absolute, in voxels of the opened mip. Default: ``voxel_offset``.
    size : tuple of int, optional
        Its size in the order x, y, z. Default: up to the end of the layer.
    open_params : mapping, optional
        Arguments of `open_cloudvolume` to be kept in the spec; they override what the handle says.
    roi : slice or sequence of slice, optional
        The box in index order (z, y, x), in voxels of the opened mip from the layer's first voxel; instead of `offset`
        and `size`.
    channel : int, optional
        Channel to select.
    mode : {"r", "r+"}, optional
        Default: "r+" where the layer can be written.

    Raises
    ------
    RegionError
        If the box reaches beyond a bounded layer.
    ParameterError
        If the channel does not exist, or `roi` comes with `offset` or `size`.
    """

    _arguments: CloudVolumeArguments
    _volume: Any

    def __init__(
        self,
        volume: Any,
        offset: XYZ | None = None,
        size: XYZ | None = None,
        open_params: Mapping[str, Any] | None = None,
        *,
        roi: Any = None,
        channel: int | None = None,
        mode: Mode | None = None,
    ) -> None:
        given, info = _arguments_of(volume, dict(open_params or {}), mode)
        with_info = replace(given, further={**given.further, "info": info})
        reachable = place_of(given.path) is not None
        layer = open_layer(with_info) if reachable else layer_of_volume(volume, given.mode)
        self._start(given, layer, offset, size, roi, channel)
        self._volume = volume

    @classmethod
    def _open(cls, given: CloudVolumeArguments, offset: Any, size: Any, roi: Any, channel: int | None) -> Self:
        source = cls.__new__(cls)
        source._start(given, open_layer(given), offset, size, roi, channel)
        source._volume = None
        return source

    def _start(
        self, given: CloudVolumeArguments, layer: Layer, offset: Any, size: Any, roi: Any, channel: int | None
    ) -> None:
        self._arguments = given
        box = box_of(layer, given.path, offset, size, roi, given.bounded)
        self._attach(layer, given.path, select_channel(layer, given.path, box, channel), channel)

    @property
    def cloudpath(self) -> str:
        """Path or URL of the layer."""
        return self._path

    @property
    def volume(self) -> Any:
        """A handle of cloud-volume of the same layer and mip; opened when it is asked for."""
        if self._volume is None:
            self._volume = getattr(self._layer, "volume", None) or self._arguments.volume()
        return self._volume

    def to_spec(self) -> SourceSpec:
        """Return the arguments that open the box again; "r" stays "r".

        Raises
        ------
        NotReopenableError
            If the layer is in this process's memory, or was opened with secrets, which no spec may hold.
        """
        given = self._arguments
        place = place_of(given.path, given.storage_options)
        if library_path(given.path).startswith(("mem://", "precomputed://mem://")) or (place and not place.reopenable):
            raise NotReopenableError(
                f"{given.path} exists in the memory of this process only.", remedy="write it to file:// or a store"
            )
        if "secrets" in given.further:
            raise NotReopenableError(
                f"{given.path} was opened with secrets, which are not written into specs.",
                remedy="put them into ~/.cloudvolume/secrets, where all processes find them",
            )
        path = given.path if place is None or place.folder is None else f"file://{place.folder}"
        params = {
            "mip": self.mip,
            "fill_missing": given.fill_missing,
            "bounded": given.bounded,
            "cache": given.cache,
            "non_aligned_writes": given.non_aligned_writes,
            "offset": list(self.offset),
            "size": [part.stop - part.start for part in self._box[:0:-1]],
            "channel": self._channel,
            "mode": "r+" if self.writable else "r",
            **given.further,
        }
        if given.storage_options:
            params["storage_options"] = given.storage_options
        return SourceSpec("cloudvolume", path, None, params)

    @staticmethod
    def reopen(spec: SourceSpec) -> CloudVolumeSource:
        """Open the box of a spec of kind "cloudvolume"."""
        return reopen_cloudvolume(spec)


def open_cloudvolume(
    cloudpath: str | os.PathLike[str],
    mip: int | Sequence[float] = 0,
    fill_missing: bool = False,
    bounded: bool = True,
    cache: bool | str = False,
    non_aligned_writes: bool = True,
    offset: XYZ | None = None,
    size: XYZ | None = None,
    *,
    roi: Any = None,
    channel: int | None = None,
    mode: Mode | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> CloudVolumeSource:
    """Open a CloudVolume (Neuroglancer precomputed) layer, or a box of it.

    Indices are z, y, x (c, z, y, x for a layer of several channels), in voxels of the opened mip, from the first voxel
    of the box; the axes have scale and offset in nanometers. `offset`, `size` and a resolution are x, y, z.

    Layers on local disks, http(s), S3 and Google Cloud Storage go through tensorstore, whatever their compression.
    The cloud-volume library takes over for other formats (``graphene://``) and servers, for ``cache``, for arguments
    that only it knows, and for compressed objects in remote stores (``compress="gzip"``); its codecs decode what
    tensorstore cannot.

    Parameters
    ----------
    cloudpath : str or os.PathLike
        For example "file:///data/em", "precomputed://gs://bucket/em", "https://server/em", or a local path.
    mip : int or sequence of float, default 0
        Level, or its resolution in nanometers in the order x, y, z.
    fill_missing : bool, default False
        Missing chunks read as zero; else they are an error that names the chunk. Needed for a new layer whose chunks
        are written in part, because the rest of such a chunk is read first.
    bounded : bool, default True
        The box must lie inside the layer. If not, voxels outside read as zero, and cannot be written.
    cache : bool or str, default False
        Use the cache of cloud-volume on the local disk (str: its folder).
    non_aligned_writes : bool, default True
        Chunks may be written in part.
    offset, size : tuple of int, optional
        The box in the order x, y, z: absolute, in voxels of the opened mip. Default: the whole layer; for `size`, up to
        its end.
    roi : slice or sequence of slice, optional
        The box in index order instead, from the layer's first voxel.
    channel : int, optional
        Open this channel alone, with the axes z, y, x.
    mode : {"r", "r+"}, optional
        Default: "r+" where the layer can be written.
    storage_options : mapping, optional
        How the store is reached (``anon``, ``profile``, ``region``, ``endpoint_url``, ``headers``, ``retries``).
    **kwargs
        Further arguments of ``cloudvolume.CloudVolume``; kept in the spec.

    Returns
    -------
    CloudVolumeSource

    Raises
    ------
    SourceNotFoundError
        If there is no layer.
    ParameterError
        If there is no such mip or channel, or arguments exclude each other.
    RegionError
        If the box reaches beyond a bounded layer.
    ReadOnlyError
        If ``mode="r+"`` is asked for and the layer cannot be written.
    MissingDependencyError
        If cloud-volume is needed and not installed.
    """
    given = CloudVolumeArguments(
        os.fspath(cloudpath),
        mip=mip.item() if isinstance(mip, np.generic) else mip,
        fill_missing=bool(fill_missing),
        bounded=bool(bounded),
        cache=cache,
        non_aligned_writes=bool(non_aligned_writes),
        mode=mode,
        storage_options=storage_options,
        further=kwargs,
    )
    return CloudVolumeSource._open(given, offset, size, roi, channel)


def reopen_cloudvolume(spec: SourceSpec) -> CloudVolumeSource:
    """Open the box of a spec of kind "cloudvolume"."""
    return open_cloudvolume(spec.path or "", **spec.arguments())


def _arguments_of(
    volume: Any, open_params: dict[str, Any], mode: Mode | None
) -> tuple[CloudVolumeArguments, Mapping[str, Any]]:
    """Return the arguments that a handle was opened with, and its info."""
    further: dict[str, Any] = {}
    for name, value, usual in (
        ("compress", volume.config.compress, None),
        ("background_color", getattr(volume.image, "background_color", 0), 0),
        ("delete_black_uploads", getattr(volume.image, "delete_black_uploads", False), False),
        ("secrets", volume.config.secrets, None),
    ):
        if value != usual:
            further[name] = value
    known = {
        "mip": int(volume.mip),
        "fill_missing": bool(volume.fill_missing),
        "bounded": bool(volume.bounded),
        "cache": volume.cache.enabled,
        "non_aligned_writes": bool(volume.non_aligned_writes),
        "mode": mode or ("r" if getattr(volume.image, "readonly", False) else None),
    }
    for name in list(open_params):
        if name in known:
            known[name] = open_params.pop(name)
    options = open_params.pop("storage_options", None)
    given = CloudVolumeArguments(
        str(volume.cloudpath), **known, storage_options=options, further={**further, **open_params}
    )
    return given, volume.info
