"""What a kill may tear of an HDF5 file while results are copied into it: kept beforehand, and put back.

HDF5 updates the index that tells where chunks lie in many steps, in place, so a kill between two of them leaves chunks
that cannot be found. An image holds all bytes of a file but the voxels that nobody overwrites, or that are overwritten
where they are: the indexes, headers and links, and the compressed chunks that are replaced. With it the file becomes
what it was, whatever was written of the rest.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...blocks.boxes import Bounds
from ...system.files import naming, sync_folder
from ...system.frames import frame, read_frames

_OFFSET = struct.Struct("<q")
_PIECE = 8 * 2**20
_SUPERBLOCK = 48
_ON_DISK = ("sec2", "stdio", "direct")


def keep_image(file: Any, targets: Mapping[str, Bounds | None], path: Path) -> None:
    """Write the image of an h5py file that has been flushed; it appears whole.

    ``targets`` are the names of the datasets that are going to be written, and which box of them, None for all.
    """
    if file.driver not in _ON_DISK:
        return
    private = path.with_name(f".{path.name}")
    with naming(path), open(private, "wb") as image, open(file.filename, "rb") as content:
        for begin, end in _gaps(_spared(file, targets), os.fstat(content.fileno()).st_size):
            content.seek(begin)
            for start in range(begin, end, _PIECE):
                image.write(frame(_OFFSET.pack(start) + content.read(min(_PIECE, end - start))))
        image.flush()
        os.fsync(image.fileno())
    os.replace(private, path)
    sync_folder(path.parent)


def put_image_back(path: Path, file: str) -> bool:
    """Give a file the bytes that its image holds; whether there were others in it."""
    changed = False
    descriptor = os.open(file, os.O_RDWR)
    try:
        for _, payload in read_frames(path):
            (start,), content = _OFFSET.unpack_from(payload), payload[_OFFSET.size :]
            if os.pread(descriptor, len(content), start) != content:
                changed = True
                with naming(Path(file)):
                    os.pwrite(descriptor, content, start)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return changed


def _spared(file: Any, targets: Mapping[str, Bounds | None]) -> list[tuple[int, int]]:
    """Where in a file voxels lie that are not overwritten, or only by others in their place."""
    import h5py

    head = file.userblock_size  # versions of the library differ in whether offsets count it
    # the end of the file, of which more than is used does no harm, and marks of whoever has it open
    found = [(head, head + _SUPERBLOCK)]

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.chunks is None:
            if (offset := item.id.get_offset()) is not None:
                found.append((offset + head, offset + item.id.get_storage_size()))
            return
        box = targets.get(name, ())
        # a chunk that is encoded anew may move, and its old place be given to another
        moves = name in targets and item.id.get_create_plist().get_nfilters() > 0

        def add(info: Any) -> None:
            if not (moves and (box is None or _meets(info.chunk_offset, item.chunks, box))):
                found.append((info.byte_offset + head, info.byte_offset + info.size))

        item.id.chunk_iter(add)

    file.visititems(visit)
    return sorted(span for span in found if span[0] < span[1])


def _meets(offset: tuple[int, ...], chunks: tuple[int, ...], box: Bounds) -> bool:
    return all(at < end and begin < at + size for at, size, (begin, end) in zip(offset, chunks, box, strict=True))


def _gaps(spared: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """What lies between ascending spans, up to the end of the file."""
    at = 0
    for begin, end in spared:
        if begin > at:
            yield at, min(begin, size)
        at = max(at, end)
    if at < size:
        yield at, size
