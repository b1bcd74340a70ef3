"""What an HDF5 dataset needs besides its own file: filters, and the files that hold external and virtual data."""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
from collections.abc import Iterator
from typing import Any

from ...errors import AccessError, BioimageError, FormatError, MissingDependencyError, SourceNotFoundError, StorageError
from ...extras import pip_line

PROVIDER = "hdf5plugin"
"""Library that brings the filters in use in the field; imported where a dataset needs one that is not there."""


def open_file(path: str, mode: str, **kwargs: Any) -> Any:
    """Return the ``h5py.File`` of a path.

    Raises
    ------
    FormatError
        If it is damaged, or no HDF5 file.
    AccessError
        If it may not be read.
    StorageError
        If another process writes it, or its disk fails.
    """
    import h5py

    try:
        return h5py.File(path, mode, **kwargs)
    except PermissionError as error:
        raise AccessError(f"Cannot open {path}: {error}", remedy=f"check the permissions: ls -l {path}") from error
    except OSError as error:
        if "truncated file" in str(error):
            raise FormatError(f"{path} is cut off: {error}", remedy="copy the file again, or restore it") from error
        if "h5clear" in str(error):
            raise StorageError(
                f"Cannot open {path}: it says that a process has it open for writing, as after a kill: {error}",
                remedy=f"if no process writes it any more: h5clear -s {shlex.quote(path)} (of the HDF5 tools)",
            ) from error
        if "lock" not in str(error) and "already open" not in str(error) and error.errno is None:
            raise FormatError(f"{path} is damaged: {error}", remedy="copy the file again, or restore it") from error
        raise StorageError(
            f"Cannot open {path}: {error}",
            remedy="close it in the process that writes it: HDF5 allows one writer alone",
        ) from error


def close_file(file: Any) -> None:
    """Close a file of h5py; on a full disk what could not be written is given up.

    HDF5 ends the process over a file that it could not close.

    Raises
    ------
    OSError, RuntimeError
        Not all has been written.
    """
    try:
        if file and file.mode != "r":
            file.flush()
    except (OSError, RuntimeError):
        give_up(file)
        raise
    file.close()


def give_up(file: Any) -> None:
    """Close a file of h5py that cannot be written; what HDF5 still holds of it is lost.

    Whatever else this process has open of it is closed as well: it would be written nowhere, and say nothing of that.
    """
    import h5py

    opened, handle = [file], _handle(file)
    if handle is not None:
        every = map(h5py.File, h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE))
        opened += [other for other in every if _handle(other) == handle]
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:  # its end is written there
            os.dup2(nowhere, handle, inheritable=False)
        finally:
            os.close(nowhere)
    for each in opened:
        with contextlib.suppress(OSError, RuntimeError):  # it closes as far as HDF5 can
            each.close()


def _handle(file: Any) -> int | None:
    """What the system knows an open file by; None for a driver of HDF5 without a file of its own."""
    if file.driver not in ("sec2", "stdio"):
        return None
    with contextlib.suppress(OSError, RuntimeError, NotImplementedError, TypeError, ValueError):
        return int(file.id.get_vfd_handle())
    return None


@contextlib.contextmanager
def reading_structure(path: str) -> Iterator[None]:
    """Raise `FormatError` where h5py fails over the structure of a file: each part has an error of its own."""
    try:
        yield
    except BioimageError:
        raise
    except (RuntimeError, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise FormatError(
            f"{path} is damaged: HDF5 says {error}", remedy="copy the file again, or restore it"
        ) from error


def require_parts(dataset: Any, path: str) -> None:
    """Raise if a part of a dataset is missing: HDF5 reads most of these as the fill value.

    Parameters
    ----------
    dataset : h5py.Dataset
    path : str
        Of its file, for messages.

    Raises
    ------
    FormatError
        If it has no shape.
    MissingDependencyError
        If its chunks went through a filter that this process cannot have.
    SourceNotFoundError, StorageError
        If a file with external or virtual data is missing, or too short.
    """
    where = f"{path}:{dataset.name}"
    if dataset.shape is None:
        raise FormatError(f"{where} has no shape (a null dataspace), so no voxels.", remedy="open another dataset")
    _require_filters(dataset, where)
    _require_external(dataset, path, where)
    if dataset.is_virtual:
        _require_virtual(dataset, path, where, set())


def _require_filters(dataset: Any, where: str) -> None:
    from h5py import h5z

    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(n) for n in range(properties.get_nfilters())]
    for position, (code, _, _, name) in enumerate(filters):
        if h5z.filter_avail(code) or not _is_applied(dataset, position):
            continue
        with contextlib.suppress(ImportError):
            importlib.import_module(PROVIDER)
        if not h5z.filter_avail(code):
            title = os.fsdecode(name).split(";")[0].strip()
            raise MissingDependencyError(
                f"The chunks of {where} went through the HDF5 filter {code}{f' ({title})' if title else ''}, which is"
                " not installed here. The data are intact.",
                remedy=f"{pip_line(PROVIDER)}, or set HDF5_PLUGIN_PATH to the folder of the filter's plugin",
            )


def _is_applied(dataset: Any, position: int) -> bool:
    """Whether the first chunk went through a filter: a program without an optional one stores chunks as they are."""
    if dataset.id.get_num_chunks() == 0:
        return False
    return not dataset.id.get_chunk_info(0).filter_mask >> position & 1


def _require_external(dataset: Any, path: str, where: str) -> None:
    left = dataset.nbytes
    for name, offset, size in dataset.external or ():
        file = _found(name, path, os.environ.get("HDF5_EXTFILE_PREFIX"), [os.getcwd()])
        if file is None and (beside := _found(name, path, None, [os.path.dirname(path)])):
            raise SourceNotFoundError(
                f"{where} keeps its voxels in {name!r}, for which HDF5 looks in the working directory {os.getcwd()}.",
                remedy=f"it is {beside}: start Python with HDF5_EXTFILE_PREFIX='${{ORIGIN}}' in its environment",
            )
        if file is None:
            raise _missing(f"{where} keeps its voxels in", name, path)
        needed, there = min(size, left), max(0, os.path.getsize(file) - offset)
        if there < needed:
            raise StorageError(
                f"{where} keeps {needed} bytes of voxels in {file} from byte {offset} on, which has {there} there.",
                remedy="copy that file again: what is missing would read as zeros",
            )
        left -= needed


def _require_virtual(dataset: Any, path: str, where: str, seen: set[tuple[str, str]]) -> None:
    import h5py

    beside = [os.path.dirname(path), os.path.dirname(os.path.realpath(path)), os.getcwd()]
    for name, key in dict.fromkeys(_sources(dataset)):
        file = path if name == "." else _found(name, path, os.environ.get("HDF5_VDS_PREFIX"), beside)
        if file is None:
            raise _missing(f"{where} is virtual, and shows voxels of", name, path)
        if (file, key) in seen:
            continue
        seen.add((file, key))
        opened = dataset.file if name == "." else open_file(file, "r")
        try:
            source = opened.get(key)
            if not isinstance(source, h5py.Dataset):
                raise SourceNotFoundError(
                    f"{where} is virtual, and shows voxels of {file}:/{key.strip('/')}, which does not exist.",
                    remedy="restore that dataset: what is missing would read as zeros",
                )
            require_parts(source, file) if not source.is_virtual else _require_virtual(source, file, where, seen)
        finally:
            if name != ".":
                opened.close()


def _sources(dataset: Any) -> Iterator[tuple[str, str]]:
    for source in dataset.virtual_sources():
        if "%" not in source.file_name + source.dset_name:  # a numbered series, which ends where no next one is
            yield source.file_name, source.dset_name


def _found(name: str, path: str, prefix: str | None, folders: list[str]) -> str | None:
    """Return where HDF5 finds a file that another one names: under a prefix, or in one of some folders."""
    if prefix:
        folders = [prefix.replace("${ORIGIN}", os.path.dirname(os.path.realpath(path))), *folders]
    places = [name] if os.path.isabs(name) else [os.path.join(folder, name) for folder in folders]
    return next((place for place in places if os.path.isfile(place)), None)


def _missing(what: str, name: str, path: str) -> SourceNotFoundError:
    return SourceNotFoundError(
        f"{what} {name!r}, which does not exist (looked for beside {path}).",
        remedy=f"copy {os.path.basename(name)} to {os.path.join(os.path.dirname(path), name)}",
    )
