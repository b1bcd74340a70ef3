"""Finding a magnification of a WebKnossos layer: in a local dataset, or on a server, with the webknossos library."""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import FormatError, KeyNotFoundError, NotReopenableError, ParameterError, SourceNotFoundError
from ...extras import needing
from ..arrays.adapters import open_zarr
from ..arrays.backing import Backing
from ..stores.location import RETRIES, locate
from ..stores.paths import is_url
from .layout import SPACE, Placement, place
from .server import PROPERTIES, ask, patience
from .wkw import WKWBacking

_ANNOTATION = re.compile(r"(?P<server>https?://.*)/annotations/(?:[A-Za-z]+/)?(?P<id>[0-9A-Fa-f]+)(?:[/?#].*)?")

_ENDING = re.compile(r"\.(zarr|n5|h5|hdf5?|hdf|tiff?|zip|ozx|wkw|json|nii|gz|png|mrc)$", re.IGNORECASE)
"""Endings of files and folders."""


@dataclass(frozen=True)
class Found:
    """A magnification of a layer.

    Parameters
    ----------
    view : webknossos.MagView
        What the library gives.
    where : str
        Absolute path of a local dataset, or URL of one on a server.
    """

    view: Any
    where: str

    @property
    def title(self) -> str:
        """`where` without what may be secret."""
        return self.where.partition("?")[0] if self.remote else self.where

    @property
    def remote(self) -> bool:
        """Whether it is read through a server."""
        return is_url(self.where)

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return str(self.view.layer.name)

    @property
    def mag(self) -> dict[str, int]:
        """Mag(1) voxels per voxel along x, y and z."""
        return dict(zip(SPACE, self.view.mag.to_tuple(), strict=True))

    @property
    def voxel_size(self) -> dict[str, float]:
        """Size of a Mag(1) voxel in nanometers along x, y and z."""
        return dict(zip(SPACE, map(float, self.view.layer.dataset.voxel_size), strict=True))

    def backing(self, *, writable: bool, storage_options: Mapping[str, Any] | None) -> Backing:
        """Open the voxels.

        Raises
        ------
        SourceNotFoundError, StorageError
            If there are none, or their store fails.
        FormatError
            If they are neither wkw nor zarr.
        """
        path = self.view.path
        headers = dict(getattr(path, "storage_options", {}).get("headers", {}))
        options = {**(storage_options or {}), **({"headers": headers} if headers else {})}
        found = locate(str(path), options)
        kind = str(self.view.layer.data_format)
        if found.folder is not None and kind == "wkw":
            return WKWBacking(found.folder, writable=writable)
        if not self.remote and not kind.startswith("zarr"):
            raise FormatError(
                f"The layer {self.layer!r} of {self.title} is stored as {kind} at {found}.",
                remedy="open its array with open_source(path), or store the layer as wkw or zarr3",
            )
        try:
            return open_zarr(found, "", "r+" if writable else "r")
        except KeyNotFoundError as error:
            raise SourceNotFoundError(
                f"The mag {self.view.mag} of the layer {self.layer!r} of {self.title} has no array at {found}.",
                remedy=f"check the path of the mag in {PROPERTIES}",
            ) from error

    def place(
        self, ndim: int, offset: Sequence[int] | None, size: Sequence[int] | None, channel: int | None
    ) -> Placement:
        """Return where a source of a stored array with ``ndim`` axes lies (see `webknossos_layout.place`)."""
        box = self.view.normalized_bounding_box
        bounds = zip(box.axes, box.topleft, box.size, strict=True)
        extent = {str(name): (int(first), int(count)) for name, first, count in bounds}
        stored = tuple(extent)
        if ndim == len(stored) - 1 and extent.get("c") == (0, 1):
            stored = tuple(name for name in stored if name != "c")
        if ndim != len(stored) or not set(SPACE) <= set(stored):
            raise FormatError(
                f"The layer {self.layer!r} of {self.title} has the axes {stored}, its array has {ndim}.",
                remedy=f"correct axisOrder of the layer in {PROPERTIES}",
            )
        return place(stored, extent, self.mag, offset, size, channel)


@functools.cache
def webknossos() -> Any:
    """Import the webknossos library."""
    with needing("webknossos", "A WebKnossos layer"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of readers for microscope files that are not installed
        import webknossos as library
    return library


def find(
    dataset: str | os.PathLike[str], organization_id: str | None, layer_name: str, mag: Any, retries: int
) -> Found:
    """Find a magnification of a layer.

    Parameters
    ----------
    dataset : str or os.PathLike
        Local path, name on a server, dataset URL or annotation URL.
    organization_id : str, optional
        For a name.
    layer_name : str
        "" for the only layer.
    mag : int, (int, int, int) or str
        Magnification.
    retries : int
        How often a request that failed is made again.

    Raises
    ------
    SourceNotFoundError
        If there is no such dataset.
    KeyNotFoundError
        If the dataset has no such layer, or the layer no such magnification; the message lists those it has.
    AccessError, StorageError
        If the server refuses, or fails after all retries.
    """
    text = os.fspath(dataset)
    if not is_url(text) and (isinstance(dataset, os.PathLike) or (organization_id is None and _is_local(text))):
        folder = _absolute(text)
        return Found(_pick(_open_local(folder), folder, layer_name, mag), folder)

    webknossos()

    def opened() -> Found:
        remote = _open_remote(text, organization_id)
        _check_streamed(remote, layer_name)
        where = text if is_url(text) else str(remote.url)
        return Found(_pick(remote, where, layer_name, mag), where)

    return ask(text, opened, retries=retries, seconds=patience())


def layers_of(dataset: str, retries: int = RETRIES) -> dict[str, tuple[str, list[str]]]:
    """The layers of a dataset (folder or URL): how each is stored, and the names of its magnifications, finest first.

    Raises
    ------
    SourceNotFoundError, AccessError, StorageError
        As for `find`.
    """
    if is_url(dataset):
        webknossos()
        opened = ask(dataset, lambda: _open_remote(dataset, None), retries=retries, seconds=patience())
    else:
        opened = _open_local(_absolute(dataset))
    return {
        str(name): (str(layer.data_format), [mag.to_layer_name() for mag in sorted(layer.mags)])
        for name, layer in opened.layers.items()
    }


def _is_local(text: str) -> bool:
    """Tell what is no name of a dataset on a server, so that none hears of it: paths, and what lies here."""
    like_a_path = "://" in text or os.sep in text or text.startswith((".", "~")) or _ENDING.search(text)
    return bool(like_a_path) or os.path.lexists(text)


def _absolute(text: str) -> str:
    folder = locate(text).folder
    if folder is None:
        raise FormatError(f"{text} is an archive.", remedy="unpack it first")
    return folder


def _open_local(folder: str) -> Any:
    library = webknossos()
    if not os.path.isfile(os.path.join(folder, PROPERTIES)):
        raise SourceNotFoundError(
            f"{folder} is no WebKnossos dataset: it has no {PROPERTIES}.",
            remedy="pass the folder of the dataset, or its URL; for a name on a server give organization_id too",
        )
    try:
        return library.Dataset.open(folder, read_only=True)
    except Exception as error:  # the library's parser raises whatever it stumbles over, in groups of its own
        raise FormatError(f"Cannot read {folder}/{PROPERTIES}: {error!r}", remedy="correct the file") from error


def _open_remote(text: str, organization_id: str | None) -> Any:
    remote = webknossos().RemoteDataset
    if match := _ANNOTATION.fullmatch(text):
        # by id and server: the library would look for the dataset of an annotation's URL on its default server
        return remote.open(annotation_id_or_url=match["id"], webknossos_url=match["server"], read_only=True)
    return remote.open(text, organization_id=organization_id, read_only=True)


def _check_streamed(remote: Any, layer_name: str) -> None:
    """Raise where the library has left out all magnifications, as it does when it cannot read what streams them."""
    layer = remote.layers.get(layer_name or next(iter(remote.layers), ""))
    if layer is not None and not layer.mags:
        raise FileNotFoundError(str(remote._base_path(remote.access_mode)))


def _pick(dataset: Any, where: str, layer_name: str, mag: Any) -> Any:
    """Return a magnification of a layer of an opened dataset."""
    where = where.partition("?")[0] if is_url(where) else where
    layers = dataset.layers
    if not layer_name and len(layers) == 1:
        layer_name = next(iter(layers))
    if layer_name not in layers:
        raise KeyNotFoundError(
            f"{where} has no layer {layer_name!r}; it has {sorted(layers)}.", remedy="layer_name='...', one of these"
        )
    wanted = parse_mag(mag)
    mags = {found.to_tuple(): view for found, view in layers[layer_name].mags.items()}
    if wanted not in mags:
        names = [found.to_layer_name() for found in sorted(layers[layer_name].mags)]
        raise KeyNotFoundError(
            f"The layer {layer_name!r} of {where} has no mag {mag!r}; it has {', '.join(names)}.",
            remedy="mag=... one of these",
        )
    return mags[wanted]


def parse_mag(mag: Any) -> tuple[int, int, int]:
    """Return a magnification as factors along x, y and z.

    Parameters
    ----------
    mag : int, sequence of three int, str or webknossos.Mag
        Such as 2, (2, 2, 1) or "2-2-1".

    Raises
    ------
    ParameterError
        For anything else.
    """
    try:
        if isinstance(mag, str):
            parts = [int(part) for part in mag.split("-")]
        elif hasattr(mag, "to_tuple"):
            parts = [int(part) for part in mag.to_tuple()]
        else:
            parts = [mag.__index__()] if hasattr(mag, "__index__") else [part.__index__() for part in mag]
        x, y, z = parts * 3 if len(parts) == 1 else parts
    except (TypeError, ValueError, AttributeError):
        x = y = z = 0
    if min(x, y, z) < 1:
        raise ParameterError(f"mag is {mag!r}.", remedy="use an int, (x, y, z), or a string such as '2-2-1'")
    return x, y, z


def found_of(view: Any) -> Found:
    """Return where a live ``MagView`` lies.

    Raises
    ------
    NotReopenableError
        If its dataset is neither in a local folder nor on a server.
    """
    dataset = view.layer.dataset
    if hasattr(dataset, "annotation_id"):
        url = str(dataset.url)
        if dataset.annotation_id:
            url = f"{url.rpartition('/datasets/')[0]}/annotations/{dataset.annotation_id}"
        return Found(view, url)
    place = locate(str(dataset.path))
    if place.folder is None:
        raise NotReopenableError(
            f"The dataset {place} lies in no local folder.", remedy="open_source(url of the array's own folder)"
        )
    return Found(view, place.folder)
