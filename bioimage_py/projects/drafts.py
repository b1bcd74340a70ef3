"""Writing label maps: into a draft that nobody else reads, which is published as a whole."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..blocks import Grid, to_roi
from ..errors import DtypeError, ParameterError, ShapeError
from ..sources import Source, as_source
from ..sources.file import FileSource
from ..system.files import sync_folder
from .storage import versions
from .storage.folder import new_stamp
from .storage.leases import LockToken, check_lease
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
        if not re.fullmatch(r"[\w.-]*", name, re.ASCII):
            raise ParameterError(f"A draft can't be called {name!r}.", remedy="use letters, digits, '-', '_' and '.'")
        layer.project._session.needs_folder("A draft")
        self._layer = layer
        self._path = Path(layer.folder) / f".draft-{name or new_stamp()}.zarr"
        if not self._path.exists():
            self._make(None if dtype is None else label_dtype(dtype))
        self._base = json.loads(versions.note_of(self._path))
        self._source = versions.open_version(self._path, "r+")
        if dtype is not None and self._source.dtype != label_dtype(dtype):
            raise DtypeError(
                f"The draft {name!r} holds {self._source.dtype}, not {np.dtype(dtype)}.",
                remedy=f"layer.draft({name!r}).discard(), or another name",
            )

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

    @property
    def source(self) -> FileSource:
        """The label map, to be written; axes are the spatial axes of the image."""
        return self._source

    @property
    def path(self) -> str:
        """Folder of the draft."""
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
        self._source.close()
        base = None if self._base is None else LayerRecord(**self._base)
        written = None
        if base is not None and np.dtype(base.dtype) == self._source.dtype:
            written, same = versions.share(layer._path_of(base), self._path)
            if same:
                check_lease(layer._folder, layer._dataset.identifier, token or layer._token)
                self.discard()
                return False
        versions.settle(self._path, written)
        units = sum(1 for _ in versions.chunk_files(self._path / versions.ARRAY))
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

    def discard(self) -> None:
        """Remove the draft; nothing else changes."""
        self._source.close()
        shutil.rmtree(self._path, ignore_errors=True)

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
