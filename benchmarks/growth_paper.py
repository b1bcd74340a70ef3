"""The constants of `growth` as a table, and what they come to on one teravoxel to one petavoxel."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

Parts = dict[str, dict[str, float]]

SIZES = {"1 TV": 1e12, "10 TV": 1e13, "100 TV": 1e14, "1 PV": 1e15}
BLOCKS = (512, 1024)
WORKERS = (100, 1000, 10000)
CHUNK, SHARD = 128, 1024
RATE = 10_000
"""Assumed: metadata calls that a file server answers in a second, for all who ask."""
LATENCY = 0.5e-3
"""Assumed: seconds that one such call takes."""
ARRAY = 1001
"""MaxArraySize where a site says nothing."""
NODE = 256e9
"""Assumed: bytes of memory of the node with the driver, and of the one that merges."""
QUOTA = 10**6
"""Assumed: files that a user may have."""
INDEX = 16
"""Bytes of a block in the index of values."""
WORKS = ("copy", "gaussian", "label")
SHARED = "run 1000000 none gathered"
WALL = 86400.0
"""Assumed: seconds after which a scheduler ends a job, and another goes on."""


@dataclass(frozen=True)
class Constants:
    """What is computed with."""

    parts: Parts

    def run(self, returns: str, what: str) -> float:
        """Of a block with a record of its own: the slope from no block to the longest run."""
        n = 10**5 if returns == "none" else 10**4
        return self.parts[f"run {n} {returns} own"][what] / n

    @property
    def attempt_calls(self) -> float:
        """Calls of an attempt to take a batch."""
        claims = self.parts["claims"]
        return claims["calls 40"] / claims["links 40"]

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
        """Seconds of the merge, a block."""
        flat = self.parts["merge 27000"]["merge_cpu"]
        return flat + 3 * edge**2 * self.pair_cpu + self.components(edge) * self.table_cpu


@cache
def batches(blocks: int, workers: int) -> int:
    """Batches of a stage, cut by the package itself."""
    from bioimage_py.executing import Execution
    from bioimage_py.runner.plan import cut_batches

    return len(cut_batches(0, blocks, Execution(num_workers=workers)))


def n_blocks(voxels: float, edge: int) -> int:
    """Boxes of this edge."""
    return math.ceil(voxels / edge**3)


def short(value: float) -> str:
    """A count in few characters."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{value / (1e3 if unit == ' k' else size):.3g}{unit}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def data(value: float) -> str:
    """Bytes in few characters."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def time(seconds: float) -> str:
    """Seconds in few characters."""
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
    size, unit = next((one for one in units if seconds >= one[0]), units[-1])
    return f"{seconds / size:,.{0 if seconds >= 9.95 * size else 1}f} {unit}"


def rows(*lines: tuple[Any, ...]) -> str:
    """A Markdown table."""
    head, *body = lines
    text = ["| " + " | ".join(map(str, line)) + " |" for line in (head, ("---",) * len(head), *body)]
    return "\n".join(text) + "\n"


def constants(c: Constants) -> str:
    """What was measured."""
    return rows(("what", "measured"), *_folder(c), *_driver(c), *_server(c), *_merge(c), *_voxels(c))


def _each(what: str, form: Callable[[float], str], *values: float) -> tuple[str, str]:
    return what, " / ".join(map(form, values))


def _folder(c: Constants) -> list[tuple[str, str]]:
    p, kinds, sizes = c.parts, ("none", "each", "fold"), (10**4, 10**5, 10**6)
    each = p["run 1000000 each gathered"]["results_bytes"] / 1e6
    return [
        _each(
            "journal, a block with a record of its own: no values / kept / folded",
            lambda size: f"{size:.0f} B",
            *(c.run(kind, "journal_bytes") for kind in kinds),
        ),
        _each(
            "journal, a block of 10⁶ that share records: the same",
            lambda size: f"{size:.1f} B",
            *(p[f"run 1000000 {kind} gathered"]["journal_bytes"] / 1e6 for kind in kinds),
        ),
        _each("an int that is kept: own record / shared", data, c.run("each", "results_bytes"), each),
        _each(
            "files of a run of 10⁴ / 10⁵ / 10⁶ blocks, 2 workers",
            short,
            *(p[f"run {n} none gathered"]["files"] for n in sizes),
        ),
        _each(
            "batches of 10⁶ blocks, 10 / 100 / 1,000 / 10,000 workers: each is a claim",
            short,
            *(p["batches"][f"batches 1000000 {workers}"] for workers in (10, *WORKERS)),
        ),
        _each("in place: directory entries kept, a write unit", short, p["undo"]["files"]),
    ]


def _driver(c: Constants) -> list[tuple[str, str]]:
    p, cut, ids, sizes = c.parts, c.parts["batches"], c.parts["plan ids 1000000"], (10**4, 10**5, 10**6, 10**7)
    return [
        _each(
            "driver CPU, a block: own record / shared", time, c.run("none", "resume_cpu"), p[SHARED]["driver_cpu"] / 1e6
        ),
        _each("resuming 10⁶ blocks, CPU: the same", time, c.run("none", "resume_cpu") * 1e6, p[SHARED]["resume_cpu"]),
        _each(
            "driver's peak memory, runs of 10⁴ / 10⁵ / 10⁶ blocks with values",
            data,
            *(p[f"run {n} each gathered"]["driver_peak"] for n in sizes[:3]),
        ),
        _each(
            "of that, what grows: 10⁵ / 10⁶ / 10⁷ blocks with values",
            data,
            *(p[f"kept {n} each"]["bytes"] for n in sizes[1:]),
        ),
        ("a batch: driver memory; list on disk", f"{data(c.batch_bytes)}; {data(cut['disk_bytes'])}"),
        _each("planning 10⁴ / 10⁵ / 10⁶ / 10⁷ blocks, CPU", time, *(p[f"plan {n}"]["cpu"] for n in sizes)),
        (
            "planning by `block_ids`, an id: CPU; memory; `plan.pkl`",
            f"{time(ids['cpu'] / 1e6)}; {data(ids['bytes'] / 1e6)}; {data(ids['plan_bytes'] / 1e6)}",
        ),
        (
            "`skip_empty`, a chunk file: CPU; memory",
            f"{time(p['listing']['blocks_cpu'])}; {data(p['listing']['bytes'])}",
        ),
        ("`failed_block_ids`, a block: memory", data(p["failed 1000000"]["bytes"])),
    ]


def _server(c: Constants) -> list[tuple[str, str]]:
    p, poll, claims = c.parts, c.parts["poll"], c.parts["claims"]
    tries = [f"{claims[f'links {n}']:,.0f} = {n} × {claims[f'batches {n}']:,.0f}" for n in (10, 20, 40)]
    asked = [p[f"slurm {jobs}"] for jobs in (2, 8)]
    return [
        ("attempts to take the batches of 10⁵ blocks, 10 / 20 / 40 workers", " / ".join(tries)),
        (
            "an attempt: calls to the file server; CPU",
            f"{c.attempt_calls:.0f}; {time(claims['cpu 40'] / claims['links 40'])}",
        ),
        ("a job's heartbeat: calls a second", short(p["heartbeat"]["calls"])),
        ("a worker that waits for a batch: calls a look, two looks a second", short(p["waiting"]["calls"])),
        _each(
            "a driver that waits: stat calls a second, 10 / 100 / 1,000 / 10,000 workers",
            short,
            *(poll[f"stats {workers}"] for workers in (10, *WORKERS)),
        ),
        _each("the same: share of a core", "{:.0%}".format, *(poll[f"cpu {workers}"] for workers in (10, *WORKERS))),
        (
            "a worker that ended before its time, a batch that is open: files the driver opens; CPU",
            f"{poll['lost_opens']:.0f}; {time(poll['lost_cpu'])}",
        ),
        _each("sbatch calls for 2 / 8 jobs in arrays of at most 4", short, *(one["sbatch"] for one in asked)),
        _each("questions to the scheduler in these runs, whatever the jobs", short, *(one["squeue"] for one in asked)),
    ]


def _merge(c: Constants) -> list[tuple[str, str]]:
    p, one = c.parts, c.parts["faces 512"]
    earlier = c.run("each", "earlier_cpu"), c.run("each", "journal_bytes")
    return [
        (
            "label, a block of 512³: components; faces; all that is kept of it",
            f"{one['components']:,.0f}; {data(one['face_bytes'])}; {data(one['pickled'])}",
        ),
        _each(
            "merge, a block of 64³ / 128³ / 256³ / 512³: CPU",
            time,
            *(p[f"faces {edge}"]["merge_cpu"] for edge in (64, 128, 256, 512)),
        ),
        ("merge, a block that holds next to nothing: CPU", time(p["merge 27000"]["merge_cpu"])),
        ("merge table, a component of a block: memory; CPU", f"{data(c.table_bytes)}; {time(c.table_cpu)}"),
        (
            "opening the values of earlier stages, a worker and block: CPU; journal; index",
            f"{time(earlier[0])}; {data(earlier[1])}; {INDEX} B",
        ),
        (
            "ids counted in the driver (`relabel_consecutive`), an id: memory; CPU a level of the fold",
            f"{data(p['fold 100000']['bytes'])}; {time(p['fold 100000']['cpu'])}",
        ),
    ]


def _voxels(c: Constants) -> list[tuple[str, str]]:
    p = c.parts
    runs = [p[f"kernels {size} {block}"] for size, block in ((256, 128), (512, 128), (512, 512))]
    peta = p["petavoxel"]
    told = []
    for name in WORKS:
        what = f"{name}, CPU a voxel: 256³ in blocks of 128³ / 512³ in 128³ / 512³ in one block"
        told.append(_each(what, lambda value: f"{value:.1f} ns", *(run[f"{name}_cpu"] for run in runs)))
    for name in WORKS:
        what = f"{name}, memory of a worker, shards of 1024³: blocks of 512³ / 1024³"
        told.append(_each(what, data, *(peta[f"{name} {edge} bytes"] for edge in BLOCKS)))
    written = [runs[1][f"{name}_bytes"] for name in WORKS]
    told.append(_each("stored bytes a voxel: copy / Gaussian / label", lambda size: f"{size:.2f}", *written))
    plans = [peta[f"{name} 512 cpu"] for name in WORKS]
    told.append(_each("planning 100,000³ voxels in blocks of 512³, CPU: copy / Gaussian / label", time, *plans))
    return told


def by_size(c: Constants) -> str:
    """What grows with the volume, whatever the workers."""
    base = c.parts["run 10000 each gathered"]["driver_peak"]
    lines: list[tuple[Any, ...]] = [("volume, block", "blocks", "files: chunks", "files: shards", "journals, a stage",
        "driver memory", "driver CPU, or resuming", "copy", "Gaussian", "label", "merge CPU", "merge memory",
        "opening the table, a worker")]  # fmt: skip
    for name, voxels in SIZES.items():
        for edge in BLOCKS:
            n = n_blocks(voxels, edge)
            opened = n * (c.run("each", "journal_bytes") + INDEX)
            lines.append((
                f"{name}, {edge}³", short(n), short(n_blocks(voxels, CHUNK)), short(n_blocks(voxels, SHARD)),
                data(n * c.run("none", "journal_bytes")), data(base + 12 * min(n, 2**20) + n / 8),
                time(n * c.run("none", "resume_cpu")),
                *(time(voxels * c.work(work)) for work in WORKS),
                time(n * c.merge_cpu(edge)), data(n * (c.part_bytes(edge) + c.components(edge) * c.table_bytes)),
                f"{time(n * c.run('each', 'earlier_cpu'))}, {data(opened)}",
            ))  # fmt: skip
    return rows(*lines)


def by_workers(c: Constants) -> str:
    """What grows with the workers."""
    lines: list[tuple[Any, ...]] = [("volume, block", "workers", "batches = claims", "files of the run",
        "driver memory", "attempts", "the server answers them in", "each worker waits", *WORKS)]  # fmt: skip
    for name, voxels in SIZES.items():
        for edge, workers in itertools.product(BLOCKS, WORKERS):
            blocks = n_blocks(voxels, edge)
            n, started = batches(blocks, workers), min(workers, blocks)
            merge = blocks * c.merge_cpu(edge)
            walls = [voxels * c.work(work) / started + merge * (work == "label") for work in WORKS]
            lines.append((
                f"{name}, {edge}³", f"{started:,}", short(n), short(n + 9 * started), data(n * c.batch_bytes),
                short(n * started), time(n * started * c.attempt_calls / RATE), time(n * c.attempt_calls * LATENCY),
                *map(time, walls),
            ))  # fmt: skip
    return rows(*lines)


def standing(c: Constants) -> str:
    """What workers cost while they live."""
    lines: list[tuple[Any, ...]] = [("workers", "sbatch", "tasks an array", "states asked for in a minute",
        "calls a second: heartbeats", "while they wait", "driver's pass over the journals",
        "driver, when one ends (1 PV)", "when each has ended once")]  # fmt: skip
    for workers in WORKERS:
        n = batches(n_blocks(1e15, 512), workers)
        alive = workers * c.parts["heartbeat"]["calls"]
        lines.append((
            f"{workers:,}", math.ceil(workers / ARRAY), min(workers, ARRAY), 6, short(alive),
            short(alive + workers * 2 * c.parts["waiting"]["calls"]), time(workers * LATENCY), time(n / 2 * LATENCY),
            time(workers * n / 2 * LATENCY),
        ))  # fmt: skip
    return rows(*lines)


def most(fits: Callable[[int], bool]) -> int:
    """The largest number of workers, to two digits, for which something holds, as it does for all smaller ones."""
    numbers = [*range(10), *(digits * 10**power for power in range(4) for digits in range(10, 100))]
    return numbers[bisect.bisect_left(numbers, 1, lo=1, key=lambda number: not fits(number)) - 1]


def limits(c: Constants) -> str:
    """Where each of them breaks."""
    lines: list[tuple[Any, ...]] = [("what", "breaks at")]
    lines.append(("files of chunks of 128³; and in place", f"{QUOTA * CHUNK**3 / 1e12:.1f} TV; "
                  f"{QUOTA * CHUNK**3 / (1 + c.parts['undo']['files']) / 1e12:.1f} TV"))  # fmt: skip
    lines.append(("files of shards of 1024³", f"{QUOTA * SHARD**3 / 1e12:,.0f} TV"))
    for name, voxels in SIZES.items():
        told = []
        for work in WORKS:
            seconds = voxels * c.work(work)
            n = n_blocks(voxels, 512)
            told.append(most(lambda w, n=n, s=seconds: w * batches(n, w) * c.attempt_calls / RATE < s / w))  # type: ignore[misc]
        lines.append((f"claims take longer than the work, {name}: copy / Gaussian / label",
                      " / ".join(f"{w:,}" for w in told) + " workers"))  # fmt: skip
    n = n_blocks(1e15, 512)
    ends = most(lambda w: w * batches(n, w) / 2 * LATENCY < WALL)
    total = c.part_bytes(512) + c.components(512) * c.table_bytes
    per_id = c.parts["fold 100000"]["bytes"]
    lines += [
        ("heartbeats take the whole server", f"{RATE / c.parts['heartbeat']['calls']:,.0f} workers"),
        ("the driver does nothing but look for what ended workers held (1 PV)", f"{ends:,} workers"),
        ("workers idle in the merge longer than they work (label)",
         f"{1e15 * c.work('label') / (n * c.merge_cpu(512)):,.0f} workers"),
        ("the merge fills its node", f"{NODE / total * 512**3 / 1e12:,.0f} TV"),
        ("ids that are counted fill the driver", f"{NODE / per_id / 1e9:.1f} G ids, "
         f"{NODE / per_id / c.density / 1e12:,.0f} TV at the density of the data"),
    ]  # fmt: skip
    return rows(*lines)


def page(found: dict[str, Any]) -> str:
    """All tables, as Markdown."""
    c = Constants(found["parts"])
    tables = (constants, by_size, by_workers, standing, limits)
    return "\n".join([f"Measured on {found['machine']}.\n", *(table(c) for table in tables)])
