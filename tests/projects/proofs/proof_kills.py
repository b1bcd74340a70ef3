"""SIGKILL at 200 random instants of saving, transactions and edits (`make test-projects`)."""

from __future__ import annotations

import project_kills
import pytest

KILLS = 67


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(project_kills.JOBS))
def test_killed_at_random_instants(tmp_path, name):
    states = project_kills.kill_often(tmp_path / "project", name, KILLS, seed=7)
    assert len(states) == KILLS
    print(f"{name}: {KILLS} kills, states up to {states[-1]}")
