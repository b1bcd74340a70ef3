"""NIfTI images through nibabel, in the order of numpy: z, y, x, with time and other axes in front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import DtypeError, FormatError, KeyNotFoundError, ReadOnlyError, StorageError
from ...sources.axes import Axis
from ...sources.file import Opened
from ..formats import keep_local

_UNITS = {"mm": "millimeter", "meter": "meter", "micron": "micrometer", "sec": "second", "msec": "millisecond"}
_NAMES = (("x", "space"), ("y", "space"), ("z", "space"), ("t", "time"), ("c", "channel"))


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, np.ndarray]:
    """Return the image under the key ""."""
    return {"": _open(path, mode)[0]}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the image; what is compressed or scaled is decoded as a whole, the rest is mapped."""
    if key:
        raise KeyNotFoundError(f"{path} is one image and has no key {key!r}.", remedy=f"open_source({path!r})")
    array, axes = _open(path, mode)
    return Opened(array, "", axes)


def _open(path: str, mode: str) -> tuple[np.ndarray, tuple[Axis, ...]]:
    import nibabel

    keep_local(path, "nifti")
    if mode != "r":
        raise ReadOnlyError(f"{path}: NIfTI images are read only.", remedy="write to a zarr array")
    try:
        image: Any = nibabel.load(path)
        header = image.header
        array = np.asanyarray(image.dataobj).T
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        ValueError,
        EOFError,
    ) as error:
        raise FormatError(
            f"{path} is no NIfTI image: {error}", remedy="look at the file with another program"
        ) from error
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {error}", remedy="check the file and its permissions") from error
    if array.dtype.kind not in "buifc":
        raise DtypeError(
            f"{path} holds {array.dtype}, which is no number.", remedy="convert its colours to channels first"
        )
    space, time = (_UNITS.get(unit) for unit in header.get_xyzt_units())
    sizes = [float(size) or 1.0 for size in header.get_zooms()]
    axes = [
        Axis(name, kind, space if kind == "space" else time if kind == "time" else None, size)
        for (name, kind), size in zip(_NAMES, sizes, strict=False)
    ]
    while len(axes) < array.ndim:
        axes.append(Axis(f"d{len(axes)}", "other"))
    array = np.asarray(array)
    array.flags.writeable = False
    return array, tuple(reversed(axes))
