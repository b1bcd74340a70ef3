"""Several people's opinions as one: by votes, as a mean, or by expectation maximisation.

Of ``n`` voters ``k`` say yes. "union": k >= 1; "intersection": k = n; "mode": k >= n / 2, or k > n / 2 with
``ties="negative"``. The order of the voters never matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import ParameterError, ShapeError

Strategy = Literal["union", "intersection", "mode", "soft", "staple"]
LABEL_STRATEGIES = ("union", "intersection", "mode")
MASK_STRATEGIES = (*LABEL_STRATEGIES, "soft", "staple")
_ROUNDS, _TOLERANCE = 100, 1e-6


def check_strategy(name: str, value: object, known: Sequence[str] = LABEL_STRATEGIES) -> None:
    """ParameterError for a strategy that is none of those known; None is one."""
    if value is not None and value not in known:
        raise ParameterError(f"{name} is {value!r}.", remedy=f"use one of {list(known)}, or None")


def merge_votes(votes: npt.NDArray[Any], strategy: str, ties: str = "positive") -> npt.NDArray[Any]:
    """Merge votes (n, ...) along the first axis.

    Returns
    -------
    ndarray
        bool; float32 of "soft" (the part that says yes).

    Raises
    ------
    ParameterError
        Another strategy, another `ties`, or no votes.
    """
    check_strategy("strategy", strategy, MASK_STRATEGIES)
    if ties not in ("positive", "negative"):
        raise ParameterError(f"ties is {ties!r}.", remedy='use "positive" or "negative"')
    count = len(votes)
    if not count:
        raise ParameterError("There is nothing to merge: no voter.", remedy="give at least one mask")
    if strategy == "staple":
        return np.asarray(staple(votes) >= 0.5)
    yes: npt.NDArray[np.int64] = np.asarray(votes != 0).sum(axis=0, dtype=np.int64)
    if strategy == "soft":
        return np.asarray(yes / count, np.float32)
    if strategy == "mode":  # whole numbers: a mean of many voters rounds
        return np.asarray(2 * yes >= count if ties == "positive" else 2 * yes > count)
    return np.asarray(yes >= (1 if strategy == "union" else count))


def merge_semantic(
    masks: Mapping[str, npt.NDArray[Any]],
    strategy: str,
    *,
    ties: str = "positive",
    background: Literal["rest", "voted"] = "rest",
    voters: Sequence[str] | None = None,
) -> npt.NDArray[Any]:
    """Merge semantic masks (L + 1, ...) of several authors, channel 0 being the background.

    Parameters
    ----------
    masks : mapping
        By author.
    strategy : {"union", "intersection", "mode", "soft", "staple"}
    ties : {"positive", "negative"}
        What a tie of "mode" is.
    background : {"rest", "voted"}
        "rest": what no label has (of "soft": the part that is left of 1). "voted": merged like any label.
    voters : sequence of str, optional
        Who counts; one of them without a mask says no to all labels. None: everybody in `masks`.

    Returns
    -------
    ndarray
        uint8 (L + 1, ...), float32 of "soft".

    Raises
    ------
    ParameterError
        Nothing to merge, or a strategy or rule that is none.
    ShapeError
        Masks of different shapes.

    Examples
    --------
    >>> a = np.array([[1, 0], [0, 1]], np.uint8)
    >>> merge_semantic({"A": a, "B": a}, "union").tolist()
    [[1, 0], [0, 1]]
    """
    if background not in ("rest", "voted"):
        raise ParameterError(f"background is {background!r}.", remedy='use "rest" or "voted"')
    if not masks:
        raise ParameterError("There is nothing to merge: no mask.", remedy="give at least one author's mask")
    shapes = {np.shape(mask) for mask in masks.values()}
    if len(shapes) > 1:
        raise ShapeError(f"Masks of different shapes: {sorted(shapes)}.", remedy="merge masks of one image")
    names = sorted(masks) if voters is None else sorted(set(voters))
    empty = np.zeros(next(iter(shapes)), np.uint8)
    if len(empty):
        empty[0] = 1
    votes: Any = (
        np.stack([np.asarray(masks.get(name, empty)) for name in names]) if names else np.zeros((0, *empty.shape))
    )
    first = 1 if background == "rest" else 0
    merged: npt.NDArray[Any]
    if strategy == "staple":
        merged = np.stack([merge_votes(votes[:, i], strategy) for i in range(first, votes.shape[1])] or [empty[:0]])
        merged = merged.reshape(votes.shape[1] - first, *votes.shape[2:])
    else:
        merged = merge_votes(votes[:, first:], strategy, ties)
    merged = merged.astype(np.float32 if strategy == "soft" else np.uint8)
    if background == "voted":
        return merged
    if strategy == "soft":
        rest = np.clip(1 - merged.max(axis=0, initial=0), 0, 1)
    else:
        rest = ~merged.any(axis=0)
    return np.concatenate([rest[None].astype(merged.dtype), merged])


def staple(votes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return how likely each voxel belongs to a label, given how well the voters seem to know it.

    Expectation maximisation over the sensitivity and specificity of every voter, at most 100 rounds, until no
    probability changes by more than 1e-6. The prior is the mean of all votes.

    Parameters
    ----------
    votes : ndarray (n, ...)
        Anything but 0 says yes.

    Returns
    -------
    ndarray of float64 (...)
    """
    yes = (np.asarray(votes) != 0).reshape(len(votes), -1)
    shape = np.shape(votes)[1:]
    prior = float(yes.mean()) if yes.size else 0.0
    if prior in (0.0, 1.0):
        return np.full(shape, prior)
    patterns, back, counts = np.unique(yes, axis=1, return_inverse=True, return_counts=True)
    sensitivity = np.full(len(yes), 0.99)
    specificity = np.full(len(yes), 0.99)
    belief = np.zeros(patterns.shape[1])
    for _ in range(_ROUNDS):
        inside = np.log(prior) + _log_likelihood(patterns, sensitivity)
        outside = np.log1p(-prior) + _log_likelihood(~patterns, specificity)
        new = 1 / (1 + np.exp(np.clip(outside - inside, -700, 700)))
        done = np.abs(new - belief).max() <= _TOLERANCE
        belief = new
        if done:
            break
        weight = belief * counts
        rest = (1 - belief) * counts
        sensitivity = (patterns * weight).sum(axis=1) / max(weight.sum(), 1e-12)
        specificity = (~patterns * rest).sum(axis=1) / max(rest.sum(), 1e-12)
    return belief[back.reshape(-1)].reshape(shape)


def _log_likelihood(said: npt.NDArray[np.bool_], rate: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    rate = np.clip(rate, 1e-7, 1 - 1e-7)[:, None]
    return np.asarray(np.where(said, np.log(rate), np.log(1 - rate)).sum(axis=0))


def merge_labels(labels: Mapping[str, npt.NDArray[Any]], strategy: str, ties: str = "positive") -> npt.NDArray[Any]:
    """Merge multi-hot labels of several authors to one, int32 (labels,)."""
    check_strategy("strategy", strategy)
    votes = np.stack([np.asarray(labels[name]) for name in sorted(labels)]) if labels else np.zeros((0, 0))
    return merge_votes(votes, strategy, ties).astype(np.int32)


def merge_categories(categories: Mapping[str, Any], strategy: str, num_categories: int) -> npt.NDArray[Any]:
    """Merge indices of categories of several authors.

    Parameters
    ----------
    categories : mapping
        Index by author.
    strategy : {"union", "intersection", "mode"}
    num_categories : int

    Returns
    -------
    ndarray
        int32 (num_categories,), 1 for all that were named, or named by all; of "mode" the most frequent index, 0-D
        int64, the lowest where several are, -1 where there are none.
    """
    check_strategy("strategy", strategy)
    if strategy is None:
        raise ParameterError("There is no strategy.", remedy=f"use one of {list(LABEL_STRATEGIES)}")
    named = np.array([int(value) for value in categories.values()], np.int64)
    counts = np.bincount(named, minlength=num_categories)[:num_categories]
    if strategy == "mode":
        return np.array(int(counts.argmax()) if len(named) else -1, np.int64)
    least = 1 if strategy == "union" else max(1, len(named))
    return (counts >= least).astype(np.int32)
