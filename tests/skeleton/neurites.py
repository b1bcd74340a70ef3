"""Made neurites: tubes along smooth random lines, and a run over them whose process dies in the middle, once."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def neurites(n: int, size: int, seed: int, radius: float = 2.5) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels 1 to n, apart from each other, and the line of each."""
    rng = np.random.default_rng(seed)
    labels, lines = np.zeros((size,) * 3, np.uint32), list[np.ndarray]()
    margin = int(radius) + 2
    while len(lines) < n:
        at, step = rng.uniform(margin, size - margin, 3), rng.normal(size=3)
        points = [at]
        while len(points) < 2 * size:
            step = step + 0.2 * rng.normal(size=3)
            step /= np.linalg.norm(step)
            at = points[-1] + 0.7 * step
            if ((at < margin) | (at > size - 1 - margin)).any():
                break
            points.append(at)
        line = np.array(points)
        if len(line) < 40 or _touches_itself(line, radius):
            continue
        low = np.maximum(np.floor(line.min(0)).astype(int) - margin - 2, 0)
        high = np.minimum(np.ceil(line.max(0)).astype(int) + margin + 3, size)
        box = tuple(map(slice, low, high))
        empty = np.ones(tuple(high - low), bool)
        empty[tuple((np.rint(line).astype(int) - low).T)] = False
        away = ndimage.distance_transform_edt(empty)
        if labels[box][away <= radius + 1.5].any():
            continue
        lines.append(line)
        labels[box][away <= radius] = len(lines)
    return labels, lines


def _touches_itself(line: np.ndarray, radius: float) -> bool:
    """Whether the tube of a line has a hole, or a way that is shorter than along the line."""
    apart = np.linalg.norm(line[:, None] - line[None], axis=2)
    along = 0.7 * abs(np.subtract.outer(np.arange(len(line)), np.arange(len(line))))
    return bool(((apart < 2 * radius + 2) & (along > 4 * radius + 4)).any())
