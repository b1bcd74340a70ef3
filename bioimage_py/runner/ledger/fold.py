"""Folding values in a fixed binary tree, so that a reduction has the same bits whatever the workers did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Node = tuple[int, int, Any]


class Fold:
    """A tree over leaves 0, 1, 2, …: node ``(level, index)`` covers the leaves from ``index << level``.

    Two neighbours are merged as soon as both are there, so pending values stay few for contiguous leaves; the shape
    of the tree depends on the set of leaves only.

    Parameters
    ----------
    merge : callable
        ``merge(left, right)`` of two partial values; never called with None, which stands for "nothing here".
    """

    def __init__(self, merge: Callable[[Any, Any], Any]) -> None:
        self.merge = merge
        self.nodes: dict[tuple[int, int], Any] = {}

    def add(self, level: int, index: int, value: Any) -> None:
        """Add a node, merging upwards while the sibling is there."""
        while (level, index ^ 1) in self.nodes:
            other = self.nodes.pop((level, index ^ 1))
            value = self.join(other, value) if index & 1 else self.join(value, other)
            level, index = level + 1, index >> 1
        self.nodes[level, index] = value

    def join(self, left: Any, right: Any) -> Any:
        """Merge two values of which either may be None."""
        return right if left is None else left if right is None else self.merge(left, right)

    def partial(self) -> list[Node]:
        """The nodes that are left, to be added to another fold."""
        return [(level, index, value) for (level, index), value in self.nodes.items()]

    def extend(self, nodes: Iterable[Node]) -> None:
        """Add the nodes of another fold."""
        for level, index, value in nodes:
            self.add(level, index, value)

    def result(self) -> Any:
        """The folded value, None if there was nothing; call it once, when all leaves are in."""
        while len(self.nodes) > 1:
            level = min(level for level, _ in self.nodes)
            for key in sorted(key for key in self.nodes if key[0] == level):
                self.add(level + 1, key[1] >> 1, self.nodes.pop(key))
        return next(iter(self.nodes.values()), None)
