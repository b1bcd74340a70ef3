"""The folder in which `segment` keeps superpixels, their graph and what belongs together, whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ParameterError
from ..io.v3.replacing import refuse_own_levels
from ..pipelines.folder import lock_folder
from ..sources import Source
from ..system import swap
from .settings import Method

PARTITION = "partition.zarr"
_KEPT = ("network.zarr", "superpixels.zarr", "graph.zarr", PARTITION)
"""In the order in which they are put there: without a partition nothing can be corrected."""
_METHODS = ("multicut", "agglomerate", "mutex")
_PENDING = re.compile(r"pending(-[0-9]+)?\.zarr")


@dataclass(frozen=True)
class KeptFolder:
    """Where something is kept of a segmentation, and lies nothing else."""

    path: Path

    @classmethod
    def of(cls, keep: str | os.PathLike[str] | None, method: Method) -> KeptFolder | None:
        """The folder that a caller gives.

        Raises
        ------
        ParameterError
            If the method keeps nothing, or the folder holds other things.
        """
        if keep is None:
            return None
        if method not in _METHODS:
            raise ParameterError(
                f"method={method!r} keeps nothing, got keep={keep!r}", remedy='leave it out, or method="multicut"'
            )
        path = Path(os.path.abspath(keep))
        if path.exists() and (not path.is_dir() or any(map(_foreign, os.listdir(path)))):
            raise ParameterError(f"{path} holds other things", remedy=f'keep="{path / "kept"}"')
        return cls(path)

    def check(self, output: str, read: Source) -> None:
        """Refuse a folder that lies in the output, or the other way round, or holds what is read.

        Raises
        ------
        AliasError, ParameterError
        """
        result, kept = Path(os.path.realpath(output)), Path(os.path.realpath(self.path))
        if result.is_relative_to(kept) or kept.is_relative_to(result):
            raise ParameterError(
                f"the output {output} and keep={str(self.path)!r} lie in each other",
                remedy="two folders beside each other",
            )
        for name in _KEPT:
            refuse_own_levels(str(self.path / name), [read])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that changes what is kept."""
        self.path.mkdir(parents=True, exist_ok=True)
        with lock_folder(self.path):
            yield

    def take(self, scratch: Path) -> None:
        """Have what a segmentation has made take the place of what was kept of an earlier one."""
        swap.clear(str(self.path / PARTITION))
        for old in (self.path / PARTITION, *pending(self.path)):
            swap.discard(str(old))
        for name in _KEPT:
            made, place = scratch / name, str(self.path / name)
            if made.exists():
                swap.put(_moved(str(made), swap.beside(place)), place)
            else:
                swap.discard(place)


def pending(folder: Path) -> list[Path]:
    """What corrections that did not come to their end have left in a folder, the oldest first."""
    found = [(len(one.name), one.name, one) for one in folder.iterdir() if _PENDING.fullmatch(one.name)]
    return [one for _, _, one in sorted(found)]


def next_pending(folder: Path) -> Path:
    """Where one more correction is written down."""
    found = pending(folder)
    number = int(re.sub(r"\D", "", found[-1].name) or 1) + 1 if found else 1
    return folder / ("pending.zarr" if number == 1 else f"pending-{number}.zarr")


def _foreign(name: str) -> bool:
    return name not in (*_KEPT, "lock") and not name.startswith(".") and _PENDING.fullmatch(name) is None


def _moved(made: str, new: str) -> str:
    """Move a folder, to another file system too."""
    try:
        os.rename(made, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(made, new)
    return new
