"""Data sets whose items are whole images, volumes or video."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np

from ..errors import DatasetError
from .base import BaseDataset
from .cuts.patches import PatchDataset
from .cuts.sliced import SlicedVideoDataset, SlicedVolumeDataset
from .items import RawItem
from .layout import Frames, Layout
from .resources.resource import Resource


class MultiFrameDataset(BaseDataset, abc.ABC):
    """Items of images with several planes or frames, (C, N, H, W)."""

    _flat: ClassVar[int | None] = None

    def _get_raw_item(self, index: int, rng: np.random.Generator) -> RawItem:
        number = int(self._rows[index, 0])
        resource = self._store.resource(number)
        layout = self._layout(resource)
        whole = tuple(slice(0, size) for size in layout.shape)
        return RawItem(
            image=resource.read(layout, whole),
            resource=resource,
            annotations=self.annotations_of(number, exact=False),
            region=whole[1:],
            frames=layout.shape[1],
            affine=resource.affine(layout),
            flat=self._flat,
        )


class VolumeDataset(MultiFrameDataset):
    """Volumes: items have images (C, D, H, W).

    Examples
    --------
    >>> VolumeDataset(resources=[np.zeros((4, 8, 8), "u1")])[0]["image"].shape
    (1, 4, 8, 8)
    """

    def slice(self, axis: Any = "axial", *, step: int = 1, empty: str = "keep", orientation: str | None = None) -> Any:
        """Return the planes of the volumes; see `SlicedVolumeDataset`."""
        return SlicedVolumeDataset.from_dataset(self, axis, step=step, empty=empty, orientation=orientation)

    def patches(self, shape: Any, **options: Any) -> PatchDataset:
        """Return patches of the volumes; see `PatchDataset`."""
        return PatchDataset.from_dataset(self, shape, **options)


class ImageDataset(VolumeDataset):
    """Images of one plane: items have images (C, H, W).

    Raises
    ------
    DatasetError
        An image has several planes; names it.
    """

    _axes: ClassVar[str] = "chw"
    _flat: ClassVar[int | None] = 0

    def _layout(self, resource: Resource) -> Layout:
        layout = super()._layout(resource)
        if layout.shape[1] != 1:
            raise DatasetError(
                f"{resource.name!r} (id {resource.id!r}) has {layout.shape[1]} planes, shape {resource.shape}.",
                remedy='VolumeDataset, or name its axes: Resource(image, axes="cyx")',
            )
        return layout


class VideoDataset(MultiFrameDataset):
    """Time series and video: items have images (C, N, H, W), N being times."""

    _frames: ClassVar[Frames] = "t"
    _axes: ClassVar[str] = "cthw"

    def frame_by_frame(self) -> SlicedVideoDataset:
        """Return the frames."""
        return SlicedVideoDataset.from_dataset(self)
