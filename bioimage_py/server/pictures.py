"""Small pictures of images, which the server opens only where its operator has said so.

References to images come from clients. So only plain files below the folders of `--image-root` are opened, and copies
in the project's own folder: after links are resolved, of formats that hold their voxels themselves, no URL, no wrapper.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import BioimageError, ParameterError
from ..projects.images import open_image, picture
from ..projects.storage.folder import Folder
from ..projects.values.records import DescriptorRecord, ImageRecord
from ..sources import Source
from ..system.files import write_once
from ..wrapper.roi import RoiSource, check_roi

MOST_BYTES = 256 * 2**20
"""That are decoded for one picture."""
_FORMATS = ("zarr", "n5", "tif")


def picture_of(folder: Folder, record: DescriptorRecord, roots: Sequence[Path]) -> Path:
    """Return the path of the PNG of a data set, which is made where there is none yet.

    Parameters
    ----------
    folder : Folder
        Of the project.
    record : DescriptorRecord
    roots : sequence of Path
        Folders of images that may be opened.

    Raises
    ------
    ParameterError
        The image is elsewhere, or a plane of it is too large.
    """
    found = made_picture(folder, record)
    if found is not None:
        return found
    import cv2

    with opened(folder, record, roots) as image:
        bounds = record.roi
        seen = image if bounds is None else RoiSource(image, check_roi([slice(*part) for part in bounds], image.shape))
        _check_size(image, record.image)
        made = picture(seen, record.image.axis_values())
    path = _path(folder, record)
    write_once(path, cv2.imencode(".png", made[..., ::-1])[1].tobytes())
    return path


def made_picture(folder: Folder, record: DescriptorRecord) -> Path | None:
    """Return the path of the PNG of a data set; None where none was made yet."""
    path = _path(folder, record)
    return folder.inside(path) if path.is_file() else None


def _path(folder: Folder, record: DescriptorRecord) -> Path:
    return folder.root / "thumbnails" / f"{record.identifier}.png"


def opened(folder: Folder, record: DescriptorRecord, roots: Sequence[Path]) -> Source:
    """Open the image of a data set, where the operator of the server lets it.

    Raises
    ------
    ParameterError
        The image is elsewhere, or not the one that was added.
    """
    _check_place(record.image, folder.root, roots)
    try:
        image = open_image(record.image, folder.root)
    except BioimageError:  # its text names the place, which not everybody is told
        raise ParameterError("The image is not where it was, or damaged.", remedy="ask who added it") from None
    if list(image.shape) != record.image.shape:
        image.close()
        raise ParameterError(
            f"The image has the shape {image.shape}, the data set {tuple(record.image.shape)}.",
            remedy="add the image again",
        )
    return image


def _check_place(image: ImageRecord, root: Path, roots: Sequence[Path]) -> None:
    spec = image.spec
    path, inner, params = str(spec.get("path") or ""), str(spec.get("internal_path") or ""), spec.get("params") or {}
    plain = spec.get("kind") == "file" and spec.get("wrapped") is None and not {*params} - {"format", "mode"}
    said = any(sign in path + inner for sign in ("://", "::", "\0", "~"))
    if not plain or said or params.get("format") not in _FORMATS or ".." in Path(inner).parts or inner.startswith("/"):
        raise _not_visible()
    allowed = [root / "images"] if not os.path.isabs(path) else roots
    real = [os.path.realpath(root / path), os.path.realpath(root / path / inner)]
    tops = [os.path.realpath(top) + os.sep for top in allowed]
    if not any(all(one.startswith(top) for one in real) for top in tops):
        raise _not_visible()


def _not_visible() -> ParameterError:
    return ParameterError(
        "The image is not visible to the server.",
        remedy="bioimage-py server run --image-root FOLDER opens zarr, n5 and tiff below FOLDER; or take a project in a"
        " folder with own_copy=True",
    )


def _check_size(image: Source, record: ImageRecord) -> None:
    units = image.chunks or (1,) * image.ndim
    size = image.dtype.itemsize
    for axis, length, unit in zip(record.axis_values(), image.shape, units, strict=True):
        whole = axis.kind == "space" and axis.name.lower() in ("x", "y")
        size *= length if whole else min(length, math.ceil((3 if axis.kind == "channel" else 1) / unit) * unit)
    if size > MOST_BYTES:
        raise ParameterError(
            f"A picture would take {size} bytes of the image, more than {MOST_BYTES}.", remedy="store smaller chunks"
        )
