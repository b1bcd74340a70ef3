"""What goes wrong on a cluster, made to happen on a real one, during `label` and an in-place `relabel` on 256³."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cluster_data import N_BLOCKS, Job, checksum, config
from matrix import FAULTS, OPERATIONS, Line, Matrix
from striking import Story, Strike, cancel, kill_node, kill_slurmd, preempt, shorten, struck
from virtual_cluster import Cluster

from bioimage_py.errors import RunnerError

pytestmark = pytest.mark.timeout(600)
WORKERS = 3


@dataclass(frozen=True)
class Fault:
    """What is done to a run in full swing, and what must come of it.

    Parameters
    ----------
    strike : callable, optional
        What is done; None where a block does it itself.
    kind : str
        How the end of the worker is called.
    settings : dict
        Of the jobs.
    hungry : int
        MiB that one block takes.
    error : str
        What the call says, where it must not finish.
    again : dict
        Other settings of the call that then finishes.
    """

    strike: Strike | None = None
    kind: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    hungry: int = 0
    error: str = ""
    again: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "none": Fault(),
    "node killed": Fault(kill_node, "node"),
    "slurmd killed": Fault(kill_slurmd, "node"),
    "job cancelled": Fault(
        cancel, "cancelled", error=r"worker \w+ cancelled: job .* CANCELLED.*the same call continues"
    ),
    "preempted": Fault(preempt, "preempted", {"partition": "low"}),
    "memory, more allowed": Fault(None, "more memory", {"mem": "400M", "max_mem": "1600M"}, hungry=500),
    "memory beyond max_mem": Fault(
        None,
        "memory",
        {"mem": "400M", "max_mem": "700M"},
        hungry=900,
        error=r"the last one memory: job .* killed for memory",
        again={"mem": "1600M", "max_mem": "1600M"},
    ),
    "wall time": Fault(shorten(2), "wall time"),
}
assert tuple(KINDS) == FAULTS


def fill(line: Line, story: Story) -> None:
    """What happened to the workers."""
    line.ends = ", ".join(f"{number} {kind}" for kind, number in Counter(story.ends()).items())
    line.restarts = story.restarts(WORKERS)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", FAULTS)
def test_fault(
    name: str, operation: str, queue: Cluster, matrix: Matrix, inputs: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    fault = KINDS[name]
    job = Job(operation, inputs, tmp_path, fault.hungry)
    before = checksum(job.output)

    def run(**changes: Any) -> Any:
        return job(
            job_type="slurm",
            num_workers=WORKERS,
            job_config=config(time=10, cpus_per_task=2, **{**fault.settings, **changes}),
        )

    with matrix.line(name, operation, queue.accounting) as line:
        line.expected = expected[operation]
        with struck(fault.strike, queue, job) as story:
            if not fault.error:
                run()
            else:
                with pytest.raises(RunnerError, match=f"(?s){fault.error}"):
                    run()
        fill(line, story)
        assert fault.kind in line.ends, f"{line.ends!r} instead of {fault.kind!r}"
        assert fault.kind or not line.ends, line.ends
        assert bool(line.restarts) == (fault.kind not in ("", "cancelled")), f"{line.restarts} workers restarted"
        assert queue.empty(5 if name != "preempted" else 15), f"left in the queue: {queue.jobs()}"
        if fault.error:
            queue.whole()
            run(**fault.again)
            assert queue.empty(5), f"left in the queue: {queue.jobs()}"
        line.checksum = checksum(job.output)
        assert line.checksum != before
        assert not job.runs(), "the run folder is still there"
        line.verdict = "ok: failed as it must, the same call finished" if fault.error else "ok: finished"


def test_wall_time_near(queue: Cluster, matrix: Matrix, inputs: Path, expected: dict[str, str], tmp_path: Path) -> None:
    """Told in time, a worker finishes its block and a successor takes over: no block is run twice."""
    job = Job("blocks", inputs, tmp_path)
    with matrix.line("wall time near", "blocks", queue.accounting) as line:
        line.expected = expected["blocks"]
        with struck(shorten(80), queue, job) as story:
            job(job_type="slurm", num_workers=WORKERS, job_config=config())
        fill(line, story)
        assert line.ends == "1 wall time"
        assert "left before its time was up" in str(story.events())
        assert line.restarts == 1
        assert sum(job.reads().values()) == N_BLOCKS
        line.checksum = checksum(job.output)
        assert queue.empty(5)
        line.verdict = "ok: finished"
