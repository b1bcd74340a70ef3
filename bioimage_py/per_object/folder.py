"""The folder of a run's files: hidden while they are made, and with its name when all of them are there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ArgumentError, ParameterError, StorageError
from ..runner.ledger.stage_record import Results
from ..sources.output_folder import MARK, OutputFolder
from ..sources.stores.paths import is_url
from ..system import swap
from ..system.files import naming, read_by_others
from ..system.json_text import parse_json

PROVENANCE = "provenance.json"
_SOFTWARE = "bioimage_py"


@dataclass(frozen=True)
class Begin:
    """What runs once at the beginning: a name of its own for what this run makes, the same when it is continued.

    Parameters
    ----------
    place : str
    overwrite : bool
        What earlier runs have left that were killed and whose run folders are gone goes, too. Such a run that goes on
        after all ends with an error: its mark is not there any more.
    """

    place: str
    overwrite: bool

    def __call__(self, earlier: Results) -> str:
        """Letters that no other run has."""
        folder = OutputFolder(self.place).hidden(earlier.run)
        if self.overwrite:
            for left in left_by_others(self.place):
                shutil.rmtree(left, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)  # it may have been killed right here
        (folder / MARK).touch()
        return folder.name.rpartition(".")[2]


def left_by_others(place: str) -> list[Path]:
    """The hidden folders of runs that were to become a folder and have not come to their end."""
    path = Path(place)
    named = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}")
    found = [one for one in path.parent.glob(".*") if named.fullmatch(one.name) and not one.is_symlink()]
    return [one for one in found if (one / MARK).is_file() or _made_by(one) == one.name.rpartition(".")[2]]


def hidden(place: str, token: str) -> Path:
    """Where the files of a run lie until all are there."""
    path = Path(place)
    return path.with_name(f".{path.name}.{token}")


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which has its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with naming(path), open(private, "wb", opener=read_by_others) as file:
            yield file
        os.replace(private, path)
    except BaseException:
        private.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class Publish:
    """What runs once at the end: the folder gets its name.

    Parameters
    ----------
    place : str
    info : mapping, optional
        Content of the file ``info``; ``sharding`` in it is what a stage of that name has chosen.
    overwrite : bool
        What an earlier run has written there goes.
    voxel : tuple of float
        Size of a voxel, x, y, z, in the unit of the files; a view lays them over their labels with it.
    """

    place: str
    info: Mapping[str, Any] | None
    overwrite: bool
    voxel: tuple[float, float, float]
    sharding: str | None = None

    def __call__(self, earlier: Results) -> bool:
        """True when the folder is there; also where it was there already, for this may be called again."""
        token = earlier["begin"]
        new, place = hidden(self.place, token), Path(self.place)
        if not new.is_dir() and _made_by(place) == token:
            return True
        if not (new / MARK).exists() and _made_by(new) != token:
            raise StorageError(
                f"{new}: the files of this run were removed, by a call with overwrite=True into {place}",
                remedy="bioimage-py runs clean, then call again",
            )
        if self.info is not None:
            sharding = {} if self.sharding is None else {"sharding": earlier[self.sharding].spec()}
            _write_json(new / "info", {**self.info, **sharding})
        from .. import __version__

        told = {"software": _SOFTWARE, "version": __version__, "run": token, "voxel": self.voxel}
        names = sorted(name for name in os.listdir(new) if not name.startswith("."))
        _write_json(new / PROVENANCE, {**told, "files": names})
        for left in [path for path in new.iterdir() if path.name.startswith(".")]:
            left.unlink()  # the mark, and what a process was killed over
        check_free(self.place, overwrite=self.overwrite)
        swap.put(str(new), self.place)
        return True


def _write_json(path: Path, content: Any) -> None:
    with writing(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def _provenance(place: Path) -> dict[str, Any]:
    """What a run has told of a folder; nothing where it is of none, or of another program."""
    try:
        told = parse_json((place / PROVENANCE).read_bytes())
        ours = told["software"] == _SOFTWARE and isinstance(told["run"], str) and isinstance(told["files"], list)
        return dict(told) if ours else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _made_by(place: Path) -> str | None:
    return _provenance(place).get("run")


def output_folder(output: Any, *, overwrite: bool) -> OutputFolder:
    """The folder that an output path names, which must be free.

    Raises
    ------
    ArgumentError, ParameterError
        No local path; something is there.
    """
    if not isinstance(output, str | os.PathLike) or not os.fspath(output) or is_url(os.fspath(output)):
        raise ArgumentError(f"output={output!r} is no local folder", remedy='output="meshes"')
    place = os.path.abspath(os.fspath(output))
    check_free(place, overwrite=overwrite)
    return OutputFolder(place)


def check_free(place: str, *, overwrite: bool) -> None:
    """ParameterError where something is that may not be replaced: only what such a run has made may be."""
    path = Path(place)
    if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
        return
    told = _provenance(path)
    if not told:
        raise ParameterError(f"{path}: something else is there already", remedy="another output path")
    if not overwrite:
        raise ParameterError(f"{path}: files of an earlier run are there already", remedy="overwrite=True")
    known = {PROVENANCE, *map(str, told["files"])}
    others = sorted(one.name for one in os.scandir(path) if one.name not in known or one.is_dir(follow_symlinks=False))
    if others:
        first = path / others[0]
        raise ParameterError(
            f"{path}: {len(others)} of its files were not written by the run that made it, such as {first.name!r};"
            " overwrite=True would remove them",
            remedy=f"mv {shlex.quote(str(first))} ELSEWHERE, or another output path",
        )
