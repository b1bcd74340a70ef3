"""Parts of the growth benchmark that work on voxels or start jobs: kernels, the merge of labels, a faked cluster."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
from growth_ledger import Found, calls, measured

TILE = 128
LEVEL = 163


def hills(size: int, grain: float = 0.0) -> np.ndarray:
    """Periodic smooth noise, uint8; about 6,000 hills in 512³ are above `LEVEL`."""
    from scipy import ndimage

    noise = np.random.default_rng(0).standard_normal((TILE,) * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, 4.0, truncate=3, mode="wrap")
    tile = 118 + 40 * smooth / smooth.std() + grain * np.random.default_rng(1).standard_normal(smooth.shape)
    return np.tile(np.clip(tile, 0, 255).astype(np.uint8), (size // TILE,) * 3)


def kernels(place: Path, size: int, block: int) -> Found:
    """Nanoseconds of CPU, and of wall time, a voxel on one worker thread; chunks of 128³, zstd."""
    import zarr

    import bioimage_py as bp

    shutil.rmtree(place / "kernels", ignore_errors=True)
    for name, grain in (("raw", 12.0), ("smooth", 0.0)):
        path = place / "kernels" / f"{name}.zarr"
        zarr.create_array(path, shape=(size,) * 3, chunks=(128,) * 3, dtype="u1")[:] = hills(size, grain)
    raw, smooth = (bp.open_source(str(place / "kernels" / f"{name}.zarr")) for name in ("raw", "smooth"))
    how: dict[str, Any] = {"block_shape": (block,) * 3, "job_type": "local", "num_workers": 1, "progress": False}
    works = {
        "copy": lambda out: bp.copy(raw, out, **how),
        "gaussian": lambda out: bp.filters.gaussian_smoothing(raw, 2.0, out, **how),
        "label": lambda out: bp.segmentation.label(smooth, out, threshold=LEVEL, **how),
    }
    found: Found = {}
    for name, work in works.items():
        cpu, begin = process_time(), perf_counter()
        work(str(place / "kernels" / f"{name}.zarr"))
        found[f"{name}_cpu"] = (process_time() - cpu) / size**3 * 1e9
        found[f"{name}_wall"] = (perf_counter() - begin) / size**3 * 1e9
        written = [path.stat().st_size for path in (place / "kernels" / f"{name}.zarr").rglob("*") if path.is_file()]
        found[f"{name}_bytes"] = sum(written) / size**3
    labels = bp.open_source(str(place / "kernels" / "label.zarr"))
    found["components"] = float(np.max(labels[...])) / size**3
    shutil.rmtree(place / "kernels")
    return found


def _part(block: int) -> Any:
    from bioimage_py.segmentation import components

    values = np.ascontiguousarray(hills(max(block, TILE))[:block, :block, :block]) > LEVEL
    found = components.block_components(values)
    return components.summary(found, values, begin=(0, 0, 0), volume=(2**20,) * 3)


def faces(place: Path, block: int) -> Found:
    """What is kept of a labelled block, and reading and merging 4³ of them in one process."""
    import pickle
    import zlib

    from bioimage_py.segmentation import merging

    part = _part(block)
    packed = sum(len(plane) for pair in part.faces.planes for plane in pair)
    parts = [replace(part, first=part.first + 1000 * number) for number in range(64)]
    with measured() as told:
        merged = merging.merge(parts, (4, 4, 4), 1)
    data = pickle.dumps(part)
    with measured() as read:
        for _ in range(64):
            assert zlib.crc32(data)
            assert pickle.loads(data).n == part.n
    return {
        "components": part.n,
        "face_bytes": packed,
        "pickled": len(data),
        "read_cpu": read[0] / 64,
        "merge_cpu": told[0] / 64,
        "objects": merged.n,
    }


def empty(place: Path, n: int) -> Found:
    """The merge where a block has next to nothing in it: its cost a block, whatever its size."""
    from bioimage_py.segmentation import merging

    labels = np.zeros((8, 8, 8), np.uint32)
    labels[4, 4, 4] = 1
    part = merging.Part(1, np.zeros(1, np.int64), merging.faces(labels, n=1))
    side = round(n ** (1 / 3))
    with measured() as told:
        parts = [replace(part, first=part.first + number) for number in range(side**3)]
        merging.merge(parts, (side,) * 3, 1)
    return {"merge_cpu": told[0] / side**3, "bytes": told[1] / side**3}


def table(place: Path, n: int) -> Found:
    """The table of so many components, of which a third are joined to the one before."""
    from bioimage_py.segmentation import merging

    edges = np.arange(1, n, 3)[:, None] + np.array([[0, 1]])
    first = np.random.default_rng(0).permutation(n)
    with measured() as told:
        merging.merge_table(np.array([n]), edges, first)
    return {"cpu": told[0] / n, "bytes": told[1] / n}


def nothing_else(value: Any, earlier: Any) -> Any:
    """What a stage of one task hands on."""
    return value


def second_pass(place: Path) -> Found:
    """What a worker of a third stage does before its first block: 10⁵ blocks came first, then a table of 10⁷ ids."""
    from functools import partial

    import zarr
    from growth_ledger import stage_of

    from bioimage_py.runner import RunnerConfig
    from bioimage_py.runner.execute import execute
    from bioimage_py.runner.execution import Execution
    from bioimage_py.runner.ledger import worker_side
    from bioimage_py.runner.planning.build import once_stage
    from bioimage_py.runner.planning.plan_file import read_plan

    data = zarr.create_array(place / "c.zarr", shape=(10**5,), chunks=(10**5,), dtype="u1")
    table = once_stage(partial(nothing_else, np.arange(10**7)), name="table")
    found: Found = {}

    def look(run: str) -> None:
        work = worker_side.FolderWork(Path(run), read_plan(Path(run)))
        with calls() as asked, measured() as told:
            assert len(work.earlier(2)["table"]) == 10**7
        found.update({"cpu": told[0], "bytes": told[1], "calls": sum(asked.values())})

    how = Execution(
        job_type="subprocess", num_workers=2, job_config=RunnerConfig(tmp_root=place / "runs"), progress=False
    )
    execute("", [stage_of(10**5, data, "each"), table], how, pre_cleanup=look)
    return found


def fold(place: Path, n: int) -> Found:
    """Counted ids of 64 blocks with so many of their own, folded in one process."""
    from bioimage_py.runner.ledger.fold import Fold
    from bioimage_py.segmentation import tables

    folded = Fold(tables.merge_counted)
    with measured() as told:
        for leaf in range(64):
            folded.add(0, leaf, (np.arange(leaf * n, (leaf + 1) * n), np.ones(n, np.int64)))
        ids, _ = folded.result()
    return {"cpu": told[0] / len(ids) / 6, "bytes": told[1] / len(ids)}


def petavoxel(place: Path) -> Found:
    """Plans for arrays of 100,000³ voxels, and labels of their last corner."""
    import bioimage_py as bp

    def made(name: str, dtype: str) -> Any:
        path, whole = str(place / "peta.zarr" / name), (100_000,) * 3
        return bp.io.create_array(path, shape=whole, dtype=dtype, chunks=(128,) * 3, shards=(1024,) * 3)

    raw, same, smooth, labels = made("raw", "u1"), made("same", "u1"), made("smooth", "f4"), made("labels", "u8")
    works: dict[str, Any] = {
        "copy": lambda how: bp.copy(raw, same, **how),
        "gaussian": lambda how: bp.filters.gaussian_smoothing(raw, 2.0, smooth, **how),
        "label": lambda how: bp.segmentation.label(raw, labels, threshold=LEVEL, **how),
    }
    how: dict[str, Any] = {"job_type": "subprocess", "num_workers": 1, "memory": 2**40, "plan": True}
    found: Found = {}
    for name, work in works.items():
        for edge in (512, 1024):
            with measured() as told:
                plan = work({"block_shape": (edge,) * 3, **how})
            last = plan.stages[-1]
            found |= {f"{name} {edge} cpu": told[0], f"{name} {edge} bytes": plan.promised_bytes}
            found |= {f"{name} {edge} blocks": last.n_blocks, f"{name} {edge} groups": last.n_groups}
    corner = (slice(99_900, 100_000),) * 3
    raw[corner] = hills(TILE)[:100, :100, :100]
    here: dict[str, Any] = {"roi": corner, "block_shape": (1024,) * 3, "memory": 2**40, "progress": False}
    bp.segmentation.label(raw, labels, threshold=LEVEL, **here)
    whole = bp.segmentation.label(raw[corner], threshold=LEVEL)
    assert np.array_equal(labels[corner], whole)
    return found


def heartbeat(place: Path) -> Found:
    """What a job asks of the file system in a second, besides what its worker does."""
    from bioimage_py.backends.jobs import job

    (place / "run.json").write_text('{"sessions": 1, "adopted": []}')
    one = object.__new__(job.Job)
    one.run, one.worker, one.order, one.heartbeat = str(place), "s1w0", {"session": 1}, str(place / "beat")
    with calls() as asked:
        one.touch()
        assert not one.unwanted()
    return {"calls": sum(asked.values())}


def nap(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    """A block of a quarter of a second."""
    sleep(0.25)


def cluster(place: Path, jobs: int) -> Found:
    """Calls of SLURM's commands for a run of some seconds on a cluster that is this host, in arrays of four jobs."""
    import zarr

    import bioimage_py as bp
    from bioimage_py.runner import SlurmConfig

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "backends" / "slurm_fake"))
    import fake_slurm

    shutil.rmtree(place / "cluster", ignore_errors=True)
    path, log = fake_slurm.install(place / "cluster"), place / "cluster" / "calls"
    for name in fake_slurm.COMMANDS:
        script = (path / name).read_text().replace("exec ", f'echo {name} >> "{log}"\nexec ')
        (path / name).write_text(script)
    os.environ |= {"FAKE_SLURM": str(place / "cluster"), "PATH": f"{path}:{os.environ['PATH']}"}
    zarr.create_array(place / "cluster" / "a.zarr", shape=(16 * jobs,), chunks=(16 * jobs,), dtype="u1")
    data = bp.open_source(str(place / "cluster" / "a.zarr"))
    config = SlurmConfig(tmp_root=place / "cluster" / "runs", max_array_size=4)
    how: dict[str, Any] = {"job_type": "slurm", "num_workers": jobs, "job_config": config, "progress": False}
    begin = perf_counter()
    bp.map_blocks(nap, [data], block_shape=(1,), **how)
    told = log.read_text().split()
    return {"seconds": perf_counter() - begin, **{name: told.count(name) for name in fake_slurm.COMMANDS}}


def waiting(place: Path) -> Found:
    """What a worker without a batch asks of the file system each time it looks."""
    from growth_ledger import opened_ledger

    from bioimage_py.runner.ledger.batch_lists import Waiting
    from bioimage_py.runner.ledger.worker_side import FolderWork

    ledger = opened_ledger(place / "run", 1, 1)
    (place / "run" / "driver.alive").touch()
    work = FolderWork(place / "run", ledger.plan, idle_timeout=300.0)
    assert work.claim("s0w0") is not None
    looks = 0
    in_vain = Waiting.in_vain

    def counted(self: Waiting) -> bool:
        nonlocal looks
        looks += 1
        return in_vain(self) or looks == 20

    Waiting.in_vain = counted  # type: ignore[method-assign]
    with calls() as asked:
        work.claim("s0w0")
    return {"calls": sum(asked.values()) / looks}
