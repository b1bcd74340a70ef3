"""How long the blocks of a stage took, in bounded memory."""

from __future__ import annotations

from array import array
from heapq import heappush, heapreplace

import numpy as np

SAMPLE = 2**20
"""Blocks of which the times are kept one by one; of longer stages every second, fourth, eighth ... is."""
SLOWEST = 100
"""Slowest blocks that are kept."""


class BlockTimes:
    """Seconds of the blocks of a stage.

    Attributes
    ----------
    ids : array of int64
        Blocks in the order in which they were handed in: all, or every ``every``-th of them.
    seconds : array of float32
        Wall time of each.
    every : int
    total : float
        Seconds of all blocks together.
    """

    def __init__(self) -> None:
        self.ids: array[int] = array("q")
        self.seconds: array[float] = array("f")
        self.every = 1
        self.total = 0.0
        self._count = 0
        self._slow: list[tuple[float, int, int]] = []

    def add(self, ids: array[int], seconds: array[float]) -> None:
        """Blocks were handed in."""
        first = -self._count % self.every
        self.ids.extend(ids[first :: self.every])
        self.seconds.extend(seconds[first :: self.every])
        while len(self.ids) > SAMPLE:
            self.ids, self.seconds, self.every = self.ids[::2], self.seconds[::2], 2 * self.every
        times = np.frombuffer(seconds, np.float32)
        self.total += float(times.sum(dtype=np.float64))
        self._keep_slow(ids, times)
        self._count += len(ids)

    def _keep_slow(self, ids: array[int], times: np.ndarray) -> None:
        if len(self._slow) == SLOWEST:
            places = np.flatnonzero(times > self._slow[0][0])
        else:
            places = np.arange(len(times))
        if len(places) > SLOWEST:
            places = places[np.argsort(-times[places], kind="stable")[:SLOWEST]]
        for place in places.tolist():
            # of equal times the earlier one is kept
            slow = (float(times[place]), -(self._count + place), ids[place])
            if len(self._slow) < SLOWEST:
                heappush(self._slow, slow)
            elif slow > self._slow[0]:
                heapreplace(self._slow, slow)

    def slowest(self, n: int) -> list[tuple[int, float]]:
        """Ids and seconds of the slowest blocks, of a hundred at most."""
        return [(block, seconds) for seconds, _, block in sorted(self._slow, reverse=True)[:n]]
