"""An input that is written again between two calls is noticed, whatever it is stored in, and one that is not, isn't."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

import bioimage_py as bp
from bioimage_py.errors import ResumeConflict, RunnerError
from bioimage_py.io import create_array
from bioimage_py.runner.identity.definition import definition_of
from bioimage_py.runner.identity.fingerprints import fingerprints
from bioimage_py.runner.planning.build import Where, blocks_stage
from bioimage_py.sources import Source, as_source, open_source, registry
from bioimage_py.sources.precomputed.tensorstore_source import open_tensorstore_precomputed
from bioimage_py.wrapper import ConcatenateSource, RoiSource, StackSource

SHAPE, UNIT = (64, 8, 8), (8, 8, 8)
Case = tuple[Callable[[], Any], Callable[[int], None]]
"""Opens the input, and writes a part of it again: voxels, all of one value, where only some files change."""


def told(source: Any) -> dict[str, str]:
    """What a run notes of an input."""
    stages = (blocks_stage(lambda b, i, o, m: None, [source], where=Where(source.shape)),)
    prints = {f"fingerprint of {key}": value for key, value in fingerprints(stages).items()}
    return {**prints, **definition_of(stages, version="1")}


def chunked(name: str, key: str = "", **how: Any) -> Callable[[Path], Case]:
    def make(folder: Path) -> Case:
        create_array(folder / name, key, shape=SHAPE, dtype="u2", chunks=UNIT, **how)

        def write(value: int) -> None:
            with open_source(folder / name, key, mode="r+") as array:
                array[32:] = value

        write(1)
        return lambda: open_source(folder / name, key), write

    return make


def zarr_v2(folder: Path) -> Case:
    made = zarr.create_array(folder / "a.zarr", shape=SHAPE, dtype="u2", chunks=UNIT, zarr_format=2)
    made[:] = 1
    return lambda: open_source(folder / "a.zarr"), lambda value: made.__setitem__(slice(32, None), value)


def zarr_object(folder: Path) -> Case:
    _, write = chunked("a.zarr", "k")(folder)
    return lambda: as_source(zarr.open_array(folder / "a.zarr", path="k", mode="r")), write


def tensorstore_view(folder: Path) -> Case:
    import tensorstore

    made = zarr.create_array(folder / "a.zarr", shape=SHAPE, dtype="u2", chunks=UNIT, zarr_format=2)
    made[:] = 1
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{folder}/a.zarr/"}}
    return lambda: as_source(tensorstore.open(spec).result()[:, 1:7]), lambda v: made.__setitem__(slice(32, None), v)


def virtual_hdf5(folder: Path) -> Case:
    def write(value: int) -> None:
        with h5py.File(folder / "part.h5", "a") as file:
            file.require_dataset("raw", SHAPE, "u2")[32:] = value

    write(1)
    layout = h5py.VirtualLayout(SHAPE, "u2")
    layout[...] = h5py.VirtualSource("part.h5", "raw", SHAPE)
    with h5py.File(folder / "whole.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    return lambda: open_source(folder / "whole.h5", "raw"), write


def linked_hdf5(folder: Path) -> Case:
    _, write = virtual_hdf5(folder)
    with h5py.File(folder / "link.h5", "w") as file:
        file["raw"] = h5py.ExternalLink("part.h5", "raw")
    return lambda: open_source(folder / "link.h5", "raw"), write


def external_hdf5(folder: Path) -> Case:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", SHAPE, "u2", external=[(str(folder / "raw.bin"), 0, h5py.h5f.UNLIMITED)])

    def write(value: int) -> None:
        np.full(SHAPE, value, "u2").tofile(folder / "raw.bin")

    write(1)
    return lambda: open_source(folder / "a.h5", "raw"), write


def slices(folder: Path) -> Case:
    (folder / "t").mkdir()

    def write(value: int, begin: int = 32) -> None:
        for number in range(begin, SHAPE[0]):
            tifffile.imwrite(folder / "t" / f"{number:03}.tif", np.full(SHAPE[1:], value, "u2"))

    write(1, 0)
    return lambda: open_source(folder / "t"), write


def tif_file(**how: Any) -> Callable[[Path], Case]:
    def make(folder: Path) -> Case:
        def write(value: int) -> None:
            data = np.ones(SHAPE, "u2")
            data[32:] = value
            tifffile.imwrite(folder / "a.tif", data, **how)

        write(1)
        return lambda: open_source(folder / "a.tif"), write

    return make


def archive(folder: Path) -> Case:
    def write(value: int) -> None:
        with zarr.storage.ZipStore(folder / "a.zarr.zip", mode="w") as store:
            zarr.create_array(store, shape=SHAPE, dtype="u2", chunks=UNIT)[:] = value

    write(1)
    return lambda: open_source(folder / "a.zarr.zip"), write


def precomputed(**how: Any) -> Callable[[Path], Case]:
    def make(folder: Path) -> Case:
        layers = pytest.importorskip("tests.sources.precomputed.precomputed_layers", reason="needs cloud-volume")
        url = f"file://{folder}/layer"
        if how.pop("sharded", False):
            layers.by_tensorstore(folder / "layer", np.ones(SHAPE, "u2"), sharding=layers.SHARDING)
        else:
            layers.new_layer(folder / "layer", np.ones(SHAPE, "u2"), chunk=UNIT)

        def write(value: int) -> None:
            bp.open_cloudvolume(url, mode="r+")[32:] = value

        return lambda: bp.open_cloudvolume(url, **how), write

    return make


def by_tensorstore(folder: Path) -> Case:
    _, write = precomputed()(folder)
    return lambda: open_tensorstore_precomputed(f"file://{folder}/layer"), write


def webknossos(data_format: str) -> Callable[[Path], Case]:
    def make(folder: Path) -> Case:
        data = pytest.importorskip("tests.sources.webknossos.webknossos_data", reason="needs webknossos")
        kind = {"dtype": "uint16", "topleft": (0, 0, 0), "size": SHAPE[::-1]}
        layer = data.add_layer(data.wk.Dataset(folder / "w", voxel_size=data.VOXEL), "s", data_format, **kind)
        data.add_mag(layer, 1, chunk=8, shard=8)

        def write(value: int) -> None:
            bp.open_webknossos(folder / "w", layer_name="s", mag=1, mode="r+")[32:] = value

        write(1)
        return lambda: bp.open_webknossos(folder / "w", layer_name="s", mag=1), write

    return make


def dicom(folder: Path) -> Case:
    pytest.importorskip("pydicom", reason="needs pydicom")
    from bioimage_py.io.image_files.dicom.series import read_series
    from tests.projects.test_importing import write_slice

    def write(value: int, begin: int = 32) -> None:
        for number in range(begin, SHAPE[0]):
            write_slice(folder / "d" / f"{number}.dcm", np.full(SHAPE[1:], value, "i2"), number)

    write(1, 0)
    return lambda: next(iter(read_series(folder / "d", []))).source, write


def memory_map(folder: Path) -> Case:
    def write(value: int) -> None:
        np.full(SHAPE, value, "u2").tofile(folder / "raw.bin")

    write(1)
    return lambda: as_source(np.memmap(folder / "raw.bin", "u2", "r", shape=SHAPE)), write


def in_memory(folder: Path) -> Case:
    array = np.ones(SHAPE, "u2")
    return lambda: as_source(array), lambda value: array.__setitem__(slice(32, None), value)


def wrapped(wrap: Callable[[Any, Any], Source]) -> Callable[[Path], Case]:
    """A source made of one that stays and one that is written again."""

    def make(folder: Path) -> Case:
        (folder / "stays").mkdir()
        first, _ = chunked("a.zarr")(folder / "stays")
        second, write = slices(folder)
        return lambda: wrap(first(), second()), write

    return make


KINDS: dict[str, Callable[[Path], Case]] = {
    "zarr v2": zarr_v2,
    "zarr v3": chunked("a.zarr", "deep/er"),
    "zarr sharded": chunked("a.zarr", shards=UNIT),
    "zarr object": zarr_object,
    "zarr archive": archive,
    "n5": chunked("a.n5", "raw"),
    "tensorstore": tensorstore_view,
    "hdf5": chunked("a.h5", "raw"),
    "hdf5 virtual": virtual_hdf5,
    "hdf5 linked": linked_hdf5,
    "hdf5 external": external_hdf5,
    "tif": tif_file(),
    "tif compressed": tif_file(compression="zlib"),
    "tif slices": slices,
    "cloudvolume": precomputed(),
    "cloudvolume sharded": precomputed(sharded=True),
    "cloudvolume library": precomputed(cache=True),
    "tensorstore precomputed": by_tensorstore,
    "webknossos wkw": webknossos("wkw"),
    "webknossos zarr": webknossos("zarr3"),
    "dicom": dicom,
    "memory map": memory_map,
    "in memory": in_memory,
    "stack": wrapped(lambda a, b: StackSource(a, b)),
    "concatenated": wrapped(lambda a, b: ConcatenateSource(a, b)),
    "region": wrapped(lambda a, b: RoiSource(b, (slice(48, 64),))),
    "stack of regions": wrapped(lambda a, b: StackSource(RoiSource(a, (slice(0, 9),)), RoiSource(b, (slice(50, 59),)))),
}
WITHOUT = {"neurites": "computed from what its spec says"}
"""Kinds of spec that have no fingerprint, and why they need none."""


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_that_is_written_again_is_noticed(kind: str, tmp_path: Path) -> None:
    opened, write = KINDS[kind](tmp_path)
    before = told(opened())
    assert told(opened()) == before
    write(2)
    assert told(opened()) != before


@pytest.mark.parametrize("kind", ["zarr v3", "tif slices", "cloudvolume", "dicom"])
def test_what_is_written_outside_of_the_region_is_not_looked_at(kind: str, tmp_path: Path) -> None:
    opened, write = KINDS[kind](tmp_path)
    before = told(RoiSource(opened(), (slice(0, 16),)))
    write(2)
    assert told(RoiSource(opened(), (slice(0, 16),))) == before


@pytest.mark.slow
def test_every_registered_kind_has_a_fingerprint_or_needs_none(tmp_path: Path) -> None:
    kinds: set[str] = set()

    def note(spec: Any) -> None:
        kinds.add(spec.kind)
        if spec.wrapped is not None:
            note(spec.wrapped)

    rows = (
        "zarr v2",
        "zarr object",
        "tensorstore",
        "cloudvolume",
        "tensorstore precomputed",
        "webknossos wkw",
        "dicom",
    )
    for kind in (*rows, "region"):
        (tmp_path / kind).mkdir()
        note(KINDS[kind](tmp_path / kind)[0]().to_spec())
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = np.ones(4)
        note(as_source(file["a"]).to_spec())
        assert any(told(as_source(file["a"])))
    note(as_source(zarr.create_array(tmp_path / "x.zarr", shape=(4,), dtype="u1")).to_spec())
    kinds |= {"run array", "output folder", "project draft", "project version"}  # nobody else can have written it
    kinds |= {"z5py"}  # opened as the kind "zarr" is
    known = registry._kinds.items()
    own = {kind for kind, reopen in known if "bioimage_py" in str(getattr(reopen, "__module__", reopen))}
    assert own <= kinds | set(WITHOUT), "a new kind says where its voxels lie (Source.stored_in), and has a row here"


def test_an_object_in_a_bucket_that_is_written_again(s3: str) -> None:
    array = create_array(f"{s3}/a.zarr", "", shape=SHAPE, dtype="u2", chunks=UNIT)
    array[...] = 1
    before = told(open_source(f"{s3}/a.zarr"))
    assert told(open_source(f"{s3}/a.zarr")) == before
    array[32:] = 2
    assert told(open_source(f"{s3}/a.zarr")) != before


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL of a web server over it that tells times."""
    (tmp_path / "web").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "web", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_page_that_is_written_again(pages: tuple[Path, str]) -> None:
    folder, url = pages
    zarr_v2(folder)
    before = told(open_source(f"{url}/a.zarr"))
    assert told(open_source(f"{url}/a.zarr")) == before
    os.utime(folder / "a.zarr" / "7.0.0", (1e9, 1e9))
    assert told(open_source(f"{url}/a.zarr")) != before


class Fails:
    """Copies, but for one block while a file is there."""

    def __init__(self, flag: Path) -> None:
        self.flag = str(flag)

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == 5 and os.path.exists(self.flag):
            raise OSError("bad today")
        outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)]


@pytest.mark.parametrize("kind", ["tif slices", "zarr archive", "concatenated"])
@pytest.mark.parametrize("changed", [True, False])
def test_a_call_with_such_an_input_is_a_conflict(changed: bool, kind: str, tmp_path: Path) -> None:
    opened, write = KINDS[kind](tmp_path)
    output = create_array(tmp_path / "out.zarr", "", shape=opened().shape, dtype="u2", chunks=UNIT)
    call: dict[str, Any] = {"block_shape": UNIT, "progress": False, "retries": 0}
    (tmp_path / "flag").touch()
    with pytest.raises(RunnerError):
        bp.map_blocks(Fails(tmp_path / "flag"), [opened()], [output], **call)
    (tmp_path / "flag").unlink()
    if changed:
        write(2)
        with pytest.raises(ResumeConflict, match="fingerprint of"):
            bp.map_blocks(Fails(tmp_path / "flag"), [opened()], [output], **call)
    else:
        bp.map_blocks(Fails(tmp_path / "flag"), [opened()], [output], **call)
        np.testing.assert_array_equal(output[...], opened()[...])
