"""Sets of ids in little memory, times of blocks in bounded memory, values found by block."""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioimage_py.errors import StorageError
from bioimage_py.runner.ledger import block_times, values
from bioimage_py.runner.ledger.block_times import BlockTimes
from bioimage_py.runner.ledger.values import BlockValues, FileValues, ValueList, dump_values
from bioimage_py.runner.planning.id_sets import IdSet, Ranges
from bioimage_py.system.frames import frame

IDS = st.integers(-50_000, 50_000)
SETS = st.sets(st.integers(0, 60))


def ids(numbers: Any) -> Any:
    return np.array(sorted(numbers), np.int64)


# --- ids -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(IDS, max_size=30), max_size=6), st.sets(IDS, max_size=30))
def test_an_id_set_is_a_set(parts: list[list[int]], asked: set[int]) -> None:
    found, expected = IdSet(), set[int]()
    for part in parts:
        found.add(np.array(part, np.int64))
        expected |= set(part)
    assert found.missing(ids(asked)).tolist() == sorted(asked - expected)
    assert found.missing(ids(expected)).tolist() == []


def test_an_id_that_comes_again_later_counts_once() -> None:
    found = IdSet()
    for part in ([1, 5, 100_000], [5, 6], [1, 5, 6]):
        found.add(np.array(part, np.int64))
    assert len(found) == 4
    found.add(np.array([7, 7], np.int64))
    assert len(found) == 6, "items that were asked for twice are two"


@given(SETS, SETS)
def test_ranges_are_sets(one: set[int], other: set[int]) -> None:
    a, b = Ranges.of(ids(one)), Ranges.of(ids(other))
    assert list(a | b) == sorted(one | other)
    assert list(a & b) == sorted(one & other)
    assert list(a - b) == sorted(one - other)
    assert (len(a), a == b) == (len(one), one == other)
    assert pickle.loads(pickle.dumps(a)) == a


@given(SETS, st.integers(0, 70), st.integers(0, 70))
def test_a_part_of_ranges_is_counted(numbers: set[int], start: int, stop: int) -> None:
    start, stop = min(start, len(numbers)), min(stop, len(numbers))
    assert list(Ranges.of(ids(numbers)).part(start, stop)) == sorted(numbers)[start:stop]


def test_ranges_of_neighbours_are_one() -> None:
    joined = Ranges([(0, 5)]) | Ranges([(5, 9)])
    assert repr(joined) == "Ranges([[0, 9]])"


# --- times ---------------------------------------------------------------------------------------------------------


def blocks(begin: int, n: int) -> tuple[array[int], array[float]]:
    return array("q", range(begin, begin + n)), array("f", [i / 1000 for i in range(begin, begin + n)])


@given(st.lists(st.integers(0, 90), max_size=40))
def test_of_many_blocks_every_kth_is_kept(monkeys: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_times, "SAMPLE", 64)
        found, n = BlockTimes(), 0
        for part in monkeys:
            found.add(*blocks(n, part))
            n += part
        assert found.ids.tolist() == list(range(0, n, found.every))
        assert len(found.ids) <= 64
        assert found.every == 1 or n > 64
        np.testing.assert_allclose(found.seconds, np.array(found.ids) / 1000, rtol=1e-6)
        assert found.total == pytest.approx(sum(range(n)) / 1000)


@given(st.lists(st.lists(st.integers(0, 50), max_size=120), max_size=8), st.integers(0, 200))
def test_the_slowest_are_exact(parts: list[list[int]], n: int) -> None:
    found, every = BlockTimes(), list[tuple[int, int]]()
    for part in parts:
        begin = len(every)
        every += [(begin + i, seconds) for i, seconds in enumerate(part)]
        found.add(array("q", range(begin, len(every))), array("f", part))
    expected = sorted(every, key=lambda block: -block[1])[: min(n, block_times.SLOWEST)]
    assert found.slowest(n) == expected, "of equal times the first one"


# --- values --------------------------------------------------------------------------------------------------------


def stored(path: Path, parts: list[list[Any]]) -> Iterator[FileValues]:
    """Frames of a results file."""
    offset = 0
    with open(path, "wb") as file:
        for part in parts:
            yield FileValues(path, offset)
            offset += file.write(frame(dump_values(part, None)))
        file.flush()


@pytest.mark.parametrize("on_disk", [False, True])
def test_values_are_found_by_block(on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts in any order, from several files, looked up in several steps."""
    monkeypatch.setattr(values, "_SPAN", 100)
    rng = np.random.default_rng(0)
    n = 5000
    parts = np.split(rng.permutation(n), np.sort(rng.integers(0, n, 40)))
    found = BlockValues(scratch=tmp_path if on_disk else None)
    payloads = [[int(i) * 3 for i in part] for part in parts]
    for number in range(2):
        handles = stored(tmp_path / f"w{number}", payloads[number::2])
        for part, payload, handle in zip(parts[number::2], payloads[number::2], handles, strict=True):
            found.put(np.asarray(part, np.int64), handle if on_disk else payload)
    assert list(found) == [(i, 3 * i) for i in range(n)]
    listed = ValueList(found, range(n)).detached()
    for number in range(2):
        (tmp_path / f"w{number}").unlink()
    assert listed == [3 * i for i in range(n)]
    assert [listed[0], listed[-1], listed[1234]] == [0, 3 * (n - 1), 3702]
    assert listed[10:16:2] == [30, 36, 42]
    assert len(listed) == n
    assert pickle.loads(pickle.dumps(listed[:3])) == [0, 3, 6]
    assert repr(listed) == "<5000 values: 0, 3, 6, 9, 12, ...>"
    assert listed != [0]
    with pytest.raises(IndexError):
        listed[n]
    assert list(tmp_path.iterdir()) == []


def test_values_of_ids_that_were_not_asked_for_are_left_out() -> None:
    found = BlockValues(np.array([30, 10, 20, 10]))
    found.put(np.array([10, 11, 20, 31]), ["ten", "eleven", "twenty", "more"])
    assert list(found) == [(10, "ten"), (20, "twenty")], "30 has none yet"
    found.put(np.array([30]), ["thirty"])
    asked = ValueList(found, np.array([20, 10, 30]))
    assert asked == ["twenty", "ten", "thirty"]
    assert pickle.loads(pickle.dumps(asked)) == ["twenty", "ten", "thirty"]
    nothing = BlockValues(np.array([], np.int64))
    nothing.put(np.array([3]), ["three"])
    assert list(nothing) == []


def test_a_value_that_is_damaged_names_its_file(tmp_path: Path) -> None:
    found = BlockValues(scratch=tmp_path)
    for handle in stored(tmp_path / "w", [["a"]]):
        found.put(np.array([0]), handle)
    whole = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(whole[:-1] + b"!")
    with pytest.raises(StorageError, match=r"w is damaged at byte 0: its checksum does not fit"):
        list(found)
