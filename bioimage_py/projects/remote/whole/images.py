"""Copies of images on a server."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ....sources import Axis, Source
from ...images import record_image
from ...values.records import ImageRecord
from ..store import Store
from .sending import send_folder


def send_image(
    store: Store, source: Source, axes: tuple[Axis, ...], identifier: str, own_copy: bool, original: str
) -> ImageRecord:
    """Return how an image is opened again, after sending a copy of it where that is asked for or needed.

    Parameters
    ----------
    store : Store
    source : Source
    axes : tuple of Axis
    identifier : str
        Of the data set that will be added.
    own_copy : bool
    original : str
        Where it came from.
    """
    with tempfile.TemporaryDirectory(prefix="bioimage_py-") as folder:
        root = Path(folder)
        record = record_image(source, axes, root, identifier, own_copy, original)
        if record.own_copy:
            uploads = f"/projects/{store.id}/uploads"
            send_folder(store.connection, uploads, root / "images" / f"{identifier}.zarr", descriptor=identifier)
    return record
