"""How long the blocks of a stage took, in bounded memory."""

from __future__ import annotations

from array import array

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
        # of equal times the earlier one is kept
        slow = np.flatnonzero(times > (self._slow[-1][0] if len(self._slow) == SLOWEST else -1.0))
        slow = slow[np.argsort(-times[slow], kind="stable")[:SLOWEST]]
        if len(slow):
            found = [(float(times[place]), -(self._count + place), ids[place]) for place in slow.tolist()]
            self._slow = sorted(self._slow + found, reverse=True)[:SLOWEST]
        self._count += len(ids)

    def slowest(self, n: int) -> list[tuple[int, float]]:
        """Ids and seconds of the slowest blocks, of a hundred at most."""
        return [(block, seconds) for seconds, _, block in self._slow[:n]]
