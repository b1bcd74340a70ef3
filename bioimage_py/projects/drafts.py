"""Writing label maps: into a draft that nobody else reads, which is published as a whole."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..blocks import Grid, to_roi
from ..errors import ConflictError, DtypeError, ParameterError, ShapeError
from ..sources import Source, as_source
from ..system.faults import fault
from ..system.files import remove_whole, sync_folder, write_once
from ..system.json_text import parse_json
from .storage import versions
from .storage.folder import new_stamp
from .storage.leases import LockToken, check_lease
from .storage.packs import ARRAY
from .values.records import LayerRecord

if TYPE_CHECKING:
    from .layers import LabelMapLayer


class Draft:
    """A label map that is being written; it begins as what is stored, at the cost of links, or empty.

    Any process may open the same draft by its name and write whole chunks into `source`, so a job that was
    interrupted goes on where it was. Nobody sees it before `publish`.

    Parameters
    ----------
    layer : LabelMapLayer
        Of a descriptor.
    name : str
        Letters, digits, "-", "_" and "."; "" for a new draft of no name.
    dtype : dtype_like, optional
        None: that of the stored label map, else the smallest unsigned one for the labels of the layer. A draft of
        another data type than the stored label map begins empty.

    Raises
    ------
    DtypeError
        No integer type, or a draft of that name has another.
    ParameterError
        A name with other characters.
    """

    def __init__(self, layer: LabelMapLayer, name: str = "", dtype: Any = None) -> None:
        self._check_name(name)
        self._layer = layer
        self._path = Path(layer.folder) / f".draft-{name or new_stamp()}.zarr"
        self.begun = self._path.exists()
        if not self.begun:
            self._make(None if dtype is None else label_dtype(dtype))
        self._base = parse_json(versions.note_of(self._path))
        self._source = versions.open_version(self._path, "r+")
        if dtype is not None and self._source.dtype != label_dtype(dtype):
            raise DtypeError(
                f"The draft {name!r} holds {self._source.dtype}, not {np.dtype(dtype)}.",
                remedy=f"layer.draft({name!r}).discard(), or another name",
            )

    @staticmethod
    def _check_name(name: str) -> None:
        if not re.fullmatch(r"[\w.-]*", name, re.ASCII):
            raise ParameterError(f"A draft can't be called {name!r}.", remedy="use letters, digits, '-', '_' and '.'")

    def _make(self, dtype: np.dtype[Any] | None) -> None:
        layer, descriptor = self._layer, self._layer._dataset
        record, old = layer._stored(), None
        if record is not None and dtype in (None, np.dtype(record.dtype)):
            old, dtype = layer._path_of(record), np.dtype(record.dtype)
        versions.make_version(
            self._path,
            descriptor.spatial_shape,
            dtype or layer._smallest_dtype(),
            [descriptor.axes[axis] for axis in descriptor.spatial_axes],
            layer.annotations,
            old,
            json.dumps(None if record is None else record.model_dump()),
        )

    begun: bool
    """Whether there was a draft of that name already."""

    @property
    def source(self) -> Source:
        """The label map, to be written; axes are the spatial axes of the image."""
        return self._source

    @property
    def path(self) -> str:
        """Folder of the draft; "" on a server."""
        return str(self._path)

    def publish(self, lock_token: LockToken | None = None) -> bool:
        """Let the descriptor point to this label map, by one rename; inside a transaction, at its end.

        Parameters
        ----------
        lock_token : LockToken, optional
            Lock of the descriptor, where it has one.

        Returns
        -------
        bool
            False where the stored label map is the same already; then nothing is saved, and its time stays.

        Raises
        ------
        ConflictError
            Somebody published another label map since the draft was made; the draft stays.
        LockError
            Somebody else has locked the descriptor, or the lock has expired; the draft stays.
        """
        layer, token = self._layer, "" if lock_token is None else lock_token.token
        if (self._path / _REBASING).exists():
            raise ConflictError("The draft was being rebased.", field="layers", remedy="draft.rebase()")
        self._source.close()
        base = None if self._base is None else LayerRecord(**self._base)
        written = None
        if base is not None and np.dtype(base.dtype) == self._source.dtype:
            written, same = versions.share(layer._path_of(base), self._path)
            if same:
                check_lease(layer._folder, layer._dataset.identifier, token or layer._token)
                self.discard()
                return False
        (self._path / REBASED).unlink(missing_ok=True)
        versions.settle(self._path, written)
        units = sum(1 for _ in versions.chunk_files(self._path / ARRAY))
        record = LayerRecord(version=new_stamp(), units=units, dtype=self._source.dtype.name)
        target = layer._path_of(record)
        os.rename(self._path, target)
        try:
            sync_folder(target.parent)
            layer._publish(base, record, token, lambda: shutil.rmtree(target, ignore_errors=True))
        except BaseException:
            if not layer._named(record):  # Ctrl-C may come after the commit
                os.rename(target, self._path)
            raise
        self._path = target
        return True

    def rebase(self) -> list[tuple[slice, ...]]:
        """Take over what somebody else published since the draft was made, where the draft did not change it.

        Nobody may write into the draft meanwhile.

        Returns
        -------
        list of tuple of slice
            Regions of chunks that both changed. There the draft keeps its own voxels; `layer.load` has those of the
            other one, who is overwritten by `publish` unless the region is written anew. They are told again each time.

        Raises
        ------
        DtypeError
            What is stored now has another data type.
        """
        self._layer.project._session.refresh(self._layer._dataset.identifier)
        stored = self._layer._stored()
        both = rebased(self._path, stored, self._layer._path_of)
        self._base = None if stored is None else stored.model_dump()
        self._source.close()
        self._source = versions.open_version(self._path, "r+")
        return [region_of(name, self._source) for name in both]

    def discard(self) -> None:
        """Remove the draft; nothing else changes."""
        self._source.close()
        remove_whole(self._path)

    def fill(self, value: Any) -> None:
        """Write a whole label map, chunk by chunk, only where it differs.

        Parameters
        ----------
        value : source-like
            Integers over the spatial axes.

        Raises
        ------
        ShapeError
            Another shape.
        """
        source = checked_labels(value, self._layer)
        for roi in regions(source.shape, self._source.write_chunks):
            region = source.view(roi)
            if not np.array_equal(region, self._source.read(roi)):
                self._source.write(roi, region)


_SHOWN = 20
"""Values that a message lists at most."""
_REBASING, REBASED = ".rebasing", ".rebased"


def rebased(draft: Path, stored: LayerRecord | None, path_of: Callable[[LayerRecord], Path]) -> list[str]:
    """Let a draft be one of what is stored now; return the chunks that both changed. See `Draft.rebase`.

    What was cut off is ended first, with the version that it was begun with. Chunks of earlier times are told again, as
    long as the draft would overwrite them: whoever asked may not have heard the answer.
    """
    note, told = draft / _REBASING, draft / REBASED
    both = set(parse_json(told.read_bytes()) if told.exists() else ())
    targets = [None if stored is None else stored.model_dump()]
    if note.exists():
        targets.insert(0, parse_json(note.read_bytes()))
    for target in targets:
        base = parse_json(versions.note_of(draft))
        records = [None if one is None else LayerRecord(**one) for one in (base, target)]
        dtype = versions.dtype_of(draft)
        for record in records:
            if record is not None and np.dtype(record.dtype) != dtype:
                raise DtypeError(
                    f"The stored label map holds {record.dtype}, the draft {dtype}.", remedy="make a new draft"
                )
        write_once(note, json.dumps(target).encode(), sync=True)
        both.update(versions.rebase(draft, *(None if one is None else path_of(one) for one in records)))
        write_once(told, json.dumps(sorted(both)).encode(), sync=True)
        fault("project-rebased")
        versions.annotate(draft, json.dumps(target))
        note.unlink()
    return versions.differing(draft, None if stored is None else path_of(stored), both)


def region_of(name: str, source: Source) -> tuple[slice, ...]:
    """Return the voxels of a stored chunk, such as "c/0/1/2"."""
    units = source.write_chunks or source.shape
    starts = [int(part) * unit for part, unit in zip(name.split("/")[1:], units, strict=True)]
    return tuple(
        slice(start, min(start + unit, size)) for start, unit, size in zip(starts, units, source.shape, strict=True)
    )


def regions(shape: Sequence[int], units: Sequence[int] | None) -> Iterator[tuple[slice, ...]]:
    """Regions of an array of the shape of its units."""
    grid = Grid(tuple(shape), tuple(units or shape))
    for index in range(grid.n_blocks):
        yield to_roi(grid[index])


def checked_labels(value: Any, layer: LabelMapLayer) -> Source:
    """Return a label map as a source.

    Raises
    ------
    ShapeError, DtypeError
        It does not fit the image, or holds no integers.
    """
    source = as_source(value)
    descriptor = layer._dataset
    if source.shape != descriptor.spatial_shape:
        names = [descriptor.axes[axis].name for axis in descriptor.spatial_axes]
        raise ShapeError(
            f"A label map of {descriptor.name!r} has the shape {descriptor.spatial_shape} (axes {names}), not"
            f" {source.shape}.",
            remedy="pass labels over the spatial axes of the image",
        )
    label_dtype(source.dtype)
    return source


def check_known(source: Source, layer: LabelMapLayer) -> None:
    """Refuse voxels with a value that no label of the layer has, unless they are stored so already.

    0 is always known, and so is any value in a layer without labels.

    Raises
    ------
    ParameterError
    """
    if not (values := layer.values):
        return
    dtype = label_dtype(source.dtype)
    limits = np.iinfo(dtype)
    # of the same type: numpy compares uint64 and int64 as floats
    known = np.array([value for value in {0, *values} if limits.min <= value <= limits.max], dtype)
    stored = layer.load()
    for roi in regions(source.shape, source.write_chunks):
        region = source.view(roi).astype(dtype, copy=False)
        unknown = ~np.isin(region, known)
        if unknown.any() and stored is not None:
            unknown &= region != stored.read(roi)
        if unknown.any():
            found = np.unique(region[unknown])[:_SHOWN].tolist()
            raise ParameterError(
                f"The label map of {layer._dataset.name!r} has the values {found}; the labels of the layer"
                f" {layer.name!r} have {sorted(values)}.",
                remedy="layer.add_label(name, value); or a layer without labels, which takes any value",
            )


def label_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the data type in which labels are stored (bool as uint8).

    Raises
    ------
    DtypeError
        It is no integer type.
    """
    found: np.dtype[Any] = np.dtype(dtype)
    if found.kind == "b":
        return np.dtype(np.uint8)
    if found.kind not in "iu":
        raise DtypeError(f"Labels are integers, not {found}.", remedy="convert them, e.g. labels.astype('uint32')")
    return np.dtype(found.newbyteorder("=").str)  # C has two names for 64 bits, zarr knows one


def fitting_dtype(source: Source, stored: np.dtype[Any] | None) -> np.dtype[Any]:
    """Return the stored data type if it holds all values of a label map, else that of the label map."""
    own = label_dtype(source.dtype)
    if stored is None or np.can_cast(own, stored):
        return stored or own
    limits = np.iinfo(stored)
    for roi in regions(source.shape, source.write_chunks):
        region = source.view(roi)
        if int(region.min()) < limits.min or int(region.max()) > limits.max:
            return own
    return stored
