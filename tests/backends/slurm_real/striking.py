"""Making faults happen to a run in full swing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from cluster_data import FAST, SLOW, Job
from virtual_cluster import Cluster, wait

Strike = Callable[[Cluster, str, str], object]
"""Called with the cluster, a job and its node."""


def kill_node(cluster: Cluster, job: str, node: str) -> None:
    """End a node and all its processes at once."""
    cluster.do("node-kill", node)


def kill_slurmd(cluster: Cluster, job: str, node: str) -> None:
    """End the node's daemon; its jobs go on without it."""
    cluster.do("slurmd-kill", node)


def cancel(cluster: Cluster, job: str, node: str) -> None:
    """Cancel the job."""
    cluster.ask("scancel", job)


def preempt(cluster: Cluster, job: str, node: str) -> None:
    """Let a job of a higher partition take the node."""
    cluster.ask("sbatch", "-p", "high", "-w", node, "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 2")


def shorten(left: int) -> Strike:
    """Leave the job so many seconds of its wall time."""

    def strike(cluster: Cluster, job: str, node: str) -> None:
        cluster.ask("scontrol", "update", f"jobid={job}", f"EndTime=now+{left}")

    return strike


class Story:
    """What happens to a run, to be read also when its folder has gone."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._file: IO[str] | None = None

    def events(self) -> list[dict[str, Any]]:
        """Events so far."""
        if self._file is None:
            for run in self._job.runs():
                with suppress(FileNotFoundError):
                    self._file = open(run / "events.jsonl")  # noqa: SIM115 - kept while the run goes on
        if self._file is None:
            return []
        self._file.seek(0)
        return [json.loads(line) for line in self._file if line.endswith("}\n")]

    def ends(self) -> list[str]:
        """Kinds of the ends of workers that went wrong."""
        ends = [event["kind"] for event in self.events() if event["event"] == "WorkerEnded"]
        return sorted(kind for kind in ends if kind != "finished")

    def restarts(self, workers: int) -> int:
        """Workers that were started for others."""
        return max(0, sum(event["count"] for event in self.events() if event["event"] == "Start") - workers)


@contextmanager
def struck(strike: Strike | None, cluster: Cluster, job: Job) -> Iterator[Story]:
    """Strike a run that goes on in the ``with`` block, once it is in full swing; None leaves it alone."""
    story, over = Story(job), threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            assert wait(lambda: story.events() or over.is_set(), 60), "no run has begun"
            if strike is not None:
                _strike(strike, cluster, job, story, over)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield story
    finally:
        over.set()
        thread.join()
    assert not errors, errors


def _strike(strike: Strike, cluster: Cluster, job: Job, story: Story, over: threading.Event) -> None:
    """Strike a worker; the run goes on slowly until its driver has noticed."""
    assert wait(lambda: job.in_full_swing() or over.is_set(), 90), "the run never got into full swing"
    job.pace(SLOW)
    time.sleep(0.5)  # each worker is in a slow block by now
    running = dict(cluster.jobs("RUNNING"))
    at_work = [at for at, count in job.reads().items() if count >= 2 and running.get(at[0]) == at[1]]
    assert at_work, f"no worker has done two blocks: {job.reads()}, running are {running}"
    strike(cluster, *at_work[0])
    try:
        assert wait(lambda: story.ends() or over.is_set(), 120), "the driver noticed nothing"
    finally:
        job.pace(FAST)
