"""Stamps: what an array says of the runs that are changing it, wherever it has moved to.

A stamp is a small JSON text under ``.bioimage_py.runs/``: a file beside the chunks of an array in a folder, an object
in a bucket, an attribute of an HDF5 data set. It goes before the run's folder goes; so one without a folder tells that
the folder was lost, and with it what is needed to continue the run or to put its changes back.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...blocks.boxes import Bounds
from ...errors import BioimageError, ResumeConflict
from ...run_folder import RunFolder, boxes_overlap
from ...sources.stores.location import Location
from ...sources.stores.paths import is_url
from ...system.json_text import parse_json
from ..planning.stage import Stage
from .regions import written_region
from .stamp_places import InBucket, InFolder, Place, place_of


@dataclass(frozen=True)
class Stamp:
    """What a stamp says: which run, what was called, when (seconds since the epoch) and where its driver ran.

    ``folder`` is the run folder, absolute; ``near`` the same from the array, for both may have moved. ``array``
    is where the array lay, as it was opened, ``real`` that behind all links, ``inode`` that of its folder or file (0
    where it has none). ``boxes`` are written, in voxels of the array; ``in_place`` where the run changes what it reads.
    """

    run: str
    call: str = ""
    begun: float = 0.0
    host: str = ""
    folder: str = ""
    near: str = ""
    array: str = ""
    real: str = ""
    inode: int = 0
    boxes: Sequence[Bounds] | None = None
    in_place: bool = True

    @classmethod
    def parse(cls, run: str, text: str) -> Stamp:
        """A stamp of its text; of one that is damaged the name is known."""
        try:
            told = parse_json(text)
            known = {name: told[name] for name in cls.__dataclass_fields__ if name in told and name != "run"}
            if all(type(value) is type(getattr(cls, name)) for name, value in known.items() if name != "boxes"):
                return cls(run, **known)
        except (ValueError, TypeError, AttributeError):
            pass
        return cls(run)

    def writes(self, boxes: Sequence[Bounds]) -> bool:
        """Whether the run writes into one of some boxes; also where that cannot be told."""
        try:
            return self.boxes is None or any(boxes_overlap(tuple(a), b) for a in self.boxes for b in boxes)
        except (TypeError, ValueError):
            return True


@dataclass(frozen=True)
class Output:
    """An array that a call writes: where its stamps are, and which boxes of it are written.

    One that is ``late`` carries the call's stamp only for the time in which results are copied into it.
    """

    place: Place
    boxes: list[Bounds] = field(default_factory=list)
    in_place: bool = False
    late: bool = False

    def stamp(self, run: str, folder: Path, call: str) -> Stamp:
        """The stamp of a run."""
        url = self.place.url
        real, inode = _real(url)
        near = "" if is_url(url) else os.path.relpath(os.path.realpath(folder), real)
        return Stamp(
            run, call, time.time(), socket.gethostname(), str(folder), near, url, real, inode, self.boxes, self.in_place
        )


def outputs_of(stages: Sequence[Stage]) -> list[Output]:
    """The arrays that stages write and that can carry stamps."""
    found: dict[str, Output] = {}
    for stage in stages:
        for output in stage.outputs:
            if (place := place_of(output)) is None:
                continue
            known = found.get(f"{place.url}:{output.identity}", Output(place))
            region = written_region(stage, output)
            boxes = known.boxes if region is None else [*known.boxes, region.box]
            found[f"{place.url}:{output.identity}"] = Output(place, boxes, known.in_place or stage.in_place)
    return list(found.values())


def put_stamps(outputs: Sequence[Output], run: str, folder: Path, call: str) -> None:
    """Name a run and its folder in its outputs."""
    for output in outputs:
        told = output.stamp(run, folder, call)
        output.place.put(run, json.dumps({key: value for key, value in vars(told).items() if key != "run"}))


def remove_stamps(outputs: Sequence[Output], run: str) -> None:
    """Remove the stamps of a run."""
    for output in outputs:
        with suppress(OSError, KeyError, ValueError, RuntimeError, BioimageError):  # a file may be closed, or gone
            output.place.remove(run)


@dataclass(frozen=True)
class Move:
    """From where to where an array has moved: beginnings of paths; false where it has not."""

    stamp: Stamp
    pairs: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.pairs)

    @classmethod
    def between(cls, then: Stamp, url: str) -> Move:
        """How the array of a stamp has moved; nothing where it is where it was."""
        pairs = (_shortest(then.array, url), _shortest(then.real, _real(url)[0]))
        return cls(then, tuple(dict.fromkeys(pair for pair in pairs if pair[0] and pair[0] != pair[1])))

    def __call__(self, text: str) -> str:
        """A text with its paths as they are now."""
        for old, new in self.pairs:
            text = re.sub(
                rf"(?:(?<![^\s\"'=(])|(?<=file://)){re.escape(old)}(?=[/\"'\s,):|]|$)", new.replace("\\", "\\\\"), text
            )
        return text


def _shortest(old: str, new: str) -> tuple[str, str]:
    """Two paths without the names at the end that they have in common."""
    while old != new and "/" in old.strip("/") and "/" in new.strip("/"):
        (above, _, name), (other, _, same) = old.rpartition("/"), new.rpartition("/")
        if name != same or not above or not other:
            break
        old, new = above, other
    return old, new


def _real(url: str) -> tuple[str, int]:
    """The path behind all links, and its inode."""
    if is_url(url):
        return url, 0
    real = os.path.realpath(url)
    with suppress(OSError):
        return real, os.stat(real).st_ino
    return real, 0


def stamped_runs(
    outputs: Sequence[Output], mine: Path, chosen: Path | None = None, *, anew: bool = False
) -> Iterator[tuple[Path, Move]]:
    """Folders of the other runs that arrays name, and how the arrays have moved since.

    ``mine`` is the folder of the call's own run; others are looked for beside it too, and in the one that the user has
    ``chosen``. To begin ``anew``, the stamp of a lost run that overwrote nothing it has read is removed.

    Raises
    ------
    ResumeConflict
        The folder of a run is lost, or the array is a copy of one that a run was changing.
    """
    for output in outputs:
        for name in output.place.names():
            text = None if name == mine.name else output.place.read(name)
            if text is None:  # it has gone just now
                continue
            stamp = Stamp.parse(name, text)
            if not stamp.writes(output.boxes):
                continue
            if is_copy(stamp, output.place):
                raise _copied(stamp, output.place)
            folder = folder_of(stamp, output.place, chosen, mine.with_name(name))
            if folder is not None:
                yield folder, Move.between(stamp, output.place.url)
            elif output.place.read(name) is None:  # it has finished meanwhile: its folder goes last
                continue
            elif anew and not stamp.in_place:
                output.place.remove(name)
            else:
                raise _lost(stamp, output.place)


def folder_of(stamp: Stamp, place: Place, chosen: Path | None = None, other: Path | None = None) -> Path | None:
    """The folder of a stamp's run: the chosen one, as far from the array as it was, where it was, or another."""
    near = [] if not stamp.near or is_url(place.url) else [os.path.join(_real(place.url)[0], stamp.near)]
    for path in (chosen, *near, stamp.folder, other):
        folder = Path(os.path.normpath(path or os.curdir))
        if folder.name == stamp.run and RunFolder(folder).state.exists():
            return folder
    return None


def is_copy(stamp: Stamp, place: Place) -> bool:
    """Whether the array that a stamp was put into is another one, and still there."""
    real, inode = _real(place.url)
    if not stamp.real or real == stamp.real or (inode and inode == stamp.inode):
        return False
    if isinstance(place, InFolder):
        return InFolder(stamp.real).read(stamp.run) is not None
    if isinstance(place, InBucket):
        return InBucket(Location(stamp.real, place.options)).read(stamp.run) is not None
    return os.path.exists(stamp.real)


def check_mine(stamped: Sequence[dict[str, Any]], move: Move, outputs: Sequence[Output]) -> None:
    """ResumeConflict where a run, by what it says itself, goes on with another copy of an array that has moved."""
    urls, here = {told["url"] for told in stamped}, {output.place.url: output.place for output in outputs}
    if urls and move.stamp.array not in urls and not urls & set(here):
        other = replace(move.stamp, real=", ".join(sorted(urls)))
        raise _copied(other, next(iter(here.values())))


def _about(stamp: Stamp) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp.begun)) if stamp.begun else "at an unknown time"
    call, host = stamp.call or "an unknown call", stamp.host or "an unknown host"
    return f"the run {stamp.run!r} (of {call}, begun {when} on {host})"


def _lost(stamp: Stamp, place: Place) -> ResumeConflict:
    here = "" if stamp.host in ("", socket.gethostname()) else f" cannot be seen from {socket.gethostname()}, or"
    return ResumeConflict(
        f"{place.url} holds a part of what {_about(stamp)} was to write, and the folder of that run,"
        f" {stamp.folder or 'which its stamp does not name'},{here} is gone: it can neither be continued nor put back",
        remedy="bring that folder back and call again (BIOIMAGE_PY_RUN_ROOT names what it lies in now); or restore the"
        f" data; or take them as they are: bioimage-py runs forget {place.named}",
    )


def _copied(stamp: Stamp, place: Place) -> ResumeConflict:
    return ResumeConflict(
        f"{place.url} is a copy of {stamp.real}, made while {_about(stamp)} was changing that: it holds a part of what"
        " that run was to write",
        remedy=f"finish the run on {stamp.real} and copy again; or take the copy as it is:"
        f" bioimage-py runs forget {place.named}",
    )
