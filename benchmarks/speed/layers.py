"""Inputs as precomputed layers, and results read from them; arrays are (z, y, x), layers (x, y, z)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from bioimage_py.bench import data

NAMES = {
    "raw": "image",
    "binary": "segmentation",
    "labels": "segmentation",
    "objects": "segmentation",
    "walls": "image",
}
"""What igneous has works for."""


def make(folder: Path) -> None:
    """Write the inputs that are in a folder as NAME.layer, with their chunks, zstd."""
    import zarr
    from cloudvolume import CloudVolume

    for name, kind in NAMES.items():
        path, source = folder / f"{name}.layer", folder / f"{name}.zarr"
        if path.exists() or not source.exists():
            continue
        array = zarr.open_array(str(source), mode="r")
        part = path.with_name(f"{path.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        info = CloudVolume.create_new_info(
            num_channels=1,
            layer_type=kind,
            data_type=str(array.dtype),
            encoding="raw",
            resolution=(1, 1, 1),
            voxel_offset=(0, 0, 0),
            volume_size=array.shape[::-1],
            chunk_size=array.chunks[::-1],
        )
        layer = CloudVolume(f"file://{part}", info=info, compress="zstd", progress=False)
        layer.commit_info()
        for slab in data.slabs(array.shape):
            layer[:, :, slab] = np.ascontiguousarray(array[slab].T[..., np.newaxis])
        part.rename(path)


class Layer:
    """A level of a layer, by default the last, indexed like an array in C order."""

    def __init__(self, path: Path, mip: int | None) -> None:
        from cloudvolume import CloudVolume

        self.volume = CloudVolume(f"file://{path}", progress=False, fill_missing=True)
        self.volume.mip = self.volume.available_mips[-1] if mip is None else mip
        self.shape = tuple(int(size) for size in self.volume.shape[2::-1])

    def __getitem__(self, region: slice | tuple[slice, ...]) -> np.ndarray:
        parts = region if isinstance(region, tuple) else (region,)
        parts += (slice(None),) * (3 - len(parts))
        return np.asarray(self.volume[parts[::-1]])[..., 0].T
