"""A commit and its event are there together, once, or neither is, wherever a process dies; docs/server-storage.md."""

from __future__ import annotations

import pytest
import server_kills


@pytest.mark.some(3)
@pytest.mark.parametrize("point", server_kills.POINTS)
def test_a_process_that_dies_at_a_step_leaves_commit_and_event_or_neither(tmp_path, point):
    server_kills.make(tmp_path)
    writer, token = server_kills.Writer(tmp_path, "writer"), tmp_path / "token"
    for number in (1, 4):
        token.touch()
        writer.start(BIOIMAGE_PY_FAULT=f"{point}:{number}:{token}")
        writer.end(kill=False)
        assert not token.exists()
        server_kills.proved(tmp_path, [writer])
    last = max(writer.acknowledged, default=0)
    seq = server_kills.commit(server_kills.opened(tmp_path), "writer", last + 1)
    assert seq == last + 1  # the one under way was repeated with its key: once, whether it had counted or not


def test_several_writers_are_killed(tmp_path):
    assert server_kills.soak(tmp_path, kills=4, writers=2, seed=3, seconds=0.2)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_writers_are_killed_at_many_random_instants(tmp_path):
    events = server_kills.soak(tmp_path, kills=100, writers=3, seed=7)
    print(f"100 kills, {events} events")
