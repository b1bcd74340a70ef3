"""Runs on disk: where they lie, who owns them, and which one a call continues.

A run's folder lies in a ``.bioimage_py`` folder beside the first output, under ``$BIOIMAGE_PY_RUN_ROOT``, or where the
configuration says. Its ``run.json`` is also the lease on what it writes: it is published first, then looked at
together with all others, and where two overlap the older one stays.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, NotReopenableError, ResumeConflict, RunningError
from ..sources.base import Source
from .alive import Heartbeat, end, identify, lives
from .definition import definition_of
from .folder import write_once
from .plan import Stage

Box = tuple[tuple[int, int], ...]
Resume = Literal["auto", "never"] | str


@dataclass(frozen=True)
class Claim:
    """What a run writes: a storage and a box of whole write units in it, in voxels of the storage."""

    storage: str
    box: Box

    def overlaps(self, other: Claim) -> bool:
        """Whether two claims share a voxel."""
        meet = (a[0] < b[1] and b[0] < a[1] for a, b in zip(self.box, other.box, strict=True))
        return self.storage == other.storage and (len(self.box) != len(other.box) or all(meet))


@dataclass
class RunState:
    """The content of ``run.json``."""

    run: str
    name: str
    state: str
    created: int
    driver: dict[str, Any]
    versions: dict[str, str]
    claims: list[Claim]
    definition: dict[str, str]
    inputs: dict[str, str]
    sessions: int = 1

    @classmethod
    def read(cls, folder: Path) -> RunState | None:
        """State of the run in a folder; None where there is none yet."""
        try:
            data = json.loads((folder / "run.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        claims = [Claim(c["storage"], tuple((b, e) for b, e in c["box"])) for c in data.pop("claims")]
        return cls(claims=claims, **data)

    def write(self, folder: Path) -> None:
        """Publish."""
        write_once(folder / "run.json", json.dumps(asdict(self), indent=1).encode())

    def alive(self, folder: Path) -> bool:
        """Whether its driver can be alive."""
        return self.state == "running" and lives(self.driver, folder / "driver.alive")


def claims_of(stages: Sequence[Stage]) -> list[Claim]:
    """What the stages write, rounded out to whole write units."""
    claims = []
    for stage in stages:
        if stage.units.groups is None:
            continue
        for output in stage.outputs:
            lead = [(0, size) for size in output.shape[: output.ndim - stage.units.groups.grid.ndim]]
            claims.append(_claim(output, [*lead, *stage.units.groups.grid.roi]))
    return claims


def _claim(output: Source, box: list[tuple[int, int]]) -> Claim:
    source = output
    while hasattr(source, "source") and hasattr(source, "roi"):
        inner = [part.start for part in source.roi]
        if len(inner) != len(box):  # a squeezed view: the whole storage
            box = [(0, size) for size in source.source.shape]
        else:
            box = [(b + start, e + start) for (b, e), start in zip(box, inner, strict=True)]
        source = source.source
    units = source.write_chunks
    if source.concurrency == "single-writer":
        box = [(0, size) for size in source.shape]
    elif units is not None:
        box = [(b // u * u, -(-e // u) * u) for (b, e), u in zip(box, units, strict=True)]
    return Claim(repr(source.identity), tuple(box))


def run_root(stages: Sequence[Stage], given: Any = None) -> Path:
    """Where the folder of a run lies."""
    if given is not None:
        return Path(given)
    if root := os.environ.get("BIOIMAGE_PY_RUN_ROOT"):
        return Path(root)
    for stage in stages:
        for output in stage.outputs:
            with suppress(NotReopenableError):
                path = output_path(output)
                if path is not None and os.access(path.parent, os.W_OK):
                    return path.parent / ".bioimage_py"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "bioimage_py" / "runs"


def output_path(output: Source) -> Path | None:
    """Path of the file or container that holds an output; None where it has none."""
    spec: Any = output.to_spec()
    while spec.wrapped is not None:
        spec = spec.wrapped
    return None if spec.path is None or "://" in spec.path else Path(spec.path)


def fingerprints(stages: Sequence[Stage]) -> dict[str, str]:
    """What tells whether an input, or an output's storage, has been made anew: inode, time and size of its metadata."""
    prints: dict[str, str] = {}
    for stage in stages:
        written = {output.identity for output in stage.outputs}
        for kind, sources in (("input", stage.inputs), ("output", stage.outputs)):
            for index, source in enumerate(sources):
                inode_only = kind == "output" or source.identity in written
                if (text := _fingerprint(source, inode_only)) is not None:
                    prints[f"{stage.name}.{kind} {index}"] = text
    return prints


def _fingerprint(source: Source, inode_only: bool) -> str | None:
    try:
        spec: Any = source.to_spec()
    except NotReopenableError:
        return None
    while spec.wrapped is not None:
        spec = spec.wrapped
    if spec.path is None or "://" in spec.path:
        return None
    path = Path(spec.path, spec.internal_path or "")
    files = [path / name for name in ("zarr.json", ".zarray", "attributes.json")]
    target = next((file for file in files if file.is_file()), path if path.exists() else Path(spec.path))
    if not target.exists():
        return f"{target} is missing"
    stat = target.stat()
    # the folder's inode tells a copy put in the same place; what a run writes changes times, never inodes of folders
    folder = f"{target.parent} {target.parent.stat().st_ino}" if target.name in {file.name for file in files} else ""
    times = "" if inode_only else f" modified {stat.st_mtime_ns} size {stat.st_size}"
    return f"{target.name} {stat.st_ino}{times} in {folder or target}"


def reopen_run(folder: Path, stages: Sequence[Stage]) -> OwnedRun:
    """Own the unfinished run in a folder, without comparing it with a call.

    Raises
    ------
    ConfigError
        There is no unfinished run.
    RunningError
        Its driver lives.
    """
    state = RunState.read(folder)
    if state is None or state.state == "finished":
        raise ConfigError(f"there is no unfinished run in {folder}", remedy="bioimage-py runs list")
    if state.alive(folder):
        raise _running(state, folder)
    mine = replace(state, driver=identify())
    return _take_over(state, folder, mine, stages)


def stamps_of(stages: Sequence[Stage], run: str) -> list[Path]:
    """Files that a run puts into the folders of its outputs: an output that was made anew has lost it."""
    stamps = []
    for stage in stages:
        for output in stage.outputs:
            files = output.unit_files(tuple(slice(0, 1) for _ in output.shape)) if output.size else None
            if files is not None:
                stamps.append(Path(files.folder, f".bioimage_py.{run}"))
    return stamps


@dataclass
class OwnedRun:
    """A run that this process owns until `finish` or `release`."""

    folder: Path
    state: RunState
    heartbeat: Heartbeat
    stamps: list[Path]

    def finish(self) -> None:
        """The run is complete and its caller has seen it: the folder goes."""
        self.heartbeat.close()
        for stamp in self.stamps:
            stamp.unlink(missing_ok=True)
        self.state.state = "finished"
        self.state.write(self.folder)
        remove(self.folder)

    def release(self, state: str) -> None:
        """Leave the run to be continued."""
        self.heartbeat.close()
        self.state.state = state
        self.state.write(self.folder)


def remove(folder: Path) -> None:
    """Remove a run's folder, and the folder around it when it is empty."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


def runs_in(root: Path) -> Iterator[tuple[Path, RunState]]:
    """Runs in a folder, oldest first."""
    found = []
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        with suppress(json.JSONDecodeError, KeyError, TypeError):
            if (state := RunState.read(path)) is not None:
                found.append((path, state))
    yield from sorted(found, key=lambda item: (item[1].created, item[1].run))


def own_run(name: str, stages: tuple[Stage, ...], versions: dict[str, str], root: Path, resume: Resume) -> OwnedRun:
    """The run that a call continues, or a new one.

    Raises
    ------
    RunningError
        A living run writes the same region.
    ResumeConflict
        An unfinished run writes the same region and the call cannot continue it.
    """
    root.mkdir(parents=True, exist_ok=True)
    state = RunState(
        f"{name or 'run'}-{secrets.token_hex(4)}".replace("/", "_"),
        name,
        "running",
        0,
        identify(),
        versions,
        claims_of(stages),
        definition_of(stages),
        fingerprints(stages),
    )
    folder = root / state.run
    (folder / "workers").mkdir(parents=True)
    heartbeat = Heartbeat(folder / "driver.alive")
    state.created = (folder / "driver.alive").stat().st_mtime_ns
    state.write(folder)
    try:
        if resume not in ("auto", "never") and RunState.read(Path(resume)) is None:
            raise ConfigError(f"there is no run in {resume}", remedy="bioimage-py runs list")
        others = [(path, other) for path, other in runs_in(root) if other.run != state.run and _concerns(other, state)]
        for other_folder, other in others:
            if other.alive(other_folder) and (other.created, other.run) < (state.created, state.run):
                raise _running(other, other_folder)
        for other_folder, other in others:
            if other.alive(other_folder):
                continue
            if other.state == "finished" or resume == "never":
                end_workers(other_folder)
                for stamp in stamps_of(stages, other.run):
                    stamp.unlink(missing_ok=True)
                remove(other_folder)
                continue
            _check(other, other_folder, state, stages, resume)
            taken = _take_over(other, other_folder, state, stages)
            heartbeat.close()
            remove(folder)
            return taken
    except BaseException:
        heartbeat.close()
        remove(folder)
        raise
    stamps = stamps_of(stages, state.run)
    for stamp in stamps:
        stamp.touch()
    return OwnedRun(folder, state, heartbeat, stamps)


def _concerns(other: RunState, mine: RunState) -> bool:
    """Whether two runs write a common voxel; of runs that write nothing, whether they are the same call."""
    if mine.claims or other.claims:
        return any(a.overlaps(b) for a in other.claims for b in mine.claims)
    return other.definition == mine.definition


def end_workers(folder: Path) -> None:
    """Make sure that no worker process of a run whose driver is dead lives on this host."""
    for path in (folder / "workers").glob("*.json"):
        with suppress(json.JSONDecodeError, FileNotFoundError):
            end(json.loads(path.read_text()))


def _running(other: RunState, folder: Path) -> RunningError:
    who = f"process {other.driver['pid']} on {other.driver['host']}"
    return RunningError(
        f"the run {other.run!r} ({who}) is writing the same region; its folder is {folder}",
        remedy="wait for it, or end that process and call again",
    )


def _check(other: RunState, folder: Path, mine: RunState, stages: Sequence[Stage], resume: Resume) -> None:
    """ResumeConflict where a call is not the one that an unfinished run belongs to."""
    accepted = resume not in ("auto", "never") and Path(resume).resolve() == folder.resolve()
    differences = []
    for what, theirs, ours in (
        ("versions", other.versions, mine.versions),
        ("definition", other.definition, mine.definition),
        ("fingerprint", other.inputs, mine.inputs),
    ):
        for key in sorted({*theirs, *ours}):
            if theirs.get(key) != ours.get(key):
                differences.append(f"{what} of {key}: then {theirs.get(key)}, now {ours.get(key)}")
    differences += [
        f"stamp {stamp}: then there, now missing (the output was made anew)"
        for stamp in stamps_of(stages, other.run)
        if other.definition == mine.definition and not stamp.exists()
    ]
    fatal = [text for text in differences if not (accepted and text.startswith(("fingerprint", "versions")))]
    in_place = [stage for stage in stages if stage.in_place or stage.reads_outputs]
    if other.state == "complete" and not accepted and any(stage.in_place for stage in in_place):
        fatal.append("it changes data in place and was complete, but nobody was told")
    if other.state != "complete" and any(not stage.undo for stage in in_place):
        fatal.append("it changes data in place in a storage whose old content cannot be kept: restore the data first")
    if fatal:
        raise ResumeConflict(
            f"the unfinished run {other.run!r} in {folder} writes the same region, but this call differs from it:\n  "
            + "\n  ".join(fatal),
            remedy=f'resume="never" forgets it and starts anew; resume={str(folder)!r} continues it',
        )


def _take_over(other: RunState, folder: Path, mine: RunState, stages: Sequence[Stage]) -> OwnedRun:
    end_workers(folder)
    other.driver, other.state, other.sessions = mine.driver, "running", other.sessions + 1
    heartbeat = Heartbeat(folder / "driver.alive")
    other.write(folder)
    seen = RunState.read(folder)
    if seen is None or seen.driver != mine.driver:
        heartbeat.close()
        raise _running(seen or other, folder)
    return OwnedRun(folder, other, heartbeat, stamps_of(stages, other.run))
