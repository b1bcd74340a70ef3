"""Drawing parts: arithmetic over ids, groups and strata, without data sets.

All order comes from SHA-256 of seed and id, so it depends neither on the order of the input nor on a version of Python.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ...errors import ParameterError

_TOLERANCE = 0.01 + 1e-9
Numbers = npt.NDArray[np.int64]


def checked_ratios(ratios: Mapping[str, float]) -> dict[str, float]:
    """Return ratios that sum to 1.

    Raises
    ------
    ParameterError
        Fewer than two, one that is no positive number, or another sum than 1 ± 0.01.
    """
    if len(ratios) < 2:
        raise ParameterError(
            f"{len(ratios)} part(s): {dict(ratios)}.", remedy="name at least two: split(train=0.8, test=0.2)"
        )
    for name, ratio in ratios.items():
        number = isinstance(ratio, int | float | np.number) and not isinstance(ratio, bool)
        if not number or not math.isfinite(ratio) or ratio <= 0:
            raise ParameterError(f"The ratio of {name!r} is {ratio!r}.", remedy="use a number above 0")
    total = math.fsum(ratios.values())
    if abs(total - 1) > _TOLERANCE:
        raise ParameterError(f"The ratios {dict(ratios)} sum to {total:.6g}.", remedy="let them sum to 1")
    return {name: float(ratio) / total for name, ratio in ratios.items()}


def sizes(count: int, ratios: Sequence[float]) -> list[int]:
    """Return whole sizes by the largest remainder, ties to the earlier part; none deviates by 1 or more.

    Examples
    --------
    >>> sizes(10, [0.25] * 4)
    [3, 3, 2, 2]
    """
    exact = [round(ratio * count, 9) for ratio in ratios]  # 0.7 * 10 is not 7
    found = [math.floor(value) for value in exact]
    order = sorted(range(len(ratios)), key=lambda part: (-round(exact[part] - found[part], 6), part))
    for part in order[: count - sum(found)]:
        found[part] += 1
    return found


def digest(seed: int, id: Hashable) -> bytes:
    """Return what an id is ordered by."""
    return hashlib.sha256(f"{seed}:{id}".encode("utf-8", "surrogatepass")).digest()


def assign(
    ids: Sequence[Hashable],
    ratios: Sequence[float],
    seed: int,
    *,
    method: str = "random",
    weights: Sequence[int] | None = None,
    strata: Sequence[Hashable] | None = None,
    grouped: bool = False,
) -> Numbers:
    """Return the part of every unit (an item, or a group of items).

    Parameters
    ----------
    ids : sequence
        Of the units, each once.
    ratios : sequence of float
        Sum 1.
    seed : int
    method : {"random", "hash"}
        "hash": each id falls by its hash alone, so that more ids move none.
    weights : sequence of int, optional
        Items of each unit; None: 1.
    strata : sequence, optional
        Stratum of each unit; sizes hold in every stratum.
    grouped : bool, default False
        Units are groups of different sizes: the largest come first, each into the part that lacks most items.

    Returns
    -------
    ndarray of int64 (n,)
    """
    hashes = [digest(seed, id) for id in ids]
    if method == "hash":
        edges = np.cumsum(ratios)[:-1]
        at = np.array([int.from_bytes(h[:7], "big") / 2**56 for h in hashes])
        return np.searchsorted(edges, at, side="right").astype(np.int64)
    if grouped:
        return _balanced(hashes, ratios, weights or [1] * len(ids), strata)
    parts = np.zeros(len(ids), np.int64)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number in range(len(ids)):
        members[None if strata is None else strata[number]].append(number)
    for numbers in members.values():
        ordered = sorted(numbers, key=lambda number: hashes[number])
        parts[ordered] = np.repeat(np.arange(len(ratios)), sizes(len(numbers), ratios))
    return parts


def _balanced(
    hashes: Sequence[bytes], ratios: Sequence[float], weights: Sequence[int], strata: Sequence[Hashable] | None
) -> Numbers:
    """Greedy: after it no part deviates from its wish by the largest group or more, without strata.

    With strata each group goes where the sum of squares of what lacks, in its stratum and altogether, falls most.
    """
    kinds = {kind: i for i, kind in enumerate(dict.fromkeys(strata or [None]))}
    stratum = [0] * len(hashes) if strata is None else [kinds[kind] for kind in strata]
    lack = np.zeros((len(ratios), len(kinds)))
    for number, weight in enumerate(weights):
        lack[:, stratum[number]] += np.asarray(ratios) * weight
    parts = np.zeros(len(hashes), np.int64)
    for number in sorted(range(len(hashes)), key=lambda n: (-weights[n], hashes[n])):
        column = np.round(lack[:, stratum[number]] + lack.sum(axis=1), 9)
        part = int(column.argmax())
        parts[number] = part
        lack[part, stratum[number]] -= weights[number]
    return parts
