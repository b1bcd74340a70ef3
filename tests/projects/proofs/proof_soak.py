"""Eight processes edit one project, and are killed (`make test-projects`)."""

from __future__ import annotations

import project_soak
import pytest


@pytest.mark.timeout(3600)
def test_nothing_acknowledged_is_lost(tmp_path):
    print(project_soak.soak(tmp_path, seconds=3000, kills=50, operations=1000, workers=8))
