"""Precomputed layers (Neuroglancer's format): the ``info`` file, the grid of a scale, and the names of its chunks.

Format: https://github.com/google/neuroglancer/tree/master/src/datasource/precomputed. The files speak of x, y, z; in
here boxes have the axes channel, z, y, x, in absolute voxels of one scale, and arrays are in C order.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arguments import data_type
from ...errors import FormatError, ParameterError, SourceNotFoundError
from ...system.json_text import parse_json
from ..axes import Axis
from ..indexing import Roi
from ..stores.location import Location

INFO = "info"
CHUNK_NAME = re.compile(r"(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)(\.[a-z0-9]+)?\Z")


@dataclass(frozen=True)
class Scale:
    """One scale (mip) of a layer; sequences are in the order x, y, z.

    Parameters
    ----------
    index : int
        The mip.
    key : str
        Folder of its chunks, relative to the layer.
    dtype : numpy.dtype
    channels : int
    size, voxel_offset, chunk_size : tuple of int
        In voxels of this scale. Chunks begin at the offset, and are clipped to the size.
    resolution, finest : tuple of float
        Nanometers a voxel, of this scale and of mip 0.
    encoding : str
        "raw", "compressed_segmentation", "jpeg", "png", ...
    sharded, locked : bool
        Whether chunks share files; whether the layer's owner forbids writing.
    entry : mapping
        What the info file says of the scale.
    """

    index: int
    key: str
    dtype: np.dtype
    channels: int
    size: tuple[int, int, int]
    voxel_offset: tuple[int, int, int]
    chunk_size: tuple[int, int, int]
    resolution: tuple[float, float, float]
    finest: tuple[float, float, float]
    encoding: str
    sharded: bool
    locked: bool
    entry: Mapping[str, Any] = field(compare=False)

    @property
    def box(self) -> Roi:
        """All voxels."""
        spatial = zip(self.voxel_offset, self.size, strict=True)
        return (slice(0, self.channels), *[slice(begin, begin + size) for begin, size in spatial][::-1])

    @property
    def unit(self) -> tuple[int, int, int, int]:
        """Shape of a chunk, which holds all channels."""
        x, y, z = self.chunk_size
        return (self.channels, z, y, x)

    def chunks_in(self, box: Roi) -> Iterator[Roi]:
        """Boxes of the chunks that share a voxel with a box inside the scale."""
        whole = self.box
        spans = []
        for part, bounds, step in zip(box[1:], whole[1:], self.unit[1:], strict=True):
            first = bounds.start + (part.start - bounds.start) // step * step
            begins = range(first, part.stop, step) if part.start < part.stop else range(0)
            spans.append([slice(begin, min(begin + step, bounds.stop)) for begin in begins])
        return ((whole[0], *parts) for parts in itertools.product(*spans))

    def positions(self, names: Iterator[str]) -> npt.NDArray[np.int64]:
        """Grid positions (0, z, y, x) of the chunks whose file names are given; other names count for nothing."""
        found = set()
        for name in names:
            if match := CHUNK_NAME.match(name):
                begins = [int(match[1]), int(match[3]), int(match[5])]
                at = [(b - o) // step for b, o, step in zip(begins, self.voxel_offset, self.chunk_size, strict=True)]
                found.add((0, *at[::-1]))
        return np.array(sorted(found), np.int64).reshape(-1, 4)

    def axes(self) -> tuple[Axis, ...]:
        """Axes of the whole scale: c, z, y, x.

        Positions count from the centre of the voxel (0, 0, 0) of mip 0. A voxel of a coarser scale covers several of
        those, and its centre lies in the middle of them.
        """
        spatial = [
            Axis(name, "space", "nanometer", step, begin * step + (step - finest) / 2)
            for name, step, begin, finest in zip("xyz", self.resolution, self.voxel_offset, self.finest, strict=True)
        ]
        return (Axis("c", "channel"), *spatial[::-1])


def chunk_name(box: Roi) -> str:
    """Return the file name of a chunk."""
    return "_".join(f"{part.start}-{part.stop}" for part in box[:0:-1])


def read_info(place: Location) -> dict[str, Any]:
    """Return what a layer's ``info`` file says.

    Raises
    ------
    SourceNotFoundError
        If there is none.
    FormatError
        If it does not describe a volume.
    """
    content = place.read(INFO)
    if content is None:
        raise SourceNotFoundError(
            f"There is no precomputed layer at {place}: it has no file {INFO!r}.",
            remedy="check the path; CloudVolume(path, info=info).commit_info() of cloud-volume makes a new layer",
        )
    try:
        info = parse_json(content)
    except ValueError as error:
        raise FormatError(f"{place}/{INFO} is no JSON: {error}", remedy="check the file") from error
    if not isinstance(info, dict) or not info.get("scales"):
        raise FormatError(
            f"{place}/{INFO} describes no volume: it has no scales.",
            remedy="check that the path is that of an image or segmentation layer, not of meshes or skeletons",
        )
    return info


def find_scale(info: Mapping[str, Any], mip: int | Sequence[float], where: str) -> Scale:
    """Return a scale by its index, or by its resolution in nanometers (x, y, z).

    Raises
    ------
    ParameterError
        If the layer has no such scale; the message lists those that it has.
    FormatError
        If the info file lacks what describes a scale.
    """
    try:
        return _scale(info, mip, where)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, ParameterError):
            raise
        raise FormatError(
            f"{where}/{INFO} is no valid description of a volume: {error!r}", remedy="check the file"
        ) from error


def _scale(info: Mapping[str, Any], mip: int | Sequence[float], where: str) -> Scale:
    scales = info["scales"]
    resolutions = [tuple(float(step) for step in scale["resolution"]) for scale in scales]
    index = mip if isinstance(mip, int | np.integer) else _find(resolutions, mip)
    if index is None or isinstance(mip, bool) or not -len(scales) <= index < len(scales):
        raise ParameterError(
            f"{where} has no mip {mip!r}; it has the resolutions {resolutions} (nanometers, x y z).",
            remedy=f"use mip=0 to mip={len(scales) - 1}, or one of these resolutions",
        )
    entry = scales[index]
    return Scale(
        index=int(index) % len(scales),
        key=str(entry["key"]),
        dtype=data_type(info["data_type"], "data_type"),
        channels=int(info["num_channels"]),
        size=_integers(entry["size"]),
        voxel_offset=_integers(entry.get("voxel_offset", (0, 0, 0))),
        chunk_size=_integers(entry["chunk_sizes"][0]),
        resolution=_numbers(entry["resolution"]),
        finest=_numbers(scales[0]["resolution"]),
        encoding=str(entry["encoding"]),
        sharded=entry.get("sharding") is not None,
        locked=bool(entry.get("locked", False)),
        entry=entry,
    )


def _find(resolutions: Sequence[tuple[float, ...]], wanted: Sequence[float]) -> int | None:
    for index, resolution in enumerate(resolutions):
        if len(wanted) == 3 and np.allclose(resolution, np.asarray(wanted, float)):
            return index
    return None


def _integers(values: Sequence[Any]) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return (x, y, z)


def _numbers(values: Sequence[Any]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return (x, y, z)
