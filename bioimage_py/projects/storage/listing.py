"""Which descriptors there are, and what is known of them without opening their files.

The truth is the folder: file names, and what the system says of each file (time, inode, size), which a rename always
changes. ``index.json`` keeps the summaries of files in a certain state; it is a cache, of which only entries that fit
are used, and which may be deleted at any time.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any, NamedTuple

from ...system.files import write_once
from ...system.json_text import parse_json
from ..values.records import DescriptorRecord, Summary, summarise
from .folder import Folder, Stamp, stamp_of
from .mutex import holding

_FEW = 64
"""So many files are opened faster than an index is kept."""


class Changes(NamedTuple):
    """Identifiers that a new look at the folder found otherwise than before."""

    added: set[str]
    removed: set[str]
    changed: dict[str, Stamp]
    """With the state before."""


class Listing:
    """The descriptors of a project folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.stamps = self._scan()
        """State of every descriptor's file, by identifier, as of the last look and of what was noted since."""
        self._index: dict[str, Any] | None = None
        self._learned = 0
        self.generation = 0
        """Changes whenever a descriptor comes or goes."""

    @property
    def _summaries(self) -> dict[str, Any]:
        """By identifier: state of a file, and the fields of its summary."""
        if self._index is None:
            try:
                self._index = dict(parse_json((self._folder.root / "index.json").read_bytes()))
            except (OSError, ValueError, TypeError):  # a cache that can't be read is no cache
                self._index = {}
        return self._index

    def _scan(self) -> dict[str, Stamp]:
        found: dict[str, Stamp] = {}
        try:
            entries = os.scandir(self._folder.descriptors)
        except FileNotFoundError:
            return found
        with entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    with suppress(FileNotFoundError):  # deleted by somebody just now
                        found[entry.name[:-5]] = stamp_of(entry.stat())
        return found

    def look(self) -> Changes:
        """Look at the folder again."""
        before, after = self.stamps, self._scan()
        self.stamps = after
        self.generation += 1
        changed = {name: old for name, old in before.items() if name in after and after[name] != old}
        return Changes(set(after) - set(before), set(before) - set(after), changed)

    def known(self, identifier: str, at: Stamp | None = None) -> Summary | None:
        """Return the summary of a descriptor's file in a state (None: the present one) if it need not be opened."""
        try:
            stamp, fields = self._summaries.get(identifier, (None, None))
            if stamp is None or tuple(stamp) != (at or self.stamps.get(identifier)):
                return None
            name, tags, grouping, layers, annotated, personal = fields
            return Summary(name, tags, tuple(map(tuple, grouping)), tuple(layers), annotated, personal)
        except (ValueError, TypeError):  # no run of this package wrote that
            return None

    def note(self, identifier: str, record: DescriptorRecord | None, stamp: Stamp | None) -> None:
        """Remember what was just written or read, and the state of its file; None and None: removed."""
        if record is None or stamp is None:
            self.generation += self.stamps.pop(identifier, None) is not None
            return
        self.generation += identifier not in self.stamps
        self.stamps[identifier] = stamp
        self._summaries[identifier] = (stamp, summarise(record))
        self._learned += 1

    def store(self) -> None:
        """Write the index, where enough was learned since."""
        if self._learned <= max(_FEW, len(self.stamps) // 20):
            return
        fitting = {name: self._summaries[name] for name in self.stamps if self.known(name) is not None}
        text = json.dumps(fitting, separators=(",", ":"))
        # a cache: a project that may only be read is listed without
        with suppress(OSError), holding(self._folder.locks / "mutex", ["index"]):
            write_once(self._folder.root / "index.json", text.encode())
        self._learned = 0
