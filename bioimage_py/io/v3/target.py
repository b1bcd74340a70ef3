"""Where a new file goes: written beside its place, and put there when it is complete."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ...errors import AccessError, BioimageError, FormatError, ParameterError, SourceNotFoundError, StorageError
from ...sources.stores.paths import is_url, resolve
from ...system.swap import beside, clear, put, recover, remove, remove_half
from ..create import array_exists
from ..formats import Format, format_for_extension, format_named, infer_format, split_path, supported_formats
from .plugins import format_of_plugin

BYTES = "<bytes>"


def format_to_write(path: str, plugin: Any, extension: str | None) -> Format:
    """Return the format of a new file, by plugin, extension or name.

    Raises
    ------
    FormatError
        If no format of that ending can be written; lists those that can.
    """
    if plugin is not None:
        entry = format_of_plugin(plugin)
    else:
        name = format_for_extension(extension) if extension else _by_name(split_path(path)[0])
        ending = extension or os.path.splitext(path)[1]
        if not name:
            raise FormatError(f"No format is written to files that end in {ending!r}; {_known()}.", remedy=".tif")
        entry = format_named(name)
    if not entry.write:
        raise FormatError(f"The format {entry.name!r} cannot be written; {_known()}.", remedy='extension=".tif"')
    return entry


def _by_name(path: str) -> str | None:
    name = os.path.basename(path.rstrip("/")).lower()
    parts = name.split(".")[1:]
    for number in range(len(parts)):  # the longest ending first: ".nii.gz" before ".gz"
        found = format_for_extension("." + ".".join(parts[number:]))
        if found:
            return found
    return None


def _known() -> str:
    found = [format_named(name) for name in supported_formats()]
    return "these are: " + ", ".join(f"{entry.extensions[0]} ({entry.name})" for entry in found if entry.write)


def checked_target(uri: Any, mode: str) -> str:
    """Return the path of a new file; with mode "x" it must not be there."""
    path = resolve(uri)
    container, key = split_path(path)
    if is_url(path):
        if mode != "w":
            raise ParameterError(f"mode {mode!r} is for local files, {path} is none.", remedy='mode="w"')
        return path
    named = _by_name(container)
    if key is not None or named is None or format_named(named).stores:
        recover(container if key is None else os.path.join(container, key))
    if mode == "x" and (os.path.lexists(container) if key is None else _has(container, key)):
        raise StorageError(f"{path} is there already.", remedy="overwrite=True, or another name")
    folder = os.path.dirname(container)
    if not os.path.isdir(folder):
        raise SourceNotFoundError(f"{folder} does not exist.", remedy=f"os.makedirs({folder!r})")
    return path


def _has(container: str, key: str) -> bool:
    """Whether a container holds an array of this key."""
    return os.path.lexists(container) and array_exists(container, key, infer_format(container))


@contextmanager
def appearing(path: str, folder: bool = False, inside: str = "") -> Iterator[str]:
    """Give a name beside a path; what is there after the body is put in its place, and removed where the body fails.

    Parameters
    ----------
    path : str
        A symbolic link stays: what it leads to is replaced.
    folder : bool, default False
        Whether it is one.
    inside : str, optional
        A key in the folder at the path that is replaced, not all of it; where it is a link, the link is.

    Raises
    ------
    AccessError, StorageError
        If it cannot be written; what was there before still is.
    """
    place = os.path.realpath(path)
    if inside:
        path = os.path.join(path, inside)
        place = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    above = os.path.dirname(place)
    clear(place, again=folder)
    # with the same ending, by which a library may tell what to write, also where a link has it alone
    new = beside(place if folder else os.path.join(above, os.path.basename(path)))
    complete = False
    try:
        with suppress(FileNotFoundError):
            os.lstat(new)  # a name that is too long, before anything is computed for it
        yield new
        complete = True
        put(new, place)
    except BioimageError:
        raise
    except PermissionError as error:
        raise AccessError(f"Cannot write {path}: {error}", remedy=f"check the permissions: ls -ld {above}") from error
    except OSError as error:
        longer = len(os.path.basename(new)) - len(os.path.basename(place))
        short = f"a shorter name: while it is written, it has {longer} letters more"
        remedy = short if error.errno == errno.ENAMETOOLONG else "check the disk: df -h"
        raise StorageError(f"Cannot write {path}: {error}", remedy=remedy) from error
    finally:
        with suppress(OSError):  # what stays goes with the next one; an error that is on its way is the one to be told
            (remove if complete or not folder else remove_half)(new)
