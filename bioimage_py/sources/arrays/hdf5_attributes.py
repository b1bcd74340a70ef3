"""Attributes of HDF5 objects that are safe to read.

HDF5 loops for ever, or ends the process, over an attribute of variable length whose reference to its text is damaged,
and so is the heap that it points to. So these are read here first, from the bytes of the file (HDF5 File Format
Specification, III.E, III.G, IV.A). Where an object has many attributes, these lie in blocks that HDF5 checks by itself,
and only what they point to is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from struct import unpack_from
from typing import Any

import numpy as np

from ...errors import FormatError

_CONTINUED, _ATTRIBUTE, _MANY_ATTRIBUTES = 0x10, 0x0C, 0x15
_VARIABLE, _COMPOUND, _ARRAY = 9, 6, 10
_MOST_MESSAGES = 100_000
_MOST_HEAP = 2**26
_MOST_ROWS = 256
_FIRST = 8192
_NOWHERE = 2**64 - 1


class _DamageError(Exception):
    """Something points nowhere."""


def check_attributes(item: Any, path: str) -> None:
    """Raise `FormatError` where an attribute of a dataset or group points nowhere.

    Parameters
    ----------
    item : h5py.Dataset or h5py.Group
    path : str
        Of its file.
    """
    from h5py import h5o

    own = item.file.driver == "sec2"
    if not own and item.file.mode != "r":  # what is on the disk, if anything, is another file
        return
    address = h5o.get_info(item.id).addr
    try:  # its own descriptor, which no other file has got that took its name meanwhile
        stream = item.file.id.get_vfd_handle() if own else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # a file in memory, or in several parts
        return
    try:
        told = _damage(stream, address)
        if told is not None:  # a handle of this process may hold back what it has written
            item.file.flush()
            told = _damage(stream, address)
    finally:
        if not own:
            os.close(stream)
    if told is not None:
        raise FormatError(
            f"{path} is damaged: an attribute of {item.name!r} {told}", remedy="copy the file again, or restore it"
        )


def _damage(stream: int, address: int) -> str | None:
    try:
        _Bytes(stream).check(address)
    except _DamageError as error:
        return str(error)
    return None


class _Bytes:
    """The bytes of a file, of which the first are at hand.

    Parameters
    ----------
    stream : int
        Descriptor of the file.
    """

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._size = os.fstat(stream).st_size
        self._first = os.pread(stream, _FIRST, 0)
        self._heaps: dict[int, dict[int, int]] = {}
        self._base = 0  # addresses count from the superblock, before which others may have put something
        while self._read(0, 8) != b"\x89HDF\r\n\x1a\n":
            self._base = self._base * 2 or 512
        sizes = 13 if self._read(8, 1)[0] < 2 else 9
        self._known = self._read(sizes, 2) == b"\x08\x08"  # of addresses and lengths, as in all files of today

    def _read(self, address: int, size: int) -> bytes:
        at = address + self._base
        if at + size > self._size:
            raise _DamageError(f"points to byte {at + size} of {self._size}")
        return self._first[at : at + size] if at + size <= len(self._first) else os.pread(self._stream, size, at)

    def check(self, address: int) -> None:
        """Look at all attributes in the header of an object."""
        if not self._known:
            return
        names = set[bytes]()
        for kind, flags, message in self._messages(address):
            if kind == _ATTRIBUTE and not flags & 2:
                name = self._check_attribute(message)
                if name in names:
                    raise _DamageError(f"is there twice: {name!r}")
                names |= {name} if name else set()
            elif kind == _MANY_ATTRIBUTES and len(message) > 1:
                at = 2 + 2 * (message[1] & 1)
                for block in self._blocks(unpack_from("<Q", message.ljust(at + 8, b"\xff"), at)[0]):
                    self._check_block(block)

    def _messages(self, address: int) -> Iterator[tuple[int, int, bytes]]:
        """Type, flags and content of each message of an object header, of both versions."""
        head = self._read(address, 16)
        if head[:4] == b"OHDR":
            at = address + 6 + 16 * (head[5] >> 5 & 1) + 4 * (head[5] >> 4 & 1)
            width = 1 << (head[5] & 3)
            chunks = [(at + width, int.from_bytes(self._read(at, width), "little"))]
            first = 4 + 2 * (head[5] >> 2 & 1)
        elif head[0] == 1:
            chunks, first = [(address + 16, unpack_from("<I", head, 8)[0])], 8
        else:
            raise _DamageError("is in a header of an unknown version")
        count = 0
        while chunks:
            begin, size = chunks.pop()
            content, at = self._read(begin, size), 0
            while at + first <= len(content):
                if first == 8:
                    kind, length, flags = unpack_from("<HHB", content, at)
                else:
                    kind, length, flags = unpack_from("<BHB", content, at)
                message = content[at + first : at + first + length]
                at += first + length
                count += 1
                if len(message) < length or count > _MOST_MESSAGES:
                    break
                if kind == _CONTINUED and length >= 16:
                    where, more = unpack_from("<QQ", message)
                    chunks.append((where, more) if first == 8 else (where + 4, max(0, more - 8)))
                yield kind, flags, message

    def _check_attribute(self, message: bytes) -> bytes:
        """Look at one attribute; its name is returned, nothing where it lies elsewhere."""
        if len(message) < 9:
            raise _DamageError("has no name")
        version, shared, *sizes = unpack_from("<BBHHH", message)
        if version not in (1, 2, 3) or (version > 1 and shared & 1):
            return b""  # its type lies elsewhere, or HDF5 refuses it
        at = 9 if version == 3 else 8
        parts = []
        for size in sizes:
            parts.append(message[at : at + size])
            at += -(-size // 8) * 8 if version == 1 else size
        kind = parts[1]
        if len(kind) < 8:
            raise _DamageError("has no type")
        if kind[0] & 15 == _VARIABLE:
            self._check_variable(kind, message[at:])
        return parts[0].partition(b"\0")[0]

    def _check_variable(self, kind: bytes, content: bytes) -> None:
        if kind[1] & 15 > 1 or unpack_from("<I", kind, 4)[0] != 16 or len(kind) < 16:
            raise _DamageError("is neither text nor a sequence")
        (width,) = unpack_from("<I", kind, 12)
        for at in range(0, len(content) - 15, 16):
            length, address, number = unpack_from("<IQI", content, at)
            if length and self._heap(address).get(number, -1) < length * width:
                raise _DamageError(f"has {length * width} bytes, of which its heap at {address} has not all")

    def _heap(self, address: int) -> dict[int, int]:
        """How many bytes each object of a global heap has."""
        if address in self._heaps:
            return self._heaps[address]
        head = self._read(address, 16)
        (size,) = unpack_from("<Q", head, 8)
        if head[:4] != b"GCOL" or not 16 <= size <= _MOST_HEAP:
            raise _DamageError(f"points to byte {address}, where no heap is")
        content, at, found = self._read(address, size), 16, dict[int, int]()
        while at + 16 <= size:
            number, length = unpack_from("<H", content, at)[0], unpack_from("<Q", content, at + 8)[0]
            if number == 0:  # what is free, over which HDF5 goes by its length
                if not 16 <= length <= size - at:
                    raise _DamageError(f"is in the heap at {address}, whose free space has {length} bytes")
                at += length
                continue
            at += 16
            if length > size - at:
                raise _DamageError(f"is in the heap at {address}, of which an object is longer than the heap")
            found[number] = length
            at += -(-length // 8) * 8
        self._heaps[address] = found
        return found

    def _blocks(self, address: int) -> Iterator[bytes]:
        """The blocks of a fractal heap, in which attributes lie."""
        if address == _NOWHERE:
            return
        head = self._read(address, 142)
        width, smallest, largest, bits = unpack_from("<HQQH", head, 110)
        root, rows = unpack_from("<QH", head, 132)
        sound = 0 < smallest <= largest <= _MOST_HEAP and max(width, rows, bits) < _MOST_ROWS
        if head[:4] != b"FRHP" or not sound or unpack_from("<H", head, 7)[0]:
            return  # HDF5 refuses it; or packed blocks, which nobody makes of attributes
        waiting = [(root, rows)]
        for _ in range(_MOST_MESSAGES):
            if not waiting:
                return
            at, rows = waiting.pop()
            if rows == 0:
                yield self._read(at, smallest)
                continue
            at += 13 + -(-bits // 8)
            for row in range(rows):
                size = smallest << max(0, row - 1)
                for below in unpack_from(f"<{width}Q", self._read(at + 8 * row * width, 8 * width)):
                    if below == _NOWHERE:
                        continue
                    if size <= largest:
                        yield self._read(below, size)
                    else:
                        waiting.append((below, (size // smallest // width).bit_length()))

    def _check_block(self, block: bytes) -> None:
        """Look at all heaps that anything in a block may point to."""
        for shift in range(8):
            numbers = np.frombuffer(block, "<u8", (len(block) - shift) // 8, shift)
            for address in np.unique(numbers[(numbers > 0) & (numbers < self._size - self._base - 16)]).tolist():
                if self._read(address, 4) == b"GCOL":
                    self._heap(address)
