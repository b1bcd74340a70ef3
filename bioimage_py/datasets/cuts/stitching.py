"""Patches of a grid as one volume again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import DatasetError, ParameterError, ShapeError

Mode = Literal["average", "hann", "crop"]


def stitched(
    predictions: Iterable[npt.NDArray[Any]],
    grid: Sequence[Sequence[int]],
    patch: Sequence[int],
    space: Sequence[int],
    pads: Sequence[int],
    mode: Mode,
    output: Any,
) -> Any:
    """Return patches as a volume; see `PatchDataset.aggregate`.

    Parameters
    ----------
    predictions : iterable of ndarray (..., d, h, w)
    grid : sequence
        First indices of patches along each axis.
    patch, space : sequence of int
        Shapes of a patch and of the volume.
    pads : sequence of int
        Voxels before the volume, where it is smaller than a patch.
    mode, output
        As there.
    """
    if mode not in ("average", "hann", "crop"):
        raise ParameterError(f"mode is {mode!r}.", remedy='use "average", "hann" or "crop"')
    if output is not None and mode != "crop":
        raise ParameterError(f"mode={mode!r} needs all of the volume in memory.", remedy='mode="crop", or output=None')
    inner = tuple(
        slice(pad, pad + min(size, end)) for pad, size, end in zip(pads, patch, space, strict=True)
    )  # of a patch, what lies in the volume
    weight: Any = _weights(patch, mode)[inner]
    total: Any = output
    sums: npt.NDArray[np.float64] = np.zeros(0)
    places = list(itertools.product(*[range(len(axis)) for axis in grid]))
    given = iter(predictions)
    for count, place in enumerate(places):
        try:
            one: Any = np.asarray(next(given))
        except StopIteration:
            raise DatasetError(
                f"{count} predictions for {len(places)} patches.", remedy="predict all, in order"
            ) from None
        if one.shape[-3:] != tuple(patch):
            raise ShapeError(f"A prediction has the shape {one.shape}.", remedy=f"return (..., {tuple(patch)})")
        one = one[(..., *inner)]
        begin = [axis[i] for axis, i in zip(grid, place, strict=True)]
        if mode == "crop":
            if total is None:
                total = np.zeros((*one.shape[:-3], *space), one.dtype)
            kept = [_kept(axis, i, n, end) for axis, i, n, end in zip(grid, place, one.shape[-3:], space, strict=True)]
            to = tuple(slice(a, b) for a, b in kept)
            of = tuple(slice(a - start, b - start) for (a, b), start in zip(kept, begin, strict=True))
            total[(..., *to)] = one[(..., *of)]
            continue
        if total is None:
            total, sums = np.zeros((*one.shape[:-3], *space)), np.zeros(space)
        to = tuple(slice(b, b + n) for b, n in zip(begin, one.shape[-3:], strict=True))
        total[(..., *to)] += one * weight
        sums[to] += weight
    if next(given, None) is not None:
        raise DatasetError(f"More predictions than the {len(places)} patches.", remedy="give those of one volume")
    return total if mode == "crop" else total / sums


def _weights(patch: Sequence[int], mode: Mode) -> npt.NDArray[np.float64]:
    if mode != "hann":
        return np.ones(tuple(patch))
    windows = [np.hanning(size + 2)[1:-1] for size in patch]  # without its zeros
    result: npt.NDArray[np.float64] = np.einsum("i,j,k->ijk", *windows)
    return result


def _kept(begins: Sequence[int], at: int, size: int, end: int) -> tuple[int, int]:
    """What is kept of a patch along an axis: up to the middle of what it shares with its neighbours."""
    first = 0 if at == 0 else (begins[at] + begins[at - 1] + size) // 2
    last = end if at == len(begins) - 1 else (begins[at + 1] + begins[at] + size) // 2
    return first, last
