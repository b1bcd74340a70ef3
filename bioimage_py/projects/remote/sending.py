"""Annotations that go to a server: sent first, then named by a commit, at once or at the end of the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..values.records import LayerRecord

if TYPE_CHECKING:
    from ..layers import LiveLayer, TableLayer


def send_table(layer: TableLayer, text: str, old: LayerRecord | None, token: str) -> bool:
    """Send boxes or landmarks; return True. Errors as for a folder."""
    identifier, session = _where(layer)
    new = session.remote.put_table(identifier, layer.id, text, session.new_layer(layer.id))
    layer._publish(old, new, token, _nothing)
    return True


def _where(layer: LiveLayer) -> tuple[str, Any]:
    session = layer.project._session
    return layer._dataset.identifier, session


def _nothing() -> None:
    """What was sent and is not named goes by itself."""
