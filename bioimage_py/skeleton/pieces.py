"""A skeleton of a block as bytes, and the skeletons of an object's blocks as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Skeleton:
    """Lines in the voxels of the volume.

    Parameters
    ----------
    vertices : ndarray of int64, shape (n, 3)
        Voxels, in the order of the array's axes.
    edges : ndarray of int64, shape (m, 2)
    radii : ndarray of float32, shape (n,)
        Distance to the border of the object, in the unit of the data.
    """

    vertices: Array
    edges: Array
    radii: Array

    def to_bytes(self) -> bytes:
        """Itself as bytes."""
        head = np.array([len(self.vertices), len(self.edges)], "<i8").tobytes()
        return head + b"".join(
            part.astype(kind).tobytes()
            for part, kind in ((self.vertices, "<i8"), (self.edges, "<i8"), (self.radii, "<f4"))
        )

    @classmethod
    def of(cls, data: bytes | memoryview) -> Skeleton:
        """What `to_bytes` made bytes of."""
        n, m = np.frombuffer(data, "<i8", 2).tolist()
        vertices = np.frombuffer(data, "<i8", 3 * n, 16).reshape(-1, 3)
        edges = np.frombuffer(data, "<i8", 2 * m, 16 + 24 * n).reshape(-1, 2)
        return cls(vertices, edges, np.frombuffer(data, "<f4", n, 16 + 24 * n + 16 * m))


def joined(parts: Iterable[Skeleton]) -> Skeleton:
    """Skeletons of neighbouring blocks as one: a voxel that several have is one vertex."""
    from bioimage_cpp.skeleton.distributed import merge_block_skeletons

    fragments = [(part.vertices.astype(np.int64), part.edges.astype(np.uint64), part.radii) for part in parts]
    vertices, edges, radii = merge_block_skeletons(fragments)
    return Skeleton(vertices, edges.astype(np.int64), radii)
