# ruff: noqa: D102 - overrides are described where they are declared
"""Layers of WebKnossos datasets, local and on a server, as sources."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from ...errors import NotReopenableError, ParameterError, ReadOnlyError, RegionError
from ..arrays.backing import Backing
from ..axes import Axis
from ..base import Concurrency, Source
from ..chunked.unit_files import UnitFiles
from ..indexing import Roi
from ..spec import SourceSpec
from ..stores.location import RETRIES
from .layout import region_of
from .opening import Found, find, found_of
from .server import explained

Mode = Literal["r", "r+"]


class WebKnossosSource(Source):
    """A magnification of a layer of a WebKnossos dataset; `open_webknossos` describes the parameters.

    The axes are (z, y, x), or (c, z, y, x) for several channels; further axes of the layer (such as t) come first.
    Index 0 is the first voxel of the box. The units of writing are those of the storage (wkw files, zarr chunks, zarr3
    shards), which begin at the origin of the dataset; `grid_origin` says where that is.
    """

    pictured = True

    def __init__(
        self,
        dataset_name_or_url: str | os.PathLike[str],
        organization_id: str | None = None,
        layer_name: str = "",
        mag: int | Sequence[int] | str = 1,
        offset: Sequence[int] | None = None,
        size: Sequence[int] | None = None,
        *,
        mode: Mode = "r",
        roi: Any = None,
        channel: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if mode not in ("r", "r+"):
            raise ParameterError(
                f"mode is {mode!r}.", remedy="'r' or 'r+'; a new layer is made by webknossos: dataset.add_layer(...)"
            )
        retries = int((storage_options or {}).get("retries", RETRIES))
        found = find(dataset_name_or_url, organization_id, layer_name, mag, retries)
        self._open(found, mode, offset, size, roi, channel, storage_options)

    @classmethod
    def of_view(cls, view: Any) -> Self:
        """Return a live ``webknossos.MagView`` as a source; it can be written if the view can."""
        source = cls.__new__(cls)
        found = found_of(view)
        mode: Mode = "r" if found.remote or view.read_only else "r+"
        source._open(found, mode, None, None, None, None, None)
        return source

    def _open(
        self,
        found: Found,
        mode: Mode,
        offset: Sequence[int] | None,
        size: Sequence[int] | None,
        roi: Any,
        channel: int | None,
        storage_options: Mapping[str, Any] | None,
    ) -> None:
        if found.remote and mode != "r":
            raise ReadOnlyError(
                f"{found.title} lies on a server, whose layers are read-only here.",
                remedy="write a local layer and send it with upload(); mode='r' reads",
            )
        self._found, self._mode, self._channel = found, mode, channel
        self._storage_options = storage_options
        with explained(found.where):
            self._backing = found.backing(writable=mode != "r", storage_options=storage_options)
        whole = found.place(len(self._backing.shape), offset, size, channel)
        self._offset, self._size = whole.in_mag1(found.mag)
        self._roi = None if roi is None else region_of(roi, whole.pick(whole.sizes))
        self._placement = whole if self._roi is None else whole.cut(self._roi)
        if mode != "r":  # WebKnossos would not look there
            layer = found.place(len(self._backing.shape), None, None, channel)
            self._check_inside(self._placement.box, layer.box, "the bounding box")

    def _check_inside(self, box: Roi, allowed: Roi, what: str) -> None:
        for name, part, whole in zip(self._placement.stored, box, allowed, strict=True):
            if part.start < whole.start or part.stop > whole.stop:
                raise RegionError(
                    f"{part.start}:{part.stop} along {name} (voxels of mag {self._mag}) is outside of {what} of the"
                    f" layer {self._found.layer!r} of {self._found.title}, which has {whole.start}:{whole.stop}.",
                    remedy="open a smaller box, or enlarge the layer with the webknossos library (layer.bounding_box)",
                )

    @property
    def layer(self) -> Any:
        """The ``webknossos.MagView``."""
        return self._found.view

    @property
    def _mag(self) -> str:
        return str(self._found.view.mag.to_layer_name())

    @property
    def shape(self) -> tuple[int, ...]:
        return self._placement.pick(self._placement.sizes)

    @property
    def dtype(self) -> np.dtype:
        return self._backing.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return None if self._backing.chunks is None else self._placement.pick(self._backing.chunks)

    @property
    def shards(self) -> tuple[int, ...] | None:
        return None if self._backing.shards is None else self._placement.pick(self._backing.shards)

    @property
    def grid_origin(self) -> tuple[int, ...]:
        return tuple(-start for start in self._placement.pick(self._placement.start))

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self._placement.axes(self._found.mag, self._found.voxel_size)

    @property
    def writable(self) -> bool:
        return self._mode != "r" and self._backing.writable

    @property
    def concurrency(self) -> Concurrency:
        return self._backing.concurrency

    @property
    def lossless(self) -> bool:
        return self._backing.lossless

    @property
    def remote(self) -> bool:
        return self._found.remote

    @property
    def identity(self) -> Hashable:
        return self._backing.identity

    def _getitem(self, roi: Roi) -> np.ndarray:
        box = self._placement.to_stored(roi)
        # The box of a layer may reach beyond its array; what is not stored is 0.
        inside = tuple(slice(min(p.start, n), min(p.stop, n)) for p, n in zip(box, self._backing.shape, strict=True))
        with explained(self._found.where):
            # stored as x, y, z, shown as z, y, x: so the result is contiguous
            region = self._backing.read_fortran(inside)
        if inside != box:
            partial, region = region, np.zeros([part.stop - part.start for part in box], self.dtype, order="F")
            region[tuple(slice(0, size) for size in partial.shape)] = partial
        return self._placement.show(region)

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        box = self._placement.to_stored(roi)
        self._check_inside(box, tuple(slice(0, size) for size in self._backing.shape), "the array")
        self._backing.write(box, self._placement.hide(value))

    def fresh(self, *, cache_bytes: int = 0) -> Source:
        backing = self._backing.fresh(cache_bytes)
        return self if backing is self._backing else self._sibling(backing)

    def durable(self) -> Source:
        backing = self._backing.durable()
        return self if backing is self._backing else self._sibling(backing)

    def check_there(self) -> None:
        self._backing.check_there()

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        return self._backing.unit_files(self._placement.to_stored(roi))

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        return self._backing.stored_in(self._placement.to_stored(roi))

    def stored_units(self) -> np.ndarray | None:
        found, units = self._backing.stored_units(), self._backing.shards or self._backing.chunks
        if found is None or units is None:
            return None
        box = self._placement.box
        hidden = [axis for axis in range(len(units)) if axis not in self._placement.order]
        for axis in hidden:
            found = found[found[:, axis] == box[axis].start // units[axis]]
        return found[:, list(self._placement.order)]

    def moved(self, folder: str) -> Source:
        backing = self._backing.moved(folder)
        return super().moved(folder) if backing is None else self._sibling(backing)

    def _sibling(self, backing: Backing) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._backing = backing
        return twin

    def to_spec(self) -> SourceSpec:
        params = {
            "mag": self._mag,
            "offset": self._offset,
            "size": self._size,
            "mode": self._mode,
            "roi": None if self._roi is None else list(self._roi),
            "channel": self._channel,
            "storage_options": dict(self._storage_options or {}),
        }
        return SourceSpec("webknossos", self._found.where, self._found.layer, params)

    @staticmethod
    def reopen(spec: SourceSpec) -> WebKnossosSource:
        """Open the layer of a spec of kind "webknossos"."""
        return reopen_webknossos(spec)

    def upload(self, dataset: str | None = None, *, name: str | None = None) -> str:
        """Send the layer, with all its magnifications, to a WebKnossos server; the token is that of the library.

        For a segmentation layer its largest id is found and recorded first, where the layer says none.

        Parameters
        ----------
        dataset : str, optional
            URL of a dataset on the server that the layer is added to. None: the server of WK_URL (or of
            ``webknossos.login``) gets a new dataset, which holds this layer alone.
        name : str, optional
            Name of the layer in `dataset`, or of the new dataset. Default: that of the layer, or of the local dataset.

        Returns
        -------
        str
            URL of the dataset on the server.

        Raises
        ------
        NotReopenableError
            If the layer is on a server already.
        AccessError, SourceNotFoundError, StorageError
            If the server refuses, does not know the dataset, or fails.
        """
        if self._found.remote:
            raise NotReopenableError(f"{self!r} lies on a server already.", remedy="copy it to a local layer first")
        from .upload import send

        return send(self, dataset, name)

    def close(self) -> None:
        self._backing.close()

    def _read_only(self) -> ReadOnlyError:
        where, layer = self._found.title, self._found.layer
        remedy = f"open_webknossos({where!r}, layer_name={layer!r}, mag={self._mag!r}, mode='r+')"
        if self._found.remote:
            remedy = "write a local layer and send it with upload()"
        return ReadOnlyError(f"The layer {layer!r} of {where} is read-only.", remedy=remedy)

    def __repr__(self) -> str:
        where = f"{self._found.title}:{self._found.layer}/{self._mag}"
        return super().__repr__().replace("(", f"({where!r}, ", 1)


def open_webknossos(
    dataset_name_or_url: str | os.PathLike[str],
    organization_id: str | None = None,
    layer_name: str = "",
    mag: int | Sequence[int] | str = 1,
    offset: Sequence[int] | None = None,
    size: Sequence[int] | None = None,
    *,
    mode: Mode = "r",
    roi: Any = None,
    channel: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> WebKnossosSource:
    """Open a magnification of a layer of a WebKnossos dataset.

    Parameters
    ----------
    dataset_name_or_url : str or os.PathLike
        Folder of a local dataset (with a ``datasource-properties.json``); URL of a dataset or an annotation on a
        server; or name of a dataset on the server that WK_URL names (default https://webknossos.org): one with an
        organization, or that neither lies here nor looks like a path, so that no server hears of local names. Requests
        carry the token of WK_TOKEN, or of ``webknossos.login``, if it belongs to that server.
    organization_id : str, optional
        For a name on a server; default is the organization of the token.
    layer_name : str, default ""
        Layer; "" is the only one.
    mag : int, (int, int, int) or str, default 1
        Magnification: 2, (2, 2, 1) in x, y, z, or "2-2-1".
    offset, size : (int, int, int), optional
        Box in x, y, z, in voxels of Mag(1), counted from the origin of the dataset, whatever the magnification; rounded
        outwards to whole voxels of `mag`. Default: the bounding box of the layer. What is not stored reads as 0.
    mode : {"r", "r+"}, default "r"
        "r+" writes too; local layers only.
    roi : slice, int, or sequence of these, optional
        Part of the box, in the axis order of the source and in voxels of `mag`; an integer keeps one voxel.
    channel : int, optional
        The only channel to show. None: all; the axes are then (c, z, y, x) if there are several.
    storage_options : mapping, optional
        ``retries`` (default 6) of requests that failed; for layers in other stores see `bioimage_py.open_source`.

    Returns
    -------
    WebKnossosSource
        Axes (z, y, x) or (c, z, y, x), in nanometers.

    Raises
    ------
    SourceNotFoundError
        If there is no such dataset.
    KeyNotFoundError
        If it has no such layer, or the layer no such magnification.
    ParameterError, RegionError
        If channel, magnification or region make no sense; for "r+" if the region is not inside the layer.
    AccessError, StorageError
        If the server refuses (401, 403), or fails after all retries.
    ReadOnlyError
        For "r+" on a server.
    MissingDependencyError
        If the webknossos library is not installed.
    """
    return WebKnossosSource(
        dataset_name_or_url,
        organization_id,
        layer_name,
        mag,
        offset,
        size,
        mode=mode,
        roi=roi,
        channel=channel,
        storage_options=storage_options,
    )


def source_of_view(view: Any) -> WebKnossosSource:
    """Return a live ``webknossos.MagView`` as a source."""
    return WebKnossosSource.of_view(view)


def reopen_webknossos(spec: SourceSpec) -> WebKnossosSource:
    """Open the layer of a spec of kind "webknossos"; also of one that names the dataset in its params."""
    arguments = spec.arguments()
    dataset = arguments.pop("dataset_name_or_url", None) or spec.path or ""
    arguments.setdefault("layer_name", spec.internal_path or "")
    return WebKnossosSource(dataset, **arguments)
