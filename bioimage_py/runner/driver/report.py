"""What happened in a run, per stage and block."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import RunnerError
from ...markup import table
from ...sources.spec import load_qualified
from ..ledger.block_times import BlockTimes
from ..ledger.records import BlockFailure, Span, text_of
from ..ledger.stage_record import StageRecord


@dataclass(frozen=True)
class StageReport:
    """One stage.

    Attributes
    ----------
    name : str
    n_blocks : int
        Blocks that were asked for.
    n_done : int
        Blocks that succeeded.
    times : BlockTimes
        How long they took.
    failures : tuple of BlockFailure
        Last failure of each block without a result.
    spans : tuple of Span
        When each worker had which batch.
    memory : tuple of (int, int, int)
        Blocks after which a worker's memory had a new high-water mark, the bytes, and how many blocks were done.
    overcome : tuple of BlockFailure
        Last failure of blocks that succeeded when they were run again; of a hundred at most.
    regions : dict
        Absolute regions of the slowest blocks, by id.
    """

    name: str
    n_blocks: int
    n_done: int = 0
    times: BlockTimes = field(default_factory=BlockTimes, repr=False)
    failures: tuple[BlockFailure, ...] = ()
    spans: tuple[Span, ...] = ()
    memory: tuple[tuple[int, int, int], ...] = ()
    overcome: tuple[BlockFailure, ...] = ()
    regions: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: StageRecord) -> StageReport:
        """Report of what the ledger holds."""
        report = cls(
            record.stage.name,
            record.stage.units.n_blocks,
            record.n_done,
            record.times,
            tuple(sorted(record.failures.values(), key=lambda failure: failure.block_id)),
            tuple(record.spans),
            tuple(sorted(record.marks)),
            tuple(record.overcome),
        )
        return replace(report, regions={block: record.stage.where(block) for block, _ in report.slowest(10)})

    @property
    def block_ids(self) -> npt.NDArray[np.int64]:
        """Blocks that succeeded, in the order in which they were handed in; of millions, every ``times.every``-th."""
        return np.array(self.times.ids, np.int64)

    @property
    def seconds(self) -> npt.NDArray[np.float32]:
        """Wall time of each of ``block_ids``."""
        return np.array(self.times.seconds, np.float32)

    def slowest(self, n: int = 5) -> list[tuple[int, float]]:
        """Ids and seconds of the slowest blocks, of a hundred at most."""
        return self.times.slowest(n)


@dataclass(frozen=True, repr=False)
class RunReport:
    """A whole run; `bioimage_py.viz.write_report` makes a page or a picture of it.

    Attributes
    ----------
    name : str
    stages : tuple of StageReport
    seconds : float
        Wall time.
    num_workers : int
    peak_bytes : int
        Highest resident memory of the process that ran it.
    promised_bytes : int
        Memory that was promised for all workers.
    worker_peaks : dict
        Highest resident memory of each worker process, in bytes.
    events : tuple of dict
        What happened besides blocks that succeed, and what was decided: JSON values, each with ``seconds`` since the
        start, ``time`` since the epoch, and ``event``.
    jobs : int
        Jobs of a scheduler that were submitted for it.
    memory_marks : tuple of (float, int)
        Seconds since the start and bytes, at each new high-water mark of memory seen by the driver.
    results : object
        With ``has_return_val``: a sequence of the values in the order of the blocks asked for, read from disk where
        the run had a folder; with ``reduce``: the folded value.
    """

    name: str
    stages: tuple[StageReport, ...]
    seconds: float
    num_workers: int
    peak_bytes: int
    memory_marks: tuple[tuple[float, int], ...] = ()
    results: Any = field(default=None, repr=False)
    promised_bytes: int = 0
    worker_peaks: dict[str, int] = field(default_factory=dict)
    events: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    jobs: int = 0

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        names = ("stage", "blocks", "done", "failed", "seconds in blocks")
        rows = [(s.name, s.n_blocks, s.n_done, len(s.failures), f"{s.times.total:.2f}") for s in self.stages]
        return table(self.summary().partition("\n")[0], names, rows)

    def plot(self) -> Any:
        """Draw the run: who did what when, how long blocks took, memory promised and measured.

        Returns
        -------
        matplotlib.figure.Figure
            Shown below the cell of a notebook; ``savefig("run.png")`` writes it.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.

        Examples
        --------
        >>> report.plot().savefig("run.png")  # doctest: +SKIP
        """
        return load_qualified("bioimage_py.viz.run_figure:draw_run")(self)

    @property
    def n_blocks(self) -> int:
        """Blocks of all stages that succeeded."""
        return sum(stage.n_done for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: totals, and per stage the wall times and the slowest blocks."""
        return {
            "name": self.name,
            "seconds": round(self.seconds, 6),
            "num_workers": self.num_workers,
            "peak_bytes": self.peak_bytes,
            "promised_bytes": self.promised_bytes,
            "worker_peaks": self.worker_peaks,
            "jobs": self.jobs,
            "memory_marks": [[round(at, 3), size] for at, size in self.memory_marks],
            "stages": [
                {
                    "name": stage.name,
                    "n_blocks": stage.n_blocks,
                    "done": stage.n_done,
                    "failed": [failure.block_id for failure in stage.failures],
                    "block_seconds": {
                        "sum": round(stage.times.total, 6),
                        "median": round(float(np.median(stage.seconds)), 6) if stage.n_done else None,
                        "max": round(stage.slowest(1)[0][1], 6) if stage.n_done else None,
                    },
                    "slowest": stage.slowest(),
                    "spans": [[s.worker, round(s.begin, 4), round(s.end, 4), s.blocks] for s in stage.spans],
                    "memory": stage.memory,
                }
                for stage in self.stages
            ],
        }

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def summary(self) -> str:
        """One line a stage, for people."""
        peak = f"peak {self.peak_bytes / 2**20:.0f} MiB"
        lines = [f"{self.name or 'run'}: {self.seconds:.2f} s, {self.num_workers} workers, {peak}"]
        for stage in self.stages:
            lines.append(
                f"  {stage.name}: {stage.n_done} of {stage.n_blocks} blocks, {stage.times.total:.2f} s in blocks"
                + (f", {len(stage.failures)} failed" if stage.failures else "")
            )
        return "\n".join(lines)


def joined(name: str, reports: Sequence[RunReport]) -> RunReport:
    """One report of several runs, one after the other."""
    stages = [
        replace(stage, name=report.name if len(report.stages) == 1 else f"{report.name}: {stage.name}")
        for report in reports
        for stage in report.stages
    ]
    return RunReport(
        name,
        tuple(stages),
        sum(report.seconds for report in reports),
        max((report.num_workers for report in reports), default=1),
        max((report.peak_bytes for report in reports), default=0),
        promised_bytes=max((report.promised_bytes for report in reports), default=0),
        worker_peaks={worker: peak for report in reports for worker, peak in report.worker_peaks.items()},
        events=tuple(event for report in reports for event in report.events),
        jobs=sum(report.jobs for report in reports),
    )


def failure_of(name: str, records: Sequence[StageRecord], reason: str, tmp_folder: str | None = None) -> RunnerError:
    """The error of a run with failed blocks: ids, regions, the first full traceback, the call that goes on."""
    record = next((record for record in records if record.failures or any(map(len, record.pending()))), records[-1])
    failures = sorted(record.failures.values(), key=lambda failure: failure.block_id)
    pending = [block for ids in record.pending() for block in ids.tolist()]
    untried = len(pending) - len(failures)
    shown = "; ".join(f"{f.block_id} {f.region}".strip() for f in failures[:10])
    stage = f", stage {record.stage.name!r}" if len(records) > 1 else ""
    message = (
        f"{len(failures)} block(s) failed in {name or record.stage.name!r}{stage}"
        f" of {record.stage.units.n_blocks} ({untried} not run): {reason}. Failed: {shown}"
        + (" …" if len(failures) > 10 else "")
    )
    if failures:
        first = failures[0]
        message += (
            f"\nFirst error, block {first.block_id} {first.region} (worker {first.worker},"
            f" attempt {first.attempt + 1}): {text_of(first.error)}\n{first.traceback}"
        )
    if tmp_folder is not None:  # a mended function is not that of the run any more
        remedy = f"the same call goes on; with a mended function: resume={tmp_folder!r} (of a runner: resume_from)"
    else:
        remedy = "repeat the call with block_ids=error.failed_block_ids" if len(records) == 1 else "repeat the call"
    error = RunnerError(message, pending, tmp_folder, remedy=remedy)
    error.__cause__ = failures[0].error if failures else None
    return error
