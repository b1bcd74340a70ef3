"""A fold has one shape: bracketing shows it, whatever workers, batches and retries did."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bioimage_py.runner.ledger.fold import Fold

Leaves = dict[int, str | None]


def bracket(left: str, right: str) -> str:
    assert left is not None
    assert right is not None
    return f"({left} {right})"


def oracle(leaves: Leaves, level: int = 12, index: int = 0) -> str | None:
    """The tree by recursion: a node is its two halves; what is missing or None does not count."""
    if level == 0:
        return leaves.get(index)
    left, right = (oracle(leaves, level - 1, 2 * index + side) for side in (0, 1))
    return right if left is None else left if right is None else bracket(left, right)


def folded(leaves: Leaves, parts: Iterable[Iterable[int]]) -> str | None:
    """Fold each part on its own, as a worker does with its batch, and the parts together, as the ledger does."""
    whole: Fold = Fold(bracket)
    for part in parts:
        fold: Fold = Fold(bracket)
        for leaf in part:
            fold.add(0, leaf, leaves[leaf])
        whole.extend(fold.partial())
    result: str | None = whole.result()
    assert whole.result() == result, "asking twice changes nothing"
    return result


LEAVES = st.dictionaries(st.integers(0, 300), st.one_of(st.none(), st.just("")), max_size=80).map(
    lambda keys: {key: None if value is None else str(key) for key, value in keys.items()}
)


@given(LEAVES, st.integers(1, 12), st.randoms(use_true_random=False))
def test_any_split_in_any_order_with_any_leaf_missing_gives_one_tree(
    leaves: Leaves, n_parts: int, rng: random.Random
) -> None:
    order = list(leaves)
    rng.shuffle(order)
    cuts = sorted(rng.randint(0, len(order)) for _ in range(n_parts - 1))
    edges = [0, *cuts, len(order)]
    parts = [order[begin:end] for begin, end in itertools.pairwise(edges)]
    assert folded(leaves, parts) == oracle(leaves)


@given(st.integers(0, 200), st.integers(1, 8))
def test_contiguous_leaves_keep_few_values_pending(n: int, n_batches: int) -> None:
    whole: Fold = Fold(bracket)
    for batch in np.array_split(np.arange(n), n_batches):
        fold: Fold = Fold(bracket)
        for leaf in batch.tolist():
            fold.add(0, leaf, str(leaf))
            assert len(fold.nodes) <= 2 * 8
        whole.extend(fold.partial())
    assert whole.result() == oracle({leaf: str(leaf) for leaf in range(n)})


def test_floats_have_the_same_bits_in_any_order() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(1000) * 10.0 ** rng.integers(-8, 8, 1000)).tolist()
    results = set()
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(values)).tolist()
        fold: Fold = Fold(lambda a, b: a + b)
        for leaf in order:
            fold.add(0, leaf, values[leaf])
        results.add(fold.result())
    assert len(results) == 1


def test_nothing_folds_to_none() -> None:
    assert Fold(bracket).result() is None
    fold: Fold = Fold(bracket)
    fold.add(0, 3, None)
    fold.add(0, 2, None)
    assert fold.result() is None
