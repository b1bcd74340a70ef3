"""Drafts of label maps on a server: written chunk by chunk by any number of workers, then sealed and named by a commit.

A draft lies where its version will be; its mark (`marks`) tells whose it is and how it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ...errors import KeyNotFoundError
from ...projects.storage.folder import Folder
from ...projects.storage.frames import decode
from ...projects.storage.mutex import bucket, holding
from ...projects.storage.packs import ARRAY
from ...projects.values.records import DescriptorRecord
from ...system.files import write_once
from ..sealed import Place
from .chunks import Grid, decoded
from .marks import Mark, Marks


class Found(NamedTuple):
    """A draft, and whether it was made just now."""

    id: str
    made: bool


def open_draft(
    folder: Folder, place: Place, record: DescriptorRecord, mark: Mark, dtype: str | None, base: str | None
) -> Found:
    """Return the draft of a name, whatever its data type is, or a new one; errors as of `Place.open_draft`."""
    marks = Marks(folder)
    marks.sweep()

    def made() -> Found:
        id = place.open_draft(record, dtype, base)
        marks.note(id, mark)
        return Found(id, made=True)

    if not mark.name:
        return made()
    with holding(folder.locks / "mutex", [f"draft-{bucket(mark.descriptor)}"]):
        for id, known in marks.all():
            if known == mark and (place.has_draft(id) or (id != base and _opened_again(folder, place, mark, id))):
                return Found(id, made=False)
        return made()


def _opened_again(folder: Folder, place: Place, mark: Mark, id: str) -> bool:
    """Let a version that was sealed, but that somebody else was before, be a draft again."""
    with folder.guarding([mark.descriptor]):  # who is about to name it is waited for
        layers = (folder.read(mark.descriptor).document or {}).get("layers", {})
        return layers.get(mark.layer, {}).get("version") != id and place.unseal(id)


def put_chunks(draft: Path, chunks: Mapping[str, bytes]) -> None:
    """Store encoded chunks of a draft by key; nothing at all: the voxels are 0.

    A chunk of the same voxels stays as it is, so that it goes on being shared with the version before.

    Raises
    ------
    KeyNotFoundError
        There is no such chunk, or no such draft; nothing was stored.
    ParameterError
        One is no chunk of that size; those before it were stored.
    """
    grid = Grid.of(draft / ARRAY)
    for key in chunks:
        grid.check_key(key)
    content, zeros = bytearray(grid.size), bytes(grid.size)  # of one chunk after the other: new memory takes longer
    for key, data in chunks.items():
        _put_chunk(draft, draft / key, data, content, zeros)


def _put_chunk(draft: Path, path: Path, data: bytes, content: bytearray, zeros: bytes) -> None:
    if not data:
        path.unlink(missing_ok=True)
        return
    decode(data, content)
    if content == zeros:  # what is counted as stored is never empty
        path.unlink(missing_ok=True)
        return
    with suppress(OSError):
        before = path.read_bytes()
        if before == data or decoded(before, len(content)) == content:
            return
    if not draft.is_dir():  # sealed or removed meanwhile
        raise KeyNotFoundError("There is no such draft (any more).", remedy="open a new one")
    write_once(path, data)


def missing(draft: Path, told: Mapping[str, str]) -> list[str]:
    """Return the keys of chunks that a draft does not have as they hash (SHA-256, hexadecimal; "" for zeros)."""
    grid, found = Grid.of(draft / ARRAY), []
    for key, digest in told.items():
        grid.check_key(key)
        try:
            there = sha256((draft / key).read_bytes()).hexdigest()
        except FileNotFoundError:
            there = ""
        if there != digest:
            found.append(key)
    return found
