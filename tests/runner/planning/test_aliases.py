"""An output that is an input by another way is refused before the first block; one that only lies near it is not."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import AliasError
from bioimage_py.io import create_array
from bioimage_py.runner.planning.checks import check_aliases
from bioimage_py.sources import as_source, open_source
from bioimage_py.sources.sharing import of_memory
from bioimage_py.wrapper import ConcatenateSource, RoiSource, StackSource

# shared memory cannot be closed while arrays that outlive a test show it
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SHAPE, UNIT = (16, 8), (4, 8)
Pair = Callable[[Path], tuple[Any, Any]]


def raw(path: Path) -> Path:
    np.zeros((2, *SHAPE), "u2").tofile(path)
    return path


def mapped(path: Path, offset: int = 0, mode: Any = "r+", shape: tuple[int, ...] = SHAPE) -> np.memmap:
    return np.memmap(path, "u2", mode, offset, shape)


def stored(path: Path, key: str = "") -> Any:
    return create_array(path, key, shape=SHAPE, dtype="u2", chunks=UNIT)


def linked(path: Path, target: Path, hard: bool = False) -> Path:
    (os.link if hard else os.symlink)(target, path)
    return path


def h5(path: Path) -> h5py.File:
    file = h5py.File(path, "a")
    for key in ("a", "b"):
        file.create_dataset(key, SHAPE, "u2", chunks=UNIT)
    file["soft"] = h5py.SoftLink("/a")
    file["hard"] = file["a"]
    return file


def shared() -> SharedMemory:
    KEPT.append(SharedMemory(create=True, size=4096))
    return KEPT[-1]


KEPT: list[SharedMemory] = []


@pytest.fixture(autouse=True)
def unlinked() -> Any:
    yield
    while KEPT:
        KEPT.pop().unlink()


def memory(handle: SharedMemory, offset: int = 0) -> np.ndarray:
    return np.frombuffer(handle.buf, "u2", 128, offset).reshape(SHAPE)


def buffers(_: Path) -> tuple[Any, Any]:
    whole = bytearray(256)
    return np.frombuffer(whole, "u2").reshape(SHAPE), np.frombuffer(whole, "u2").reshape(SHAPE)[::-1]


def two_handles(_: Path) -> tuple[Any, Any]:
    first = shared()
    return memory(first), memory(SharedMemory(first.name))


def two_maps(folder: Path) -> tuple[Any, Any]:
    path, found = raw(folder / "a"), []
    for _ in range(2):
        with open(path, "r+b") as file:
            found.append(np.frombuffer(mmap.mmap(file.fileno(), 0), "u2", 128).reshape(SHAPE))
    return found[0], found[1]


def chunk_folder(folder: Path) -> tuple[Any, Any]:
    first, second = stored(folder / "a.zarr"), stored(folder / "b.zarr")
    first[...] = 1
    (folder / "b.zarr" / "c").symlink_to(folder / "a.zarr" / "c")
    return first, second


def virtual(folder: Path, key: str = "a", other: str = "part.h5") -> tuple[Any, Any]:
    h5(folder / "part.h5").close()
    layout = h5py.VirtualLayout(SHAPE, "u2")
    layout[...] = h5py.VirtualSource(other, "a", SHAPE)
    with h5py.File(folder / "whole.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    return open_source(folder / "whole.h5", "v"), open_source(folder / "part.h5", key, mode="r+")


def virtual_in_one_file(folder: Path) -> tuple[Any, Any]:
    file = h5(folder / "part.h5")
    layout = h5py.VirtualLayout(SHAPE, "u2")
    layout[...] = h5py.VirtualSource(file["a"])
    return file.create_virtual_dataset("v", layout), file["a"]


def external_link(folder: Path) -> tuple[Any, Any]:
    h5(folder / "part.h5").close()
    with h5py.File(folder / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink("part.h5", "/a")
    output = open_source(folder / "part.h5", "hard", mode="r+")
    return h5py.File(folder / "link.h5", "r+")["x"], output


def contiguous(folder: Path) -> tuple[Any, Any]:
    with h5py.File(folder / "a.h5", "w") as file:
        offset = file.create_dataset("a", data=np.zeros(SHAPE, "u2")).id.get_offset()
    return mapped(folder / "a.h5", offset, "r"), open_source(folder / "a.h5", "a", mode="r+")


def hard_linked_h5(folder: Path) -> tuple[Any, Any]:
    h5(folder / "a.h5").close()
    other = linked(folder / "b.h5", folder / "a.h5", hard=True)
    return h5py.File(folder / "a.h5", "r+")["a"], h5py.File(other, "r+")["a"]


def tif(folder: Path, **how: Any) -> tuple[Any, Any]:
    import tifffile

    tifffile.imwrite(folder / "a.tif", np.zeros(SHAPE, "u2"), **how)
    with tifffile.TiffFile(folder / "a.tif") as file:
        offset = file.pages[0].dataoffsets[0]
    size = (folder / "a.tif").stat().st_size
    other = linked(folder / "b.tif", folder / "a.tif", hard=True)
    whole = np.memmap(other, "u1", "r+", 0, (size,))
    return open_source(folder / "a.tif"), whole[size - 128 :].reshape(SHAPE) if how else mapped(other, offset)


class Reader:
    """An object of the user that reads from an array in it."""

    def __init__(self, array: Any) -> None:
        self.inside = {"array": [array]}
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> Any:
        return self.inside["array"][0][index]


def made_of(wrap: Callable[[Any], Any]) -> Pair:
    def make(folder: Path) -> tuple[Any, Any]:
        array = stored(folder / "a.zarr")
        return wrap(array), array

    return make


def from_dask(folder: Path) -> tuple[Any, Any]:
    import dask.array

    stored(folder / "a.zarr")
    lazy = dask.array.from_zarr(zarr.open_array(folder / "a.zarr", mode="r"))
    return (lazy + 1).rechunk(8), open_source(folder / "a.zarr", mode="r+")


def from_dask_of_hdf5(folder: Path) -> tuple[Any, Any]:
    import dask.array

    file = h5(folder / "a.h5")
    return dask.array.concatenate([dask.array.from_array(file["soft"], lock=True)[:8], dask.array.ones((8, 8))]), file[
        "a"
    ]


def view_of_map(folder: Path) -> tuple[Any, Any]:
    whole = mapped(raw(folder / "a"))
    return np.asarray(whole)[::-1], mapped(folder / "a")


SAME: dict[str, Pair] = {
    "reversed view": lambda _: (lambda a: (a[::-1], a))(np.zeros(SHAPE, "u2")),
    "other type": lambda _: (lambda a: (a.view("u2")[:, ::2], a[:, :4].view("u2")[:, ::2]))(np.zeros((16, 8), "u4")),
    "strided": lambda _: (lambda a: (a[::2], a[:16]))(np.zeros((32, 8), "u2")),
    "buffer": buffers,
    "two maps of a file": lambda d: (mapped(raw(d / "a")), mapped(d / "a")[::-1]),
    "plain view of a map": view_of_map,
    "parts of a file that overlap": lambda d: (mapped(raw(d / "a"), 16, "r"), mapped(d / "a")),
    "map through a hard link": lambda d: (mapped(raw(d / "a"), 0, "r"), mapped(linked(d / "b", d / "a", hard=True))),
    "map through a link": lambda d: (mapped(raw(d / "a"), 0, "r"), mapped(linked(d / "b", d / "a"))[::-1]),
    "two anonymous maps": two_maps,
    "shared memory": lambda _: (lambda s: (memory(s), memory(s, 16)))(shared()),
    "shared memory, two handles": two_handles,
    "tif through a hard link": tif,
    "compressed tif": lambda d: tif(d, compression="zlib"),
    "zarr, linked chunks": chunk_folder,
    "zarr, two libraries": lambda d: (stored(d / "a.zarr"), RoiSource(zarr.open_array(d / "a.zarr"), (slice(0, 16),))),
    "hdf5 soft link": lambda d: (lambda f: (f["soft"], f["a"]))(h5(d / "a.h5")),
    "hdf5 hard link inside": lambda d: (lambda f: (f["hard"], f["a"]))(h5(d / "a.h5")),
    "hdf5 through a hard link": hard_linked_h5,
    "hdf5 external link": external_link,
    "hdf5 virtual": virtual,
    "hdf5 virtual in one file": virtual_in_one_file,
    "hdf5 mapped": contiguous,
    "stack": made_of(lambda a: StackSource(np.zeros(SHAPE, "u2"), a)),
    "concatenated": lambda d: (lambda a: (ConcatenateSource(np.zeros((8, 8), "u2"), RoiSource(a, (slice(0, 8),))), a))(
        stored(d / "a.zarr")
    ),
    "an object's own array": made_of(Reader),
    "an object's own memory": lambda _: (lambda a: (Reader(a), a))(np.zeros(SHAPE, "u2")),
    "dask of zarr": from_dask,
    "dask of hdf5": from_dask_of_hdf5,
}

APART: dict[str, Pair] = {
    "two arrays": lambda _: (np.zeros(SHAPE, "u2"), np.zeros(SHAPE, "u2")),
    "two channels": lambda _: (lambda a: (a[..., 0], a[..., 1]))(np.zeros((*SHAPE, 2), "u2")),
    "halves of shared memory": lambda _: (lambda s: (memory(s), memory(s, 2048)))(shared()),
    "copies of a raw file": lambda d: (mapped(raw(d / "a")), mapped(raw(d / "b"))),
    "two zarrs": lambda d: (stored(d / "a.zarr"), stored(d / "b.zarr")),
    "two keys": lambda d: (stored(d / "a.zarr", "x"), stored(d / "a.zarr", "y")),
    "two data sets of a file": lambda d: (lambda f: (f["a"], f["b"]))(h5(d / "a.h5")),
    "hdf5 virtual beside its part": lambda d: virtual(d, "b"),
    "an object of another array": lambda d: (Reader(stored(d / "a.zarr")), stored(d / "b.zarr")),
    "dask of another array": lambda d: (from_dask(d)[0], stored(d / "b.zarr")),
    "an empty chunk folder": lambda d: (stored(d / "a.zarr"), np.zeros(SHAPE, "u2")),
}


def sources(pair: tuple[Any, Any]) -> Any:
    return [as_source(pair[0])], [as_source(pair[1])]


@pytest.mark.parametrize("how", SAME)
def test_where_blocks_read_a_halo_it_is_refused(how: str, tmp_path: Path) -> None:
    inputs, outputs = sources(SAME[how](tmp_path))
    with pytest.raises(AliasError, match="halo") as error:
        check_aliases(inputs, outputs, (1, 1))
    assert error.value.remedy
    with pytest.raises(AliasError, match="the mask"):
        check_aliases([], outputs, (1, 0), inputs[0])


@pytest.mark.parametrize("how", sorted(set(SAME) - {"zarr, two libraries"}))
def test_without_a_halo_too_unless_it_is_the_same_view(how: str, tmp_path: Path) -> None:
    inputs, outputs = sources(SAME[how](tmp_path))
    with pytest.raises(AliasError, match=r"(one|the same) storage"):
        check_aliases(inputs, outputs, None)


@pytest.mark.parametrize("how", SAME)
def test_two_outputs_that_are_one_are_refused(how: str, tmp_path: Path) -> None:
    inputs, outputs = sources(SAME[how](tmp_path))
    with pytest.raises(AliasError, match="another output"):
        check_aliases([], [*inputs, *outputs], None)


@pytest.mark.parametrize("how", APART)
def test_what_only_lies_near_is_accepted(how: str, tmp_path: Path) -> None:
    inputs, outputs = sources(APART[how](tmp_path))
    assert check_aliases(inputs, outputs, (1, 1)) is False
    assert check_aliases(inputs, outputs, None) is False


def test_in_place_by_two_handles_of_one_path_stays_in_place(tmp_path: Path) -> None:
    first, second = stored(tmp_path / "a.zarr"), open_source(tmp_path / "a.zarr", mode="r+")
    assert check_aliases([first], [second], None) is True
    array = np.zeros(SHAPE, "u2")
    assert check_aliases([as_source(array)], [as_source(array[:])], None) is True


def test_an_operation_says_so_before_it_writes(tmp_path: Path) -> None:
    array = mapped(raw(tmp_path / "a"))
    array[...] = 7
    with pytest.raises(AliasError):
        bp.filters.gaussian_smoothing(
            array, 1.0, mapped(linked(tmp_path / "b", tmp_path / "a", hard=True)), block_shape=UNIT
        )
    assert (array == 7).all()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system says nothing of its mappings")
@pytest.mark.parametrize("name", [b"plain", b"two\x0clines\x1c", "two\u2028lines".encode(), b"of \xff bytes"])
def test_maps_of_files_of_any_name_are_found(tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as file:
        file.write(bytes(256))
    maps = []
    for _ in range(2):
        with open(path, "r+b") as file:
            maps.append(np.frombuffer(mmap.mmap(file.fileno(), 0), "u1"))
    (_, one), (_, other) = (of_memory(array) for array in maps)
    assert one == other
    assert one.meets(of_memory(maps[0][100:101])[1])
