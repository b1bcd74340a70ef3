"""What tells whom an image shows, and where it lies on somebody's machine: left out of what some members get.

Groups of patients become pseudonyms, the same for the same group, so that lists and filters work. What people have
typed (comments, tags, names that hold nothing of what the image says of itself) stays, and so does what pixels show.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...projects.images import WITHHELD
from ...projects.values.grouping import UNNAMED, info_groups
from ...projects.values.models import ImageInfo

Document = dict[str, Any]
FIELDS = frozenset({"grouping", "image", "info", "name"})
"""Of data sets, that are told in part."""
_PEOPLE = {"patient", "subject"}
"""Levels of groups that are persons, whatever the image says."""
_SHORTEST = 3
"""Letters of a part of a person's name that is looked for in the name of a data set."""


class Pseudonyms:
    """What stands for what is left out, in one project.

    Parameters
    ----------
    key : bytes
        Without which nobody finds out by trying who a pseudonym is.
    levels : sequence of str
        Titles of the levels of groups.
    """

    def __init__(self, key: bytes, levels: Sequence[str]) -> None:
        self._key, self.levels = key, tuple(levels)

    def document(self, document: Document) -> Document:
        """Return the document of a data set without what is personal."""
        info = ImageInfo(**document.get("info") or {})
        image = {**document["image"], "original_path": ""}
        if not image["own_copy"]:
            image["spec"] = dict(WITHHELD)
        return {
            **document,
            "name": document["identifier"] if _is_named(document["name"], info) else document["name"],
            "grouping": self._groups(document["grouping"], info),
            "info": {"modality": info.modality} if info.modality else {},
            "image": image,
        }

    def has_people(self) -> bool:
        """Whether there is a level of persons."""
        return any(title.casefold() in _PEOPLE for title in self.levels)

    def grouping(self, groups: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Return groups (keys and what is shown) of an image that says nothing of itself, without what is personal."""
        found = self._groups([{"key": key, "display": display} for key, display in groups], ImageInfo())
        return tuple((group["key"], group["display"]) for group in found)

    def _groups(self, groups: Sequence[Document], info: ImageInfo) -> list[Document]:
        told = {value for field, value in info if field != "modality" and value}
        told |= {text for group in info_groups(info) or () for text in (group.key, group.display)}
        told -= {UNNAMED, ""}
        found = []
        for at, group in enumerate(groups):
            level = self.levels[at] if at < len(self.levels) else "group"
            if level.casefold() in _PEOPLE or told & {group["key"], group["display"]}:
                text = self._pseudonym(level, group["key"] or group["display"])
                group = {"key": text, "display": text}
            found.append(group)
        return found

    def _pseudonym(self, level: str, key: str) -> str:
        mark = hmac.digest(self._key, f"{level}\0{key}".encode(), "sha256").hex()
        return f"{level} {mark[:10]}"


def plain_array(document: Document) -> Document:
    """Return what zarr says of a group or array; of its attributes, which may be anything, those of the axes."""
    kept = {}
    ome = (document.get("attributes") or {}).get("ome")
    if isinstance(ome, dict) and isinstance(ome.get("multiscales"), list):
        scales = [
            {key: one[key] for key in ("axes", "datasets", "coordinateTransformations") if key in one}
            for one in ome["multiscales"]
            if isinstance(one, dict)
        ]
        kept["ome"] = {"version": ome.get("version"), "multiscales": scales}
    return {**document, "attributes": kept}


def _is_named(name: str, info: ImageInfo) -> bool:
    """Whether the name of a data set tells who is seen, by what the image says."""
    there = name.casefold()
    whole = (info.patient_id, info.study_instance_uid, info.series_instance_uid, info.study_date, info.series_date)
    if any(value and value.casefold() in there for value in whole):
        return True
    parts = re.split(r"[\W_]+", (info.patient_name or "").casefold())
    return any(len(part) >= _SHORTEST and part in there for part in parts)
