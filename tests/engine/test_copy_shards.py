"""Copies of encoded chunks into shards, out of them, and between shards of different sizes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import RunnerError, StorageError
from bioimage_py.io import create_array
from bioimage_py.sources.chunked.encoded import EncodedChunks, Shards

from .test_copy_encoded import CHUNKS, QUIET, SHAPE, opened, recompressed, voxels, waits

N_CHUNKS = 5 * 4 * 5
SHARDS, LARGE, SMALL = (8, 10, 16), (16, 10, 32), (4, 10, 8)
START = {"shape": SHARDS, "index_location": "start"}
ABSENT = (slice(0, 16), slice(0, 10), slice(0, 32))
"""A shard of any of the sizes, which the input never stores."""
HOLE = (slice(16, 19), slice(10, 15), slice(8, 16))
"""A chunk that the input never stores, between others."""

Content = dict[tuple[int, ...], bytes]


def array(path: Path | str, shards: Any = None, *, fill: int | None = None, **how: Any) -> Any:
    """A zarr v3 array, with a value everywhere if one is given."""
    made = zarr.create_array(path, **{"shape": SHAPE, "chunks": CHUNKS, "dtype": "u2", "shards": shards, **how})
    if fill is not None:
        made[...] = fill
    return made


def holed(made: Any) -> np.ndarray:
    """Fill an array but for some chunks; what it holds then."""
    data = voxels(made.shape, np.dtype(made.dtype).newbyteorder("="))
    data[ABSENT] = data[HOLE] = made.fill_value
    made[...] = data
    return data


def chunks_of(folder: Path) -> Content:
    """Every stored chunk of a zarr v3 array by its position, by the words of the specification."""
    told = json.loads((folder / "zarr.json").read_text())
    found: Content = {}
    for file in (path for path in (folder / "c").rglob("*") if path.is_file()):
        place = tuple(map(int, file.relative_to(folder / "c").parts))
        content = file.read_bytes()
        if told["codecs"][0]["name"] != "sharding_indexed":
            found[place] = content
            continue
        sharding = told["codecs"][0]["configuration"]
        outer = told["chunk_grid"]["configuration"]["chunk_shape"]
        grid = [o // i for o, i in zip(outer, sharding["chunk_shape"], strict=True)]
        size = 16 * int(np.prod(grid))
        checked = {"name": "crc32c"} in sharding["index_codecs"]
        start = 0 if sharding["index_location"] == "start" else len(content) - size - 4 * checked
        index = content[start : start + size]
        if checked:
            assert int.from_bytes(content[start + size : start + size + 4], "little") == google_crc32c.value(index)
        places = np.frombuffer(index, "<u8").reshape(*grid, 2).tolist()
        entries = {entry: np.array(places, object)[entry].tolist() for entry in np.ndindex(*grid)}
        stored = {entry: span for entry, span in entries.items() if span != [2**64 - 1] * 2}
        assert stored, "a shard of which nothing is stored has no file"
        for entry, (at, length) in stored.items():
            position = tuple(p * n + e for p, n, e in zip(place, grid, entry, strict=True))
            found[position] = content[at : at + length]
    return found


def by_both(folder: Path, data: np.ndarray) -> None:
    """zarr-python and tensorstore read the voxels."""
    np.testing.assert_array_equal(zarr.open_array(folder, mode="r")[...], data)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    np.testing.assert_array_equal(tensorstore.open(spec).result().read().result(), data)


WAYS: dict[str, tuple[Any, Any]] = {
    "to shards": (None, SHARDS),
    "from shards": (SHARDS, None),
    "to larger": (SHARDS, LARGE),
    "to smaller": (LARGE, SHARDS),
    "neither divides": (SHARDS, (16, 5, 24)),
    "to the index first": (SHARDS, START),
    "from the index first": (START, LARGE),
    "chunks to shards of one": (None, CHUNKS),
    "shards of one to chunks": (CHUNKS, None),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_stored_chunks_are_the_same(tmp_path: Path, moved: list[Any], way: str) -> None:
    before, after = WAYS[way]
    data = holed(array(tmp_path / "plain", fill_value=7))
    given = recompressed(tmp_path / "plain")  # as no encoder here would
    array(tmp_path / "in", before, fill_value=7)
    bp.copy(opened(tmp_path / "plain"), opened(tmp_path / "in"), block_shape=(16, 10, 32), **QUIET)
    array(tmp_path / "out", after, fill=9, fill_value=7)
    stored = chunks_of(tmp_path / "in")
    assert set(stored.values()) == set(given.values())
    moved.clear()
    bp.copy(opened(tmp_path / "in", "r"), opened(tmp_path / "out"), block_shape=(16, 10, 96), num_workers=2, **QUIET)
    assert len(moved) == len(set(moved)) == N_CHUNKS
    assert chunks_of(tmp_path / "out") == chunks_of(tmp_path / "in") == stored
    assert len(stored) == N_CHUNKS - 4 * 2 * 4 - 1
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".") or "lock" in path.name]
    by_both(tmp_path / "out", data)
    by_both(tmp_path / "in", data)


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
CRC = {"name": "crc32c"}
TURN = {"name": "transpose", "configuration": {"order": [2, 1, 0]}}
GZIP = {"name": "gzip", "configuration": {"level": 1}}


def metadata(path: Path, codecs: list[Any], chunk: Any = CHUNKS, dtype: str = "uint16", fill: Any = 0) -> None:
    """Create an array from its metadata, which zarr-python would not always write so."""
    told = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": SHAPE,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": {},
    }
    path.mkdir()
    (path / "zarr.json").write_text(json.dumps(told))


def sharding(codecs: list[Any], chunk: Any = CHUNKS, index: Any = (LITTLE, CRC)) -> dict[str, Any]:
    told = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": list(index), "index_location": "end"}
    return {"name": "sharding_indexed", "configuration": told}


ALIKE: dict[str, tuple[list[Any], list[Any], str]] = {
    "big-endian": ([BIG, GZIP], [BIG, GZIP], "uint16"),
    "turned": ([TURN, LITTLE], [TURN, LITTLE], "float32"),
    "checksum in chunks": ([LITTLE, GZIP, CRC], [LITTLE, GZIP, CRC], "int64"),
    "no byte order": ([{"name": "bytes"}, GZIP], [{"name": "bytes"}, GZIP], "uint8"),
}


@pytest.mark.parametrize("index", [(LITTLE, CRC), (LITTLE,)], ids=["checked", "bare"])
@pytest.mark.parametrize("name", ALIKE)
def test_codecs_that_agree(tmp_path: Path, moved: list[Any], name: str, index: Any) -> None:
    inner, plain, dtype = ALIKE[name]
    metadata(tmp_path / "in", plain, dtype=dtype)
    metadata(tmp_path / "out", [sharding(inner, index=index)], SHARDS, dtype)
    metadata(tmp_path / "back", plain, dtype=dtype)
    data = holed(zarr.open_array(tmp_path / "in"))
    for source, target in [("in", "out"), ("out", "back")]:
        bp.copy(opened(tmp_path / source), opened(tmp_path / target), block_shape=SHARDS, **QUIET)
        by_both(tmp_path / target, data)
    assert len(moved) == 2 * N_CHUNKS
    assert chunks_of(tmp_path / "back") == chunks_of(tmp_path / "out") == chunks_of(tmp_path / "in")


OTHERS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "byte order": ([sharding([BIG])], {}),
    "checksum": ([sharding([LITTLE, CRC])], {}),
    "codec": ([sharding([LITTLE, GZIP])], {}),
    "axis order": ([sharding([TURN, LITTLE])], {}),
    "axis order of shards": ([TURN, sharding([LITTLE], CHUNKS[::-1])], {}),
    "shards in shards": ([sharding([sharding([LITTLE])], (8, 5, 8))], {}),
    "chunks": ([sharding([LITTLE], (8, 5, 8))], {}),
    "fill": ([sharding([LITTLE])], {"fill": 1}),
    "dtype": ([sharding([LITTLE])], {"dtype": "int16"}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_encoded_otherwise_is_decoded(tmp_path: Path, moved: list[Any], what: str) -> None:
    codecs, how = OTHERS[what]
    metadata(tmp_path / "in", [LITTLE])
    metadata(tmp_path / "out", codecs, SHARDS, **how)
    metadata(tmp_path / "back", [LITTLE])
    data = holed(zarr.open_array(tmp_path / "in"))
    opened(tmp_path / "out")[...] = 9
    for source, target in [("in", "out"), ("out", "back")]:
        bp.copy(opened(tmp_path / source), opened(tmp_path / target), block_shape=SHARDS, **QUIET)
        np.testing.assert_array_equal(opened(tmp_path / target)[...], data)
    assert not moved


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    ndim = draw(st.integers(1, 3))
    sizes = [draw(st.integers(1, 14)) for _ in range(ndim)]
    chunks = [draw(st.integers(1, 4)) for _ in range(ndim)]
    shards = [[c * draw(st.integers(1, 3)) for c in chunks] if draw(st.booleans()) else None for _ in range(2)]
    unit = shards[1] or chunks
    blocks = [u * draw(st.integers(1, 2)) if draw(st.booleans()) else draw(st.integers(1, 9)) for u in unit]
    ends = [sorted((draw(st.integers(0, n)), draw(st.integers(0, n)))) for n in sizes]
    roi = tuple(slice(b, e) if b < e else slice(0, n) for (b, e), n in zip(ends, sizes, strict=True))
    return tuple(sizes), chunks, shards, blocks, draw(st.sampled_from([None, roi]))


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=cases(),
    dtype=st.sampled_from(["u1", "i4", "f4", "u8"]),
    fill=st.sampled_from([0, 5]),
    locations=st.tuples(*[st.sampled_from(["start", "end"])] * 2),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 3),
)
def test_the_same_as_by_decoding(tmp_path: Path, case: Any, dtype: str, fill: int, locations: Any, **how: Any) -> None:
    shape, chunks, shards, blocks, roi = case
    random = np.random.default_rng(how["seed"])
    grid = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    present = (random.random(grid) < how["density"]).repeat(chunks[0], 0)
    for axis, c in list(enumerate(chunks))[1:]:
        present = present.repeat(c, axis)
    data = np.where(present[tuple(map(slice, shape))], voxels(shape, dtype), fill).astype(dtype)
    old = voxels(shape, dtype, seed=1)
    for name, content, outer, where in [("in", data, shards[0], locations[0]), ("out", old, shards[1], locations[1])]:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        inside = None if outer is None else {"shape": outer, "index_location": where}
        made = array(tmp_path / name, inside, shape=shape, chunks=chunks, dtype=dtype, fill_value=fill)
        made[...] = content
    expected = old.copy()
    expected[roi or ...] = data[roi or ...]
    try:
        how = {"block_shape": blocks, "roi": roi, "num_workers": 2, "resume": "never", **QUIET}
        bp.copy(opened(tmp_path / "in", "r"), opened(tmp_path / "out"), **how)
    except bp.errors.BlockShapeError:  # too many blocks share a unit
        return
    by_both(tmp_path / "out", expected)
    by_both(tmp_path / "in", data)


def test_only_shards_that_the_box_covers_are_replaced(tmp_path: Path, moved: list[Any]) -> None:
    data = holed(array(tmp_path / "in", LARGE))
    array(tmp_path / "out", SHARDS, fill=9)
    source, target = opened(tmp_path / "in"), opened(tmp_path / "out")
    for cut in [(slice(0, 4), slice(0, 10), slice(0, 16)), (slice(0, 8), slice(0, 10), slice(0, 24))]:
        assert source.encoded(cut), "whole chunks can be taken"
        assert not target.copy_encoded(cut, source)
    assert not moved
    assert (target[...] == 9).all()
    corner = (slice(16, 19), slice(10, 20), slice(32, 33))
    assert target.copy_encoded(corner, source)
    assert moved == [(4, 2, 4), (4, 3, 4)]
    expected = np.full(SHAPE, 9, "u2")
    expected[corner] = data[corner]
    by_both(tmp_path / "out", expected)


def test_no_more_of_a_shard_is_read_than_the_box(tmp_path: Path, web_server: Any, moved: list[Any]) -> None:
    data = holed(array(web_server.folder / "in.zarr", LARGE, compressors=None))
    array(tmp_path / "out", compressors=None)
    source = opened(f"{web_server.url}/in.zarr", "r")
    source.encoded((slice(0, 4), slice(0, 5), slice(0, 8)))
    web_server.seen.clear()
    box = (slice(4, 8), slice(10, 20), slice(8, 16))
    target = opened(tmp_path / "out")
    assert target.copy_encoded(box, source)
    assert {path for path, _ in web_server.seen} == {"/in.zarr/c/0/1/0"}
    assert len(web_server.seen) <= 4, "its index is not read for every chunk"
    asked = [span.removeprefix("bytes=").split("-") for _, span in web_server.seen if span]
    sizes = [int(end) - int(start) + 1 if start and end else 0 for start, end in asked]
    assert sum(sizes) <= 3 * 2 * 4 * 5 * 8, "two chunks, and what lies between them"
    np.testing.assert_array_equal(target[box], data[box])
    assert len(moved) == 2


def damage(shard: Path, begin: int) -> None:
    content = bytearray(shard.read_bytes())
    content[begin] ^= 255
    shard.write_bytes(content)


@pytest.mark.parametrize("after", [None, LARGE], ids=["chunks", "shards"])
def test_a_shard_with_a_damaged_index_is_named(tmp_path: Path, after: Any) -> None:
    holed(array(tmp_path / "in", SHARDS))
    array(tmp_path / "out", after, fill=9)
    before = chunks_of(tmp_path / "out")
    shard = tmp_path / "in" / "c" / "2" / "1" / "1"
    whole = shard.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-30] + bytes([whole[-30] ^ 255]) + whole[-29:]):
        shard.write_bytes(content)
        with pytest.raises(StorageError, match=r"Cannot read 'c/2/1/1' of .*in"):
            opened(tmp_path / "out").copy_encoded((slice(16, 19), slice(10, 20), slice(0, 32)), opened(tmp_path / "in"))
    if after is not None:
        assert chunks_of(tmp_path / "out") == before, "the shard is written whole or not at all"
    with pytest.raises(RunnerError, match="c/2/1/1"):
        bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), block_shape=LARGE, **QUIET)


def test_damage_elsewhere_is_copied_or_replaced(tmp_path: Path, moved: list[Any]) -> None:
    data = holed(array(tmp_path / "in", SHARDS))
    array(tmp_path / "out", LARGE, fill=9)
    damage(tmp_path / "in" / "c" / "2" / "1" / "1", 5)  # in a chunk
    damage(tmp_path / "out" / "c" / "1" / "1" / "0", -10)  # in the index of what is replaced
    (tmp_path / "out" / "c" / "1" / "0" / "0").write_bytes(b"")
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), block_shape=LARGE, **QUIET)
    assert len(moved) == N_CHUNKS
    assert chunks_of(tmp_path / "out") == chunks_of(tmp_path / "in")
    np.testing.assert_array_equal(opened(tmp_path / "out")[:16], data[:16])
    with pytest.raises(StorageError, match="Cannot read"):
        opened(tmp_path / "out")[16:]


# --- runs ----------------------------------------------------------------------------------------------------------


def copied(tmp_path: Path, before: Any, after: Any, **how: Any) -> None:
    """Copy from one folder to another; the voxels and the stored chunks are the same."""
    data = holed(array(tmp_path / "in", before))
    array(tmp_path / "out", after, fill=9)
    bp.copy(opened(tmp_path / "in", "r"), opened(tmp_path / "out"), block_shape=LARGE, **{**QUIET, **how})
    assert chunks_of(tmp_path / "out") == chunks_of(tmp_path / "in")
    by_both(tmp_path / "out", data)


@pytest.mark.some(2)
@pytest.mark.parametrize("way", ["to shards", "from shards"])
@pytest.mark.parametrize("fault", ["before-write", "after-write"])
def test_a_worker_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, way: str) -> None:
    (tmp_path / "token").touch()
    monkeypatch.setenv("BIOIMAGE_PY_FAULT", f"{fault}:3:{tmp_path / 'token'}")
    copied(tmp_path, *WAYS[way], job_type="subprocess", num_workers=2, retries=1)
    assert not (tmp_path / "token").exists(), "nobody was killed"


COPYING = """
import itertools, sys
from bioimage_py.sources import open_source
folder, sizes = sys.argv[1], (32, 64, 64)
sources = [open_source(f"{folder}/{name}", mode="r") for name in "ab"]
out, whole = open_source(f"{folder}/out", mode="r+"), tuple(slice(0, n) for n in sizes)
for source in itertools.cycle(sources):
    assert out.copy_encoded(whole, source)
    print("copied", flush=True)
"""


def test_a_kill_leaves_the_old_shard_or_the_new_one(tmp_path: Path) -> None:
    how: dict[str, Any] = {"shape": (32, 64, 64), "chunks": (16, 16, 16), "compressors": None}
    contents = [voxels((32, 64, 64), seed=seed) for seed in (1, 2)]
    for name, content in zip("ab", contents, strict=True):
        array(tmp_path / name, **how)[...] = content
    array(tmp_path / "out", (32, 32, 64), fill=9, **how)
    for seed in range(6):
        child = subprocess.Popen([sys.executable, "-c", COPYING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.readline()
        time.sleep(0.003 * seed)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        now = zarr.open_array(tmp_path / "out", mode="r")[...]
        for box in (slice(0, 32), slice(32, 64)):
            assert [content[:, box].tobytes() for content in contents].count(now[:, box].tobytes()) == 1


def test_the_same_call_continues(tmp_path: Path) -> None:
    data = holed(array(tmp_path / "in"))
    array(tmp_path / "out", SHARDS)
    bad = tmp_path / "out" / "c" / "1" / "1" / "1"
    bad.mkdir(parents=True)  # a shard cannot be put in the place of a folder
    call = {"block_shape": SHARDS, "num_workers": 2, **QUIET}
    with pytest.raises(RunnerError, match="Cannot write 'c/1/1/1'") as error:
        bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), **call)
    assert error.value.failed_block_ids == [6 + 3 + 1]
    before = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*") if path.is_file()}
    bad.rmdir()
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), **call)
    by_both(tmp_path / "out", data)
    assert {path for path in before if path.exists() and path.stat().st_ino != before[path]} == set()
    inodes = {path: path.stat().st_ino for path in (tmp_path / "out" / "c").rglob("*") if path.is_file()}
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), **call)
    by_both(tmp_path / "out", data)
    again = {path: path.stat().st_ino for path in inodes}
    assert all(again[path] != inodes[path] for path in inodes), "a second run replaces every shard, never changes one"


@pytest.mark.slow
def test_the_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[bool, bool]] = set()
    take = EncodedChunks.take

    def noted(self: EncodedChunks, other: EncodedChunks) -> None:
        told = []
        for one in (other, self):
            assert isinstance(one.holder, Shards)
            told.append(waits(one.holder.open("c/0/0/0").base))
        seen.add((told[0], told[1]))
        take(self, other)

    monkeypatch.setattr(EncodedChunks, "take", noted)
    for durability, expected in [("node", True), ("process", False)]:
        copied(tmp_path / durability, SHARDS, LARGE, durability=durability)
        assert seen == {(False, expected)}, "what is written, not what is read"
        seen.clear()


def test_small_blocks_are_assembled_and_decoded(tmp_path: Path, moved: list[Any]) -> None:
    data = holed(array(tmp_path / "in"))
    array(tmp_path / "out", SHARDS, fill=9)
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), block_shape=CHUNKS, **QUIET)
    by_both(tmp_path / "out", data)
    assert not moved


# --- stores --------------------------------------------------------------------------------------------------------


@pytest.mark.some(4)
@pytest.mark.parametrize("way", ["to shards", "from shards"])
@pytest.mark.parametrize("store", ["http", "memory", "zip", "s3"])
def test_from_one_store_to_another(
    tmp_path: Path, web_server: Any, request: pytest.FixtureRequest, moved: list[Any], store: str, way: str
) -> None:
    before, after = WAYS[way]
    folder = web_server.folder / "in.zarr"
    data = holed(array(folder, before))
    array(tmp_path / "out", after, fill=9)
    shape = tuple(zarr.open_array(folder).shape)
    if store == "http":
        source = opened(f"{web_server.url}/in.zarr", "r")
    elif store == "zip":
        shutil.make_archive(str(tmp_path / "in.zarr"), "zip", folder)
        source = opened(tmp_path / "in.zarr.zip", "r")
    else:
        url = f"memory://{tmp_path.name}/{way}" if store == "memory" else f"{request.getfixturevalue('s3')}/a.zarr"
        source = create_array(url, shape=shape, chunks=CHUNKS, shards=before and tuple(before), dtype="u2")
        source[...] = 9
        bp.copy(opened(folder), source, block_shape=LARGE, **QUIET)
    moved.clear()
    bp.copy(source, opened(tmp_path / "out"), block_shape=LARGE, num_workers=2, **QUIET)
    assert len(moved) == N_CHUNKS
    assert chunks_of(tmp_path / "out") == chunks_of(folder)
    by_both(tmp_path / "out", data)
    if store in ("memory", "s3"):
        source[...] = 8  # stale entries go there, too
        bp.copy(opened(tmp_path / "out"), source, block_shape=LARGE, **QUIET)
        np.testing.assert_array_equal(source[...], data)
        assert len(moved) == 2 * N_CHUNKS


def test_a_server_that_fails_is_named(tmp_path: Path, web_server: Any) -> None:
    holed(array(web_server.folder / "in.zarr", SHARDS))
    array(tmp_path / "out", LARGE, fill=9)
    web_server.faults["c/2/1/1"] = [403]
    source = opened(f"{web_server.url}/in.zarr", "r")
    with pytest.raises(RunnerError, match=r"(?s)Cannot read 'c/2/1/1' of http://.*403"):
        bp.copy(source, opened(tmp_path / "out"), block_shape=LARGE, **QUIET)
    assert (opened(tmp_path / "out")[16:, 10:, :32] == 9).all(), "the shard is as it was"
