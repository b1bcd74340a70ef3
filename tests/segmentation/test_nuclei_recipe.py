"""The recipe for nuclei of the docs, on real ones: in blocks as good as scikit-image on the whole array."""

from __future__ import annotations

import nuclei
import numpy as np
import pytest


@pytest.mark.real_data
def test_not_below_the_same_steps_of_scikit_image(nuclei_raw: np.ndarray, nuclei_labels: np.ndarray) -> None:
    truth = nuclei_labels.astype(np.uint64)
    blocks = nuclei.recipe(nuclei_raw, block_shape=24, num_workers=2, progress=False)
    n, f1, vi = nuclei.scores(blocks, truth)
    assert f1 > 0.85
    assert f1 >= nuclei.scores(nuclei.plain(nuclei_raw), truth)[1]
    assert (n, vi) == (51, pytest.approx(1.98, abs=0.05))
