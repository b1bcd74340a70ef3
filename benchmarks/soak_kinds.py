"""Every writable kind of storage: how an array of it is made and opened, by the rows of the table in docs/runs.md."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import zarr

import bioimage_py as bp
from bioimage_py.io import create_array
from bioimage_py.sources import Source, as_source, open_source
from bioimage_py.system import faults
from bioimage_py.wrapper import RoiSource

CHUNK = 16
SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "hash": "identity",
    "preshift_bits": 3,
    "minishard_bits": 0,
    "shard_bits": 6,
    "minishard_index_encoding": "raw",
    "data_encoding": "raw",
}


@dataclass(frozen=True)
class Kind:
    """How an array of uint16 in chunks of 16 is made at a path and opened for writing.

    ``in_place`` says whether a call that changes it in place can be killed and repeated.
    """

    make: Callable[[Path, tuple[int, ...]], object]
    open: Callable[[Path], Any]
    in_place: bool = True


def make_zarr(path: Path, shape: tuple[int, ...], **more: Any) -> object:
    chunks = (CHUNK,) * len(shape)
    return zarr.create_array(path, **{"shape": shape, "dtype": "u2", "chunks": chunks, "fill_value": 0, **more})


def make_filtered(path: Path, shape: tuple[int, ...]) -> object:
    """With a filter that tensorstore does not know."""
    import numcodecs

    return make_zarr(path, shape, zarr_format=2, filters=[numcodecs.Delta("u2")])


def make_hdf5(path: Path, shape: tuple[int, ...]) -> None:
    create_array(path, "group/voxels", shape=shape, dtype="u2", chunks=(CHUNK,) * 3, format="hdf5").close()
    with create_array(path, "other", shape=shape, dtype="u2", format="hdf5") as other:
        other[...] = 9


def open_handle(path: Path) -> Any:
    import h5py

    return h5py.File(path, "r+")["group/voxels"]


def make_precomputed(path: Path, shape: tuple[int, ...], **scale: Any) -> None:
    entry = {
        "key": "s0",
        "size": list(shape[::-1]),
        "resolution": [4, 4, 40],
        "voxel_offset": [0, 0, 0],
        "chunk_sizes": [[CHUNK] * 3],
        "encoding": "raw",
        **scale,
    }
    about = {"type": "image", "data_type": "uint16", "num_channels": 1, "scales": [entry]}
    path.mkdir()
    (path / "info").write_text(json.dumps({"@type": "neuroglancer_multiscale_volume", **about}))


def open_layer(path: Path, **more: Any) -> Any:
    from bioimage_py.sources import open_cloudvolume

    return open_cloudvolume(f"file://{path}", fill_missing=True, mode="r+", **more)


def open_precomputed(path: Path) -> Any:
    from bioimage_py.sources.precomputed.tensorstore_source import open_tensorstore_precomputed

    return open_tensorstore_precomputed(path, "r+")


def make_webknossos(path: Path, shape: tuple[int, ...], data_format: str) -> None:
    import webknossos

    dataset = webknossos.Dataset(path, voxel_size=(4, 4, 40))
    box = webknossos.BoundingBox((0, 0, 0), shape[::-1])
    layer = dataset.add_layer("raw", "color", data_format=data_format, bounding_box=box, dtype="uint16")
    layer.add_mag(1, chunk_shape=CHUNK, shard_shape=2 * CHUNK, compress=True)


def open_webknossos(path: Path) -> Any:
    from bioimage_py.sources import open_webknossos

    return open_webknossos(path, layer_name="raw", mode="r+")


def open_tensorstore(path: Path) -> Any:
    """A view, which is written through the handle itself."""
    import tensorstore

    opened = tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}).result()
    return opened.translate_by[100, 0, 0]


def open_z5py(path: Path) -> Any:
    import z5py

    return z5py.File(str(path), "r+")["voxels"]


def open_path(key: str = "", format: str | None = None) -> Callable[[Path], Any]:
    return lambda path: open_source(path, key, format, mode="r+")


def make_n5(path: Path, shape: tuple[int, ...]) -> None:
    create_array(path, "voxels", shape=shape, dtype="u2", chunks=(CHUNK,) * 3, format="n5").close()


def make_bucket(path: Path, shape: tuple[int, ...]) -> None:
    create_array(bucket(path), "", shape=shape, dtype="u2", chunks=(CHUNK,) * 3, format="zarr").close()


def bucket(path: Path) -> str:
    """Where in the bucket of ``$SOAK_BUCKET`` what stands for a path lies."""
    return f"{os.environ['SOAK_BUCKET']}/{path.parent.name}-{path.name}"


KINDS = {
    "zarr version 2": Kind(lambda path, shape: make_zarr(path, shape, zarr_format=2), open_path(format="zarr")),
    "zarr version 3": Kind(make_zarr, open_path(format="zarr")),
    "zarr in shards": Kind(lambda path, shape: make_zarr(path, shape, shards=(2 * CHUNK,) * 3), zarr.open_array),
    "zarr with filters of zarr-python": Kind(make_filtered, zarr.open_array, in_place=False),
    "n5": Kind(make_n5, open_path("voxels", "n5")),
    "dataset of z5py": Kind(make_n5, open_z5py),
    "HDF5": Kind(make_hdf5, open_path("group/voxels", "hdf5")),
    "dataset of h5py": Kind(make_hdf5, open_handle),
    "handle of tensorstore": Kind(make_zarr, open_tensorstore, in_place=False),
    "precomputed": Kind(make_precomputed, open_layer),
    "precomputed, `open_tensorstore_precomputed`": Kind(make_precomputed, open_precomputed),
    "precomputed, `open_source`": Kind(make_precomputed, open_path(format="precomputed")),
    "precomputed in shards": Kind(
        lambda path, shape: make_precomputed(path, shape, sharding=SHARDING), open_layer, in_place=False
    ),
    "precomputed through cloud-volume": Kind(
        make_precomputed, lambda path: open_layer(path, autocrop=False), in_place=False
    ),
    "WebKnossos wkw": Kind(lambda path, shape: make_webknossos(path, shape, "wkw"), open_webknossos),
    "WebKnossos zarr": Kind(lambda path, shape: make_webknossos(path, shape, "zarr3"), open_webknossos),
    "WebKnossos, `open_source`": Kind(
        lambda path, shape: make_webknossos(path, shape, "zarr3"), open_path("raw", "webknossos")
    ),
    "views of these": Kind(
        lambda path, shape: make_zarr(path, (shape[0] + CHUNK, *shape[1:])),
        lambda path: RoiSource(open_source(path, "", "zarr", mode="r+"), slice(CHUNK, None)),
    ),
    "zarr in S3, Google Cloud Storage": Kind(
        make_bucket, lambda path: open_source(bucket(path), "", "zarr", mode="r+")
    ),
}
"""By the first column of the table."""


def opened(kind: str, path: Path) -> Source:
    """An array of a kind as a source."""
    return as_source(KINDS[kind].open(path))


def run(kind: str, job: str, image: Any, path: Path, **how: Any) -> None:
    """One job: ``copy`` writes the image, ``add`` adds 7 in place: done twice, it shows."""
    output = opened(kind, path)
    bp.copy(image, output, **how) if job == "copy" else bp.operations.add(output, 7, output, **how)


@functools.cache
def forking() -> Any:
    """A context of processes that are forked from one that has imported this module and runs no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before]))
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context


def end_killed(kind: str, job: str, folder: Path, environment: dict[str, str], fault: str = "", **how: Any) -> None:
    """Run a job, of one worker by default, and kill the process when the call has returned, or at a fault point before.

    What is there then is all that was done by then. To be called in a process of its own; what it raises is in the
    file "said".
    """
    os.environ.update(environment)
    faults._ARMED = fault
    try:
        image = zarr.open_array(folder / "image.zarr", mode="r")
        how = {"block_shape": CHUNK, "job_type": "local", "num_workers": 1, "progress": False, **how}
        (folder / "began").touch()
        run(kind, job, image, folder / "array", **how)
    except BaseException:
        (folder / "said").write_text(traceback.format_exc())
        raise
    os.kill(os.getpid(), signal.SIGKILL)
