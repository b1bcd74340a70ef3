"""Labels of a data set and their codes, in one order that no item changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from .annotation import Annotation

Category = tuple[str, str]


@dataclass(frozen=True)
class LabelSets:
    """Names that a data set knows, by what they are said of; the code of a label is its place + 1."""

    segmentation: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    frame: tuple[str, ...] = ()
    box: tuple[str, ...] = ()
    image_categories: tuple[Category, ...] = ()
    frame_categories: tuple[Category, ...] = ()

    @classmethod
    def inferred(cls, annotations: Iterable[Annotation]) -> Self:
        """Return what occurs, in alphabetic order."""
        found: dict[str, set[str | Category]] = {item.name: set() for item in fields(cls)}
        for annotation in annotations:
            if (kind := kind_of(annotation)) is not None:
                found[kind].add(entry_of(annotation))
        return cls(**{kind: tuple(sorted(names)) for kind, names in found.items()})  # type: ignore[arg-type]

    def knows(self, annotation: Annotation) -> bool:
        """Whether an annotation has a place in it; those that are no labels (points) have none."""
        kind = kind_of(annotation)
        return kind is None or entry_of(annotation) in getattr(self, kind)

    def extended(self, other: LabelSets) -> Self:
        """Return these, then what only the other one has, in its order."""
        new = {}
        for item in fields(self):
            mine = getattr(self, item.name)
            new[item.name] = (*mine, *(entry for entry in getattr(other, item.name) if entry not in mine))
        return replace(self, **new)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return these with other names; what becomes equal is one."""
        new: dict[str, Any] = {}
        for item in fields(self):
            entries = getattr(self, item.name)
            new[item.name] = tuple(
                dict.fromkeys(
                    names.get(entry, entry) if isinstance(entry, str) else (names.get(entry[0], entry[0]), entry[1])
                    for entry in entries
                )
            )
        return replace(self, **new)

    def names(self) -> set[str]:
        """All names."""
        plain = {*self.segmentation, *self.image, *self.frame, *self.box}
        return plain | {name for name, _ in (*self.image_categories, *self.frame_categories)}


def kind_of(annotation: Annotation) -> str | None:
    """Which set an annotation belongs to; None for points and whatever else is no label."""
    scope = "frame" if annotation.is_frame_scoped() else "image"
    return {"segmentation": "segmentation", "box": "box", "label": scope, "category": f"{scope}_categories"}.get(
        annotation.annotation_type
    )


def entry_of(annotation: Annotation) -> str | Category:
    """What it adds to that set."""
    if annotation.is_category():
        return (annotation.identifier, annotation.text_value or "")
    return annotation.identifier
