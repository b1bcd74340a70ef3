"""What a source of data is."""

from __future__ import annotations

import abc
import itertools
import math
import os
from collections.abc import Hashable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from ..errors import IndexingError, NotReopenableError, ReadOnlyError
from ..markup import table
from .axes import Axis, default_axes
from .casting import Casting, broadcast_value, convert_values
from .chunked.unit_files import is_whole
from .indexing import Roi, Selection, normalize_index
from .promises import settle
from .sharing import Extent, of_chunks, of_files
from .spec import SourceSpec, load_qualified, reopened

if TYPE_CHECKING:
    from .chunked.encoded import EncodedChunks
    from .chunked.unit_files import UnitFiles

Concurrency = Literal["any", "aligned", "single-writer"]


class Source(abc.ABC):
    """Numpy-like reading and writing of regions, and what a runner has to know of the storage.

    A subclass gives `shape` and `dtype`, `_getitem`, and `_setitem` if it can be written. Indexing follows numpy's
    basic indexing exactly (integers, slices with steps, ellipsis, None); index arrays and masks are refused.

    Attributes
    ----------
    pictured : bool
        Of a class: reading a plane costs little more than its bytes, so that notebooks show one.
    """

    pictured: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""

    @property
    @abc.abstractmethod
    def dtype(self) -> np.dtype:
        """Data type."""

    @abc.abstractmethod
    def _getitem(self, roi: Roi) -> np.ndarray:
        """Read a box: one in-bounds slice with step 1 for every axis. The array returned is the caller's own."""

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        """Write a box; ``value`` has its shape and the dtype of the source. Called only if `writable`."""
        raise self._read_only()

    def _viewitem(self, roi: Roi) -> np.ndarray:
        """Read a box, without copying if it lies in memory already."""
        return self._getitem(roi)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels, uncompressed."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Unit of reading; None if any voxel can be read alone."""
        return None

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of the shards, None if not sharded."""
        return None

    @property
    def write_chunks(self) -> tuple[int, ...] | None:
        """Unit of writing: the shards, else the chunks; None if any voxel can be written alone."""
        return self.shards or self.chunks

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """For every axis an index (any integer) at which a unit of writing begins."""
        return (0,) * self.ndim

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Name, unit, scale and offset of every axis."""
        return default_axes(self.ndim)

    @property
    def writable(self) -> bool:
        """True if voxels can be written."""
        return False

    @property
    def concurrency(self) -> Concurrency:
        """What may be written at the same time: any voxels, whole units of writing, or nothing ("single-writer")."""
        return "any"

    @property
    def lossless(self) -> bool:
        """True if reading gives the very values that were written; False also where that is not known."""
        return False

    @property
    def rereads(self) -> bool:
        """True if boxes that lie apart are made of the same stored voxels, so that decoded chunks are worth keeping."""
        return False

    @property
    def thins(self) -> bool:
        """True if reading with steps needs no memory for the voxels between them."""
        return False

    @property
    def streamed(self) -> bool:
        """True if a chunk is read by decoding what lies before it in its file."""
        return False

    @property
    def remote(self) -> bool:
        """True if reading waits for a network."""
        return False

    @property
    def identity(self) -> Hashable:
        """Equal for sources that share storage, also through wrappers, second handles and numpy views."""
        return ("object", id(self))

    @property
    def parts(self) -> tuple[Source, ...]:
        """The sources whose storage it reads, itself unless it is made of several."""
        return (self,)

    def read(self, index: Any = ...) -> np.ndarray:
        """Return the selected voxels as an array of the caller's own; the same as ``source[index]``.

        Raises
        ------
        IndexingError
            For an index that numpy's basic indexing does not allow.
        """
        settle(self)
        return self._get_selected(normalize_index(index, self.shape))

    def _get_selected(self, selection: Selection) -> np.ndarray:
        return selection.pick(self._getitem(selection.roi))

    def view(self, index: Any = ...) -> np.ndarray:
        """Return the selected voxels without copying what lies in memory already; not to be modified."""
        settle(self)
        return self._view_selected(normalize_index(index, self.shape))

    def _view_selected(self, selection: Selection) -> np.ndarray:
        return selection.pick(self._viewitem(selection.roi))

    def write(self, index: Any, value: Any, *, casting: Casting = "checked") -> None:
        """Write voxels; the same as ``source[index] = value``.

        The value is broadcast as in numpy. With a step other than 1 or -1 the bounding box is read, changed and
        written back, so nobody else should write into it meanwhile (in memory only the voxels selected are touched).

        Parameters
        ----------
        index
            Index of numpy's basic indexing.
        value : array_like
            Scalar or array that broadcasts to the selection.
        casting : {"checked", "unsafe"}, default "checked"
            "unsafe" converts values as ``ndarray.astype`` does; otherwise those the dtype cannot hold raise.

        Raises
        ------
        ReadOnlyError
            If the source is not writable.
        IndexingError, ShapeError, ValueRangeError, DtypeError
            If index, shape, values or data type do not fit.
        """
        if not self.writable:
            raise self._read_only()
        settle(self, writing=True)
        selection = normalize_index(index, self.shape)
        converted = convert_values(value, self.dtype, casting, selection)
        self._write(selection, broadcast_value(converted, selection.shape))

    def _write(self, selection: Selection, value: np.ndarray) -> None:
        if 0 in selection.shape:
            return
        if selection.strided:
            region = self._getitem(selection.roi)
            selection.pick(region)[...] = value
        else:
            region = selection.spread(value)
        self._setitem(selection.roi, region)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.read(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.write(index, value)

    def __len__(self) -> int:
        if not self.shape:
            raise IndexingError("A source without axes has no length.", remedy="read it with source[()]")
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.read(i) for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.view() if copy is False else self.read()
        return array if dtype is None else array.astype(dtype, copy=False)

    def fresh(self, *, cache_bytes: int = 0) -> Source:
        """Return the same data through its own handle, with an empty cache of decoded chunks of that size.

        Sources without such a handle return themselves.
        """
        return self

    def durable(self) -> Source:
        """Return the same data through a handle whose writes wait for the disk; itself where there is none."""
        return self

    def flush(self) -> None:  # noqa: B027 (most sources keep nothing back)
        """Make what was written survive this process; that of `durable`, also the machine.

        A run calls it before it records blocks as done. A source whose writes do so by themselves has nothing to do.
        """

    def check_there(self) -> None:  # noqa: B027 (memory does not go)
        """Check that the storage that was opened is still the one at its place.

        Raises
        ------
        StorageError
            If it was deleted, or replaced by another, so that what is written is lost.
        """

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        """Return the files of the write units that a box touches; None where units are not files of their own."""
        return None

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        """Return the files or objects that hold the voxels of a box; None where that is not known.

        A run that is continued looks at some of them, to see whether its inputs were written again.
        """
        return self.unit_files(roi)

    def extents(self) -> tuple[Extent, ...]:
        """Return where the voxels lie, as far as that is known, so that two ways to the same ones are noticed."""
        if not self.size:
            return ()
        found = [Extent(("identity", self.identity))]
        # a link may stand for a part only, so the first voxel is asked for, the one in the middle, and the last
        for corner in ((0,) * self.ndim, [size // 2 for size in self.shape], [size - 1 for size in self.shape]):
            roi = tuple(slice(at, at + 1) for at in corner)
            if (units := self.unit_files(roi)) is not None:
                found += of_chunks(units)
            elif (files := self.stored_in(roi)) is not None and files.folder is not None:
                found += of_files(os.path.join(files.folder, name) for name in files.names)
        return tuple(dict.fromkeys(found))

    def encoded(self, roi: Roi) -> tuple[EncodedChunks, ...]:
        """Return the chunks of a box as they are stored, once for every grid of which it cuts none, units first.

        A sharded array has two grids, that of its shards and that of the chunks in them.
        """
        return ()

    def copy_encoded(self, roi: Roi, source: Source) -> bool:
        """Replace the write units of a box by what another source stores for it, without decoding the chunks.

        Returns
        -------
        bool
            False where that cannot be, and nothing was written: the box cuts a unit of this source or a chunk of the
            other, or the two are not zarr or n5 arrays of one shape, data type, fill value, chunk shape and codec.
            zarr v3 arrays may differ in their shards.

        Raises
        ------
        ReadOnlyError
            If this source is not writable.
        AccessError, StorageError
            If a store refuses or fails.
        """
        if not self.writable:
            raise self._read_only()
        unit = self.write_chunks
        if unit is None or not is_whole(roi, unit, self.shape):
            return False
        for old, new in itertools.product(self.encoded(roi), source.encoded(roi)):
            if old.encoding == new.encoding:
                old.take(new)
                return True
        return False

    def stored_units(self) -> np.ndarray | None:
        """Return the positions (n, ndim) of the units that have a file; all other voxels are zero. None: not known.

        Unit ``p`` of an axis begins at the index ``grid_origin + p * write_chunks``.
        """
        return None

    def moved(self, folder: str) -> Source:
        """Return this view of an array that has the same metadata and lies in another folder.

        Raises
        ------
        NotReopenableError
            Where `unit_files` is None.
        """
        raise NotReopenableError(f"{self!r} does not lie in a folder of its own.")

    def to_spec(self) -> SourceSpec:
        """Return what another process needs to open this source; never with a mode that empties it.

        Raises
        ------
        NotReopenableError
            If another process cannot open it.
        """
        raise NotReopenableError(
            f"A {type(self).__name__} cannot be opened by another process.",
            remedy="use job_type='local', or copy the data to a zarr array first",
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled by its description: handles, locks and caches cannot travel.
        return (reopened, (self.to_spec(),))

    def to_ome(self) -> dict[str, Any]:
        """Return how OME-Zarr (0.4 and 0.5) describes the axes of this source.

        Returns
        -------
        dict
            ``{"axes": [{"name", "type", "unit"}, ...], "coordinateTransformations": [{"type": "scale", ...}, ...]}``:
            what a multiscales entry holds as axes, and its dataset as transformations from voxels to positions.
        """
        from .axes import describe_axes

        return describe_axes(self.axes)

    def close(self) -> None:  # noqa: B027 (most sources hold nothing that must be closed)
        """Release files and caches; reading and writing afterwards is an error where there was something to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read_only(self) -> ReadOnlyError:
        return ReadOnlyError(f"{self!r} is read-only.", remedy="open it for writing, for example with mode='r+'")

    def __repr__(self) -> str:
        parts = [f"shape={self.shape}", f"dtype={self.dtype}"]
        if self.chunks:
            parts.append(f"chunks={self.chunks}")
        if self.shards:
            parts.append(f"shards={self.shards}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        names = ("axis", "kind", "size", "chunk", "shard", "scale", "unit", "offset")
        units = ([""] * self.ndim if shape is None else shape for shape in (self.chunks, self.shards))
        rows = [
            (axis.name, axis.kind, size, chunk, shard, f"{axis.scale:g}", axis.unit or "", f"{axis.offset:g}")
            for axis, size, chunk, shard in zip(self.axes, self.shape, *units, strict=True)
        ]
        page = table(repr(self), names, rows)
        if self.pictured:
            page += load_qualified("bioimage_py.viz.thumbnail:thumbnail")(self)
        return page
