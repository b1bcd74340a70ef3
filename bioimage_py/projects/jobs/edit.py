"""Changing what a project defines: a plan first, a backup before, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ConflictError, ParameterError, SourceNotFoundError
from ...sources.indexing import Roi
from ...wrapper.base import WrapperSource
from ..drafts import regions
from ..layers import LIVE, LabelMapLayer
from ..storage.folder import new_stamp
from ..values.kinds import LayerKind
from ..values.merge import MISSING, Document, merge
from ..values.models import Definition, Layer
from ..values.records import LayerRecord, now
from ..values.settings import ProjectSettings, parse_settings
from . import edit_ontology

if TYPE_CHECKING:
    from ..descriptor import Descriptor
    from ..project import Project


@dataclass(frozen=True)
class Item:
    """One thing that a project defines.

    Parameters
    ----------
    what : str
        "tag", "option", "layer", "label" or "class".
    name : str
        Of an option or label, after that of its tag or layer: "cells/nucleus".
    old_name : str, default ""
        Name before, of one that is renamed.
    """

    what: str
    name: str
    old_name: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.old_name!r} -> {self.name!r}" if self.old_name else f"{self.what} {self.name!r}"


@dataclass(frozen=True)
class Loss:
    """Annotations that go with something that is deleted: in which data sets (identifiers).

    `records` is the number of records of a class of the ontology, or of those with answers to an attribute.
    """

    item: Item
    descriptors: tuple[str, ...]
    records: int = 0


@dataclass
class EditPlan:
    """What an edit does.

    `remapped` has, by layer id, the new value of each voxel value that changes; `touched` the identifiers of the data
    sets whose values or annotations it changes.
    """

    kept: list[Item] = field(default_factory=list)
    renamed: list[Item] = field(default_factory=list)
    added: list[Item] = field(default_factory=list)
    deleted: list[Item] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)
    remapped: dict[str, dict[int, int]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        lines = [f"{kind}: {item}" for kind in ("renamed", "added", "deleted") for item in getattr(self, kind)]
        lines += [f"lost: {loss.item} in {len(loss.descriptors)} data sets" for loss in self.lost]
        return "\n".join([*lines, f"kept: {len(self.kept)}"])

    def _compare(self, what: str, old: Iterable[Definition], new: Iterable[Definition], within: str = "") -> None:
        before = {item.id: item for item in old}
        for item in new:
            known = before.pop(item.id, None)
            if item.id and known is None:
                raise ParameterError(
                    f"The {what} {item.name!r} has the id {item.id!r}, which the project does not have.",
                    remedy="start from project.settings(); leave the id of something new empty",
                )
            if known is None:
                self.added.append(Item(what, within + item.name))
                continue
            if known.kind != item.kind:  # type: ignore[attr-defined]
                raise ParameterError(
                    f"The {what} {item.name!r} changes its kind.", remedy="remove it, and add a new one (without id)"
                )
            if known.name != item.name:
                self.renamed.append(Item(what, within + item.name, within + known.name))
            else:
                self.kept.append(Item(what, within + item.name))
        self.deleted += [Item(what, within + item.name) for item in before.values()]

    def _lose(self, item: Item, descriptors: Iterable[str]) -> None:
        found = tuple(descriptors)
        if found:
            self.lost.append(Loss(item, found))
            self.touched.update(found)


def plan_edit(project: Project, settings: ProjectSettings) -> EditPlan:
    """Return what applying settings would do."""
    session, old = project._session, project._session.settings
    if settings.id not in ("", old.id):
        raise ParameterError(
            f"These are settings of the project {settings.id!r}, not {old.id!r}.", remedy="use project.settings()"
        )
    plan = EditPlan()
    plan._compare("tag", old.tags, settings.tags)
    plan._compare("layer", old.layers, settings.layers)
    summaries = dict(session.summaries(session.identifiers()))
    new_tags = {tag.id: tag for tag in settings.tags}
    for tag in old.tags:
        values = {name: found.tags[tag.id] for name, found in summaries.items() if tag.id in found.tags}
        if tag.id not in new_tags:
            plan._lose(Item("tag", tag.name), values)
            continue
        for option in set(tag.options).difference(new_tags[tag.id].options):
            plan.deleted.append(Item("option", f"{tag.name}/{option}"))
            plan._lose(plan.deleted[-1], [name for name, value in values.items() if value == option])
    new_layers = {layer.id: layer for layer in settings.layers}
    for layer in old.layers:
        stored = [name for name, found in summaries.items() if layer.id in found.layers]
        if layer.id not in new_layers:
            plan._lose(Item("layer", layer.name), stored)
        else:
            _plan_labels(plan, project, layer, new_layers[layer.id], stored)
    _plan_classes(plan, project, settings)
    return plan


def _plan_classes(plan: EditPlan, project: Project, settings: ProjectSettings) -> None:
    gone, come, both = edit_ontology.compare(project.ontology, settings.ontology)
    plan.added += [Item("class", item.name) for item in come]
    plan.deleted += [Item("class", item.name) for item in gone]
    for was, item in both:
        renamed = was.name != item.name
        (plan.renamed if renamed else plan.kept).append(Item("class", item.name, was.name if renamed else ""))
    for item, counts in edit_ontology.losses(project, gone):
        plan.lost.append(Loss(Item("class", item.name), tuple(counts), sum(counts.values())))
        plan.touched.update(counts)
    for path, counts in edit_ontology.answers_lost(project, both).items():
        plan.lost.append(Loss(Item("answers to", path), tuple(counts), sum(counts.values())))


def _plan_labels(plan: EditPlan, project: Project, old: Layer, new: Layer, stored: list[str]) -> None:
    plan._compare("label", old.labels, new.labels, f"{new.name}/")
    left = {label.id: label for label in new.labels}
    gone = [label for label in old.labels if label.id not in left]
    changed = [label for label in old.labels if label.id in left and left[label.id].value != label.value]
    if not gone and not changed:
        return
    mapping = {label.value: left[label.id].value if label.id in left else 0 for label in (*gone, *changed)}
    mapping = {before: after for before, after in mapping.items() if before != after}
    if old.kind == LayerKind.PIXELWISE and mapping:
        plan.remapped[old.id] = mapping  # type: ignore[assignment]
    for name in stored:
        present = _present(project.descriptors[name], old)
        plan.touched.update([name] if present.intersection(label.id for label in changed) else [])
        for label in gone:
            if label.id in present:
                plan._lose(Item("label", f"{old.name}/{label.name}"), [name])
    plan.lost = _joined(plan.lost)


def _joined(losses: Iterable[Loss]) -> list[Loss]:
    found: dict[Item, tuple[str, ...]] = {}
    for loss in losses:
        found[loss.item] = tuple(dict.fromkeys((*found.get(loss.item, ()), *loss.descriptors)))
    return [Loss(item, names) for item, names in found.items()]


def _present(descriptor: Descriptor, layer: Layer) -> set[str]:
    """Ids of the labels of a layer that occur in a data set."""
    live = LIVE[layer.kind](descriptor, layer.id)
    data = live.load()
    if data is None:
        return set()
    if layer.kind != LayerKind.PIXELWISE:
        names = set(data.asdict()["type"])
        return {label.id for label in layer.labels if label.name in names}
    values: set[int] = set()
    for roi in regions(data.shape, data.write_chunks):
        values.update(np.unique(data.view(roi)).tolist())
    return {label.id for label in layer.labels if label.value in values}


def apply_edit(project: Project, settings: ProjectSettings, plan: EditPlan) -> None:
    """Apply settings after a backup, with the open transaction or one of its own."""
    session = project._session
    gone, _, _ = edit_ontology.compare(project.ontology, settings.ontology)
    name = new_stamp()
    session.begin()
    project._spaces.begin()
    try:
        project._spaces.flush()
        classes = edit_ontology.take_away(project, settings.ontology, gone)
        before = session.settings.to_document()
        session.memory.settings = _with_project_id(settings, session.settings.id).with_ids()
        layers = {layer: _remap(project, layer, mapping, plan.touched) for layer, mapping in plan.remapped.items()}
        backup = {
            "schema": 1,
            "time": now().isoformat(),
            "settings": [before, session.settings.to_document()],
            "layers": {layer: changes for layer, changes in {**layers, **classes}.items() if changes},
        }
        session.backups.keep(name, backup)
        session.on_rollback(lambda: session.backups.remove(name), unsure=False)  # else nobody could undo it
        session.memory.guarded |= plan.touched
    except BaseException:
        project._spaces.end(failed=True)
        raise
    project._spaces.end(failed=False)
    project._spaces.take_over()


def _with_project_id(settings: ProjectSettings, id: str) -> ProjectSettings:
    twin = settings.model_copy(deep=True)
    twin.id = id
    return twin


def _remap(project: Project, layer: str, mapping: Mapping[int, int], touched: Iterable[str]) -> dict[str, Any]:
    """Write label maps with other values; return the versions before and after, by data set."""
    changes = {}
    for name in sorted(touched):
        live = LabelMapLayer(project.descriptors[name], layer)
        before, source = live._stored(), live.load()
        if before is None or source is None:
            continue
        mapped = Remapped(source, list(mapping.items()))
        draft = live.draft(dtype=mapped.dtype)
        draft.fill(mapped)
        if draft.publish():
            after = live._stored()
            changes[name] = [before.model_dump(), after.model_dump() if after else None]
    return changes


class Remapped(WrapperSource):
    """A label map with other values.

    Parameters
    ----------
    source : Source
    mapping : sequence of (int, int)
        Old and new values.
    """

    def __init__(self, source: Any, mapping: Iterable[tuple[int, int]]) -> None:
        super().__init__(source)
        self._mapping = [(int(old), int(new)) for old, new in mapping]

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the source, or the smallest that holds the new values too."""
        largest = np.min_scalar_type(max(new for _, new in self._mapping))
        own = self._source.dtype
        fits = all(new <= np.iinfo(own).max for _, new in self._mapping)
        return own if fits else np.promote_types(own, largest)

    def _params(self) -> dict[str, Any]:
        return {"mapping": self._mapping}

    def _getitem(self, roi: Roi) -> np.ndarray:
        block = self._source._getitem(roi)
        mapped = block.astype(self.dtype)
        for old, new in self._mapping:
            mapped[block == old] = new
        return mapped


def restore(project: Project) -> None:
    """Undo the last edit that was not undone; what undoes nothing is passed over, as it was never saved."""
    session, backups = project._session, project._session.backups
    session.begin()
    try:
        for name in reversed(backups.names()):
            if name not in backups.undone and _undo(project, name):
                break
        else:
            raise SourceNotFoundError(f"{project.path} has no backup of an edit.", remedy="only edit() makes backups")
    except BaseException:
        session.end(failed=True)
        raise
    session.end(failed=False)
    project._spaces.take_over()


def _undo(project: Project, name: str) -> bool:
    """Undo an edit within the open transaction; return whether that changes anything."""
    session, backups = project._session, project._session.backups
    backup, found = backups.read(name), False
    before, after = backup["settings"]
    current = session.settings.to_document()
    undone = _undone(current, before, after, "project")
    found |= undone != current
    session.memory.settings = parse_settings(undone)
    for layer, changes in backup["layers"].items():
        for identifier, (old, new) in changes.items():
            if session.has(identifier):
                layers = session.record(identifier).layers
                known = layers[layer].model_dump() if layer in layers else MISSING
                where = f"{identifier}.layers.{layer}"
                record = _undone({"version": known}, {"version": old}, {"version": new}, where)["version"]
                found |= record != known
                layers[layer] = LayerRecord(**record)
                session.memory.guarded.add(identifier)
    backups.undone.add(name)
    session.on_rollback(lambda: backups.undone.discard(name))
    session.on_saved(lambda: backups.remove(name))
    return found


def _undone(current: Document, before: Document, after: Document, where: str) -> Document:
    conflicts: list[tuple[str, ...]] = []
    found: Document = merge(after, before, current, conflicts)
    if conflicts:
        field = ".".join((where, *conflicts[0]))
        raise ConflictError(
            f"{field} was changed again since the edit, so it can't be undone.",
            field=field,
            remedy="change what you need by hand: project.edit(...)",
        )
    return found
