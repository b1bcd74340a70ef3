# ruff: noqa: D102 - overrides are described where they are declared
"""A draft on a server as an array: any worker writes whole chunks of it, encoded here as its zarr array has them."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...errors import AccessError, FormatError, KeyNotFoundError
from ...sources.axes import Axis
from ...sources.base import Concurrency, Source
from ...sources.forks import engine
from ...sources.indexing import Roi
from ...sources.spec import SourceSpec
from ...system.json_text import parse_json
from ..storage.versions import ARRAY
from .connection import PREFIX, Connection
from .tickets import variable, variable_name

KIND = "project draft"


class DraftSource(Source):
    """The label map of a draft on a server.

    Parameters
    ----------
    connection : Connection
        By somebody who may annotate.
    project : str
        Id.
    path : str
        Of the draft, below ``/api/v1``.
    axes : tuple of Axis
    """

    def __init__(self, connection: Connection, project: str, path: str, axes: tuple[Axis, ...]) -> None:
        self._connection = connection
        self._project = project
        self._path = path
        self._axes = axes
        metadata = parse_json(connection.get_bytes(f"{path}/{ARRAY}/zarr.json"))
        self._metadata = {key: value for key, value in metadata.items() if key not in ("node_type", "zarr_format")}
        self._chunks = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        self._dtype: np.dtype = np.dtype(metadata["data_type"])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._metadata["shape"])

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return self._chunks

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self._axes

    @property
    def writable(self) -> bool:
        return True

    @property
    def concurrency(self) -> Concurrency:
        return "aligned"

    @property
    def lossless(self) -> bool:
        return True

    @property
    def remote(self) -> bool:
        return True

    @property
    def identity(self) -> Hashable:
        return (KIND, self._connection.url, self._path)

    def to_spec(self) -> SourceSpec:
        """Return what a worker needs; it finds a token in its environment, which has it from now on."""
        variable(self._connection, self._project, "annotate")
        url = f"{self._connection.url}{PREFIX}{self._path}"
        axes = [[axis.name, axis.kind, axis.unit, axis.scale, axis.offset] for axis in self._axes]
        told = {"project": self._project, "user": self._connection.user, "ca": self._connection.ca, "axes": axes}
        return SourceSpec(KIND, url, params=told)

    def __repr__(self) -> str:
        return super().__repr__().replace("(", f"({self._connection.url}{self._path!r}, ", 1)

    def keys(self, roi: Roi) -> Iterator[str]:
        """Keys of the chunks that a box touches."""
        ranges = [
            range(part.start // size, -(-part.stop // size)) for part, size in zip(roi, self._chunks, strict=True)
        ]
        return (f"{ARRAY}/c/" + "/".join(map(str, index)) for index in product(*ranges))

    def encode(self, roi: Roi, value: np.ndarray) -> dict[str, bytes]:
        """Return the chunks of a box as they are stored, by key, b"" for zeros; of chunks that it cuts, read first."""
        array, store = self._scratch()
        if any(
            part.start % size or (part.stop % size and part.stop != whole)
            for part, size, whole in zip(roi, self._chunks, self.shape, strict=True)
        ):
            self._fetch(roi, store)
        array[roi].write(value).result()
        return {key: bytes(store.read(_below(key)).result().value) for key in self.keys(roi)}

    def put(self, key: str, data: bytes) -> None:
        """Send an encoded chunk."""
        self._connection.send_bytes("PUT", f"{self._path}/{key}", data, again=True)

    def missing(self, hashes: dict[str, str]) -> list[str]:
        """Return which chunks the server has not as they hash (SHA-256, "" for zeros)."""
        found = self._connection.send("POST", f"{self._path}/have", {"chunks": hashes}, key="have-again")
        return list(found["missing"])

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        for key, data in self.encode(roi, value).items():
            self.put(key, data)

    def _getitem(self, roi: Roi) -> np.ndarray:
        array, store = self._scratch()
        self._fetch(roi, store)
        found: np.ndarray = np.array(array[roi].read().result())
        return found

    def _fetch(self, roi: Roi, store: Any) -> None:
        for key in self.keys(roi):
            try:
                store.write(_below(key), self._connection.get_bytes(f"{self._path}/{key}")).result()
            except KeyNotFoundError:
                continue  # zeros

    def _scratch(self) -> tuple[Any, Any]:
        """Return an array like the draft in memory, of its own, and the store that it lies in."""
        tensorstore = engine()
        place = {"driver": "memory", "path": "draft/"}
        context = tensorstore.Context()
        spec = {"driver": "zarr3", "kvstore": place, "metadata": self._metadata}
        array = tensorstore.open(spec, create=True, open=True, context=context).result()
        return array, tensorstore.KvStore.open(place, context=context).result()


def _below(key: str) -> str:
    return key.removeprefix(f"{ARRAY}/")


def reopen_draft(spec: SourceSpec) -> DraftSource:
    """Open a draft in a worker.

    Raises
    ------
    AccessError
        The environment has no token for it.
    FormatError
        The spec is none of a draft.
    """
    told = spec.arguments()
    try:
        base, _, path = str(spec.path).partition(PREFIX)
        project, user, ca = (str(told[name]) for name in ("project", "user", "ca"))
        axes = tuple(Axis(*axis) for axis in told["axes"])
    except (KeyError, TypeError) as error:
        remedy = "pass what draft.source.to_spec() gave"
        raise FormatError(f"This is no spec of a draft: {error}", remedy=remedy) from None
    # the name is made of the server's address: a spec can't have a token sent elsewhere
    token = os.environ.get(variable_name(base, user, project, "annotate"))
    if not token:
        raise AccessError(
            f"This process has no token for drafts of {base}.",
            remedy="start workers after layer.draft(), and let them have the environment of the driver",
        )
    return DraftSource(_connection(base, token, ca), project, path, axes)


@lru_cache(maxsize=8)
def _connection(url: str, token: str, ca: str) -> Connection:
    # the driver has asked whether http is wanted
    return Connection(url, token=token, insecure=True, ca=ca)
