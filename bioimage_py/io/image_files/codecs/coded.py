"""What pictures of one codec have in common: a head that tells what decoding gives, and writing through imagecodecs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....errors import DtypeError, FormatError, MemoryBudgetError, ParameterError, ShapeError, StorageError
from ....sources.axes import Axis, kind_of
from ....sources.file import Opened
from ...details import Details, Image
from ..opening import AGAIN, checked_shape, only_image, reading
from ..voxels import WholeArray
from ..writing import lost_of, single

_UNSUSPECTED, _MOST_RATIO = 1 << 25, 20000
"""Samples of a picture, and samples a byte, that are believed."""


@dataclass(frozen=True)
class Head:
    """What the head of a picture says of the array that decoding gives.

    Parameters
    ----------
    shape : tuple of int
        y, x and, for more than one, samples.
    dtype : numpy.dtype
    bits : int
        Significant bits of a sample.
    raw : mapping
        Further facts, by the names of the format.
    applied : mapping
        What decoding does, such as the orientation.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    bits: int
    raw: Mapping[str, Any]
    applied: Mapping[str, Any]


@dataclass(frozen=True)
class Codec:
    """One format of pictures.

    Parameters
    ----------
    name : str
        For messages.
    compression : str
        Name of the codec.
    head : callable
        ``head(path)`` returns the `Head`.
    decode : callable
        ``decode(path)`` returns all of the picture.
    """

    name: str
    compression: str
    head: Callable[[str], Head]
    decode: Callable[[str], np.ndarray]

    def open_dataset(self, path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
        """Open the picture, which is decoded as a whole when the first voxel is read."""
        only_image(path, key, mode, self.name, kwargs)
        head = self._checked(path)

        def load() -> np.ndarray:
            _require_likely(path, head)
            try:
                found = np.asarray(self.decode(path))
            except Exception as error:  # codecs raise types of their own for damaged data
                said = f"{type(error).__name__}: {error}"
                raise StorageError(f"{path} is cut off or damaged: {said}", remedy=AGAIN) from error
            if (found.shape, found.dtype) != (head.shape, head.dtype):
                raise StorageError(
                    f"{path} announces {head.shape} {head.dtype}, and has {found.shape} {found.dtype}.", remedy=AGAIN
                )
            return found

        return Opened(WholeArray(path, head.shape, head.dtype, load), "", axes_of(head))

    def details(self, path: str, key: str | None) -> Details:
        """Return what the head of the picture says."""
        only_image(path, key, "r", self.name)
        head = self._checked(path)
        return Details(
            raw=dict(head.raw),
            file={"format": self.name},
            applied=dict(head.applied),
            compression=self.compression,
            bits=head.bits if head.bits < 8 * head.dtype.itemsize else None,
            is_rgb=len(head.shape) == 3 and head.shape[2] in (3, 4),
        )

    def _checked(self, path: str) -> Head:
        with reading(path, self.name):
            head = self.head(path)
            checked_shape(path, head.shape)
        return head


def _require_likely(path: str, head: Head) -> None:
    """MemoryBudgetError for a picture that a file of this size does not hold: codecs take memory before they look."""
    samples, size = math.prod(head.shape), os.path.getsize(path)
    if samples > max(_UNSUSPECTED, _MOST_RATIO * size):
        raise MemoryBudgetError(
            f"{path} ({size} bytes) claims a picture of {head.shape}, which so few bytes do not hold.", remedy=AGAIN
        )


def axes_of(head: Head) -> tuple[Axis, ...]:
    """Return the axes of a picture."""
    return tuple(Axis(name, kind_of(name)) for name in "yxc"[: len(head.shape)])


def to_encode(images: Sequence[Image], name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the one picture that is to be written, and what is lost of it.

    Raises
    ------
    ShapeError, DtypeError
        If it is none of the axes y, x (and c, of 3 or 4) of 8 or 16 bits.
    """
    image = single(images, name)
    letters = [axis.name for axis in image.axes]
    shape, dtype = tuple(image.array.shape), np.dtype(image.array.dtype)
    if letters not in (["y", "x"], ["y", "x", "c"]) or (len(shape) == 3 and shape[2] not in (3, 4)):
        raise ShapeError(
            f"A {name} file holds the axes y, x, and c of 3 or 4 colours, not {letters} of {shape}.", remedy='".tif"'
        )
    if dtype.name not in ("uint8", "uint16"):
        raise DtypeError(
            f"A {name} file holds uint8 and uint16, not {dtype}; .tif holds it as it is.",
            remedy='dtype="uint8", rescale=(lowest, highest), or another ending: ".tif"',
        )
    scaled = [f"scale of the axis {axis.name}" for axis in image.axes if axis.unit or axis.scale != 1 or axis.offset]
    native = np.ascontiguousarray(image.array[...], dtype.newbyteorder("="))  # codecs look at the bytes only
    return native, (*scaled, *lost_of(image))


def encoded(path: str, encode: Callable[[], bytes], name: str) -> None:
    """Write what an encoder returns; FormatError where it refuses the picture."""
    try:
        content = encode()
    except Exception as error:  # codecs raise types of their own
        raise FormatError(f"{name} cannot hold this picture: {error}", remedy='".tif"') from error
    with open(path, "wb") as file:
        file.write(content)


def quality_of(options: Mapping[str, Any]) -> int | None:
    """Return the quality that is asked for, 1 to 100; None where nothing is to be lost."""
    quality = options.get("quality")
    if quality is not None and (isinstance(quality, bool) or quality not in range(1, 101)):
        raise ParameterError(f"quality={quality!r}.", remedy="quality=90, from 1 to 100; without it nothing is lost")
    return None if quality is None else int(quality)
