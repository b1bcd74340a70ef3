"""Files that were cut off or changed: an error of ours that names the file, or what was written."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError, FormatError, StorageError
from bioimage_py.io.formats import array_keys_of
from bioimage_py.sources import SourceSpec, from_spec, open_source

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")
z5py = pytest.importorskip("z5py")
zarr = pytest.importorskip("zarr")

SHAPE, CHUNKS = (4, 20, 24), (2, 10, 12)
HUGE = 1 << 26


def data() -> np.ndarray:
    return np.random.default_rng(5).integers(1, 400, SHAPE).astype("u2")


def by_zarr(version: int, **kwargs: Any) -> Callable[[str], None]:
    def write(path: str) -> None:
        group = zarr.open_group(path, mode="w", zarr_format=version)
        group.create_array("raw", shape=SHAPE, chunks=CHUNKS, dtype="u2", **kwargs)[...] = data()

    return write


def by_z5py(path: str) -> None:
    with z5py.File(path, "w") as file:
        file.create_dataset("raw", data=data(), chunks=CHUNKS, compression="gzip")


def by_h5py(**kwargs: Any) -> Callable[[str], None]:
    def write(path: str) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", data=data(), **kwargs)

    return write


def by_tifffile(**kwargs: Any) -> Callable[[str], None]:
    return lambda path: tifffile.imwrite(path, data(), photometric="minisblack", **kwargs)


def page_by_page(path: str) -> None:
    for plane in data():
        tifffile.imwrite(path, plane, append=True, metadata=None, compression="zlib")


WRITERS: dict[str, tuple[str, Callable[[str], None]]] = {
    "zarr 2": ("a.zarr", by_zarr(2)),
    "zarr 3": ("a.zarr", by_zarr(3)),
    "zarr 3, shards": ("a.zarr", by_zarr(3, shards=(4, 20, 12))),
    "n5": ("a.n5", by_z5py),
    "HDF5": ("a.h5", by_h5py()),
    "HDF5, chunks": ("a.h5", by_h5py(chunks=CHUNKS, compression="gzip", shuffle=True)),
    "tif": ("a.tif", by_tifffile()),
    "tif, zlib": ("a.tif", by_tifffile(compression="zlib", predictor=True)),
    "tif, tiles": ("a.tif", by_tifffile(tile=(16, 16))),
    "tif, page by page": ("a.tif", page_by_page),
    "ImageJ": ("a.tif", by_tifffile(imagej=True)),
    "OME-TIFF": ("a.ome.tif", by_tifffile(compression="zlib", metadata={"axes": "ZYX"})),
}


def files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def damaged(content: bytes, rng: random.Random, how: str) -> bytes:
    if how == "cut":
        return content[: rng.randrange(len(content))]
    found = bytearray(content)
    for _ in range(rng.choice((1, 4))):
        found[rng.randrange(min(len(found), 400) if how == "head" else len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


@pytest.mark.parametrize("writer", WRITERS)
def test_damaged_files(tmp_path: Path, writer: str) -> None:
    """A file that is cut off never reads as something else, and no error is another library's."""
    name, write = WRITERS[writer]
    (tmp_path / "whole").mkdir()
    write(str(tmp_path / "whole" / name))
    failed = 0
    for seed in range(40):
        rng = random.Random(seed)
        copied = tmp_path / f"{seed}" / name
        shutil.copytree(tmp_path / "whole", copied.parent)
        files = files_of(copied)
        metadata = [file for file in files if file.suffix == ".json" or file.name.startswith(".z")]
        file = rng.choice(metadata if metadata and seed % 2 else files)
        how = ("cut", "head", "anywhere")[seed % 3]
        file.write_bytes(damaged(file.read_bytes(), rng, how))
        found, error = read(copied, None if "tif" in name else "raw")
        if error is None:
            assert how != "cut" or np.array_equal(found, data()), (seed, file)
            continue
        failed += 1
        assert str(copied) in str(error), (seed, str(error))
        assert error.remedy, (seed, str(error))
        assert file not in metadata or "delete" not in error.remedy, (seed, str(error))
    assert failed > 8


def read(path: Path, key: str | None) -> tuple[Any, BioimageError | None]:
    """Return what is read, or the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_source(path, key) as source:
                return source[...] if source.nbytes < HUGE else None, None
    except BioimageError as error:
        return None, error


@pytest.mark.parametrize(("count", "back"), [(1, 0), (6, 2), (130, 110)])
def test_pages_that_lead_back_to_one_another(count: int, back: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in range(count):
            writer.write(np.full((8, 8), number, "u1"), photometric="minisblack", metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as file:
        places = [page.offset for page in file.pages]
    content = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", content, places[-1])
    struct.pack_into("<I", content, places[-1] + 2 + 12 * tags, places[back])
    path.write_bytes(content)
    for call in (open_source, iio.imread, iio.improps, array_keys_of):
        with pytest.raises(FormatError, match=f"list of {count} pages .* has no end"):
            call(str(path))


def test_damaged_metadata_are_not_a_missing_array(tmp_path: Path) -> None:
    """Whoever opens it: by path, as a worker does, or as a level."""
    by_zarr(3)(str(tmp_path / "a.zarr"))
    by_z5py(str(tmp_path / "a.n5"))
    for name, document in (("a.zarr", "zarr.json"), ("a.n5", "attributes.json")):
        spec = SourceSpec("zarr", str(tmp_path / name), "raw")
        whole = (tmp_path / name / "raw" / document).read_text()
        for content in ("", whole[:-3], "[1]"):
            (tmp_path / name / "raw" / document).write_text(content)
            for opened in (lambda: open_source(tmp_path / name, "raw"), lambda: from_spec(spec)):  # noqa: B023
                with pytest.raises(FormatError, match=rf"raw/{document} is damaged: .*{len(content)} bytes"):
                    opened()
        (tmp_path / name / "raw" / document).write_text(whole.replace("uint16", "uint17"))
        with pytest.raises(FormatError, match="no library here can read"):
            open_source(tmp_path / name, "raw")


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_of_the_newer_versions_that_was_left_open_says_how_it_opens_again(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a b.h5"
    code = (
        "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f['raw'] = [1]; f.flush(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    with pytest.raises(StorageError, match="as after a kill") as error:
        open_source(path, "raw", mode=mode)
    assert f"h5clear -s '{path}'" in error.value.remedy


def test_labels_are_read_without_functions_that_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the library follow pointers that a damaged attribute does not have."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        labelled = file.create_dataset("labelled", data=np.zeros((2, 3, 4)))
        for number, name in enumerate("zyx"):
            labelled.dims[number].label = name
        scaled = file.create_dataset("scaled", data=np.zeros((2, 3)))
        for number, name in enumerate(("time", "lat")):
            scale = file.create_dataset(name, data=np.arange(scaled.shape[number]))
            scale.make_scale(name)
            scaled.dims[number].attach_scale(scale)
    for name in ("get_label", "get_num_scales", "iterate"):
        monkeypatch.setattr(f"h5py._hl.dims.h5ds.{name}", None, raising=False)
    for key, names in (("labelled", ["z", "y", "x"]), ("scaled", ["time", "lat"])):
        with open_source(tmp_path / "a.h5", key) as source:
            assert [axis.name for axis in source.axes] == names
