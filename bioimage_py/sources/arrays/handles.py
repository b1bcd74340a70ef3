"""What live handles say of themselves: the place of a zarr-python array, and tensorstore's arrays as backings."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import json
import os
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import NotReopenableError, SourceNotFoundError, SourceTypeError, StorageError
from ..axes import Axis
from ..base import Concurrency
from ..chunked.attributes import kind_of, unit_name
from ..chunked.marks import some_files
from ..chunked.unit_files import UnitFiles
from ..forks import check, engine
from ..indexing import Roi
from ..spec import FrozenParams, SourceSpec
from ..stores.errors import failed
from ..stores.location import SCHEMES, Location, locate
from .backing import Backing, gone
from .tensor_handle import Layout, TensorHandle
from .tensorstore import ChunkedBacking, spec_of


def place_of_zarr(array: Any) -> Location | None:
    """Return where the container of a zarr-python array lies; None where tensorstore cannot reach its store."""
    import zarr

    store = array.store
    if isinstance(store, zarr.storage.LocalStore):
        return Location(os.path.abspath(store.root))
    if isinstance(store, zarr.storage.ZipStore):
        # The directory of an archive is written when it is closed.
        return locate(f"{os.path.abspath(store.path)}|zip:") if array.read_only else None
    if type(store).__name__ == "FsspecStore":
        return _place_of_fsspec(store)
    return None


def _place_of_fsspec(store: Any) -> Location | None:
    """Return the place of a store of fsspec, unless it was given secrets, which a place does not hold."""
    system = getattr(store.fs, "sync_fs", store.fs)
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    given = dict(getattr(system, "storage_options", None) or {})
    options: dict[str, Any] = {}
    if protocol in ("file", "local"):
        return Location(os.path.abspath(store.path))
    if protocol in ("http", "https"):
        return locate(store.path) if not given.get("client_kwargs") and not given.get("headers") else None
    if protocol in ("s3", "s3a"):
        client = dict(given.get("client_kwargs") or {})
        endpoint = given.get("endpoint_url") or client.get("endpoint_url")
        found = {"endpoint_url": endpoint, "region": client.get("region_name"), "profile": given.get("profile")}
        options = {name: value for name, value in found.items() if value}
        if given.get("anon"):
            options["anon"] = True
        secret = any(given.get(name) for name in ("key", "secret", "token"))
        return None if secret else locate(f"s3://{store.path}", options)
    if protocol in ("gs", "gcs"):
        return None if given.get("token") else locate(f"gs://{store.path}")
    return None


def tensorstore_backing(array: Any) -> Backing:
    """Return the backing for a ``tensorstore.TensorStore``.

    Whole zarr and n5 arrays in local folders are opened anew by their path; everything else (views, other drivers
    and stores) is read and written through the handle itself.
    """
    if array.rank and not all(np.isfinite(_bounds(array))):
        raise SourceTypeError(
            f"The tensorstore array has no finite shape: {array.domain}.", remedy="index it to a box first"
        )
    place, driver = _place_of(array), array.spec().to_json().get("driver")
    if array.transaction is not None:  # what is written goes to the disk when it is committed
        return TensorStoreBacking(array, place)
    if place is None or place.folder is None or driver not in ("zarr3", "zarr", "n5") or not _is_whole(array, driver):
        return TensorStoreBacking(array, place)
    layout = array.chunk_layout
    chunks, outer = tuple(layout.read_chunk.shape), tuple(layout.write_chunk.shape)
    shape = tuple(int(size) for size in array.shape)
    found = Layout(shape, array.dtype.numpy_dtype, chunks, outer if outer != chunks else None)
    handle = TensorHandle(place, driver, writable=bool(array.writable))
    kind = "z5py" if driver == "n5" else "zarr"
    return ChunkedBacking(handle, found, lambda: array, spec_of(kind, place, "", bool(array.writable)))


def _bounds(array: Any) -> list[float]:
    return [float(bound) for axis in array.domain for bound in (axis.inclusive_min, axis.exclusive_max)]


def _place_of(array: Any) -> Location | None:
    """Return where the data of a handle lies; None for stores that no URL of ours names."""
    kvstore = array.kvstore
    if kvstore is None:
        return None
    found = kvstore.spec().to_json()
    scheme = next((name for name, driver in SCHEMES.items() if driver == found["driver"]), None)
    if found["driver"] == "file":
        return Location(os.path.abspath(found["path"]))
    if scheme is None:
        return None
    options = {}
    if "endpoint" in found:
        options["endpoint_url"] = found["endpoint"]
    if "aws_region" in found:
        options["region"] = found["aws_region"]
    return locate(kvstore.url, options)


def _is_whole(array: Any, driver: str) -> bool:
    """Tell a whole array in the order of its axes from a view: n5 lies in C order where it is transposed."""
    transform = array.spec().to_json().get("transform", {})
    ends = [end[0] if isinstance(end, list) else end for end in transform.get("input_exclusive_max", [])]
    sizes = [int(size) for size in _stored_shape(array, driver)]
    order = [step.get("input_dimension") for step in transform.get("output", [])]
    expected = list(range(array.rank - 1, -1, -1)) if driver == "n5" else []
    plain = all(set(step) == {"input_dimension"} for step in transform.get("output", []))
    return (
        plain
        and (order or list(range(array.rank))) == (expected or list(range(array.rank)))
        and all(start == 0 for start in transform.get("input_inclusive_min", []))
        and ends == (sizes[::-1] if driver == "n5" else sizes)
    )


def _stored_shape(array: Any, driver: str) -> list[int]:
    metadata = array.spec().to_json()["metadata"]
    return list(metadata["dimensions" if driver == "n5" else "shape"])


class TensorStoreBacking(Backing):
    """A live ``tensorstore.TensorStore``: any driver, store or view. Its index 0 is where the domain begins.

    Parameters
    ----------
    array : tensorstore.TensorStore
        The handle.
    place : Location, optional
        Where its data lies, as far as that is known.
    """

    def __init__(self, array: Any, place: Location | None = None) -> None:
        engine()
        self._native = array
        self._place = place or Location(f"{array.spec().to_json()['driver']} array of tensorstore")
        self._view = array.translate_to[(0,) * array.rank] if array.rank else array
        self.shape = tuple(int(size) for size in array.shape)
        self.dtype = array.dtype.numpy_dtype
        layout = self._view.chunk_layout
        chunks, outer = layout.read_chunk.shape, layout.write_chunk.shape
        self.chunks = tuple(int(size) for size in chunks) if chunks and all(chunks) else None
        whole = tuple(int(size) for size in outer) if outer and all(outer) else None
        self.shards = whole if whole != self.chunks else None
        origin = layout.grid_origin
        self.grid_origin = None if origin is None else tuple(int(start or 0) for start in origin)
        self.writable = bool(array.writable)
        self.concurrency: Concurrency = "aligned" if whole and self.grid_origin else "single-writer"

    @property
    def native(self) -> Any:
        return self._native

    @property
    def identity(self) -> Hashable:
        if self._native.kvstore is None or self._place.scheme == "memory":
            return ("tensorstore", str(self._native.kvstore or id(self._native)))
        return self._place.identity

    def read(self, roi: Roi) -> np.ndarray:
        check()
        try:
            return np.array(self._view[roi].read().result(), copy=None)
        except (ValueError, OSError) as error:
            raise failed(f"read {_where(roi)} of", self._place, error) from error

    def write(self, roi: Roi, value: np.ndarray) -> None:
        check()
        try:
            self._view[roi].write(value).result()
        except (ValueError, OSError) as error:
            raise failed(f"write {_where(roi)} of", self._place, error) from error

    def durable(self) -> Backing:
        # a handle keeps the settings that it was opened with, so it is opened anew
        with suppress(NotReopenableError):
            return reopen_tensorstore(self.spec(), sync=True)
        return self

    def check_there(self) -> None:
        with suppress(NotReopenableError):
            spec = self.spec()
            # with the metadata that it was opened with
            whole = replace(spec, params=FrozenParams({**spec.params, "spec": self._native.spec().to_json()}))
            try:
                reopen_tensorstore(whole)
            except (SourceNotFoundError, StorageError) as error:
                raise gone(self._place) from error

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        return some_files(self._place)

    def axes(self) -> tuple[Axis, ...] | None:
        labels, units = self._native.domain.labels, self._native.dimension_units
        if not all(labels):
            return None
        found = []
        for name, unit, start in zip(labels, units, self._native.domain.inclusive_min, strict=True):
            scale = 1.0 if unit is None else float(unit.multiplier)
            found.append(
                Axis(name, kind_of(name), None if unit is None else unit_name(unit.base_unit), scale, start * scale)
            )
        return tuple(found)

    def spec(self) -> SourceSpec:
        if self._native.transaction is not None:
            raise NotReopenableError(
                f"{self._place} was opened in a transaction, which no other process sees before it is committed.",
                remedy="use job_type='local', or open the array without the transaction",
            )
        description = self._native.spec(minimal_spec=True).to_json()
        kvstore = description.get("kvstore")
        if kvstore is None or '"driver": "memory"' in json.dumps(kvstore):
            raise NotReopenableError(
                f"{self._place} is in the memory of this process; no other process can open it.",
                remedy="use job_type='local', or copy the data to a zarr array in a folder or bucket",
            )
        if "headers" in kvstore:
            raise NotReopenableError(
                f"{self._place} is read with headers that may be secret, which a spec does not hold.",
                remedy="open_source(url, storage_options={'headers': {'Authorization': 'Bearer $TOKEN'}})",
            )
        mode = "r+" if self.writable else "r"
        options = {"storage_options": self._place.options} if self._place.options else {}
        return SourceSpec("tensorstore", self._place.url, None, {"spec": description, "mode": mode, **options})


def reopen_tensorstore(spec: SourceSpec, *, sync: bool = False) -> Backing:
    """Open the array of a spec of kind "tensorstore"; with ``sync`` its writes wait for the disk."""
    tensorstore = engine()

    arguments = spec.arguments()
    place = locate(spec.path or "", arguments.get("storage_options"))
    writes = arguments.get("mode", "r") != "r"
    try:
        array = tensorstore.open(
            arguments["spec"], context=place.open_context({"file_io_sync": sync}), open=True, read=True, write=writes
        ).result()
    except (ValueError, OSError) as error:
        raise failed("open", place, error) from error
    return TensorStoreBacking(array, place)


def _where(roi: Roi) -> str:
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in roi) + "]"
