"""A draft of a label map on a server."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DtypeError
from ...sources import Source
from ...sources.casting import convert_values
from ...sources.indexing import normalize_index
from ..drafts import Draft, checked_labels, label_dtype, region_of, regions
from ..storage.leases import LockToken
from ..storage.packs import packs
from ..values.records import LayerRecord
from .arrays.draft_source import DraftSource
from .sending import take_back, told_as_conflict

if TYPE_CHECKING:
    from ..layers import LabelMapLayer

_AT_ONCE = 4
"""Packs of chunks that are sent at once."""
_ASKED = 256
"""Chunks about which the server is asked at once."""
_BYTES = 64 * 2**20
"""Encoded chunks that are kept meanwhile."""


class RemoteDraft(Draft):
    """A label map on a server that is being written; see `Draft`.

    It is the user's own. One that nobody writes into for a week goes.

    Parameters
    ----------
    layer : LabelMapLayer
        Of a descriptor.
    name : str
        "" for a new draft of no name.
    dtype : dtype_like, optional
        As of `Draft`.
    """

    def __init__(self, layer: LabelMapLayer, name: str = "", dtype: Any = None) -> None:
        self._check_name(name)
        self._layer = layer
        session: Any = layer.project._session
        descriptor = layer._dataset
        self._store, stored = session.remote, layer._stored()
        kind = label_dtype(dtype).name if dtype is not None else stored.dtype if stored is not None else None
        new = session.new_layer(layer.id)
        with told_as_conflict(layer):
            told = self._store.open_draft(
                descriptor.identifier,
                layer.id,
                dtype=kind or layer._smallest_dtype().name,
                base="" if stored is None else stored.version,
                name=name,
                document=session.new_document(descriptor.identifier),
                layer_document=new,
            )
        if dtype is not None and told["dtype"] != label_dtype(dtype).name:
            raise DtypeError(
                f"The draft {name!r} holds {told['dtype']}, not {np.dtype(dtype)}.",
                remedy=f"layer.draft({name!r}).discard(), or another name",
            )
        self.begun: bool = not told["made"]
        self._base = told["base"]
        self._open(told["id"])

    def _open(self, id: str) -> None:
        self._id, descriptor = id, self._layer._dataset
        axes = tuple(descriptor.axes[axis] for axis in descriptor.spatial_axes)
        path = self._store.draft_path(descriptor.identifier, self._layer.id, id)
        self._remote = DraftSource(self._store.connection, self._store.id, path, axes)

    @property
    def source(self) -> Source:
        """The label map, to be written by whole chunks; axes are the spatial axes of the image."""
        return self._remote

    @property
    def path(self) -> str:
        """Empty: it is on a server."""
        return ""

    def publish(self, lock_token: LockToken | None = None) -> bool:
        """Let the descriptor point to this label map; see `Draft.publish`."""
        layer = self._layer
        token = layer._check_lock(lock_token)
        sealed = self._store.seal(layer._dataset.identifier, layer.id, self._id)
        base = None if self._base is None else LayerRecord(**self._base)
        if sealed["same"] and base is not None:
            self.discard()
            return False
        layer._publish(base, LayerRecord(**sealed["record"]), token, self._take_back)
        return True

    def _take_back(self) -> None:
        path = self._store.draft_path(self._layer._dataset.identifier, self._layer.id, self._id)
        take_back(self._store.connection, path)

    def rebase(self) -> list[tuple[slice, ...]]:
        """Take over what somebody else published since; see `Draft.rebase`."""
        identifier = self._layer._dataset.identifier
        told = self._store.rebase(identifier, self._layer.id, self._id)
        if told["draft"] != self._id:  # what was sealed stays as it is
            self._open(told["draft"])
        self._layer.project._session.refresh(identifier)
        self._base = told["base"]
        return [region_of(name, self._remote) for name in told["both"]]

    def discard(self) -> None:
        """Remove the draft; nothing else changes."""
        self._store.discard_draft(self._layer._dataset.identifier, self._layer.id, self._id)

    def fill(self, value: Any) -> None:
        """Write a whole label map; only chunks that the server does not have are sent. See `Draft.fill`."""
        source = checked_labels(value, self._layer)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            sending: deque[Future[None]] = deque()
            try:
                for batch in self._encoded(source):
                    hashes = {key: sha256(data).hexdigest() if data else "" for key, data in batch.items()}
                    for pack in packs({key: batch[key] for key in self._remote.missing(hashes)}):
                        sending.append(pool.submit(self._remote.send, pack))
                        if len(sending) > 2 * _AT_ONCE:
                            sending.popleft().result()
                for one in sending:
                    one.result()
            except BaseException:
                for one in sending:
                    one.cancel()
                raise

    def _encoded(self, source: Source) -> Iterator[dict[str, bytes]]:
        """Chunks as they are stored, some at a time."""
        batch: dict[str, bytes] = {}
        size = 0
        for roi in regions(source.shape, self._remote.chunks):
            selection = normalize_index(roi, source.shape)
            found = self._remote.encode(roi, convert_values(source.view(roi), self._remote.dtype, "checked", selection))
            batch.update(found)
            size += sum(map(len, found.values()))
            if len(batch) >= _ASKED or size >= _BYTES:
                yield batch
                batch, size = {}, 0
        if batch:
            yield batch
