# ruff: noqa: D102 - overrides are described where they are declared
"""Sources opened from a path."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..errors import ParameterError, ReadOnlyError
from .array import ArraySource
from .arrays.adapters import backing_for
from .arrays.backing import Backing
from .axes import Axis, with_sizes
from .spec import SourceSpec, load_qualified
from .stores.location import locate
from .stores.paths import is_url, over_network, resolve

MODES = ("r", "r+", "a", "w", "w-", "x")


@dataclass(frozen=True)
class Opened:
    """What a format gives for one array.

    Parameters
    ----------
    array : array_like or Backing
        The array.
    key : str
        Its path in the container, "" if the file is the array.
    axes : tuple of Axis, optional
        Axes that the file describes.
    container : object, optional
        What has to be closed with the source.
    """

    array: Any
    key: str = ""
    axes: tuple[Axis, ...] | None = None
    container: Any = None


class FileSource(ArraySource):
    """An array in a file or folder, with what is needed to open it again.

    Parameters
    ----------
    array : array_like
        The opened array.
    path : str or os.PathLike
        Container or file; stored absolute, URLs as they are.
    internal_path : str
        Key in the container, "" for a file that is one array.
    format : str
        Registered format.
    mode : str, default "r"
        Mode that it was opened with. The spec holds "r" or "r+", never a mode that creates or empties.
    open_kwargs : mapping, optional
        Further arguments that it was opened with; copied.
    writable : bool, default False
        Whether voxels may be written, as far as the array allows it.
    axes : tuple of Axis, optional
        Axes that the file describes.
    container : object, optional
        Closed by `close`.
    """

    def __init__(
        self,
        array: Any,
        *,
        path: str | os.PathLike[str],
        internal_path: str,
        format: str,
        mode: str = "r",
        open_kwargs: Mapping[str, Any] | None = None,
        writable: bool = False,
        axes: tuple[Axis, ...] | None = None,
        container: Any = None,
    ) -> None:
        self._attach(array if isinstance(array, Backing) else backing_for(array))
        self._path = absolute_path(path)
        self._axes = None if axes is None else with_sizes(self._path, axes)
        self._internal_path = internal_path
        self._format = format
        self._mode = mode
        self._open_kwargs = dict(open_kwargs or {})
        self._writable = writable
        self._container = container

    @property
    def path(self) -> str:
        """Absolute path or URL of the container."""
        return self._path

    @property
    def internal_path(self) -> str:
        """Key of the array in the container."""
        return self._internal_path

    @property
    def format(self) -> str:
        """Name of the format."""
        return self._format

    @property
    def mode(self) -> str:
        """Mode that it was opened with."""
        return self._mode

    @property
    def container(self) -> Any:
        """What its format keeps open with it, None if nothing."""
        return self._container

    @property
    def writable(self) -> bool:
        return self._writable and self._backing.writable

    @property
    def remote(self) -> bool:
        return over_network(self._path)

    @property
    def identity(self) -> Hashable:
        found = self._backing.identity
        if isinstance(found, tuple) and found[0] not in ("numpy", "object"):
            return found
        return ("file", self._path if is_url(self._path) else os.path.realpath(self._path), self._internal_path)

    def __repr__(self) -> str:
        place = os.path.join(self._path, self._internal_path) if self._internal_path else self._path
        return super().__repr__().replace("(", f"({place!r}, ", 1)

    def to_spec(self) -> SourceSpec:
        if not locate(self._path, self._open_kwargs.get("storage_options")).reopenable:
            return self._backing.spec()
        params = {**self._open_kwargs, "format": self._format, "mode": "r+" if self.writable else "r"}
        return SourceSpec("file", self._path, self._internal_path, params)

    @staticmethod
    def reopen(spec: SourceSpec) -> FileSource:
        """Open the array of a spec of kind "file"."""
        return reopen_file(spec)

    def _sibling(self, backing: Backing) -> Self:
        twin = super()._sibling(backing)
        twin._container = None
        return twin

    def close(self) -> None:
        super().close()
        if self._container is not None and hasattr(self._container, "close"):
            self._container.close()

    def _read_only(self) -> ReadOnlyError:
        return ReadOnlyError(
            f"{self._path} (format {self._format}) was opened with mode {self._mode!r} and is read-only.",
            remedy=f"open_source({self._path!r}, {self._internal_path!r}, mode='r+'), if the format can be written",
        )


def open_source(
    path: str | os.PathLike[str],
    internal_path: str | None = None,
    format: str | None = None,
    mode: str = "r",
    *,
    level: int | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> FileSource:
    """Open an array in a file, folder or bucket.

    Parameters
    ----------
    path : str or os.PathLike
        File, folder, zip archive or URL (``file://``, ``http://``, ``https://``, ``s3://``, ``gs://``, ``memory://``).
        A path into a container ("a.zarr/raw/s0", "a.zarr.zip/raw") is split where `internal_path` is None.
    internal_path : str, optional
        Key of the array. None: the array itself where the path is one, level 0 of an OME-Zarr image (of its only
        series, for the bioformats2raw layout), the default of the format (tif), the only array of another container.
        The key of an OME-Zarr group (an image, a label image, a series) also gives its level 0.
    format : str, optional
        Name of a registered format. None: by the extension, or by the content of a folder.
    mode : {"r", "r+", "a", "w", "w-", "x"}, default "r"
        "r" reads, "r+" reads and writes; the others are for zarr, n5 and hdf5 (elsewhere they read): "a" creates the
        array if it is missing, "w" empties or replaces it (only it, nothing else in the container), "w-" and "x"
        create it and refuse an existing one. Whatever the mode, the source's spec opens with "r" or "r+".
    level : int or str, optional
        Resolution level of an OME-Zarr image or an n5 pyramid: its number (0 is the finest, -1 the coarsest), or its
        name.
    storage_options : mapping, optional
        How a remote store is reached: ``anon``, ``profile``, ``region``, ``endpoint_url``, ``requester_pays`` (S3),
        ``headers`` (http), ``retries``; see `bioimage_py.sources.stores.locate`. Kept in the spec, so it holds no
        secrets: keys come from the environment or a profile.
    **kwargs
        To create: ``shape``, ``dtype``, ``chunks``, ``shards``, ``axes``, ``compressor``, ``fill_value`` (see
        `bioimage_py.io.create_array`). Anything else goes to the library of the format and is kept in the spec.

    Returns
    -------
    FileSource

    Raises
    ------
    SourceNotFoundError
        If the path does not exist.
    KeyNotFoundError
        If the container has no such array; the message lists those it has.
    ParameterError
        If the container has several arrays and no key is given, or the mode is unknown.
    FormatError
        If the format is unknown, or the file is not what its name says.
    MissingDependencyError
        If the library of the format is not installed.
    AccessError, StorageError
        If a store refuses the request, or fails after all retries.
    """
    if mode not in MODES:
        raise ParameterError(f"mode is {mode!r}.", remedy=f"use one of {', '.join(MODES)}")
    opened: FileSource = load_qualified("bioimage_py.io.datasets:open_file_source")(
        path, internal_path, format, mode, kwargs, level, storage_options
    )
    return opened


def reopen_file(spec: SourceSpec) -> FileSource:
    """Open the array of a spec of kind "file"; a spec written by hand with a mode that empties is opened with "r+"."""
    arguments = spec.arguments()
    mode = arguments.pop("mode", "r")
    format = arguments.pop("format", None)
    return open_source(spec.path or "", spec.internal_path, format, "r" if mode == "r" else "r+", **arguments)


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Return the absolute path, or the URL as it is; ``~`` and ``file://`` are resolved."""
    return resolve(path)
