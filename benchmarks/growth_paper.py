"""The constants of `growth` as a table, and what they come to on one teravoxel to one petavoxel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from growth_model import (
    ARRAY,
    BLOCKS,
    CHUNK,
    LATE,
    LATENCY,
    NODE,
    QUOTA,
    RATE,
    SHARD,
    SIZES,
    WORKERS,
    WORKS,
    Constants,
    batches,
    claiming,
    most,
    n_blocks,
)  # fmt: skip

CROWDS = (10, 20, 40, 100)
SHARED = "run 1000000 none gathered"


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
    p, poll, claims, crowd, lost = c.parts, c.parts["poll"], c.parts["claims"], c.parts["crowd"], c.parts["lost"]
    asked = [p[f"slurm {jobs}"] for jobs in (2, 8)]
    many = (10, *WORKERS)
    tries = [f"{short(claims[f'links {n}'])} for {short(claims[f'batches {n}'])}" for n in CROWDS]
    return [
        (
            "attempts to take all batches of 10⁵ blocks, one after the other, 10 / 20 / 40 / 100 workers",
            " / ".join(tries),
        ),
        _each("a claim then: calls to the file server", "{:.1f}".format, *(c.claims("calls", n) for n in CROWDS)),
        _each("a claim then: names that are listed", short, *(c.claims("entries", n) for n in CROWDS)),
        (
            "attempts to take the first batches, all at once: the same; calls an attempt",
            f"{' / '.join(short(crowd[f'links {n}']) for n in CROWDS)}; {c.crowd_calls:.1f}",
        ),
        ("a job's heartbeat: calls a second", short(p["heartbeat"]["calls"])),
        ("a worker that waits for a batch: calls a look, two looks a second", short(p["waiting"]["calls"])),
        _each(
            "a driver that waits: stat calls a second, 10 / 100 / 1,000 / 10,000 workers",
            short,
            *(poll[f"stats {workers}"] for workers in many),
        ),
        _each("the same: share of a core", "{:.0%}".format, *(poll[f"cpu {workers}"] for workers in many)),
        _each(
            "the same where an answer takes 0.5 ms: stat calls",
            short,
            *(poll[f"slow stats {workers}"] for workers in many),
        ),
        (
            "of 1,000 workers with a batch each one ends before its time: files the driver opens; for the next one",
            f"{lost['first opens']:,.0f}; {lost['next opens']:.0f}",
        ),
        (
            "while any has: files opened, a batch that nobody has taken; CPU",
            f"{lost['reclaim_opens']:.0f}; {time(lost['reclaim_cpu'])}",
        ),
        (
            "2 / 8 jobs in arrays of at most 4: sbatch calls; questions to the scheduler in the whole run",
            "; ".join(" / ".join(short(one[name]) for one in asked) for name in ("sbatch", "squeue")),
        ),
    ]


def _merge(c: Constants) -> list[tuple[str, str]]:
    p, one = c.parts, c.parts["faces 512"]
    second = p["second pass"]
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
            "reading what is kept of a block, CPU: its journal; the block of 512³",
            f"{time(c.run('each', 'load_cpu'))}; {time(one['read_cpu'])}",
        ),
        (
            "second pass, before a worker's first block (10⁵ blocks, 10⁷ components): CPU; memory; calls",
            f"{time(second['cpu'])}; {data(second['bytes'])}; {second['calls']:.0f}",
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
        "driver memory", "driver CPU, or resuming", "copy", "Gaussian", "label", "merge CPU",
        "merge memory")]  # fmt: skip
    for name, voxels in SIZES.items():
        for edge in BLOCKS:
            n = n_blocks(voxels, edge)
            lines.append((
                f"{name}, {edge}³", short(n), short(n_blocks(voxels, CHUNK)), short(n_blocks(voxels, SHARD)),
                data(n * c.run("none", "journal_bytes")), data(base + 12 * min(n, 2**20) + n / 8),
                time(n * c.run("none", "resume_cpu")),
                *(time(voxels * c.work(work)) for work in WORKS),
                time(n * c.merge_cpu(edge)), data(n * (c.part_bytes(edge) + c.components(edge) * c.table_bytes)),
            ))  # fmt: skip
    return rows(*lines)


def by_workers(c: Constants) -> str:
    """What grows with the workers."""
    lines: list[tuple[Any, ...]] = [("volume, block", "workers", "batches = claims", "files of the run",
        "driver memory", "calls for claims", "the server answers them in", "all at once: in", "each worker waits",
        *WORKS)]  # fmt: skip
    for name, voxels in SIZES.items():
        for edge, workers in itertools.product(BLOCKS, WORKERS):
            blocks = n_blocks(voxels, edge)
            if workers > 10 * blocks:
                continue
            n, started = batches(blocks, workers), min(workers, blocks)
            merge, asked = blocks * c.merge_cpu(edge), n * c.claim_calls(n, started)
            walls = [voxels * c.work(work) / started + merge * (work == "label") for work in WORKS]
            lines.append((
                f"{name}, {edge}³", f"{started:,}", short(n), short(n + 9 * started), data(n * c.batch_bytes),
                short(asked), time(asked / RATE), time(c.crowd(started)), time(asked / started * LATENCY),
                *map(time, walls),
            ))  # fmt: skip
    return rows(*lines)


def standing(c: Constants) -> str:
    """What workers cost while they live."""
    lines: list[tuple[Any, ...]] = [("workers", "sbatch", "tasks an array", "states asked for in a minute",
        "calls a second: heartbeats", "while they wait", "driver's look at the journals",
        "share of its time", "at the claims, when the first one ends")]  # fmt: skip
    for workers in WORKERS:
        alive = workers * c.parts["heartbeat"]["calls"]
        share = c.parts["poll"][f"slow looks {workers}"] * workers * LATENCY
        lines.append((
            f"{workers:,}", math.ceil(workers / ARRAY), min(workers, ARRAY), 6, short(alive),
            short(alive + workers * 2 * c.parts["waiting"]["calls"]), time(workers * LATENCY),
            f"{share:.0%}", time(workers * LATENCY),
        ))  # fmt: skip
    return rows(*lines)


def limits(c: Constants) -> str:
    """Where each of them breaks."""
    total = c.part_bytes(512) + c.components(512) * c.table_bytes
    per_id = c.parts["fold 100000"]["bytes"]
    return rows(
        ("what", "breaks at"),
        ("files of chunks of 128³; and in place", f"{QUOTA * CHUNK**3 / 1e12:.1f} TV; "
         f"{QUOTA * CHUNK**3 / (1 + c.parts['undo']['files']) / 1e12:.1f} TV"),
        *_claims(c, "first claims, all at once, take longer than the work", lambda voxels, w: c.crowd(w)),
        *_claims(c, "claims, one after the other, take longer than the work",
                 lambda voxels, w: claiming(c, batches(n_blocks(voxels, 512), w), w)),
        ("workers idle in the merge longer than they work (label)",
         f"{512**3 * c.work('label') / c.merge_cpu(512):,.0f} workers"),
        ("heartbeats take the whole server", f"{RATE / c.parts['heartbeat']['calls']:,.0f} workers"),
        ("the merge fills its node", f"{NODE / total * 512**3 / 1e12:,.0f} TV"),
        ("ids that are counted fill the driver", f"{NODE / per_id / 1e9:.1f} G ids, "
         f"{NODE / per_id / c.density / 1e12:,.0f} TV at the density of the data"),
        (f"news waits {LATE:.0f} s while the driver looks at the journals", f"{LATE / LATENCY:,.0f} workers"),
        ("files of shards of 1024³", f"{QUOTA * SHARD**3 / 1e12:,.0f} TV"),
    )  # fmt: skip


def _claims(c: Constants, what: str, seconds: Callable[[float, int], float]) -> list[tuple[str, str]]:
    told = []
    for work in WORKS:
        found = [
            most(lambda w, v=voxels, one=work: seconds(v, w) < v * c.work(one) / w)  # type: ignore[misc]
            for voxels in SIZES.values()
        ]
        told.append((f"{what}, {work}: {' / '.join(SIZES)}", f"{' / '.join(map('{:,}'.format, found))} workers"))
    return told


def page(found: dict[str, Any]) -> str:
    """All tables, as Markdown."""
    c = Constants(found["parts"])
    tables = (constants, by_size, by_workers, standing, limits)
    return "\n".join([f"Measured on {found['machine']}.\n", *(table(c) for table in tables)])
