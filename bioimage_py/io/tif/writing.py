"""Writing tif files: OME-TIFF, ImageJ hyperstacks and plain ones, block by block where the image is a source."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BioimageError, DtypeError, FormatError, ParameterError, ShapeError
from ...extras import need
from ...sources.base import Source
from ..details import Image
from ..written.halves import factors_of, halved, number_of_levels
from .descriptions import DESCRIPTIONS, is_rgb, letters_of

ENDINGS = (".tif", ".tiff", ".btf", ".tf8")
FLAVORS = ("ome", "imagej", "plain")
BUFFER_BYTES = 256 * 2**20
"""Of a source, read at once."""
_IMAGEJ_BYTES = 2**32 - 2**25
CLASSIC_BYTES = 2**32 - 2**25
_OME_TYPES = {"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"}
_OME_TYPES |= {"complex64", "complex128"}
_IMAGEJ_TYPES = {"uint8", "uint16", "float32"}


@dataclass(frozen=True)
class Settings:
    """Options of writing; see `write`."""

    flavor: str | None = None
    tiles: tuple[int, int] | None = None
    compression: Any = None
    pyramid: Any = None
    photometric: str | None = None
    predictor: Any = None
    bigtiff: bool | None = None

    def for_images(self, path: str, images: Sequence[Image]) -> tuple[str, bool]:
        """Return the flavor, and whether offsets take 64 bits; checks what the flavor can hold."""
        named = path.lower().endswith((".ome.tif", ".ome.tiff", ".ome.btf"))
        fits = all(_why_not_ome(image) is None for image in images)
        flavor = self.flavor or ("ome" if named or fits else "plain")
        if flavor not in FLAVORS:
            raise ParameterError(f"flavor={flavor!r}.", remedy=f"one of {', '.join(FLAVORS)}")
        for image in images:
            wrong = {"ome": _why_not_ome, "imagej": _why_not_imagej, "plain": _why_not_plain}[flavor](image)
            if wrong is not None:
                raise wrong
        nbytes = sum(int(np.prod(image.array.shape, dtype=object)) * image.array.dtype.itemsize for image in images)
        if flavor == "imagej" and (len(images) > 1 or nbytes > _IMAGEJ_BYTES):
            what = f"{len(images)} images" if len(images) > 1 else f"{nbytes} bytes"
            raise FormatError(f"An ImageJ file holds one image below 4 GiB, not {what}.", remedy='flavor="ome"')
        if flavor == "imagej" and self.photometric == "rgb" and not all(map(is_rgb, images)):
            raise ShapeError(
                "An ImageJ file holds red, green and blue on the last axis alone.", remedy='axes="yxc", or flavor="ome"'
            )
        if flavor == "plain" and self.pyramid and any(image.array.ndim > 2 + is_rgb(image) for image in images):
            raise ShapeError(
                f"A plain tif file with levels holds pictures of y and x, not {images[0].array.shape}: nobody could"
                " tell its levels from further images.",
                remedy='flavor="ome" if that can hold it, or ".ome.zarr"',
            )
        large = nbytes * (1 if not self.pyramid else 1.34) > CLASSIC_BYTES
        return flavor, large if self.bigtiff is None else bool(self.bigtiff)

    def arguments(self, image: Image) -> dict[str, Any]:
        """Return what the library is told of each page."""
        found: dict[str, Any] = {"photometric": self._photometric(image)}
        if self.compression not in (None, False, "none", "raw"):
            need("imagecodecs", f"compression={self.compression!r}")
            found["compression"] = self.compression
            lossless = str(self.compression).lower() in ("zlib", "deflate", "lzw", "zstd", "adobe_deflate")
            if lossless and self.predictor is None and image.array.dtype.kind in "iu":
                found["predictor"] = True
        if self.predictor is not None:
            found["predictor"] = self.predictor
        tiles = self.tiles
        if tiles is None and (self.pyramid or isinstance(image.array, Source)):
            tiles = (256, 256)
        if tiles is not None:
            if len(tiles) != 2 or any(int(side) < 16 or int(side) % 16 for side in tiles):
                raise ParameterError(f"tiles={tiles!r}.", remedy="tiles=(256, 256): two multiples of 16")
            found["tile"] = tuple(map(int, tiles))
        return found

    def _photometric(self, image: Image) -> str:
        if self.photometric is not None:
            return self.photometric
        return "rgb" if image.details.is_rgb and image.array.dtype.kind == "u" else "minisblack"


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write a whole new file.

    Parameters
    ----------
    path : str
    images : sequence of Image
        Each becomes a series.
    options : mapping
        ``flavor`` ("ome", "imagej", "plain"; by default OME where it can hold the images), ``tiles``, ``compression``
        (such as "zstd", "zlib", "lzw", "jpeg"), ``pyramid`` (levels at half the resolution in y and x),
        ``photometric``, ``predictor``, ``bigtiff`` (by default above 4 GiB).

    Returns
    -------
    tuple of str
        What has no place in the file.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in ENDINGS:
        raise FormatError(
            f"{ending} files have a layout of their own, by which they are read; written is {', '.join(ENDINGS)}.",
            remedy='".ome.tif"',
        )
    settings = Settings(**dict(options))
    flavor, big = settings.for_images(path, images)
    return write_images(path, images, settings, flavor, bigtiff=big)


def write_images(
    path: str, images: Sequence[Image], settings: Settings, flavor: str, **opening: Any
) -> tuple[str, ...]:
    """Write images with the library, whose writer is opened with `opening`; returns what has no place in the file."""
    import tifffile

    arguments = [settings.arguments(image) for image in images]
    lost: list[str] = []
    kind: dict[str, Any] = {"ome": flavor == "ome", "imagej": flavor == "imagej", "shaped": flavor == "plain"}
    try:
        with tifffile.TiffWriter(path, **kind, **opening) as writer:
            for image, given in zip(images, arguments, strict=True):
                metadata, more = DESCRIPTIONS[flavor](image, lost)
                levels = number_of_levels(settings.pyramid, image.array.shape, image.axes) if flavor != "imagej" else 0
                _write_levels(writer, path, image, levels, {**given, **more}, metadata, flavor)
    except (BioimageError, OSError):
        raise
    except Exception as error:  # what the library or its codecs cannot do
        raise FormatError(
            f"tif cannot hold this image: {type(error).__name__}: {error}", remedy='leave the options out, or ".zarr"'
        ) from error
    return tuple(dict.fromkeys(lost))


def _write_levels(
    writer: Any,
    path: str,
    image: Image,
    levels: int,
    arguments: Mapping[str, Any],
    metadata: Mapping[str, Any],
    flavor: str,
) -> None:
    factors = factors_of(image.axes, "yx")
    _write_array(writer, image.array, {**arguments, "metadata": metadata, "subifds": levels or None})
    finer: Any = image.array
    with ExitStack() as files:
        for _ in range(levels):  # each is made of the one before
            kept = files.enter_context(tempfile.TemporaryFile(dir=os.path.dirname(path)))
            finer = _kept(halved(finer, factors, image), kept)
            # levels that do not say their shape make the library doubt that of the image
            told = {"axes": metadata["axes"]} if flavor == "plain" and "axes" in metadata else {}
            _write_array(writer, finer, {**arguments, "subfiletype": 1, "metadata": None if flavor == "ome" else told})


class _Kept:
    """A level in a file without name; mapped for each read alone, so that its pages do not stay with the process."""

    def __init__(self, file: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._file = file

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.array(np.memmap(self._file, self.dtype, "r", shape=self.shape)[index])


def _kept(source: Source, file: Any) -> Any:
    if source.nbytes <= BUFFER_BYTES:
        return source.read()
    for _, block in _slabs(source):  # in C order
        file.write(np.ascontiguousarray(block).data)
    file.flush()
    return _Kept(file, source.shape, source.dtype)


def _write_array(writer: Any, array: Any, arguments: Mapping[str, Any]) -> None:
    if isinstance(array, np.ndarray):
        writer.write(np.ascontiguousarray(array), **arguments)
        return
    if "tile" not in arguments:
        arguments = {**arguments, "tile": (256, 256)}
    last = array.shape[-1]  # colours may also be planes, as the library sees by itself
    samples = last if arguments["photometric"] == "rgb" and last in (3, 4) else 1
    tiles = _tiles(array, arguments["tile"], samples)
    writer.write(tiles, shape=array.shape, dtype=array.dtype, **arguments)


def _tiles(array: Any, tile: tuple[int, int], samples: int) -> Iterator[np.ndarray]:
    """Yield the tiles of all pages in their order, read in slabs of whole rows of tiles."""
    plane = 2 if samples == 1 else 3
    width = array.shape[1 - plane]
    for _, block in _slabs(array, plane, tile[0]):
        pages = block.reshape(-1, *block.shape[-plane:])
        for page in pages:
            for top in range(0, page.shape[0], tile[0]):
                for left in range(0, width, tile[1]):
                    piece = page[top : top + tile[0], left : left + tile[1]]
                    missing = [(0, side - size) for side, size in zip(tile, piece.shape[:2], strict=True)]
                    full = np.pad(piece, [*missing, *[(0, 0)] * (piece.ndim - 2)]) if any(map(any, missing)) else piece
                    yield np.ascontiguousarray(full)


def _slabs(array: Any, plane: int = 2, rows: int = 1) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Yield boxes that follow each other in C order, and their voxels: some pages, or rows of tiles of one."""
    lead = array.shape[:-plane]
    page_bytes = int(np.prod(array.shape[len(lead) :], dtype=object)) * array.dtype.itemsize
    whole = tuple(slice(0, size) for size in array.shape[len(lead) :])
    count = max(1, BUFFER_BYTES // max(1, page_bytes))
    if lead and page_bytes <= BUFFER_BYTES:
        for at in np.ndindex(lead[:-1]):
            for start in range(0, lead[-1], count):
                box = (*(slice(i, i + 1) for i in at), slice(start, min(start + count, lead[-1])), *whole)
                yield box, np.asarray(array[box])
        return
    height = array.shape[len(lead)]
    step = max(rows, BUFFER_BYTES // max(1, page_bytes // height) // rows * rows)
    for at in np.ndindex(lead):
        for top in range(0, height, step):
            box = (*(slice(i, i + 1) for i in at), slice(top, min(top + step, height)), *whole[1:])
            yield box, np.asarray(array[box])


def _why_not_ome(image: Image) -> BioimageError | None:
    axes, dtype = image.axes, image.array.dtype
    letters = letters_of(axes, is_rgb(image))
    if dtype.name not in _OME_TYPES:
        return DtypeError(f"OME-TIFF holds no {dtype}, but {', '.join(sorted(_OME_TYPES))}.", remedy='flavor="plain"')
    if not letters.rstrip("S").endswith("YX") or set(letters) - set("TCZYXS"):
        return ShapeError(
            f"OME-TIFF holds y and x, with t, c and z in front of them, not {[axis.name for axis in axes]} of the shape"
            f" {image.array.shape}.",
            remedy='axes="tczyx", flavor="plain", or write to ".zarr"',
        )
    return None


def _why_not_imagej(image: Image) -> BioimageError | None:
    letters, dtype = letters_of(image.axes, is_rgb(image)), image.array.dtype
    if dtype.name not in _IMAGEJ_TYPES:
        return DtypeError(f"ImageJ holds no {dtype}, but {', '.join(sorted(_IMAGEJ_TYPES))}.", remedy='dtype="float32"')
    order = [letter for letter in "TZCYXS" if letter in letters]
    if list(letters) != order or not letters.rstrip("S").endswith("YX"):
        return ShapeError(
            f"ImageJ holds the axes in the order t, z, c, y, x, not {[axis.name for axis in image.axes]}.",
            remedy='transpose the array to that order, or flavor="ome"',
        )
    return None


def _why_not_plain(image: Image) -> BioimageError | None:
    dtype = np.dtype(image.array.dtype)
    if dtype.kind not in "biufc" or dtype.type in (np.longdouble, np.clongdouble):
        return DtypeError(f"tif holds no {dtype}.", remedy='dtype="float64", or ".npy"')
    if image.array.ndim < 2:
        return ShapeError(f"tif holds images of at least two axes, not {image.array.shape}.", remedy="array[None]")
    return None
