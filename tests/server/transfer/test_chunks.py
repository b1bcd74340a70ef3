"""Encoded chunks are taken only if they decode to what they have to be."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import zstd

from bioimage_py.errors import KeyNotFoundError, ParameterError
from bioimage_py.server.transfer.chunks import Grid, decoded

SIZE = 4096


@given(st.integers(0, 2**32 - 1), st.integers(1, 19), st.sampled_from([1, 255, 256, 257, 65791, 65792, 70_000]))
def test_what_the_encoder_gives_is_decoded(seed, level, size):
    data = np.random.default_rng(seed).integers(0, 3, size, np.uint8).tobytes()
    assert decoded(zstd.compress(data, level), size) == data


@given(st.binary(max_size=200), st.integers(0, 60))
def test_damaged_chunks_are_refused_and_nothing_else_happens(junk, at):
    data = zstd.compress(bytes(range(256)) * 16)
    for wrong in (junk, data[:at], data[:at] + junk + data[at + len(junk) :]):
        with suppress(ParameterError):
            assert len(decoded(wrong, SIZE)) == SIZE


@pytest.mark.parametrize(
    "bomb",
    [
        zstd.compress(bytes(50_000_000)),
        zstd.compress(bytes(SIZE)) + zstd.compress(bytes(50_000_000)),
        zstd.compress(bytes(SIZE)) * 2,
        # a header that says the right size, around blocks of another one
        zstd.compress(bytes(SIZE))[:6] + zstd.compress(bytes(50_000_000))[9:],
        # no size at all: a frame with a window descriptor and an empty last block
        b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00",
    ],
)
def test_what_unpacks_to_something_else_is_refused(bomb):
    with pytest.raises(ParameterError):
        decoded(bomb, SIZE)


def test_arrays_that_are_stored_another_way_are_not_taken(tmp_path):
    zarr.create_array(
        tmp_path / "a", shape=(70, 9), chunks=(64, 4), dtype="uint16", compressors=zarr.codecs.ZstdCodec()
    )
    grid = Grid.of(tmp_path / "a")
    assert (grid.shape, grid.chunks, grid.size) == ((70, 9), (64, 4), 512)
    for key in ("0/c/0/0", "0/c/1/2"):
        grid.check_key(key)
    for key in ("0/c/2/0", "0/c/0/3", "0/c/0", "0/c/01/0", "0/c/-1/0", "0/c/\u0661/0", "c/0/0", "0/c/0/0/", "0/c/../0"):
        with pytest.raises(KeyNotFoundError):
            grid.check_key(key)
    metadata = json.loads((tmp_path / "a" / "zarr.json").read_text())
    for field, value in (
        ("codecs", []),
        ("codecs", [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "zstd"}]),
        ("codecs", [{"name": "sharding_indexed"}]),
        ("data_type", "string"),
        ("shape", [70]),
        ("shape", "x"),
        ("chunk_grid", None),
    ):
        (tmp_path / "a" / "zarr.json").write_text(json.dumps({**metadata, field: value}))
        with pytest.raises(ParameterError, match="stored"):
            Grid.of(tmp_path / "a")
    large = {**metadata, "shape": [2**20, 2**20]}
    large["chunk_grid"]["configuration"]["chunk_shape"] = [2**13, 2**13]
    (tmp_path / "a" / "zarr.json").write_text(json.dumps(large))
    with pytest.raises(ParameterError, match="at most"):
        Grid.of(tmp_path / "a")
