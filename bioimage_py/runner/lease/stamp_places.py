"""Where the stamps of arrays are: beside the chunks in a folder, among the objects in a bucket, in an HDF5 file."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import abc
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import BioimageError
from ...run_folder import STAMPS
from ...sources.base import Source
from ...sources.spec import FrozenParams
from ...sources.stores.location import Location
from ...system.files import listed, made_among_others, write_once
from ...wrapper.base import WrapperSource


class Place(abc.ABC):
    """Where the stamps of an array are; ``url`` is where the array lies, absolute."""

    url: str

    @property
    @abc.abstractmethod
    def told(self) -> dict[str, Any]:
        """The place as JSON."""

    @property
    def named(self) -> str:
        """The array as a command takes it: its path, and its key where it is in a file."""
        return shlex.join([self.url, *([self.told["key"]] if "key" in self.told else [])])

    @abc.abstractmethod
    def names(self) -> list[str]:
        """Names of the runs that have a stamp here."""

    @abc.abstractmethod
    def read(self, name: str) -> str | None:
        """What the stamp of a run says; None where there is none."""

    @abc.abstractmethod
    def put(self, name: str, told: str) -> None:
        """Write a stamp, whole."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a stamp."""


class InFolder(Place):
    """Stamps beside the chunks of an array in a local folder."""

    def __init__(self, folder: str) -> None:
        self.url = os.path.abspath(folder)
        self._folder = Path(self.url, STAMPS)

    @property
    def told(self) -> dict[str, Any]:
        return {"url": self.url}

    def names(self) -> list[str]:
        return [path.name for path in listed(self._folder) if not path.name.startswith(".")]

    def read(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def put(self, name: str, told: str) -> None:
        made_among_others(partial(write_once, self._folder / name, told.encode()))

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()


class InBucket(Place):
    """Stamps among the objects of an array in a bucket."""

    def __init__(self, place: Location) -> None:
        self.url, self.options = place.url, place.options
        self._place = place / STAMPS

    @property
    def told(self) -> dict[str, Any]:
        return {"url": self.url, "options": dict(self.options)}

    def names(self) -> list[str]:
        return self._place.names() or []

    def read(self, name: str) -> str | None:
        content = self._place.read(name)
        return None if content is None else content.decode(errors="replace")

    def put(self, name: str, told: str) -> None:
        self._place.write(name, told.encode())

    def remove(self, name: str) -> None:
        self._place.delete(name)


class InHDF5(Place):
    """Stamps among the attributes of an HDF5 data set that this process has open for writing."""

    def __init__(self, dataset: Any) -> None:
        self.url = os.path.abspath(os.fsdecode(dataset.file.filename))
        self._dataset = dataset

    @property
    def told(self) -> dict[str, Any]:
        return {"url": self.url, "key": str(self._dataset.name)}

    def names(self) -> list[str]:
        begin = f"{STAMPS}/"
        return [name.removeprefix(begin) for name in self._dataset.attrs if name.startswith(begin)]

    def read(self, name: str) -> str | None:
        found = self._dataset.attrs.get(f"{STAMPS}/{name}")
        return None if found is None else str(found)

    def put(self, name: str, told: str) -> None:
        self._dataset.attrs[f"{STAMPS}/{name}"] = told
        self._dataset.file.flush()

    def remove(self, name: str) -> None:
        if f"{STAMPS}/{name}" in self._dataset.attrs:
            del self._dataset.attrs[f"{STAMPS}/{name}"]
            self._dataset.file.flush()


def place_of(source: Source) -> Place | None:
    """Where the stamps of a source are; None where its storage has no room for them."""
    first = tuple(slice(0, 1) for _ in source.shape)
    if not source.size:
        return None
    if (files := source.unit_files(first)) is None:
        while isinstance(source, WrapperSource):
            source = source.source
        files = source.stored_in(tuple(slice(0, 1) for _ in source.shape))
    if files is None:
        return None
    if files.folder != os.sep:
        return InBucket(files.place) if files.folder is None else InFolder(files.folder)
    array = getattr(source, "array", None)  # files of their own, of which one kind has room for more than voxels
    kinds = [(base.__module__.partition(".")[0], base.__name__) for base in type(array).__mro__]
    return InHDF5(array) if ("h5py", "Dataset") in kinds else None


def clear_stamps(places: Sequence[dict[str, Any]], run: str) -> None:
    """Remove the stamps of a run from places as they were told; where one cannot be reached it stays."""
    for told in places:
        with suppress(OSError, KeyError, ValueError, RuntimeError, BioimageError, ImportError):
            if "key" in told:
                import h5py

                with h5py.File(told["url"], "r+") as file:
                    InHDF5(file[told["key"]]).remove(run)
            elif "options" in told:
                InBucket(Location(told["url"], FrozenParams(told["options"]))).remove(run)
            else:
                InFolder(told["url"]).remove(run)
