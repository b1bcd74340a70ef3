"""Which arrays stay open: many small ones, few large ones, the latest used."""

from __future__ import annotations

import numpy as np
import pytest

from bioimage_py.datasets.opening import handles
from bioimage_py.sources.array import ArraySource


@pytest.mark.parametrize(("size", "kept"), [(1, 8), (100, 4), (1000, 1)])
def test_as_many_as_there_is_room_for(size: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST", 8), ("CACHE_BYTES", 400), ("ALL_BYTES", 400)):
        monkeypatch.setattr(handles, name, value)
    monkeypatch.setattr(handles, "_open", type(handles._open)())
    made: list[int] = []

    def source(number: int) -> ArraySource:
        made.append(number)
        return ArraySource(np.zeros(size, "u1"))

    for number in (*range(20), 19):
        handles.opened(number, lambda number=number: source(number))
    assert made == [*range(20)]
    assert list(handles._open) == [*range(20)][-kept:]
