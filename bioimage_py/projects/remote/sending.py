"""Annotations that go to a server: sent first, then named by a commit, at once or at the end of the transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ...errors import BioimageError, ConflictError, KeyNotFoundError
from ..values.records import LayerRecord
from .connection import Connection

if TYPE_CHECKING:
    from ..layers import LiveLayer, TableLayer


def send_table(layer: TableLayer, text: str, old: LayerRecord | None, token: str) -> bool:
    """Send boxes or landmarks; return True. Errors as for a folder."""
    identifier, session = _where(layer)
    with told_as_conflict(layer):
        new = session.remote.put_table(identifier, layer.id, text, session.new_layer(layer.id))
    layer._publish(old, new, token, _nothing)
    return True


@contextmanager
def told_as_conflict(layer: LiveLayer) -> Iterator[None]:
    """Let an error that something is not there be told as the change of somebody else that it is."""
    try:
        yield
    except KeyNotFoundError as error:
        _, session = _where(layer)
        there = layer.id in session.remote.read("project")["layers"]
        what, field = f"The layer {layer.name!r}", f"layers.{layer.id}"
        if there:
            what, field = f"The data set {layer._dataset.name!r}", f"descriptors.{layer._dataset.identifier}"
        raise ConflictError(
            f"{what} was removed by another process ({error.message})",
            field=field,
            remedy="project.sync(); the other one can undo an edit: project.restore_backup()",
        ) from None


def take_back(connection: Connection, path: str) -> None:
    """Delete what would go by itself too, or does no harm: asked for once, whatever comes of it."""
    with suppress(BioimageError):
        connection._answer("DELETE", path, patience=0.0)


def _where(layer: LiveLayer) -> tuple[str, Any]:
    session = layer.project._session
    return layer._dataset.identifier, session


def _nothing() -> None:
    """What was sent and is not named goes by itself."""
