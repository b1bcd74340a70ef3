"""How far annotators agree: NaN where a figure is not defined, such as the overlap of two empty masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Agreement(NamedTuple):
    """Of one label: means over all pairs of annotators, and Fleiss' kappa over all."""

    dice: float
    iou: float
    cohen_kappa: float
    fleiss_kappa: float


def agreement(masks: Mapping[str, npt.NDArray[Any]]) -> Agreement:
    """Compare the masks of one label by several annotators.

    Parameters
    ----------
    masks : mapping
        Array by author, all of one shape; anything but 0 says yes.

    Examples
    --------
    >>> one, two = np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])
    >>> round(agreement({"A": one, "B": two}).dice, 3)
    0.667
    """
    said = [np.asarray(masks[name]).ravel() != 0 for name in sorted(masks)]
    pairs = [(a, b) for i, a in enumerate(said) for b in said[i + 1 :]]
    values = [(dice(a, b), iou(a, b), cohen_kappa(a, b)) for a, b in pairs]
    first, second, third = (_mean([value[i] for value in values]) for i in range(3))
    return Agreement(first, second, third, fleiss_kappa(np.stack(said)) if said else float("nan"))


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """Twice the common part over the sum of both."""
    return _ratio(2 * int((a & b).sum()), int(a.sum()) + int(b.sum()))


def iou(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """The common part over the union."""
    return _ratio(int((a & b).sum()), int((a | b).sum()))


def cohen_kappa(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """Agreement of two beyond chance."""
    if not a.size:
        return float("nan")
    p, q = float(a.mean()), float(b.mean())
    expected = p * q + (1 - p) * (1 - q)
    return _ratio(float((a == b).mean()) - expected, 1 - expected)


def fleiss_kappa(said: npt.NDArray[np.bool_]) -> float:
    """Agreement of several (n, voxels) beyond chance."""
    n = len(said)
    if n < 2 or not said.size:
        return float("nan")
    yes = said.sum(axis=0, dtype=np.int64)
    observed = float(((yes * (yes - 1) + (n - yes) * (n - yes - 1)) / (n * (n - 1))).mean())
    p = float(said.mean())
    expected = p * p + (1 - p) * (1 - p)
    return _ratio(observed - expected, 1 - expected)


def _ratio(a: float, b: float) -> float:
    return float("nan") if abs(b) < 1e-15 else a / b


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")
