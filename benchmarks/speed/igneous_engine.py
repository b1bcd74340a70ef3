"""igneous: its tasks on precomputed layers, in worker processes of its local queue."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


def _run(tasks: Any, case: Case) -> None:
    from taskqueue import LocalTaskQueue

    queue = LocalTaskQueue(parallel=case.workers, progress=False)
    queue.insert(tasks)
    queue.execute(progress=False)


def _input(case: Case, name: str) -> str:
    return f"file://{case.data}/{name}.layer"


def _own(case: Case, name: str) -> str:
    """A layer whose chunks are links to those of the input: for works that write into the layer they read."""
    source, path = Path(case.data) / f"{name}.layer", Path(case.output)
    for folder, _, files in os.walk(source):
        place = path / Path(folder).relative_to(source)
        place.mkdir(parents=True)
        for file in files:
            if file.endswith(".zstd"):
                (place / file).symlink_to(Path(folder) / file)
            else:
                (place / file).write_bytes((Path(folder) / file).read_bytes())
    return f"file://{path}"


def copy(case: Case) -> None:
    from igneous.task_creation import create_transfer_tasks

    options = {"shape": (case.block,) * 3, "skip_downsamples": True, "compress": "zstd", "no_src_update": True}
    _run(create_transfer_tasks(_input(case, "raw"), f"file://{case.output}", **options), case)


def _downsample(case: Case, name: str, levels: int) -> None:
    """Means of an image, modes of labels; it has no other way."""
    from cloudvolume import CloudVolume
    from igneous.task_creation import create_downsampling_tasks

    layer = _own(case, name)
    volume = CloudVolume(layer)
    # a task makes its levels in memory and all of them have whole chunks: many levels want small chunks and one task
    chunk = min(case.chunk, int(min(volume.volume_size)) // 2**levels)
    memory = 3.5e9 if levels > 1 else volume.dtype.itemsize * (2 * case.block) ** 3 * 1.2
    tasks = create_downsampling_tasks(
        layer,
        num_mips=levels,
        factor=(2, 2, 2),
        chunk_size=(chunk,) * 3,
        memory_target=int(memory),
        compress="zstd",
    )
    _run(tasks, case)


def label_6(case: Case, name: str, **threshold: float) -> None:
    """Components of the layer's labels, or of what is below a threshold.

    Tasks overlap by a voxel, and find which ids of their faces are equal.
    """
    from igneous.task_creation import (
        create_ccl_equivalence_tasks,
        create_ccl_face_tasks,
        create_ccl_relabel_tasks,
    )
    from igneous.tasks.image.ccl import create_relabeling

    source, shape = _own(case, name), (case.block,) * 3
    _run(create_ccl_face_tasks(source, 0, shape, **threshold), case)
    _run(create_ccl_equivalence_tasks(source, 0, shape, **threshold), case)
    create_relabeling(source, 0, shape)
    _run(create_ccl_relabel_tasks(source, f"file://{case.output}-labels", 0, shape, **threshold), case)
    os.rename(case.output, f"{case.output}-input")
    os.rename(f"{case.output}-labels", case.output)


def unique_counts(case: Case) -> list[int]:
    from igneous.task_creation import accumulate_voxel_counts, create_voxel_counting_tasks
    from mapbuffer import IntMap

    source = _own(case, "labels")
    _run(create_voxel_counting_tasks(source, 0), case)
    accumulate_voxel_counts(source, 0, progress=False)
    (path,) = Path(case.output).glob("*/stats/voxel_counts.im")
    counts = IntMap(path.read_bytes())
    return [len(counts), sum(int(label) * int(count) for label, count in counts.items())]


def empty_20k(case: Case) -> None:
    from taskqueue import PrintTask

    _run((PrintTask("") for _ in range(20_000 if case.block > 32 else 20)), case)


WORKS = {
    "copy": copy,
    "label 6": partial(label_6, name="binary"),
    "label multi": partial(label_6, name="objects"),
    "downsample mean": partial(_downsample, name="raw", levels=1),
    "pyramid image": partial(_downsample, name="raw", levels=4),
    "pyramid labels": partial(_downsample, name="labels", levels=4),
    "unique counts": unique_counts,
    "segment": partial(label_6, name="walls", threshold_lte=60),
    "empty 20k": empty_20k,
}
