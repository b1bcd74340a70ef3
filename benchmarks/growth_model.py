"""What a run costs beside the work itself, computed from what was measured."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

Parts = dict[str, dict[str, float]]

SIZES = {"1 TV": 1e12, "10 TV": 1e13, "100 TV": 1e14, "1 PV": 1e15}
BLOCKS = (512, 1024)
WORKERS = (100, 1000, 10000)
CHUNK, SHARD = 128, 1024
RATE = 10_000
"""Assumed: metadata calls that a file server answers in a second, for all who ask."""
LATENCY = 0.5e-3
"""Assumed: seconds that one such call takes."""
LISTED = 1000
"""Assumed: names of a folder that one call lists."""
ARRAY = 1001
"""MaxArraySize where a site says nothing."""
NODE = 256e9
"""Assumed: bytes of memory of the node with the driver, and of the one that merges."""
LATE = 10.0
"""Seconds by which a driver may hear of what has happened."""
QUOTA = 10**6
"""Assumed: files that a user may have."""
WORKS = ("copy", "gaussian", "label")


@dataclass(frozen=True)
class Constants:
    """What is computed with."""

    parts: Parts

    def run(self, returns: str, what: str) -> float:
        """Of a block with a record of its own: the slope from no block to the longest run."""
        n = 10**5 if returns == "none" else 10**4
        return self.parts[f"run {n} {returns} own"][what] / n

    def claims(self, what: str, workers: int = 100) -> float:
        """Of a claim, where workers take one after the other."""
        return self.parts["claims"][f"{what} {workers}"] / self.parts["claims"][f"batches {workers}"]

    @property
    def crowd_calls(self) -> float:
        """Calls of an attempt where all ask at once."""
        return self.parts["crowd"]["calls 100"] / self.parts["crowd"]["links 100"]

    def names(self, batches: int, workers: int) -> float:
        """Names that are listed for a claim: on average half of the claims are made, and each worker has a file."""
        measured = self.claims("entries") / (self.parts["claims"]["batches 100"] / 2 + 100)
        return measured * (batches / 2 + workers)

    def claim_calls(self, batches: int, workers: int) -> float:
        """Calls of a claim, where workers take one after the other."""
        return self.claims("calls") + self.names(batches, workers) / LISTED

    def crowd(self, workers: int) -> float:
        """Seconds in which a server answers workers that all ask for their first batch at once.

        Attempts a worker rise by the same with every factor of ten: who loses picks among four times as many.
        """
        few, many = (self.parts["crowd"][f"links {n}"] / n for n in (10, 100))
        return workers * (few + (many - few) * max(0.0, math.log10(workers / 10))) * self.crowd_calls / RATE

    @property
    def density(self) -> float:
        """Components a voxel."""
        return self.parts["kernels 512 512"]["components"]

    @property
    def table_bytes(self) -> float:
        """Of the merge table, a component of a block, at the peak."""
        return self.parts["table 10000000"]["bytes"]

    @property
    def table_cpu(self) -> float:
        """Seconds of the merge table, a component of a block."""
        return self.parts["table 10000000"]["cpu"]

    @property
    def batch_bytes(self) -> float:
        """Of a batch in the driver, with what its report says of it."""
        return self.parts["batches"]["driver_bytes"] + self.parts["batches"]["span_bytes"]

    def work(self, name: str) -> float:
        """Seconds of CPU a voxel, of blocks of 512³."""
        return self.parts["kernels 512 512"][f"{name}_cpu"] * 1e-9

    @property
    def pair_cpu(self) -> float:
        """Seconds of comparing two voxels of faces."""
        faces = self.parts["faces 512"]
        pairs = 3 * 4 * 4 * 3 / 64 * 512**2
        rest = self.parts["merge 27000"]["merge_cpu"] + faces["components"] * self.table_cpu
        return (faces["merge_cpu"] - rest) / pairs

    def components(self, edge: int) -> float:
        """Of a block of this edge, with those that go on in the next one."""
        return self.parts["faces 512"]["components"] * (edge / 512) ** 3

    def part_bytes(self, edge: int) -> float:
        """What the merge holds of a block: faces, and where each component begins."""
        faces = self.parts["faces 512"]
        return faces["face_bytes"] * (edge / 512) ** 2 + 8 * self.components(edge)

    def merge_cpu(self, edge: int) -> float:
        """Seconds of the merge, a block, with those of reading what is kept of it."""
        flat = self.parts["merge 27000"]["merge_cpu"] + self.run("each", "load_cpu")
        read = self.parts["faces 512"]["read_cpu"] * self.part_bytes(edge) / self.part_bytes(512)
        return flat + read + 3 * edge**2 * self.pair_cpu + self.components(edge) * self.table_cpu


@cache
def batches(blocks: int, workers: int) -> int:
    """Batches of a stage, cut by the package itself."""
    from bioimage_py.runner.execution import Execution
    from bioimage_py.runner.planning.work_list import cut_batches

    return len(cut_batches(0, blocks, Execution(num_workers=workers)))


def n_blocks(voxels: float, edge: int) -> int:
    """Boxes of this edge."""
    return math.ceil(voxels / edge**3)


def claiming(c: Constants, n: int, workers: int) -> float:
    """Seconds in which a server answers what workers ask for so many claims, one after the other."""
    return n * c.claim_calls(n, workers) / RATE


def most(fits: Callable[[int], bool]) -> int:
    """The largest number of workers, to two digits, for which something holds, as it does for all smaller ones."""
    numbers = [*range(10), *(digits * 10**power for power in range(4) for digits in range(10, 100))]
    return numbers[bisect.bisect_left(numbers, 1, lo=1, key=lambda number: not fits(number)) - 1]
