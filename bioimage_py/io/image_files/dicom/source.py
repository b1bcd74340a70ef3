"""Series of DICOM files as sources: one plane after the other, decoded when it is read."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....errors import FormatError
from ....extras import needing
from ....sources.axes import Axis
from ....sources.base import Source
from ....sources.chunked.unit_files import UnitFiles
from ....sources.indexing import Roi
from ....sources.spec import SourceSpec
from ....sources.stores.location import Location
from ..opening import require_memory, size_in_bytes


class DicomSource(Source):
    """Planes of DICOM files.

    Parameters
    ----------
    folder : str
        Folder of the files.
    files : sequence of str
        Paths relative to it, one for each plane, in C order over the leading axes; or a single file that has all.
    shape : sequence of int
        ``([t,] [z,] y, x[, c])``.
    dtype : dtype_like
        One that holds the values of all planes.
    axes : sequence of Axis
    frames : sequence of int, optional
        Which frame of its file each plane is; by default that of its position in a single file, else the only one.
    rescale : sequence of (float, float), optional
        Slope and intercept of each plane; without them values are as stored.
    """

    thread_safe = True

    def __init__(
        self,
        folder: str,
        files: Sequence[str],
        shape: Sequence[int],
        dtype: Any,
        axes: Sequence[Axis],
        frames: Sequence[int] | None = None,
        rescale: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self._folder, self._files = folder, tuple(files)
        self._shape, self._axes = tuple(shape), tuple(axes)
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        self._frames = None if frames is None else tuple(frames)
        self._rescale = None if rescale is None else tuple((float(slope), float(shift)) for slope, shift in rescale)

    @property
    def shape(self) -> tuple[int, ...]:
        """``([t,] [z,] y, x[, c])``."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type."""
        return self._dtype

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes, in millimetres where the files say so."""
        return self._axes

    @property
    def chunks(self) -> tuple[int, ...]:
        """A plane."""
        n = self._n_leading
        return (*(1,) * n, *self._shape[n:])

    @property
    def identity(self) -> Any:
        """Folder, files and frames."""
        return ("dicom", self._folder, self._files, self._frames)

    @property
    def _n_leading(self) -> int:
        return [axis.name for axis in self._axes].index("y")

    def stored_in(self, roi: Roi) -> UnitFiles:
        """Return the files of the planes."""
        return UnitFiles(Location(self._folder), self._names(roi))

    def files_of(self, roi: Roi) -> tuple[str, ...]:
        """Return the absolute paths of the files of the planes."""
        return tuple(os.path.join(os.path.abspath(self._folder), name) for name in self._names(roi))

    def _names(self, roi: Roi) -> tuple[str, ...]:
        if len(self._files) == 1:
            return self._files
        n = self._n_leading
        planes = np.arange(len(self._files)).reshape(self._shape[:n])[roi[:n]].reshape(-1)
        return tuple(self._files[plane] for plane in planes)

    def rescaled(self, dtype: np.dtype[Any], slope: float, shift: float) -> DicomSource:
        """Return the same planes, all of them multiplied and shifted."""
        count = math.prod(self._shape[: self._n_leading])
        rescale = [(slope, shift)] * count
        return DicomSource(self._folder, self._files, self._shape, dtype, self._axes, self._frames, rescale)

    def _getitem(self, roi: Roi) -> np.ndarray:
        n = self._n_leading
        found = np.empty(tuple(part.stop - part.start for part in roi), self._dtype)
        for place in np.ndindex(found.shape[:n]):
            index = [part.start + at for part, at in zip(roi, place, strict=False)]
            found[place] = self._plane(int(np.ravel_multi_index(index, self._shape[:n])) if n else 0)[roi[n:]]
        return found

    def _plane(self, index: int) -> np.ndarray:
        path = os.path.join(self._folder, self._files[index if len(self._files) > 1 else 0])
        frame = self._frames[index] if self._frames is not None else 0 if len(self._files) > 1 else index
        wanted = self._shape[self._n_leading :]
        require_memory(path, size_in_bytes(wanted, self._dtype))
        try:
            plane: np.ndarray = reader().pixels.pixel_array(path, index=frame)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise FormatError(
                f"frame {frame} of {path} does not decode: {error}", remedy="look at the file with another program"
            ) from error
        if plane.shape != wanted:
            raise FormatError(f"{path} has the shape {plane.shape}, not {wanted}.", remedy="import the series again")
        if self._rescale is None:
            return plane
        slope, shift = self._rescale[index]
        return plane * slope + shift

    def to_spec(self) -> SourceSpec:
        """Return the folder, and the files in their order."""
        axes = [
            {"name": a.name, "kind": a.kind, "unit": a.unit, "scale": a.scale, "offset": a.offset} for a in self.axes
        ]
        params = {"files": self._files, "shape": self._shape, "dtype": self._dtype, "axes": axes}
        more = {"frames": self._frames, "rescale": self._rescale}
        params |= {name: value for name, value in more.items() if value is not None}
        return SourceSpec("dicom", self._folder, params=params)


def reopen(spec: SourceSpec) -> DicomSource:
    """Open a series again."""
    arguments = spec.arguments()
    axes = [Axis(**axis) for axis in arguments.pop("axes")]
    source = DicomSource(str(spec.path), axes=axes, **arguments)
    n_planes = math.prod(source.shape[: source._n_leading])
    if len(source._files) not in (1, n_planes):
        raise FormatError(f"{len(source._files)} files for {n_planes} planes.", remedy="import the series again")
    return source


def reader() -> Any:
    """Return pydicom."""
    with needing("pydicom", "A DICOM file"):
        import pydicom
        import pydicom.pixels
    return pydicom
