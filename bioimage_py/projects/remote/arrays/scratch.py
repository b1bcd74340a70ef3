"""Encoded chunks and voxels, each made of the other by the storage engine, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ....sources.chunked.unit_files import Position
from ....sources.forks import engine
from ....sources.indexing import Roi
from ....sources.stores.location import locate
from ....system.threads import usable_cores
from ...storage.packs import ARRAY

_PLACE = locate("memory://scratch")


class Scratch:
    """An array in memory that is stored like another one.

    Parameters
    ----------
    metadata : mapping
        Of the other one, as zarr v3 has it, without its type of node.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        tensorstore = engine()
        self._context = _PLACE.open_context({"memory_key_value_store": {}}, usable_cores())  # memory of its own
        spec = {"driver": "zarr3", "kvstore": _PLACE.kvstore(), "metadata": dict(metadata)}
        self.array = tensorstore.open(spec, create=True, open=True, context=self._context).result()
        self._store = tensorstore.KvStore.open(_PLACE.kvstore(), context=self._context).result()

    def put(self, chunks: Mapping[str, bytes]) -> None:
        """Store encoded chunks by key; none of no bytes."""
        for write in [self._store.write(_below(key), data) for key, data in chunks.items() if data]:
            write.result()

    def chunks(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return encoded chunks by key, b"" for zeros."""
        reads = {key: self._store.read(_below(key)) for key in keys}
        return {key: bytes(read.result().value) for key, read in reads.items()}

    def read(self, roi: Roi, out: np.ndarray) -> None:
        """Read a region into an array of its shape."""
        engine().array(out, context=self._context, copy=False).write(self.array[roi]).result()


def key_of(position: Position) -> str:
    """Key of a chunk in the group of a label map."""
    return f"{ARRAY}/c/{'/'.join(map(str, position))}"


def _below(key: str) -> str:
    return key.removeprefix(f"{ARRAY}/")
