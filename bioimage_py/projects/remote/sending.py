"""Annotations that go to a server: sent first, then named by a commit, at once or at the end of the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ParameterError
from ...sources import Source
from ...wrapper.cast import CastSource
from ..values.records import LayerRecord

if TYPE_CHECKING:
    from ..layers import LabelMapLayer, LiveLayer, TableLayer


def send_labels(
    layer: LabelMapLayer, labels: Source, dtype: np.dtype[Any], old: LayerRecord | None, token: str
) -> bool:
    """Send the chunks of a label map that differ; return whether any does.

    Raises
    ------
    ParameterError
        The layer itself is not saved yet.
    LockError, ConflictError
        As for a folder.
    """
    identifier, session = _where(layer)
    new, differs = session.remote.put_labels(
        identifier,
        layer.id,
        labels if labels.dtype == dtype else CastSource(labels, dtype),
        old=layer.load(),
        lock=token or session.token(identifier),
        document=session.new_document(identifier),
    )
    if old is not None and not differs:
        return False
    layer._publish(old, new, token, _nothing)
    return True


def send_table(layer: TableLayer, text: str, old: LayerRecord | None, token: str) -> bool:
    """Send boxes or landmarks; return True. Errors as of `send_labels`."""
    identifier, session = _where(layer)
    layer._publish(old, session.remote.put_table(identifier, layer.id, text), token, _nothing)
    return True


def _where(layer: LiveLayer) -> tuple[str, Any]:
    session = layer.project._session
    if layer.id not in session.base["layers"]:
        raise ParameterError(f"The layer {layer.name!r} is new, and not on the server yet.", remedy="project.save()")
    return layer._dataset.identifier, session


def _nothing() -> None:
    """What was sent and is not named goes by itself."""
