"""What one `Project` object has read and changed: settings and descriptors, and how the changes are saved.

Every document is kept twice, as it was read and as it is here; saving merges the difference into what is saved now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ...errors import BioimageError, ConflictError, KeyNotFoundError, SourceNotFoundError
from ..values.merge import differences
from ..values.names import is_plain
from ..values.records import DescriptorRecord, LayerRecord, Summary, summarise
from ..values.settings import ProjectSettings, parse_settings
from .backups import Backups
from .events import Origin
from .folder import SETTINGS, Change, Folder, Saved
from .leases import Lease, LockToken, check_lease, read_lease
from .listing import Listing
from .memory import Memory, State, concerns_data, layers_written, needed_for, put_layer, rebased

_KEPT = 4096
"""Descriptors without changes that are kept in memory, at least."""


class Session:
    """The state of one `Project` object of a folder; SourceNotFoundError where that is none.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        folder.roll_forward()
        base = folder.read("project").document
        if base is None:
            raise SourceNotFoundError(
                f"{folder.root} is no project: it has no {SETTINGS}.", remedy="Project.create(settings, path)"
            )
        self.folder = folder
        self.base = base
        self.memory = Memory(parse_settings(base))
        self.listing, self.backups = self._listed(folder), self._backups(folder)
        self.held: dict[str, LockToken] = {}
        self._entered: list[tuple[Memory, int]] = []
        self._undo: list[tuple[Callable[[], None], bool]] = []
        self._saved: list[Callable[[], None]] = []
        self._limit = 2 * _KEPT
        self._generation = 0
        self._ordered: tuple[tuple[int, int], list[str]] = ((-1, -1), [])
        self._lock = threading.RLock()

    remote: Any = None
    """The project on a server (`remote.store.Store`); None for one in a folder."""
    seq = 0
    origin: Origin | None = None
    """Whom events of its commits name; None: this process."""

    def _listed(self, folder: Folder) -> Listing:
        return Listing(folder)

    def _backups(self, folder: Folder) -> Backups:
        return Backups(folder.history)

    @property
    def path(self) -> str:
        """Where the project is."""
        return str(self.folder.root)

    def lease(self, identifier: str) -> Lease | None:
        """Return who holds or held the lock of a descriptor."""
        return read_lease(self.folder, identifier)

    def take_lock(self, identifier: str, seconds: float) -> LockToken:
        """Take the lock of a descriptor."""
        return LockToken.take(self.folder, identifier, seconds)

    def check_lock(self, identifier: str, token: str) -> None:
        """Refuse a write that another's lock forbids, or whose own lock has gone."""
        check_lease(self.folder, identifier, token)

    @contextmanager
    def during(self, run: str) -> Iterator[None]:
        """Let commits inside be those of a run of `apply`, by which a server knows them again."""
        yield

    @property
    def settings(self) -> ProjectSettings:
        """Settings as they are here."""
        return self.memory.settings

    @property
    def in_transaction(self) -> bool:
        """Whether what is published waits for the end of a transaction."""
        return bool(self._entered)

    def identifiers(self) -> list[str]:
        """Identifiers of all descriptors in the order of import, unsaved ones too."""
        with self._lock:
            now = (self.listing.generation, self._generation)
            if self._ordered[0] != now:
                new = [name for name, state in self.memory.states.items() if state.base is None]
                self._ordered = (now, sorted({*self.listing.stamps, *new}.difference(self.memory.deleted)))
            return self._ordered[1]

    def has(self, identifier: str) -> bool:
        """Whether there is such a descriptor, without listing all."""
        if identifier in self.memory.deleted or not is_plain(identifier):
            return False
        return identifier in self.memory.states or self.folder.path_of(identifier).exists()

    def record(self, identifier: str) -> DescriptorRecord:
        """Return what is known of a descriptor, to be read or changed.

        Raises
        ------
        KeyNotFoundError
            It was deleted.
        """
        return self._state(identifier).record

    def _state(self, identifier: str) -> State:
        with self._lock:
            state = self.memory.states.get(identifier)
            if state is not None:
                return state
            found = Saved(None, None) if identifier in self.memory.deleted else self.folder.read(identifier)
            if found.document is None:
                raise KeyNotFoundError(
                    f"The project {self.settings.name!r} has no descriptor {identifier!r} (any more).",
                    remedy="project.sync(), then look at project.descriptors",
                )
            state = State(found.document, DescriptorRecord.parse(found.document))
            self._evict()
            self.memory.states[identifier] = state
            self.listing.note(identifier, state.record, found.stamp)
            return state

    def _evict(self) -> None:
        if len(self.memory.states) >= self._limit:
            self._generation += 1
            for name in list(self.memory.states)[:-_KEPT]:
                if not self.memory.states[name].changed:
                    del self.memory.states[name]
            self._limit = len(self.memory.states) + _KEPT

    def summary(self, identifier: str) -> Summary:
        """Return the summary of a descriptor, from memory or the index if they have it."""
        state = self.memory.states.get(identifier)
        if state is None and (known := self.listing.known(identifier)) is not None:
            return known
        return summarise(self.record(identifier))

    def summaries(self, identifiers: Iterable[str]) -> Iterator[tuple[str, Summary]]:
        """Identifiers and summaries, without those descriptors that others have deleted meanwhile."""
        for identifier in identifiers:
            with suppress(KeyNotFoundError):
                yield identifier, self.summary(identifier)

    def add(self, record: DescriptorRecord) -> None:
        """Add a descriptor, which is saved with the other changes."""
        with self._lock:
            self.memory.states[record.identifier] = State(None, record)
            self._generation += 1

    def delete(self, identifiers: Iterable[str]) -> None:
        """Delete descriptors with the next `save`."""
        with self._lock:
            for identifier in identifiers:
                state = self.memory.states.pop(identifier, None)
                if state is None or state.base is not None:
                    self.memory.deleted[identifier] = None if state is None else state.base
            self._generation += 1

    def save(self) -> None:
        """Save all changes, or none.

        Raises
        ------
        ConflictError, LockError
        """
        with self._lock:
            changed = ((name, state) for name, state in self.memory.states.items() if state.changed)
            changes = [Change(name, state.base, state.record.to_document()) for name, state in changed]
            changes += [Change(name, base, None) for name, base in self.memory.deleted.items()]
            settings = self.settings.to_document()
            if settings != self.base:
                changes.append(Change("project", self.base, settings))
            if changes:
                self.commit(changes, self.memory.guarded)
            for done in self._saved:
                done()
            for pending in (self.memory.deleted, self.memory.tokens, self.memory.guarded, self._saved, self._undo):
                pending.clear()
            self._entered = [(self.memory.unsaved(), 0) for _ in self._entered]
            for name in list(self.memory.states)[:-_KEPT]:  # none has changes now
                del self.memory.states[name]
            self.listing.store()

    def commit(self, changes: Sequence[Change], guarded: Iterable[str] = ()) -> None:
        """Save changes, all or none, and take over what is saved then.

        Parameters
        ----------
        changes : sequence of Change
        guarded : iterable of str
            Further descriptors that nobody else may have locked.
        """
        locked = {change.name for change in changes if change.name != "project" and concerns_data(change)}
        locked.update(guarded)

        def check() -> None:
            self._check_layers(changes)
            for name in sorted(locked):
                check_lease(self.folder, name, self.token(name))

        for name, found in self.folder.commit(changes, check, locked, self.origin).saved.items():
            self._take(name, found)

    def _check_layers(self, changes: Iterable[Change]) -> None:
        """Refuse data of a layer that somebody else has removed: nobody would see it."""
        written = {layer for change in changes for layer in layers_written(change)}.intersection(self.base["layers"])
        gone = written.difference((self.folder.read("project").document or self.base)["layers"]) if written else ()
        for layer in gone:
            raise ConflictError(
                f"The layer {self.base['layers'][layer]['name']!r} was removed by another process.",
                field=f"layers.{layer}",
                remedy="project.sync(); the other one can undo it: project.restore_backup()",
            )

    def token(self, identifier: str) -> str:
        """Return the token that this object writes a descriptor with, "" for none."""
        held = self.held.get(identifier)
        return self.memory.tokens.get(identifier) or ("" if held is None else held.token)

    def publish(
        self,
        identifier: str,
        layer: str,
        old: LayerRecord | None,
        new: LayerRecord,
        token: str,
        discard: Callable[[], None],
    ) -> None:
        """Let a descriptor point to new data of a layer: now, or at the end of the transaction.

        What the data stands on, a descriptor or layer that is new, is saved with it.

        Parameters
        ----------
        identifier : str
            Descriptor.
        layer : str
            Id of the layer.
        old : LayerRecord, optional
            What the new data was made from.
        new : LayerRecord
        token : str
            Token of the lock, "" for none.
        discard : callable
            Called where the transaction is undone.

        Raises
        ------
        ConflictError, LockError
        """
        with self._lock:
            state = self._state(identifier)
            before = state.record.layers.get(layer)
            if before != old:
                where = f"descriptors.{identifier}.layers.{layer}"
                raise ConflictError(
                    f"{where} has another version ({before}) than the one that the new data was made from ({old}).",
                    field=where,
                    remedy="load the layer again, and repeat the change",
                )
            if token:
                self.memory.tokens[identifier] = token
            state.record.layers[layer] = new
            if self._entered:
                self.on_rollback(discard)
                return
            try:
                self.commit(needed_for(self.memory, self.base, identifier, layer))
            except BaseException:
                put_layer(state.record, layer, before)
                raise
            finally:
                self.memory.tokens.pop(identifier, None)

    def _take(self, name: str, found: Saved) -> None:
        """Take over what is saved, keeping what was changed here."""
        if name == "project":
            assert found.document is not None
            base, mine = rebased(self.base, self.settings.to_document(), found.document)
            self.base, self.memory.settings = base, parse_settings(mine)
            return
        state = self.memory.states.get(name)
        if found.document is None:
            if state is not None and not state.changed:
                del self.memory.states[name]
            self.listing.note(name, None, None)
            return
        if state is not None:
            base = mine = found.document
            if state.base is not None:
                base, mine = rebased(state.base, state.record.to_document(), found.document)
            state.base, state.record = base, DescriptorRecord.parse(mine)
            self.listing.note(name, DescriptorRecord.parse(found.document), found.stamp)

    def refresh(self, identifier: str) -> None:
        """Take over what others have saved of a descriptor."""
        with self._lock:
            state = self.memory.states.get(identifier)
            if state is not None and state.base is not None:
                self._take(identifier, self.folder.read(identifier))

    def sync(self) -> int:
        """Take over what others have saved; return the number of changes.

        A descriptor that came or went is one change, as is a changed field of one that is open here or of the
        settings; of one that is not open, a changed field of those that the index knows, at least one.
        """
        with self._lock:
            self.folder.roll_forward()
            saved = self.folder.read("project")
            count = len(list(differences(self.base, saved.document)))
            self._take("project", saved)
            changes = self.listing.look()
            for name, old in changes.changed.items():
                count += self._changed(name, self.listing.known(name, old))
            for name in changes.removed:
                self._take(name, Saved(None, None))
            return count + len(changes.added) + len(changes.removed)

    def _changed(self, name: str, before: Summary | None) -> int:
        state = self.memory.states.get(name)
        if state is None or state.base is None:
            if before is None:
                return 1
            pairs = zip(before, self.summary(name), strict=True)
            return max(1, sum(len(list(differences(old, new))) for old, new in pairs))
        found = self.folder.read(name)
        fields = [path for path in differences(state.base, found.document) if path != ("edit_time",)]
        self._take(name, found)
        return len(fields)

    def revert(self, identifier: str | None = None) -> None:
        """Drop the unsaved changes of a descriptor, or all."""
        with self._lock:
            if identifier is not None:
                self.memory.states.pop(identifier, None)
                self.memory.deleted.pop(identifier, None)
                self._generation += 1
            else:
                self._restore(Memory(parse_settings(self.base)), 0)

    def on_rollback(self, discard: Callable[[], None], *, unsure: bool = True) -> None:
        """Call a function where the open transaction is undone; `unsure`: also where it may have been saved."""
        self._undo.append((discard, unsure))

    def on_saved(self, done: Callable[[], None]) -> None:
        """Call a function when the open transaction is saved."""
        self._saved.append(done)

    def begin(self) -> None:
        """Begin a transaction, which may lie in another one."""
        with self._lock:
            self._entered.append((self.memory.unsaved(), len(self._undo)))

    def end(self, *, failed: bool) -> None:
        """End the innermost transaction: save with the outermost one, or undo it."""
        with self._lock:
            before, done = self._entered.pop()
            if failed:
                self._restore(before, done)
            elif not self._entered:
                try:
                    self.save()
                except BaseException as error:  # whose answer may be what was lost, not what was asked for
                    self._restore(
                        before, done, sure=isinstance(error, BioimageError) and not isinstance(error, OSError)
                    )
                    raise

    def _restore(self, memory: Memory, done: int, *, sure: bool = True) -> None:
        self.memory = memory
        self._generation += 1
        self._saved.clear()
        for discard, unsure in reversed(self._undo[done:]):
            if sure or unsure:
                discard()
        del self._undo[done:]
