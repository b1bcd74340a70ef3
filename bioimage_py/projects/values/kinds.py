"""Kinds of layers, tags and images, and the colours of labels."""

from __future__ import annotations

import enum

PALETTE = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255),
)  # fmt: skip
"""Colours of labels that are given none, by value."""


class LayerKind(enum.IntEnum):
    """What is labelled in a layer."""

    PIXELWISE = 0
    BOUNDINGBOX = 1
    LANDMARK = 2


class TagKind(enum.IntEnum):
    """What a tag holds: one boolean, one of its options, one float."""

    Bool = 0
    Enum = 1
    Float = 2


class DataType(enum.IntEnum):
    """Which images a project accepts: 2D or 3D (more than one slice), with one or more channels."""

    SingleChannelImages = 0
    MultiChannelImages = 1
    SingleChannelVolumes = 2
    MultiChannelVolumes = 3
    AnyDataType = 4

    @classmethod
    def of(cls, n_channels: int, n_slices: int) -> DataType:
        """Return the type of an image."""
        if n_slices > 1:
            return cls.SingleChannelVolumes if n_channels == 1 else cls.MultiChannelVolumes
        return cls.SingleChannelImages if n_channels == 1 else cls.MultiChannelImages
