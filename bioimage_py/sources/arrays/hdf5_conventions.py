"""What HDF5 files of other programs mean by data types and attributes."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

import numpy as np

from ...system.json_text import parse_json
from ..axes import Axis
from ..chunked.conventions import OWN_ATTRIBUTE, conventional_axes, warn_of_packing
from .hdf5_attributes import check_attributes

_CELLS = re.compile(r"/t\d{5,}/(s\d{2,})/\d+/cells\Z")
"""BigDataViewer's datasets; its Java library wrote unsigned voxels as signed ones."""


def meant_dtype(dataset: Any, stored: np.dtype) -> np.dtype:
    """Return the data type that the voxels of a dataset have, which may be stored as another of the same size.

    BigDataViewer stores unsigned voxels in signed datasets: ``dataType`` of the setup says which they are, and uint16
    is meant where nothing is said. NetCDF says it with ``_Unsigned``.
    """
    if stored.kind not in "iu":
        return stored
    unsigned = dataset.attrs.get("_Unsigned")
    if unsigned is not None:
        kind = "u" if str(_plain(unsigned)).lower() == "true" else "i"
        return np.dtype(f"{kind}{stored.itemsize}")
    cells = _CELLS.match(dataset.name or "")
    if cells is None or stored.kind != "i":
        return stored
    setup = dataset.file.get(cells[1])
    if setup is not None:
        check_attributes(setup, os.fsdecode(dataset.file.filename))
    said = None if setup is None else _plain(setup.attrs.get("dataType"))
    meant = f"uint{8 * stored.itemsize}"
    return np.dtype(meant) if said == meant or (said is None and stored.itemsize == 2) else stored


def attributes_of(dataset: Any) -> dict[str, Any]:
    """Return the attributes of a dataset as JSON values, without those that have none (references, ...)."""
    found = {}
    for name in dataset.attrs:
        with contextlib.suppress(OSError, TypeError, ValueError, UnicodeDecodeError):
            found[name] = _plain(dataset.attrs[name])
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.ravel().tolist()] if value.ndim else _plain(value.item())
    return value.item() if isinstance(value, np.generic) else value


def warn_if_packed(dataset: Any, path: str) -> None:
    """Warn where NetCDF's convention says that the stored numbers are not those that are meant."""
    if "scale_factor" in dataset.attrs or "add_offset" in dataset.attrs:
        warn_of_packing(attributes_of(dataset), f"{path}:{dataset.name}")


def hdf5_axes(dataset: Any) -> tuple[Axis, ...] | None:
    """Return the axes of a dataset: those that `create_array` stored, else its labels and what other programs say."""
    ndim = len(dataset.shape)
    attributes = attributes_of(dataset)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        own = tuple(Axis(**axis) for axis in parse_json(attributes[OWN_ATTRIBUTE])["axes"])
        if len(own) == ndim:
            return own
    labels = _labels(dataset)
    return conventional_axes(attributes, ndim, x_first=False, names=labels if all(labels) else None)


def _labels(dataset: Any) -> list[str]:
    """Return the label of each dimension, or the name of its scale, as NetCDF has them; "" where there is none.

    They are read from the attributes that hold them: the functions of the library for them end the process where these
    are damaged.
    """
    labels = [""] * len(dataset.shape)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RuntimeError):
        for n, said in enumerate(dataset.attrs.get("DIMENSION_LABELS", labels)[: len(labels)]):
            labels[n] = said.decode() if isinstance(said, bytes) else said if isinstance(said, str) else ""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RuntimeError):
        for n, scales in enumerate(dataset.attrs.get("DIMENSION_LIST", ())[: len(labels)]):
            if not labels[n] and len(scales):
                labels[n] = str(dataset.file[scales[0]].name or "").rpartition("/")[2]
    return labels
