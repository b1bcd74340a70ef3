"""What one `Project` object has read and changed, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..values.merge import Document, merge, value_at, with_value
from ..values.records import DescriptorRecord, LayerRecord
from ..values.settings import ProjectSettings
from .folder import Change


@dataclass
class State:
    """One descriptor: as it was read (None: it is new), and as it is here."""

    base: Document | None
    record: DescriptorRecord

    @property
    def changed(self) -> bool:
        """Whether there is something to save."""
        return self.record.to_document() != self.base


@dataclass
class Memory:
    """What was read and changed, and how many things there are to undo."""

    settings: ProjectSettings
    states: dict[str, State] = field(default_factory=dict)
    deleted: dict[str, Document | None] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    guarded: set[str] = field(default_factory=set)
    """Descriptors that an edit touches, so that nobody else may have locked them."""

    def unsaved(self) -> Memory:
        """Return a copy of what is not saved."""
        changed = {name: state for name, state in self.states.items() if state.changed}
        states = {name: State(state.base, state.record.model_copy(deep=True)) for name, state in changed.items()}
        settings = self.settings.model_copy(deep=True)
        return Memory(settings, states, dict(self.deleted), dict(self.tokens), set(self.guarded))


def rebased(base: Document, mine: Document, saved: Document) -> tuple[Document, Document]:
    """Return a new base and the same changes on it; a field that both changed keeps its old base, so it stays one."""
    conflicts: list[tuple[str, ...]] = []
    merged: Document = merge(base, mine, saved, conflicts)
    for path in conflicts:
        saved = with_value(saved, path, value_at(base, path))
    return saved, merged


def concerns_data(change: Change) -> bool:
    """Whether somebody else's lock forbids a change."""
    return change.mine is None or bool(layers_written(change))


def layers_written(change: Change) -> set[str]:
    """Ids of the layers whose data a change of a descriptor replaces."""
    if change.name == "project" or change.mine is None:
        return set()
    before, after = {} if change.base is None else change.base["layers"], change.mine["layers"]
    return {layer for layer in {*before, *after} if before.get(layer) != after.get(layer)}


def put_layer(record: DescriptorRecord, layer: str, entry: LayerRecord | None) -> None:
    """Set what is stored in a layer; None: nothing."""
    if entry is None:
        record.layers.pop(layer, None)
    else:
        record.layers[layer] = entry


def needed_for(memory: Memory, base: Document, identifier: str, layer: str) -> list[Change]:
    """Return the changes that data of a layer stands on: its own, what is new of its descriptor, and their settings."""
    state = memory.states[identifier]
    mine = state.record.to_document()
    if state.base is not None:
        mine = with_value(state.base, ("layers", layer), mine["layers"][layer])
    changes = [Change(identifier, state.base, mine)]
    record, new = state.record, state.base is None
    grouped = new and record.grouping and memory.settings.grouping_hierarchy != base["grouping_hierarchy"]
    tagged = new and not base["tags"].keys() >= record.tags.keys()
    if layer not in base["layers"] or grouped or tagged:
        changes.append(Change("project", base, memory.settings.to_document()))
    return changes
