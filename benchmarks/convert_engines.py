"""One conversion of a stack of tif to OME-Zarr; run by `convert.py` in a process of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import numpy as np
import tifffile
import zarr

CHUNKS = (64, 64, 64)


def codec() -> Any:
    """The codec of all."""
    return zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")


def ours(path: str, output: str, levels: int) -> Callable[[], Any]:
    import bioimage_py as bp
    from bioimage_py.workflows import convert

    how = bp.Execution(num_workers=len(os.sched_getaffinity(0)), progress=False)
    more = {"chunks": CHUNKS, "compression": codec(), "axes": "zyx", "execution": how}
    return lambda: convert(bp.open_source(path), output, pyramid=levels > 1, **more)


def imwrite(path: str, output: str, levels: int) -> Callable[[], Any]:
    import bioimage_py.io.v3 as iio
    from bioimage_py.sources import open_source

    how = {"pyramid": levels - 1, "chunks": CHUNKS, "compression": codec(), "axes": "zyx"}
    return lambda: iio.imwrite(output, open_source(path), **how)


def _by_hand(read: Callable[[str], Any], output: str, levels: int) -> Any:
    """What one writes oneself: mean of 2 x 2 x 2 voxels, level by level."""
    finer = read(output)
    group = zarr.open_group(output, mode="w", zarr_format=3)
    for level in range(levels):
        if level:
            z, y, x = (size // 2 for size in finer.shape)
            blocks = finer[: 2 * z, : 2 * y, : 2 * x].reshape(z, 2, y, 2, x, 2)
            finer = (blocks.mean(axis=(1, 3, 5)) + 0.5).astype(finer.dtype)
        array = group.create_array(str(level), shape=finer.shape, chunks=CHUNKS, dtype=finer.dtype, compressors=codec())
        array[...] = finer
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    datasets = [
        {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": [float(2**level)] * 3}]}
        for level in range(levels)
    ]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def tifffile_zarr(path: str, output: str, levels: int) -> Callable[[], Any]:
    return lambda: _by_hand(lambda _: tifffile.imread(path), output, levels)


def imageio_zarr(path: str, output: str, levels: int) -> Callable[[], Any]:
    import imageio.v3 as iio

    return lambda: _by_hand(lambda _: iio.imread(path), output, levels)


def bioio(path: str, output: str, levels: int) -> Callable[[], Any]:
    import bioio_tifffile
    from bioio import BioImage
    from bioio_ome_zarr.writers import OMEZarrWriter

    def convert() -> None:
        image = BioImage(path, reader=bioio_tifffile.Reader)
        data = image.get_image_dask_data("ZYX")
        shapes = [tuple(-(-size // 2**level) for size in data.shape) for level in range(levels)]
        axes = {"axes_names": ["z", "y", "x"], "axes_types": ["space"] * 3}
        writer = OMEZarrWriter(output, shapes, data.dtype, chunk_shape=CHUNKS, compressor=codec(), **axes)
        writer.write_full_volume(data)

    return convert


def ngff_zarr(path: str, output: str, levels: int) -> Callable[[], Any]:
    import ngff_zarr as nz

    def convert() -> None:
        image = nz.to_ngff_image(tifffile.imread(path), dims=["z", "y", "x"])
        factors = [2**level for level in range(1, levels)]
        scales = nz.to_multiscales(image, factors, method=nz.Methods.DASK_BIN_SHRINK, chunks=CHUNKS[0])
        nz.to_ngff_zarr(output, scales, version="0.5", compressors=codec())

    return convert


ENGINES = {
    "ours": (ours, ("bioimage-blocks", "tensorstore")),
    "ours, imwrite": (imwrite, ("bioimage-blocks", "tensorstore")),
    "tifffile+zarr": (tifffile_zarr, ("tifffile", "zarr")),
    "imageio+zarr": (imageio_zarr, ("imageio", "zarr")),
    "bioio": (bioio, ("bioio", "bioio-ome-zarr")),
    "ngff-zarr": (ngff_zarr, ("ngff-zarr", "zarr")),
}


def _version(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return name


def main() -> None:
    """Run."""
    engine, path, output, levels = sys.argv[1:]
    make, packages = ENGINES[engine]
    with tempfile.TemporaryDirectory() as folder:  # what is imported on first use is imported before the clock
        tifffile.imwrite(f"{folder}/in.tif", np.zeros((66, 66, 66), "u2"), photometric="minisblack")
        make(f"{folder}/in.tif", f"{folder}/out.ome.zarr", int(levels))()
    convert = make(path, output, int(levels))
    begun, used = perf_counter(), process_time()
    convert()
    told = {"seconds": perf_counter() - begun, "processor": process_time() - used}
    print(json.dumps({**told, "packages": ", ".join(map(_version, packages))}))


if __name__ == "__main__":
    main()
