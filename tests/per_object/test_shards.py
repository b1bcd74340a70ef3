"""Shards are those of Neuroglancer, as tensorstore reads them; pieces and listings keep what they were given."""

from __future__ import annotations

import numpy as np
import pytest
import tensorstore
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import ParameterError
from bioimage_py.per_object.listing import Choice, listed
from bioimage_py.per_object.numbering import numbered
from bioimage_py.per_object.pieces import Pieces
from bioimage_py.per_object.shards import Sharding, in_order, write_shard

IDS = st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=60, unique=True)


@given(ids=IDS, minishard_bits=st.integers(0, 4), shard_bits=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_tensorstore_finds_every_object(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], minishard_bits: int, shard_bits: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    sharding, given_ids = Sharding(minishard_bits, shard_bits), np.sort(np.array(ids, np.uint64))

    def content(object_id: int) -> bytes:
        return str(object_id).encode() * (object_id % 7)

    for shard in np.unique(sharding.places(given_ids)[0]).tolist():
        objects = (
            (one, [b"before", b"it", content(one)])
            for one in (int(given_ids[at]) for at in in_order(given_ids, sharding, shard))
        )
        write_shard(folder / sharding.name(shard), sharding, objects)
    spec = {"driver": "neuroglancer_uint64_sharded", "metadata": sharding.spec(), "base": f"file://{folder}/"}
    store = tensorstore.KvStore.open(spec).result()
    for one in ids:
        assert store.read(one.to_bytes(8, "big")).result().value == content(one)
    absent = next(number for number in range(1, 100) if number not in ids)
    assert store.read(absent.to_bytes(8, "big")).result().state == "missing"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_shards_suit_what_they_hold() -> None:
    assert Sharding.of(0, 0) == Sharding(0, 0)
    assert Sharding.of(10**6, 10**9).shard_bits == 3
    assert 8 * 2 ** Sharding.of(10**6, 10**9).minishard_bits * 256 >= 10**6 / 2


@given(st.dictionaries(st.integers(1, 2**64 - 1), st.binary(max_size=20), max_size=20))
def test_pieces(parts: dict[int, bytes]) -> None:
    pieces = Pieces.of(parts, dict.fromkeys(parts, 3))
    assert {int(one): pieces.get(int(one)) for one in pieces.ids} == parts
    assert pieces.get(2**63 + 12345) is None or 2**63 + 12345 in parts


def test_listing() -> None:
    big = 2**64 - 1
    pieces = [
        (0, Pieces.of({5: b"abc", big: b""}, {5: 10, big: 4})),
        (2, None),
        (7, Pieces.of({5: b"d", 6: b"ef"}, {5: 1, 6: 2})),
        (9, Pieces.of({big: b"xyz", 8: b""}, {big: 1, 8: 100})),
    ]
    found = listed(pieces, Choice())
    assert found.ids.tolist() == [5, 6, big]
    assert [found.where(n).tolist() for n in range(3)] == [[0, 7], [7], [9]]
    assert found.bytes.tolist() == [4, 2, 3]
    assert found.at_home(7).tolist() == [1]
    assert (found.index_of(big), found.index_of(8)) == (2, None)
    assert listed(pieces, Choice(least=5)).ids.tolist() == [5, big]
    assert listed(pieces, Choice(most=5)).ids.tolist() == [6, big]
    assert listed([], Choice()).ids.tolist() == []


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i8", ">u8", "?"])
def test_numbered(dtype: str) -> None:
    ids = np.array([0, 3, int(np.iinfo(dtype).max)] if dtype != "?" else [0, 1, 1], dtype)
    labels = ids[np.array([[[0, 1, 2, 2, 0]]])]
    unique, numbers = numbered(labels, None)
    assert unique.tolist() == sorted(set(ids.astype(object).tolist()) - {0})
    assert (unique[numbers[numbers > 0] - 1] == labels[labels > 0]).all()
    assert not numbered(labels, np.array([77], np.uint64))[1].any()
    with pytest.raises(ParameterError, match="negative"):
        numbered(np.array([[[-1]]]), None)
