"""How fast `segment` is, what memory it takes, and how that grows; beside a bare script and the peers' pipelines.

- ``segmenting.py 256 512 1024``: voxels per second of every stage, CPU seconds per million voxels against those of the
  first size, and the highest memory of all processes together (their proportional set size);
- ``segmenting.py 256 --engines ours,script,watershed,halo,tuned,components,peer,stitched --peer-python PATH``: the
  same volume by each, in turn, `--rounds` times, with the scores against the truth (peers: `segmenting_peers.py`);
- ``segmenting.py --edges 100000000``: memory and time of a region graph of so many edges, from tables of blocks to
  costs (10^8 take 20 GB of disk while they are merged; `--folder` says where).

Boundaries are those of `boundaries.py` at the mid level; volumes above 512³ voxels are mirrored.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from segmenting_peers import BLOCK, CHUNK, OF_THE_PEER, PEERS, WORKERS

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "connectomics-512.npy.ckl.gz"


def volume(folder: Path, data: Path, size: int) -> Path:
    """A zarr array with boundaries, and the truth beside it, made block by block."""
    import zarr
    from boundaries import LEVELS, boundaries, neurons

    place = folder / str(size)
    if (place / "done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    truth = neurons(data, (0, 0, 0), min(size, 512)).astype(np.uint32)
    made = zarr.create_array(place / "raw.zarr", shape=(size,) * 3, chunks=(CHUNK,) * 3, dtype="u1")
    right = zarr.create_array(place / "truth.zarr", shape=(size,) * 3, chunks=(CHUNK,) * 3, dtype="u4")
    own, side = len(truth), min(256, size)
    for number, corner in enumerate(np.ndindex(*(-(-size // side),) * 3)):
        box = tuple(slice(at * side, min(size, (at + 1) * side)) for at in corner)
        rows = [np.arange(part.start, part.stop) for part in box]
        mirrored = [np.where(row // own % 2, own - 1 - row % own, row % own) for row in rows]
        part = truth[np.ix_(*mirrored)]
        made[box] = np.rint(boundaries(part, LEVELS["mid"], seed=number) * 255).astype(np.uint8)
        right[box] = part
    (place / "done").touch()
    return place


def ours(place: Path, output: Path, method: str, halo: int | None = None) -> dict[str, Any]:
    """`segment`."""
    import bioimage_py as bp

    dark: dict[str, Any] = {"objects": "dark"} if method == "watershed" else {}
    found = bp.workflows.segment(
        bp.open_source(place / "raw.zarr"),
        output,
        method=method,
        halo=halo,
        block_shape=BLOCK,
        num_workers=WORKERS,
        job_type="subprocess",
        progress=False,
        overwrite=True,
        **dark,
    )
    return found.to_dict()


def script(place: Path, output: Path) -> None:
    """The kernels of multicut, called by a loop over blocks in processes: what is left without a runner."""
    from bioimage_py.bench.floor_objects import segment
    from bioimage_py.bench.protocol import Case

    segment(Case(str(place), str(output), BLOCK, CHUNK, WORKERS, "processes"), "raw")


ENGINES: dict[str, Any] = {
    "ours": lambda place, output: ours(place, output, "multicut"),
    "script": script,
    "watershed": lambda place, output: ours(place, output, "watershed"),
    "halo": lambda place, output: ours(place, output, "watershed", 32),
    **PEERS,
}


def run(engine: str, place: Path, output: Path, python: str) -> dict[str, Any]:
    """One engine in a process of its own: wall and CPU seconds, and the highest memory of it and its children."""
    shutil.rmtree(output, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    process = subprocess.Popen(
        [python, str(HERE / "segmenting.py"), "--one", engine, str(place), str(output)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    told, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{engine} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"wall": time.perf_counter() - begin, "cpu": cpu, "peak": peak[0]}
    return {**found, "told": json.loads(told.splitlines()[-1])}


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """The proportional set size of a session, as long as it lives."""
    while process.poll() is None:
        total = 0
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(path.name)) == process.pid or _below(int(path.name), process.pid):
                    rows = (path / "smaps_rollup").read_text().splitlines()
                    total += next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) * 1024
            except (OSError, StopIteration):
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.2)


def _below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def scores(place: Path, output: Path) -> str:
    """Variation of information and adapted Rand error against the truth."""
    import bioimage_py as bp

    labels, truth = bp.open_source(output, "0", format="zarr"), bp.open_source(place / "truth.zarr")
    split, merge = bp.evaluation.variation_of_information(labels, truth, progress=False)
    error = bp.evaluation.rand_index(labels, truth, progress=False)[0]
    return f"VI {split + merge:.3f} ({split:.3f} + {merge:.3f}), adapted Rand error {error:.4f}"


def grow(folder: Path, data: Path, sizes: list[int], method: str) -> None:
    """The table of stages, and what a voxel costs at each size."""
    first = None
    for size in sizes:
        place = volume(folder, data, size)
        found = run({"multicut": "ours", "watershed": "watershed"}[method], place, folder / "out.zarr", sys.executable)
        each = found["cpu"] / size**3 * 1e6
        first = each if first is None else first
        print(
            f"{size}³, {method}: {found['wall']:.1f} s, {size**3 / found['wall'] / 1e6:.2f} Mvoxel/s,"
            f" {found['cpu']:.1f} CPU s = {each:.3f} per Mvoxel ({each / first:.2f} x),"
            f" peak {found['peak'] / 2**30:.2f} GiB"
        )
        for stage in found["told"]["stages"]:
            print(
                f"    {stage['name']:<12} {stage['seconds']:8.2f} s {stage['voxels_per_second']:>14,} voxels/s",
                flush=True,
            )


def compare(folder: Path, data: Path, size: int, engines: list[str], rounds: int, python: str) -> None:
    """All engines in turn; the least CPU and wall seconds of the rounds."""
    place = volume(folder, data, size)
    best: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for engine in engines:
            output = folder / f"{engine}.zarr"
            found = run(engine, place, output, python if engine in OF_THE_PEER else sys.executable)
            known = best.setdefault(engine, found)
            best[engine] = {name: min(known[name], found[name]) for name in ("wall", "cpu", "peak")}
    for engine, found in best.items():
        told = f"{found['wall']:7.1f} s {found['cpu']:7.1f} CPU s {found['peak'] / 2**30:6.2f} GiB"
        print(f"{engine:>13} {told}  {scores(place, folder / f'{engine}.zarr')}", flush=True)


def edges(number: int, parent: Path | None) -> None:
    """A grid of regions with so many edges, of tables as blocks make them: merged in a file, opened, and costs."""
    import bioimage_py as bp
    from bioimage_py.graph.building_blocks import MergeTables

    side = max(2, round((number / 3) ** (1 / 3)))
    base = _peak()
    with tempfile.TemporaryDirectory(prefix="edges-", dir=parent) as folder:
        path = Path(folder, "g.zarr")
        before, begin = time.process_time(), time.perf_counter()
        merge = MergeTables((2 * side,) * 3, tuple("zyx"), False, str(path))
        merge.write(_slabs(side), str(path))
        cpu, wall, merged = time.process_time() - before, time.perf_counter() - begin, _peak()
        kept = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
        graph = bp.graph.open_graph(path)
        n = len(graph.edges)
        print(
            f"{n:,} edges of {len(graph.nodes):,} regions: merged in {wall:.1f} s ({cpu:.1f} CPU s), peak"
            f" {merged / 2**20:.0f} MiB, {(merged - base) / n:.1f} bytes an edge above what is imported;"
            f" {kept / n:.0f} bytes an edge on disk",
            flush=True,
        )
        print(f"    opened: peak {_peak() / 2**20:.0f} MiB, {(_peak() - base) / n:.1f} bytes an edge", flush=True)
        before = time.process_time()
        bp.graph.costs(graph)
        print(
            f"    costs in {time.process_time() - before:.1f} CPU s: peak {_peak() / 2**20:.0f} MiB,"
            f" {(_peak() - base) / n:.1f} bytes an edge"
        )


def _slabs(side: int) -> Any:
    """The tables of slabs of a grid of regions, of some 100,000 edges each."""
    from bioimage_py.graph.edge_table import BINS, EdgeTable
    from bioimage_py.graph.node_table import NodeTable

    plane = np.arange(1, side**2 + 1, dtype=np.uint64).reshape(side, side)
    for z in range(side):
        for rows in np.array_split(np.arange(side), max(1, 3 * side**2 // 100_000)):
            part = plane[rows[0] : rows[-1] + 2] + np.uint64(z * side**2)
            own = part[: len(rows)]
            pairs = [(own[:, :-1], own[:, 1:]), (part[:-1], part[1:])]
            pairs += [(own, own + np.uint64(side**2))] if z + 1 < side else []
            ids = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])
            ids = ids[np.argsort(ids[:, 0] << np.uint64(32) | ids[:, 1])]
            n, total, ends = len(ids), ids[:, 0] % np.uint64(8 * 65536), np.ones(len(ids), np.uint32)
            histogram = np.zeros((n, BINS), np.uint32)
            histogram[:, 0] = 8
            faces = np.tile(np.array([8, 0, 0]), (n, 1))
            edge = EdgeTable(ids, faces, np.full(n, 8), total, total, ends, ends, histogram)
            mine = own.ravel()
            places = np.stack(np.unravel_index((mine - np.uint64(1)).astype(np.int64), (side,) * 3), axis=1) * 2
            yield NodeTable(mine, np.full(len(mine), 8), places * 8, mine * np.uint64(0), places, places + 2), edge


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[256])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, help="kept afterwards; by default a temporary one")
    parser.add_argument("--method", choices=["multicut", "watershed"], default="multicut")
    parser.add_argument("--engines", help=", ".join(ENGINES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--peer-python", default=sys.executable, help="of an environment with bioimage-py==0.2.2 and zarr"
    )
    parser.add_argument("--edges", type=int)
    given = parser.parse_args()
    if given.edges:
        edges(given.edges, given.folder)
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="segmenting-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if given.engines:
            names = given.engines.split(",")
            compare(folder, given.data, given.sizes[0], names, given.rounds, given.peer_python)
        else:
            grow(folder, given.data, given.sizes, given.method)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        name, source, target = sys.argv[2:]
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        print(json.dumps(ENGINES[name](Path(source), Path(target)) or {}))
    else:
        main()
