"""Chunks that travel together come apart as they were put together."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from bioimage_py.errors import ParameterError
from bioimage_py.projects.storage import packs as module
from bioimage_py.projects.storage.packs import packs, unpacked

CHUNKS = st.dictionaries(st.text(max_size=9), st.binary(max_size=99), max_size=30)


@given(CHUNKS, st.integers(1, 300), st.integers(1, 9))
def test_nothing_is_lost_and_no_pack_is_large(chunks, size, most):
    kept = module.PACK_BYTES, module.PACK_CHUNKS
    module.PACK_BYTES, module.PACK_CHUNKS = size, most
    try:
        made = list(packs(chunks))
    finally:
        module.PACK_BYTES, module.PACK_CHUNKS = kept
    together = [unpacked(pack.body) for pack in made]
    assert [list(some) for some in together] == [pack.keys for pack in made]
    assert {key: data for some in together for key, data in some.items()} == chunks
    for some in together:
        assert 1 <= len(some) <= most
        assert len(some) == 1 or sum(map(len, some.values())) <= size


@given(CHUNKS, st.binary(max_size=9), st.integers(0, 200))
def test_what_is_damaged_is_refused_or_of_the_size_that_it_tells(chunks, junk, at):
    for pack in packs(chunks):
        for body in (junk, pack.body[:at], pack.body[:at] + junk + pack.body[at + len(junk) :]):
            with suppress(ParameterError):
                assert sum(map(len, unpacked(body).values())) <= len(body)
