"""Run folders in their root: they appear whole, and go whole; what a killed process left half is swept up."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import BioimageError, StorageError
from ...run_folder import ELSEWHERE, RunFolder
from ...sources.stores.location import locate
from ...system.faults import fault
from ...system.files import listed, made_among_others, own_folder
from ...system.owner import is_own
from ...system.processes import begun_here, here, identify
from ..identity.locations import container_of
from ..planning.stage import Stage
from .stamps import Output, remove_stamps

ROOT_NAME = ".bioimage_py"
NAME_LENGTH = 80
"""Letters of a run's name that its folder has."""
_NEW, _GONE, _POOL = ".new", ".gone", ".pool"


def new_name(name: str) -> str:
    """A name for a run's folder, which nobody has."""
    # visible, within one folder, and what no file system refuses (255 bytes)
    stem = re.sub(r"[^\w.+-]", "_", name or "run", flags=re.ASCII)[:NAME_LENGTH]
    return f"{'_' if stem.startswith('.') else ''}{stem}-{secrets.token_hex(4)}"


def new_folder(root: Path, run: str, fill: Callable[[Path], Any]) -> Path:
    """Make a run's folder, which nobody sees before it is filled.

    Raises
    ------
    StorageError
        The file system has no hard links.
    """
    private = root / _name(_NEW)
    try:
        made_among_others(partial(_make, root, private))
        _check_links(private)
        fill(private)
        os.rename(private, root / run)
    except BaseException:
        shutil.rmtree(private, ignore_errors=True)
        raise
    return root / run


def _make(root: Path, private: Path) -> None:
    """Make a run's folder, that only its user can write; the root is shared as the umask says."""
    if not root.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        if (mode := root.stat().st_mode) & stat.S_IWOTH:  # all may have runs there, and rename none of another's
            root.chmod(stat.S_IMODE(mode) | stat.S_ISVTX)
    private.mkdir(mode=0o755)
    own_folder(RunFolder(private).workers)


def _name(kind: str) -> str:
    """A name that says whose it is."""
    me = identify()
    return "-".join([kind, here(), str(me["pid"]), str(me["start"]), secrets.token_hex(4)])


def pool_folder(root: Path) -> Path:
    """Where jobs that serve one run after the other are given their orders; made when it is first needed."""
    return (root / _name(_POOL)).absolute()


def _check_links(folder: Path) -> None:
    """Batches are claimed by hard links: a file system without them is refused."""
    probe, link = folder / ".probe", folder / ".link"
    probe.touch()
    try:
        os.link(probe, link)
    except OSError as error:
        raise StorageError(
            f"{folder.parent} lies on a file system without hard links ({error.strerror}), which a run needs",
            remedy="BIOIMAGE_PY_RUN_ROOT=/a/folder/on/another/disk",
        ) from error
    link.unlink()
    probe.unlink()


def remove(folder: Path, outputs: Sequence[Output] = ()) -> None:
    """Remove a run's stamps, then its folder, at once for whoever looks, and an empty root beside an output.

    In this order, for a stamp without a folder says that the folder was lost.
    """
    remove_stamps(outputs, folder.name)
    _remove_elsewhere(folder)
    gone = folder.with_name(f"{_GONE}-{secrets.token_hex(4)}")
    with suppress(OSError):
        os.rename(folder, gone)
    fault("after-finish")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.parent.name == ROOT_NAME:
        with suppress(OSError):
            folder.parent.rmdir()


def _remove_elsewhere(folder: Path) -> None:
    """Remove the arrays of a run that lie in object storage: only what has the run's name, as its own folder says."""
    inside = RunFolder(folder)
    if (
        inside.elsewhere.exists()
        and is_own(folder)
        and (url := inside.arrays_at).endswith(f"/{folder.name}{ELSEWHERE}")
    ):
        with suppress(BioimageError):  # a bucket that cannot be reached must not keep a run from ending
            locate(url).delete()


def sweep(root: Path) -> None:
    """Remove what killed processes left of folders that were being made or removed."""
    for path in listed(root):
        kind, *rest = path.name.rsplit("-", 3)
        made, _, where = kind.partition("-")
        if path.name.startswith(f"{_GONE}-") or (made in (_NEW, _POOL) and _left(where, *rest[:2])):
            shutil.rmtree(path, ignore_errors=True)


def _left(where: str, pid: str, start: str) -> bool:
    return where == here() and not begun_here(int(pid), start)


def run_root(stages: Sequence[Stage], given: Any = None) -> Path:
    """Where the folder of a run lies."""
    # absolute when the call begins: a block may change the working directory
    if given is not None:
        return Path(given).absolute()
    if root := os.environ.get("BIOIMAGE_PY_RUN_ROOT"):
        return Path(root).absolute()
    for stage in stages:
        for output in stage.outputs:
            path = container_of(output)
            if path is not None and os.access(path.parent, os.W_OK):
                return path.parent / ROOT_NAME
    return cache_root()


def cache_root() -> Path:
    """Where runs lie that write nothing beside which their folder could be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "bioimage_py" / "runs"
