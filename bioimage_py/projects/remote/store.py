"""A project on a server: documents, commits, events, locks and data, as `storage.folder` has them for a folder."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ...errors import KeyNotFoundError
from ...sources import Source
from ...sources.file import open_source
from ..storage.folder import Change
from ..storage.leases import Lease
from ..storage.packs import ARRAY
from ..values.merge import MISSING, Document, differences, digest, orders, value_at
from ..values.records import LayerRecord
from .arrays.served import open_served
from .connection import PREFIX, Connection
from .problems import GoneError
from .tickets import variable
from .watching import Event, EventStream

_SILENCE = 40.0
"""Seconds in which a server sends at least one line of a stream, a comment if there is nothing else."""


@dataclass(frozen=True)
class Committed:
    """What a commit has led to: the number of its event, and the documents as they are saved now."""

    seq: int
    documents: dict[str, Document | None]


def commit_key(run: str, identifier: str) -> str:
    """Return the key of the commit by which a run saves a data set, once."""
    return f"apply-{sha256(f'{run} {identifier}'.encode()).hexdigest()[:40]}"


class Store:
    """A project on a server.

    Parameters
    ----------
    connection : Connection
    id : str
        Of the project.
    """

    def __init__(self, connection: Connection, id: str) -> None:
        self.connection = connection
        self.id = id
        self._path = f"/projects/{id}"
        self._sight: int | None = None
        """By which the server knows what of the project is there for this user."""

    @classmethod
    def create(cls, connection: Connection, settings: Document) -> Store:
        """Make a project.

        Raises
        ------
        ConflictError
            The user has one of that name.
        """
        made = connection.send("POST", "/projects", {"settings": settings}, key=secrets.token_hex(16))
        return cls(connection, made["id"])

    def last(self) -> int:
        """Return the number of the last event; KeyNotFoundError where there is no such project."""
        found = self.connection.get(self._path)
        self._sight = found.get("sight", 0)
        return int(found["last"])

    def lock_state(self, identifier: str) -> Lease | None:
        """Return who holds the lock of a data set, without its token; None where nobody does, or it is not saved."""
        try:
            state = self.connection.get(self._lock(identifier))
        except KeyNotFoundError:
            return None
        return Lease("", state["owner"], state["expires"], True) if state["locked"] else None

    def read(self, name: str) -> Document:
        """Return a document: "project", or the identifier of a data set; KeyNotFoundError where there is none."""
        return dict(self.connection.get(f"{self._path}/documents/{name}"))

    def made(self, run: str, identifier: str) -> bool:
        """Whether a run of the user has saved a data set."""
        return self.connection.get(f"{self._path}/commits/{commit_key(run, identifier)}")["seq"] is not None

    def commit(
        self,
        changes: Sequence[Change],
        locks: Mapping[str, str] | None = None,
        key: str = "",
        guarded: Sequence[str] = (),
    ) -> Committed:
        """Save changes, all of them or none; what others changed elsewhere stays.

        Parameters
        ----------
        changes : sequence of Change
        locks : mapping, optional
            Tokens of locks, by identifier.
        key : str
            By which the server knows the commit again; "" for one of its own.
        guarded : sequence of str
            Further data sets that nobody else may have locked.

        Raises
        ------
        ConflictError
            Somebody else changed one of the fields; names both values.
        LockError
            Somebody else has locked a data set, or the lock has expired.
        AccessError
            The role is not enough.
        """
        told = [_wish(change) for change in changes if change.base is None or change.mine != change.base]
        body = {"changes": told, "locks": dict(locks or {}), **({"guarded": list(guarded)} if guarded else {})}
        answer = self.connection.send("POST", f"{self._path}/commit", body, key=key or secrets.token_hex(16))
        documents = dict(answer["documents"])
        if answer["repeated"]:
            gone = {change.name for change in changes if change.mine is None}
            documents = {change.name: None if change.name in gone else self.read(change.name) for change in changes}
        return Committed(answer["seq"], documents)

    def events(self, since: int, wait: float = 0.0) -> list[Event]:
        """Return the events after a number, at most 1,000; where there is none, wait for one so many seconds."""
        page = self.connection.get(f"{self._path}/events", since=since, wait=wait)
        sight = page.get("sight", 0)
        if self._sight not in (None, sight):
            raise GoneError("Other data sets and layers of the project are there now.", remedy="project.sync()")
        self._sight = sight
        return [Event.of(event) for event in page["events"]]

    @contextmanager
    def stream(self, since: int) -> Iterator[EventStream]:
        """Inside, the events after a number as they come; GoneError where some of them are not kept any more."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(since)}
        with self.connection.streamed(f"{self._path}/events/stream", headers, _SILENCE) as answer:
            yield EventStream(answer)

    def prune(self, older_than: float) -> int:
        """Remove files that nothing points to, and return their number; see `Project.prune`."""
        key = secrets.token_hex(16)
        told = self.connection.send("POST", f"{self._path}/prune", {"older_than": older_than}, key=key, slow=True)
        return int(told["removed"])

    def descriptors(self, **wanted: Any) -> Iterator[dict[str, Any]]:
        """Data sets that fit, as the server lists them, page by page."""
        cursor = ""
        while True:
            page = self.connection.get(f"{self._path}/descriptors", after=cursor, **wanted)
            yield from page["descriptors"]
            cursor = page["next"]
            if not cursor:
                return

    def lock(self, identifier: str, seconds: float = 300.0) -> str:
        """Lock a data set, and return the token; LockError where somebody else has."""
        # not repeated after a lost answer: whoever holds it then is asked for, and the lock ends by itself
        return str(self.connection.send("POST", self._lock(identifier), {"seconds": seconds})["token"])

    def renew(self, identifier: str, token: str) -> None:
        """Let a lock live for its full time from now; LockError where it has gone."""
        self.connection.send("PUT", self._lock(identifier), {"token": token})

    def unlock(self, identifier: str, token: str) -> None:
        """Release a lock; nothing happens where it has gone, perhaps with its data set."""
        self.connection.send("DELETE", self._lock(identifier), headers={"Lock-Token": token})

    def _lock(self, identifier: str) -> str:
        return f"{self._path}/descriptors/{identifier}/lock"

    def label_map(self, identifier: str, layer: str, version: str) -> Source:
        """Return a version of a label map, read by chunk; workers that are started from now on find a token, too.

        It is read for a day at most; then it has to be opened again.

        Parameters
        ----------
        identifier, layer, version : str
        """
        return open_served(self.connection, self.id, f"{self._layer(identifier, layer)}/versions/{version}")

    def image_url(self, identifier: str) -> str:
        """Return the URL of the copy of an image, as a zarr group."""
        return f"{self.connection.url}{PREFIX}{self._path}/descriptors/{identifier}/image"

    def image(self, identifier: str) -> Source:
        """Return the copy of an image, read by chunk, as `label_map` reads."""
        headers = {"Authorization": f"Bearer ${variable(self.connection, self.id)}"}
        return open_source(self.image_url(identifier), ARRAY, format="zarr", storage_options={"headers": headers})

    def space(self, identifier: str, space: str, version: str) -> bytes:
        """Return a version of an annotation space."""
        return self.connection.get_bytes(f"{self._path}/descriptors/{identifier}/spaces/{space}/versions/{version}")

    def put_space(self, identifier: str, space: str, data: bytes, base: str = "") -> LayerRecord:
        """Send an annotation space, and return what the document of the data set has to say for it to count.

        With `base` the data are changes to what this version stands on; KeyNotFoundError where that has gone.
        """
        path = f"{self._path}/descriptors/{identifier}/spaces/{space}/versions" + (f"?base={base}" if base else "")
        return LayerRecord(**self.connection.send_bytes("POST", path, data, again=True)["record"])

    def thumbnail(self, identifier: str, *, generate: bool = True) -> bytes | None:
        """Return the small picture of an image, as PNG; None where there is none and none is to be made."""
        try:
            return self.connection.get_bytes(f"{self._path}/thumbnails/{identifier}?generate={str(generate).lower()}")
        except KeyNotFoundError:
            if generate:
                raise
            return None

    def table(self, identifier: str, layer: str, version: str) -> str:
        """Return the CSV text of boxes or landmarks."""
        return self.connection.get_bytes(f"{self._layer(identifier, layer)}/versions/{version}/table.csv").decode()

    def put_table(self, identifier: str, layer: str, text: str, layer_document: Document | None = None) -> LayerRecord:
        """Send boxes or landmarks, and return what the document of the data set has to say for them to count.

        Parameters
        ----------
        identifier, layer, text : str
        layer_document : dict, optional
            Of the layer, where it is not saved yet.
        """
        path, headers = f"{self._layer(identifier, layer)}/tables", {}
        if layer_document is not None:
            headers["Layer-Document"] = b64encode(json.dumps(layer_document).encode()).decode()
        sent = self.connection.send_bytes("POST", path, text.encode(), again=True, headers=headers)
        return LayerRecord(**sent["record"])

    def open_draft(
        self,
        identifier: str,
        layer: str,
        *,
        dtype: str,
        base: str,
        name: str = "",
        document: Document | None = None,
        layer_document: Document | None = None,
    ) -> dict[str, Any]:
        """Make a draft of a label map, or open the user's draft of that name.

        Parameters
        ----------
        identifier, layer : str
        dtype : str
        base : str
            Version that it begins with; "" for none.
        name : str
            "" for a new one of no name.
        document, layer_document : dict, optional
            Of the data set and the layer, where they are not saved yet.

        Returns
        -------
        dict
            ``id``, ``shape``, ``dtype``, ``chunks``, ``base`` (a record or None), and whether it was ``made`` now.
        """
        wish = {"dtype": dtype, "base": base, "name": name, "document": document, "layer": layer_document}
        # a draft that nobody ends goes by itself: so a lost answer is asked for again
        path = f"{self._layer(identifier, layer)}/drafts"
        return dict(self.connection.send("POST", path, wish, key=secrets.token_hex(16)))

    def draft_path(self, identifier: str, layer: str, draft: str) -> str:
        """Path of a draft below the API."""
        return f"{self._layer(identifier, layer)}/drafts/{draft}"

    def seal(self, identifier: str, layer: str, draft: str) -> dict[str, Any]:
        """Let a draft be a version; return its ``record``, and whether it is the ``same`` as what it began with."""
        path = self.draft_path(identifier, layer, draft)
        return dict(self.connection.send("POST", f"{path}/seal", key=f"seal-{draft}", slow=True))

    def rebase(self, identifier: str, layer: str, draft: str) -> dict[str, Any]:
        """Let a draft be one of what is stored now; return the chunks that ``both`` changed, ``base`` and ``draft``."""
        path = self.draft_path(identifier, layer, draft)
        return dict(self.connection.send("POST", f"{path}/rebase", key=f"rebase-{draft}", slow=True))

    def discard_draft(self, identifier: str, layer: str, draft: str) -> None:
        """Remove a draft; nothing happens where there is none."""
        self.connection.send("DELETE", self.draft_path(identifier, layer, draft))

    def _layer(self, identifier: str, layer: str) -> str:
        return f"{self._path}/descriptors/{identifier}/layers/{layer}"


def _wish(change: Change) -> dict[str, Any]:
    if change.mine is None:
        return {"name": change.name, "remove": True, "etag": "" if change.base is None else digest(change.base)}
    if change.base is None:
        return {"name": change.name, "document": change.mine}
    fields = []
    for path in differences(change.base, change.mine):
        old, new = value_at(change.base, path), value_at(change.mine, path)
        if path != ("edit_time",):  # which the server sets
            given = {name: value for name, value in (("old", old), ("new", new)) if value is not MISSING}
            fields.append({"path": list(path), **given})
    placed = [{"path": list(path), "keys": keys} for path, keys in orders(change.base, change.mine)]
    return {"name": change.name, "fields": fields, **({"orders": placed} if placed else {})}
