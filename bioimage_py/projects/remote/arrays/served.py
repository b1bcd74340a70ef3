# ruff: noqa: D102 - overrides are described where they are declared
"""Versions of label maps on a server, read by boxes: the chunks that a region touches come in one answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import product

import numpy as np

from ....errors import KeyNotFoundError, ParameterError
from ....sources.arrays.backing import Backing
from ....sources.arrays.tensor_handle import Order
from ....sources.arrays.tensorstore import ChunkedBacking
from ....sources.file import FileSource, open_source
from ....sources.indexing import Roi
from ....sources.spec import SourceSpec
from ...storage.frames import decode
from ...storage.packs import ARRAY, unpacked
from ..connection import PREFIX, Connection
from ..tickets import variable
from .scratch import key_of
from .workers import where_of

KIND = "project version"
_MOST = 64
"""Chunks that are asked for together."""
_AT_ONCE = 4
"""Boxes of a large region that are asked for at once."""


class ServedSource(FileSource):
    """A version of a label map on a server; workers open it by its spec, and find a token in their environment."""

    _told: dict[str, str]

    def to_spec(self) -> SourceSpec:
        return SourceSpec(KIND, self.path, ARRAY, params=self._told)


class BoxBacking(ChunkedBacking):
    """The chunks of a version, by boxes where that is one request in place of several.

    Parameters
    ----------
    opened : ChunkedBacking
        The same, by chunk.
    connection : Connection
    path : str
        Of the version, below ``/api/v1``.
    """

    def __init__(self, opened: ChunkedBacking, connection: Connection, path: str) -> None:
        self.__dict__.update(opened.__dict__)
        self._connection, self._path = connection, path

    def _read(self, roi: Roi, order: Order) -> np.ndarray:
        steps = any(part.step not in (None, 1) for part in roi)
        if steps or self._handle.cache_bytes or not self._plain or 0 in (found := _shape(roi)):
            return super()._read(roi, order)
        region, boxes = np.empty(found, self.dtype, order), list(self._boxes(roi))
        if len(boxes) == 1:
            self._read_box(roi, region)
            return region
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda box: self._read_box(box, region[_within(box, roi)]), boxes):
                pass
        return region

    @cached_property
    def _plain(self) -> bool:
        """Whether chunks are stored as this package stores label maps."""
        if self.fallback() or self._handle.driver != "zarr3" or self.chunks is None:
            return False
        metadata = self._handle.metadata()
        little = all(codec.get("configuration", {}).get("endian", "little") == "little" for codec in metadata["codecs"])
        zeros = not metadata.get("fill_value")
        return zeros and little and [codec["name"] for codec in metadata["codecs"]] == ["bytes", "zstd"]

    def _read_box(self, roi: Roi, out: np.ndarray) -> None:
        spans = self._spans(roi)
        told = ",".join(f"{span.start}-{span.stop}" for span in spans)
        found = unpacked(self._connection.get_bytes(f"{self._path}/box/{told}"))
        chunk = np.empty(self.chunks or self.shape, self.dtype)
        for position in product(*spans):
            key = key_of(position)
            data = found[key] if key in found else self._chunk(key)  # large ones come alone
            whole = tuple(slice(at * size, (at + 1) * size) for at, size in zip(position, chunk.shape, strict=True))
            part = tuple(
                slice(max(one.start, other.start), min(one.stop, other.stop))
                for one, other in zip(roi, whole, strict=True)
            )
            if not data:
                out[_within(part, roi)] = 0
                continue
            try:
                decode(data, chunk)
            except ParameterError:  # not from this package; whoever can read it does, or tells why not
                out[_within(part, roi)] = super()._read(part, "C")
                continue
            out[_within(part, roi)] = chunk[_within(part, whole)]

    def _chunk(self, key: str) -> bytes:
        try:
            return self._connection.get_bytes(f"{self._path}/{key}")
        except KeyNotFoundError:
            return b""

    def _spans(self, roi: Roi) -> list[range]:
        chunks = self.chunks or self.shape
        return [range(part.start // size, -(-part.stop // size)) for part, size in zip(roi, chunks, strict=True)]

    def _boxes(self, roi: Roi) -> Iterator[Roi]:
        """Parts of a region that touch so many chunks at most."""
        left, steps = _MOST, []
        spans = self._spans(roi)
        for span in reversed(spans):
            steps.append(max(1, min(len(span), left)))
            left //= steps[-1]
        chunks = self.chunks or self.shape
        cuts = [
            [
                slice(max(part.start, begin * size), min(part.stop, (begin + step) * size))
                for begin in range(span.start, span.stop, step)
            ]
            for part, span, step, size in zip(roi, spans, reversed(steps), chunks, strict=True)
        ]
        return product(*cuts)

    def _reopened(self, *, cache_bytes: int = 0, sync: bool) -> Backing:
        found = super()._reopened(cache_bytes=cache_bytes, sync=sync)
        return BoxBacking(found, self._connection, self._path) if isinstance(found, ChunkedBacking) else found


def _shape(roi: Roi) -> list[int]:
    return [part.stop - part.start for part in roi]


def _within(box: Roi, roi: Roi) -> Roi:
    return tuple(slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(box, roi, strict=True))


def open_served(connection: Connection, project: str, path: str) -> FileSource:
    """Open a version of a label map; workers that are started from now on find a token for it.

    Parameters
    ----------
    connection : Connection
    project : str
        Id.
    path : str
        Of the version, below ``/api/v1``.
    """
    headers = {"Authorization": f"Bearer ${variable(connection, project)}"}
    url = f"{connection.url}{PREFIX}{path}"
    opened = open_source(url, ARRAY, format="zarr", storage_options={"headers": headers})
    if not isinstance(opened._backing, ChunkedBacking):
        return opened
    source = ServedSource.__new__(ServedSource)
    source.__dict__.update(opened.__dict__)
    source._backing = BoxBacking(opened._backing, connection, path)
    source._told = {"project": project, "user": connection.user, "ca": connection.ca}
    return source


def reopen_served(spec: SourceSpec) -> FileSource:
    """Open a version in a worker.

    Raises
    ------
    AccessError
        The environment has no token for it.
    FormatError
        The spec is none of a version.
    """
    return open_served(*where_of(spec, "read", "layer.load()"))
