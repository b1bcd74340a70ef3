# ruff: noqa: D102 - overrides are described where they are declared
"""A draft on a server as an array: any worker writes whole chunks of it, encoded here as its zarr array has them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property

import numpy as np

from ....errors import FormatError, KeyNotFoundError, ParameterError
from ....sources.axes import Axis
from ....sources.base import Concurrency, Source
from ....sources.chunked.encoded import grids_of
from ....sources.chunked.unit_files import is_whole, positions_in
from ....sources.indexing import Roi
from ....sources.spec import SourceSpec
from ....system.json_text import parse_json
from ...storage.packs import ARRAY, Pack, packs
from ..connection import PREFIX, Connection
from ..problems import DamagedError
from ..tickets import variable
from .scratch import Scratch, key_of
from .workers import where_of

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

    def _keys(self, roi: Roi) -> Iterator[str]:
        return map(key_of, positions_in(roi, self._chunks))

    def encode(self, roi: Roi, value: np.ndarray) -> dict[str, bytes]:
        """Return the chunks of a box as they are stored, by key, b"" for zeros; of chunks that it cuts, read first."""
        scratch = Scratch(self._metadata) if is_whole(roi, self._chunks, self.shape) else self._fetched(roi)
        scratch.array[roi].write(value).result()
        return scratch.chunks(self._keys(roi))

    def put(self, chunks: Mapping[str, bytes]) -> None:
        """Send encoded chunks by key; b"" stands for zeros."""
        for pack in packs(chunks):
            self.send(pack)

    def send(self, pack: Pack) -> None:
        """Send encoded chunks that travel together."""
        try:
            self._connection.send_bytes("POST", f"{self._path}/chunks", pack.body, again=True)
        except DamagedError as error:
            more = f" and {len(pack.keys) - 1} more" if pack.keys[1:] else ""
            raise DamagedError(f"The chunk {pack.keys[0]}{more}: {error.message}", remedy=error.remedy) from None

    def missing(self, hashes: dict[str, str]) -> list[str]:
        """Return which chunks the server has not as they hash (SHA-256, "" for zeros)."""
        found = self._connection.send("POST", f"{self._path}/have", {"chunks": hashes}, key="have-again")
        return list(found["missing"])

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        self.put(self.encode(roi, value))

    def copy_encoded(self, roi: Roi, source: Source) -> bool:
        if not is_whole(roi, self._chunks, self.shape):
            return False
        for found in source.encoded(roi):
            if found.encoding == self._encoding:
                stored = found.stored()
                try:
                    self.put({key_of(position): data or b"" for position, data in stored.items()})
                except (
                    ParameterError
                ):  # a server takes less than zarr allows; what it took is replaced by the same voxels
                    return False
                return True
        return False

    @cached_property
    def _encoding(self) -> str:
        metadata = Scratch(self._metadata).array.spec().to_json()["metadata"]
        return grids_of("zarr3", metadata, self._chunks)[0].encoding

    def _getitem(self, roi: Roi) -> np.ndarray:
        found = np.empty([part.stop - part.start for part in roi], self._dtype)
        self._fetched(roi).read(roi, found)
        return found

    def _fetched(self, roi: Roi) -> Scratch:
        """Return an array in memory that holds the chunks of a box as they are now."""
        scratch, chunks = Scratch(self._metadata), dict[str, bytes]()
        for key in self._keys(roi):
            with suppress(KeyNotFoundError):  # zeros
                chunks[key] = self._connection.get_bytes(f"{self._path}/{key}")
        scratch.put(chunks)
        return scratch


def reopen_draft(spec: SourceSpec) -> DraftSource:
    """Open a draft in a worker.

    Raises
    ------
    AccessError
        The environment has no token for it.
    FormatError
        The spec is none of a draft.
    """
    where = where_of(spec, "annotate", "layer.draft()")
    try:
        axes = tuple(Axis(*axis) for axis in spec.arguments()["axes"])
    except (KeyError, TypeError) as error:
        remedy = "pass what to_spec() of layer.draft() gave"
        raise FormatError(f"This is no spec of a draft: {error}", remedy=remedy) from None
    return DraftSource(where.connection, where.project, where.path, axes)
