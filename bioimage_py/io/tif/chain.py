"""Where the pages of a file begin, found at once where they are equally far apart."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

_FEW = 16
"""Pages to which the library goes about as fast."""
_MOST = 2**22


def know_pages(file: Any) -> bool:
    """Tell the library where all pages of a file begin, if they are many and equally far apart.

    Parameters
    ----------
    file : tifffile.TiffFile
        Open, of which the first page is known.

    Returns
    -------
    bool
        Whether they are known now: none leads back to one before it, and the last says that it is.
    """
    pages, handle = file.pages, file.filehandle
    known = getattr(pages, "_offsets", None)
    if getattr(pages, "_indexed", True) or not isinstance(known, list) or not known:
        return False
    try:
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            found = _equally_far(mapped, file.tiff, known[0])
    except (OSError, ValueError):  # bytes in memory have no number
        return False
    if len(found) <= _FEW:
        return False
    known[:] = found
    pages._indexed = True
    return True


def _equally_far(mapped: mmap.mmap, form: Any, first: int) -> list[int]:
    """Return where pages begin, if their list ends; nothing where distances from the second one on differ."""
    second = _next(mapped, form, first)
    third = _next(mapped, form, second)
    step, tags = third - second, _number(mapped, form.byteorder, second, form.tagnosize)
    if not first < second < third:
        return []
    link = form.tagnosize + tags * form.tagsize
    count = 1
    for links, numbers in _batches(mapped, form, second, step, link):
        at = second + step * np.arange(count, count + len(links))
        ends = np.flatnonzero((links != at) | (numbers != tags))
        if len(ends):
            last = count + int(ends[0])
            whole = links[ends[0]] == 0 and numbers[ends[0]] == tags
            return [first, *range(second, second + step * last, step)] if whole else []
        count += len(links)
    return []


def _batches(
    mapped: mmap.mmap, form: Any, second: int, step: int, link: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, of more and more pages, what they say to be the next one, and how many tags they have."""
    done, size = 0, 64
    while True:
        begin = second + step * done
        there = max(0, (len(mapped) - begin - link - form.offsetsize) // step + 1)
        count = min(size, there, _MOST - done)
        if count <= 0:
            return
        yield tuple(  # type: ignore[misc]
            np.ndarray(count, f"{form.byteorder}u{length}", mapped, begin + offset, step).astype(np.int64)
            for length, offset in ((form.offsetsize, link), (form.tagnosize, 0))
        )
        done, size = done + count, 4 * size


def _next(mapped: mmap.mmap, form: Any, at: int) -> int:
    tags = _number(mapped, form.byteorder, at, form.tagnosize)
    return _number(mapped, form.byteorder, at + form.tagnosize + tags * form.tagsize, form.offsetsize)


def _number(mapped: mmap.mmap, order: str, at: int, size: int) -> int:
    return int.from_bytes(mapped[at : at + size], "little" if order == "<" else "big")
