"""Sparse assignments against those of scipy on whole matrices."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from bioimage_py.evaluation.assignment import best_pairs, most_pairs


@given(st.integers(1, 7), st.integers(1, 7), st.floats(0.05, 1), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_as_many_as_possible_at_the_least_cost(n: int, m: int, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(rng.random((n, m)) < density)
    costs = rng.choice([0.0, 0.25, 0.5, 1.0, 3.0], len(rows))
    order = rng.permutation(len(rows))
    rows, columns, costs = rows[order] * 1000, columns[order] + 2**40, costs[order]
    dense = np.full((n, m), 1e6)
    dense[rows // 1000, columns - 2**40] = costs
    at = linear_sum_assignment(dense)
    real = dense[at] < 1e6
    found = best_pairs(rows, columns, costs)
    assert len(set(rows[found])) == len(set(columns[found])) == len(found)
    assert len(found) == real.sum() == most_pairs(rows, columns)
    np.testing.assert_allclose(costs[found].sum(), dense[at][real].sum())


def test_many_parts_need_no_matrix() -> None:
    n = 200_000
    rows, columns = np.repeat(np.arange(n), 2), np.repeat(np.arange(n), 2)
    columns[1::2] += n
    costs = np.tile([0.5, 0.25], n)
    assert most_pairs(rows, columns) == n
    assert best_pairs(rows, columns, costs).tolist() == list(range(1, 2 * n, 2))
