"""What a data set says of its image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError, StorageError
from ..io.v3.properties import usable_affine
from ..sources import Axis, Source
from ..sources.stores.paths import is_url
from ..system.files import write_once
from ..wrapper.roi import RoiSource, check_roi
from .images import absolute_spec, open_image, picture, with_axes
from .values.kinds import DataType
from .values.models import ImageInfo
from .values.records import Counts, DescriptorRecord, counts_of

if TYPE_CHECKING:
    from .project import Project


class ImageProperties:
    """The part of a descriptor that is about its image; only `load_image` and `load_thumbnail` read voxels."""

    __slots__ = ("_identifier", "_project")

    def __init__(self, project: Project, identifier: str) -> None:
        self._project = project
        self._identifier = identifier

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name not in ImageProperties.__slots__:
            self._project._changed()

    @property
    def project(self) -> Project:
        """The project."""
        return self._project

    @property
    def identifier(self) -> str:
        """What it is called in the project, for ever."""
        return self._identifier

    @property
    def _record(self) -> DescriptorRecord:
        return self._project._session.record(self._identifier)

    def load_image(self, crop_to_roi: bool = False) -> Source:
        """Return the image, read-only, in its own axis order.

        Parameters
        ----------
        crop_to_roi : bool, default False
            Only the region of interest, where there is one.

        Raises
        ------
        SourceNotFoundError
            It is not where it was.
        """
        record, remote = self._record.image, self._project._session.remote
        if remote is None or not record.own_copy:
            source = open_image(record, self._root)
        else:
            source = with_axes(remote.image(self._identifier), record)
        roi = self.roi
        return RoiSource(source, roi) if crop_to_roi and roi is not None else source

    @property
    def _root(self) -> Path:
        return self._project._session.folder.root

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return tuple(self._record.image.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the image."""
        return np.dtype(self._record.image.dtype)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the image."""
        return self._record.image.axis_values()

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """Which axes are spatial; those of label maps."""
        return tuple(index for index, axis in enumerate(self.axes) if axis.kind == "space")

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape of the spatial axes; that of label maps."""
        return tuple(self.shape[axis] for axis in self.spatial_axes)

    @property
    def _counts(self) -> Counts:
        return counts_of(self.axes, self.shape)

    @property
    def n_images(self) -> int:
        """Number of images over time, and along axes that are neither spatial nor channels."""
        return self._counts.n_images

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self._counts.n_channels

    @property
    def n_slices(self) -> int:
        """Number of voxels along z."""
        return self._counts.n_slices

    @property
    def height(self) -> int:
        """Number of voxels along y."""
        return self._counts.height

    @property
    def width(self) -> int:
        """Number of voxels along x."""
        return self._counts.width

    @property
    def type(self) -> DataType:
        """2D or 3D, one or more channels."""
        return DataType.of(self.n_channels, self.n_slices)

    @property
    def byte_size(self) -> int:
        """Bytes of all voxels, uncompressed."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along x, y and z, in `unit`; 1 along z of a flat image. Settable."""
        found = {axis.name.lower(): axis.scale for axis in self.axes if axis.kind == "space"}
        return (found["x"], found["y"], found.get("z", 1.0))

    @spacing.setter
    def spacing(self, value: Sequence[float]) -> None:
        sizes = [float(size) for size in value]
        if len(sizes) != 3 or not all(0 < size < float("inf") for size in sizes):
            raise ParameterError(f"spacing is {value!r}.", remedy="spacing = (x, y, z), positive numbers")
        by_name = dict(zip("xyz", sizes, strict=True))
        image = self._record.image
        image.axes = [
            {**axis, "scale": by_name[axis["name"].lower()]} if axis["kind"] == "space" else axis for axis in image.axes
        ]
        if (told := usable_affine(image.affine, self.axes)) is not None:
            for column, axis in enumerate(self.axes):
                if axis.kind == "space":  # the direction stays
                    told[:3, column] *= axis.scale / np.linalg.norm(told[:3, column])
            image.affine = told.tolist()

    @property
    def unit(self) -> str | None:
        """Unit of the spatial axes, and of boxes and landmarks; None where the image says none."""
        return next((axis.unit for axis in self.axes if axis.name.lower() == "x"), None)

    @property
    def roi(self) -> tuple[slice, ...] | None:
        """Region of interest in voxels: a slice for each axis of the image, None for all of it.

        Settable with slices for all axes, or for the spatial ones.

        Raises
        ------
        RegionError
            On setting: it does not fit the image.
        """
        bounds = self._record.roi
        return None if bounds is None else tuple(slice(begin, end) for begin, end in bounds)

    @roi.setter
    def roi(self, value: Sequence[slice] | None) -> None:
        if value is None:
            self._record.roi = None
            return
        parts = list(value)
        if len(parts) == len(self.spatial_axes):
            whole: list[slice] = [slice(None)] * len(self.axes)
            for axis, part in zip(self.spatial_axes, parts, strict=True):
                whole[axis] = part
            parts = whole
        self._record.roi = [(part.start, part.stop) for part in check_roi(parts, self.shape)]

    region_of_interest = roi

    @property
    def scale(self) -> float:
        """Real values are ``scale * stored + shift``. Settable."""
        return self._record.scale

    @scale.setter
    def scale(self, value: float) -> None:
        self._record.scale = value

    @property
    def shift(self) -> float:
        """Real values are ``scale * stored + shift``. Settable."""
        return self._record.shift

    @shift.setter
    def shift(self, value: float) -> None:
        self._record.shift = value

    @property
    def top_down(self) -> bool:
        """Whether row 0 is the upper one. Settable."""
        return self._record.top_down

    @top_down.setter
    def top_down(self, value: bool) -> None:
        self._record.top_down = value

    @property
    def image_info(self) -> ImageInfo:
        """Patient, study and series, as the file said when it was added. Settable."""
        return self._record.info.model_copy()

    @image_info.setter
    def image_info(self, value: ImageInfo) -> None:
        self._record.info = value

    @property
    def modality(self) -> str:
        """Modality of `image_info`, "" if unknown."""
        return self._record.info.modality or ""

    @property
    def patient_name(self) -> str:
        """Patient's name of `image_info`, "" if unknown."""
        return self._record.info.patient_name or ""

    @property
    def series_instance_uid(self) -> str:
        """Series of `image_info`, "" if unknown."""
        return self._record.info.series_instance_uid or ""

    @property
    def load_path(self) -> str:
        """Path or URL that the image is read from, "" for one that is computed."""
        return self._innermost("path")

    @property
    def sub_file_id(self) -> str:
        """Key of the image in its file, "" where the file is the image."""
        return self._innermost("internal_path")

    def _innermost(self, field: str) -> str:
        remote = self._project._session.remote
        if field == "path" and remote is not None and self.own_copy:
            return str(remote.image_url(self._identifier))
        spec = absolute_spec(self._record.image.spec, self._root)
        while spec["wrapped"] is not None:
            spec = spec["wrapped"]
        return str(spec[field] or "")

    @property
    def original_data_path(self) -> str:
        """Path or URL that the image came from, "" for one that was made in memory."""
        return self._record.image.original_path

    @property
    def own_copy(self) -> bool:
        """Whether the image lies in the project."""
        return self._record.image.own_copy

    @property
    def has_data(self) -> bool:
        """Whether the image is still where it was; not asked of servers."""
        path = self.load_path
        return not path or is_url(path) or os.path.exists(path)

    @property
    def import_time(self) -> datetime:
        """When it was added (UTC)."""
        return self._record.import_time

    @property
    def latest_edit_time(self) -> datetime:
        """When anything of it was last saved (UTC)."""
        return self._record.edit_time

    @property
    def thumbnail_path(self) -> str:
        """Path of its small picture, which need not be there."""
        if self._project.is_remote:
            return ""
        return str(self._root / "thumbnails" / f"{self._identifier}.png")

    def load_thumbnail(self, generate: bool = True) -> npt.NDArray[np.uint8] | None:
        """Return a small picture, uint8 (height, width, 3) RGB.

        Parameters
        ----------
        generate : bool, default True
            Make one where there is none; else None is returned then. On a server it is made there.

        Raises
        ------
        ParameterError
            The image is not visible to the server.
        """
        import cv2

        session: Any = self._project._session
        if session.remote is not None:
            if session.new_document(self._identifier) is not None:  # the server does not know of it yet
                return picture(self.load_image(), self.axes) if generate else None
            sent = session.remote.thumbnail(self._identifier, generate=generate)
            if sent is None:
                return None
            return np.asarray(cv2.imdecode(np.frombuffer(sent, np.uint8), cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
        path = Path(self.thumbnail_path)
        if path.exists():
            stored: npt.NDArray[np.uint8] | None = cv2.imread(str(path))
            if stored is None:
                raise StorageError(f"{path} is no picture.", remedy=f"rm {path}")
            return stored[..., ::-1]
        if not generate:
            return None
        made = picture(self.load_image(), self.axes)
        write_once(path, cv2.imencode(".png", made[..., ::-1])[1].tobytes())
        return made
