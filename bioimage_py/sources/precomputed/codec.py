"""From the bytes of a precomputed chunk to voxels and back."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import abc
import functools
import importlib
import json
import threading
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import FormatError
from ...extras import missing, needing
from ..forks import check, engine
from ..indexing import Roi
from .info import Scale, chunk_name

GZIP_MAGIC = b"\x1f\x8b\x08"
# Names of cloud-volume for what may lie on top of an encoding, and the suffixes of local files that have it.
SUFFIXES = {"": "", "gzip": ".gz", "br": ".br", "zstd": ".zstd", "xz": ".xz", "bzip2": ".bz2"}
_GZIP_BITS = 31
_TENSORSTORE_ENCODINGS = ("compressed_segmentation", "jpeg", "png")
_ENCODING_KEYS = {
    "compressed_segmentation": ("compressed_segmentation_block_size",),
    "jpeg": ("jpeg_quality",),
    "png": ("png_level",),
}


def unpack(content: bytes, packing: str) -> bytes:
    """Undo what lies on top of an encoding.

    Parameters
    ----------
    content : bytes
    packing : str
        A key of `SUFFIXES`, as the name of the file tells it.

    Raises
    ------
    ValueError
        If the content is damaged.
    """
    if not packing:
        return _unpack_unnamed(content)
    try:
        if packing == "gzip":
            return _gzip()[1](content)
        return bytes(_cloudfiles().decompress(content, packing))
    except ImportError:
        raise
    except Exception as error:  # each library has an exception of its own
        raise ValueError(f"its {packing} compression is damaged ({error})") from error


def _unpack_unnamed(content: bytes) -> bytes:
    """Undo gzip where the name does not tell it: object stores and web servers tell it in a header.

    No encoding begins with gzip's magic bytes, but for raw voxels that happen to; those are no gzip stream.
    """
    if content[:3] != GZIP_MAGIC:
        return content
    try:
        return _gzip()[1](content)
    except Exception:  # noqa: BLE001 - zlib and deflate have classes of their own for what is no gzip stream
        return content


def pack(content: bytes, packing: str, level: int) -> bytes:
    """Compress what an encoding gave; see `unpack`. The level is that of gzip."""
    if not packing:
        return content
    if packing == "gzip":
        return _gzip()[0](content, level)
    return bytes(_cloudfiles().compress(content, packing))


@functools.cache
def _gzip() -> tuple[Callable[[bytes, int], bytes], Callable[[bytes], bytes]]:
    """Return how to compress and decompress: by libdeflate, twice as fast, where cloud-volume has brought it along."""
    try:
        deflate = importlib.import_module("deflate")
    except ImportError:
        return (
            lambda content, level: zlib.compress(content, level, _GZIP_BITS),
            lambda content: zlib.decompress(content, _GZIP_BITS),
        )
    return (
        lambda content, level: bytes(deflate.gzip_compress(content, level)),
        lambda content: bytes(deflate.gzip_decompress(content)),
    )


def _cloudfiles() -> Any:
    with needing("cloudfiles", "The compression of a precomputed layer"):
        return importlib.import_module("cloudfiles.compression")


class Codec(abc.ABC):
    """An encoding; arrays have the axes channel, z, y, x. Any number of threads may use it."""

    @abc.abstractmethod
    def decode(self, content: bytes, box: Roi) -> np.ndarray:
        """Return the voxels of a chunk; ValueError if the content is damaged. Not to be modified."""

    @abc.abstractmethod
    def encode(self, voxels: np.ndarray, box: Roi) -> bytes:
        """Return the bytes of a chunk."""


class RawCodec(Codec):
    """Voxels as they are: little endian, x fastest, channels last."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = dtype.newbyteorder("<")

    def decode(self, content: bytes, box: Roi) -> np.ndarray:
        shape = [part.stop - part.start for part in box]
        return np.frombuffer(content, self._dtype).reshape(shape)

    def encode(self, voxels: np.ndarray, box: Roi) -> bytes:
        return voxels.astype(self._dtype, copy=False).tobytes()


class TensorCodec(Codec):
    """What tensorstore can decode and encode: each thread gives the bytes to a layer in memory and reads that."""

    def __init__(self, info: Mapping[str, Any], scale: Scale) -> None:
        entry = {key: scale.entry[key] for key in _ENCODING_KEYS[scale.encoding] if key in scale.entry}
        entry |= {
            "key": "s",
            "size": scale.size,
            "voxel_offset": scale.voxel_offset,
            "chunk_sizes": [scale.chunk_size],
            "resolution": scale.resolution,
            "encoding": scale.encoding,
        }
        self._info = json.dumps(
            {
                "@type": "neuroglancer_multiscale_volume",
                "type": info.get("type", "image"),
                "data_type": scale.dtype.name,
                "num_channels": scale.channels,
                "scales": [entry],
            }
        )
        self._local = threading.local()

    def _open(self) -> Any:
        """Return this thread's memory and the layer in it."""
        check()
        opened = getattr(self._local, "opened", None)
        if opened is None:
            tensorstore = engine()

            context = tensorstore.Context(
                {"cache_pool": {"total_bytes_limit": 0}, "data_copy_concurrency": {"limit": 1}}
            )
            memory = tensorstore.KvStore.open({"driver": "memory"}, context=context).result()
            memory.write("info", self._info).result()
            spec = {
                "driver": "neuroglancer_precomputed",
                "kvstore": {"driver": "memory"},
                "store_data_equal_to_fill_value": True,
                "fill_missing_data_reads": False,
            }
            layer = tensorstore.open(spec, context=context, open=True).result().T
            opened = self._local.opened = (memory, layer)
        return opened

    def decode(self, content: bytes, box: Roi) -> np.ndarray:
        memory, layer = self._open()
        name = f"s/{chunk_name(box)}"
        memory.write(name, content).result()
        try:
            return np.asarray(layer[box].read().result())
        finally:
            memory.write(name, None).result()

    def encode(self, voxels: np.ndarray, box: Roi) -> bytes:
        memory, layer = self._open()
        name = f"s/{chunk_name(box)}"
        layer[box].write(voxels).result()
        content = bytes(memory.read(name).result().value)
        memory.write(name, None).result()
        return content


class LibraryCodec(Codec):
    """What only cloud-volume can decode and encode."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        what = f"The encoding {scale.encoding!r}"
        with needing("cloudvolume", what):
            from cloudvolume import chunks
        if scale.encoding not in chunks.SUPPORTED_ENCODINGS:
            raise FormatError(
                f"Neither tensorstore nor cloud-volume knows the encoding {scale.encoding!r}.",
                remedy=f"known are {', '.join(chunks.SUPPORTED_ENCODINGS)}",
            )
        if library := getattr(chunks, "NEEDS_INSTALL", {}).get(scale.encoding):
            raise missing(what, library)
        self._chunks = chunks

    def decode(self, content: bytes, box: Roi) -> np.ndarray:
        shape = tuple(part.stop - part.start for part in reversed(box))
        try:
            found = self._chunks.decode(content, self._scale.encoding, shape=shape, dtype=self._scale.dtype)
        except Exception as error:  # each codec has an exception of its own
            raise ValueError(str(error)) from error
        return np.asarray(found).reshape(shape).T

    def encode(self, voxels: np.ndarray, box: Roi) -> bytes:
        return bytes(self._chunks.encode(np.asfortranarray(voxels.T), self._scale.encoding))


def codec_of(info: Mapping[str, Any], scale: Scale) -> Codec:
    """Return the codec of a scale: numpy and tensorstore where they can, else cloud-volume."""
    if scale.encoding == "raw":
        return RawCodec(scale.dtype)
    if scale.encoding in _TENSORSTORE_ENCODINGS:
        return TensorCodec(info, scale)
    return LibraryCodec(scale)
