"""The picture of a run: who did what when, how long blocks took, and memory promised against measured."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..extras import needing
from ..runner.driver.report import RunReport, StageReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart by colour-blind people too
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_BAD = "#B00020"
_MEBI = 2**20
_MOST_LABELS = 40
_MOST_STAGES = 5  # in the legends of the small pictures
_LONG = 24
_PAUSE = 0.04  # width at which a pause is drawn, of the time of work


def color_of(stage: int) -> str:
    """Colour of a stage in all pictures and tables."""
    return COLORS[stage % len(COLORS)]


def duration(seconds: float) -> str:
    """A time span for people."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return "{} min {:02d} s".format(*divmod(round(seconds), 60))
    return "{} h {:02d} min".format(*divmod(round(seconds / 60), 60))


def figure_png(report: RunReport) -> bytes:
    """The picture of a run as PNG."""
    buffer = io.BytesIO()
    draw_run(report).savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def draw_run(report: RunReport) -> Figure:
    """Draw a run.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    with needing("matplotlib", "A picture"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    rows = len(workers_of(report))
    lanes = 1.2 + 0.3 * min(max(rows, 2), 24)
    figure = Figure(figsize=(12, lanes + 6.8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 2, height_ratios=[lanes, 3, 3])
    figure.suptitle(headline(report), fontsize=12)
    _timeline(figure.add_subplot(grid[0, :]), report, lanes)
    _histogram(figure.add_subplot(grid[1, 0]), report.stages)
    _slowest(figure.add_subplot(grid[1, 1]), report.stages)
    _peaks(figure.add_subplot(grid[2, 0]), report)
    _marks(figure.add_subplot(grid[2, 1]), report)
    return figure


def headline(report: RunReport) -> str:
    """What was run, how long it took, and whether anything failed."""
    asked = sum(stage.n_blocks for stage in report.stages)
    failed = sum(len(stage.failures) for stage in report.stages)
    text = f"{report.name or 'run'}: {report.n_blocks} of {asked} blocks in {duration(report.seconds)}"
    text += f", {report.num_workers} worker" + "s" * (report.num_workers != 1)
    return text + (f", {failed} failed" if failed else "")


def workers_of(report: RunReport) -> list[str]:
    """Names of the workers that did anything, in the order in which they were started."""
    names = {span.worker for stage in report.stages for span in stage.spans} | set(report.worker_peaks)
    return sorted(names, key=lambda name: (*(len(part) for part in name.split("w")), name))


def promised_per_worker(report: RunReport) -> float:
    """Bytes that one worker process was promised to need."""
    return report.promised_bytes / max(1, min(report.num_workers, len(report.worker_peaks) or report.num_workers))


class _Clock:
    """Seconds since the epoch as places along the picture, with long pauses (between sessions) shortened."""

    def __init__(self, report: RunReport) -> None:
        spans = [(span.begin, span.end) for stage in report.stages for span in stage.spans]
        spans += [(event["time"], event["time"]) for event in report.events]
        gaps: list[tuple[float, float]] = []
        first = last = min(spans, default=(0.0, 0.0))[0]
        busy = 0.0
        for begin, end in sorted(spans):
            if begin > last:
                gaps.append((last, begin))
            busy += max(0.0, end - max(begin, last))
            last = max(last, end)
        self.pauses = [(begin, end) for begin, end in gaps if end - begin > max(busy, 10.0)]
        self._times = [first, *(time for pause in self.pauses for time in pause), last]
        steps = np.diff(self._times)
        steps[1::2] = _PAUSE * busy
        self._places = [0.0, *np.cumsum(steps).tolist()]
        self.length = self._places[-1]

    def __call__(self, time: float) -> float:
        """Place of a time."""
        return float(np.interp(time, self._times, self._places))


def _timeline(axes: Axes, report: RunReport, lanes: float) -> None:
    workers = workers_of(report)
    rows = {worker: row for row, worker in enumerate(workers)}
    clock = _Clock(report)
    for number, stage in enumerate(report.stages):
        for worker, row in rows.items():
            spans = [span for span in stage.spans if span.worker == worker]
            bars = [(clock(span.begin), clock(span.end) - clock(span.begin)) for span in spans]
            axes.broken_barh(bars, (row - 0.4, 0.8), facecolor=color_of(number), edgecolor="white", linewidth=0.4)
            for span, (left, width) in zip(spans, bars, strict=True):
                if width > 0.025 * clock.length and len(workers) <= _MOST_LABELS:
                    text = str(span.blocks)
                    axes.text(left + width / 2, row, text, ha="center", va="center", fontsize=7, color="white")
        count = f"{stage.n_done} of {stage.n_blocks}"
        axes.bar(0, 0, color=color_of(number), label=f"{short_name(stage)} ({count})")
    _incidents(axes, report, rows, clock)
    for begin, end in clock.pauses:
        middle = (clock(begin) + clock(end)) / 2
        axes.axvline(middle, color="0.4", linestyle=":")
        text = f"pause of {duration(end - begin)}"
        axes.text(middle, -0.5, text, rotation=90, fontsize=7, ha="right", va="top")
    step = -(-len(workers) // _MOST_LABELS)
    axes.set_yticks(range(0, len(workers), step or 1), workers[:: step or 1], fontsize=8)
    axes.set_ylim(len(workers) - 0.4, -0.6)
    axes.set_xlim(0, clock.length or 1)
    axes.set_xlabel("seconds of work" if clock.pauses else "seconds", loc="right")
    axes.set_title("Batches of each worker, with the number of blocks", fontsize=10, loc="left")
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        columns = max(1, 150 // (8 + max(map(len, labels))))
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.5 / lanes), ncols=columns, frameon=False)


def _incidents(axes: Axes, report: RunReport, rows: dict[str, int], clock: _Clock) -> None:
    """Mark when blocks failed and workers died."""
    kinds = {"block failed": ("x", "GroupFailed"), "worker lost": ("v", "WorkerEnded")}
    for label, (marker, kind) in kinds.items():
        found = [
            (clock(event["time"]), rows[event["worker"]])
            for event in report.events
            if event["event"] == kind and event.get("kind") != "finished" and event["worker"] in rows
        ]
        if found:
            x, y = zip(*found, strict=True)
            axes.scatter(x, y, marker=marker, color=_BAD, s=45, zorder=3, label=label, clip_on=False)


def _histogram(axes: Axes, stages: Sequence[StageReport]) -> None:
    timed = [(number, stage) for number, stage in enumerate(stages) if stage.n_done]
    axes.set_title("Time of the blocks of each stage", fontsize=10, loc="left")
    axes.set_xlabel("time of a block")
    axes.set_ylabel("blocks")
    if not timed:
        return
    seconds = [np.maximum(stage.seconds.astype(np.float64), 1e-7) for _, stage in timed]
    low, high = min(float(part.min()) for part in seconds), max(float(part.max()) for part in seconds)
    logarithmic = high > 20 * low
    space = np.geomspace if logarithmic else np.linspace
    bins = space(low * 0.95, high * 1.05, 31)
    for (number, stage), part in zip(timed, seconds, strict=True):
        counts = stage.times.every * np.histogram(part, bins)[0]
        label = f"{short_name(stage)}: median {duration(float(np.median(part)))}"
        axes.stairs(counts, bins, fill=True, color=color_of(number), alpha=0.45)
        axes.stairs(counts, bins, color=color_of(number), label=label)
    if logarithmic:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda seconds, _: duration(seconds))
    if len(timed) <= _MOST_STAGES:
        axes.legend(fontsize=8)


def slowest_blocks(stages: Sequence[StageReport], n: int = 10) -> list[tuple[int, int, float]]:
    """Number of the stage, block id and seconds of the slowest blocks of all stages."""
    blocks = [(number, *block) for number, stage in enumerate(stages) for block in stage.slowest(n)]
    return sorted(blocks, key=lambda block: -block[2])[:n]


def block_name(stage: StageReport, block: int) -> str:
    """Stage and block; the stage alone where it has one block only."""
    return f"{short_name(stage)} {block}" if stage.n_blocks > 1 else short_name(stage)


def short_name(stage: StageReport) -> str:
    """Name of a stage, cut where it is long."""
    return stage.name if len(stage.name) <= _LONG else stage.name[: _LONG - 1] + "…"


def _slowest(axes: Axes, stages: Sequence[StageReport]) -> None:
    slow = slowest_blocks(stages)
    axes.set_title("Slowest blocks", fontsize=10, loc="left")
    axes.set_xlabel("seconds")
    if not slow:
        axes.set_yticks([])
        return
    places = np.arange(len(slow))
    bars = axes.barh(places, [seconds for _, _, seconds in slow], color=[color_of(number) for number, _, _ in slow])
    axes.bar_label(bars, [duration(seconds) for _, _, seconds in slow], fontsize=7, padding=2)
    axes.set_yticks(places, [block_name(stages[number], block) for number, block, _ in slow], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)


def _peaks(axes: Axes, report: RunReport) -> None:
    axes.set_title("Memory: highest of each process, against the promise", fontsize=10, loc="left")
    axes.set_ylabel("MiB")
    if report.worker_peaks:
        names = [name for name in workers_of(report) if name in report.worker_peaks]
        peaks = [report.worker_peaks[name] / _MEBI for name in names]
        promise, text = promised_per_worker(report), "promised a worker"
    else:
        names, peaks = ["this process, all threads"], [report.peak_bytes / _MEBI]
        # threads share the caller's process: what it held before the run was not promised
        before = report.memory_marks[0][1] if report.memory_marks else 0
        promise, text = before + report.promised_bytes, "before the run + promised"
    places = np.arange(len(names))
    over = [peak * _MEBI > promise > 0 for peak in peaks]
    bars = axes.bar(places, peaks, width=0.6, color=[_BAD if much else COLORS[4] for much in over])
    if len(names) <= 16:
        axes.bar_label(bars, [f"{peak:.0f}" for peak in peaks], fontsize=7)
    if report.promised_bytes:
        axes.axhline(promise / _MEBI, color="black", linestyle="--", label=f"{text}: {promise / _MEBI:.0f} MiB")
    step = -(-len(names) // 8)
    axes.set_xticks(places[::step], names[::step], fontsize=8)
    axes.margins(y=0.25)
    axes.set_xlim(-0.7, max(len(names), 3) - 0.3)
    if report.promised_bytes:
        axes.legend(fontsize=8, loc="upper right")


def _marks(axes: Axes, report: RunReport) -> None:
    axes.set_title("Memory: blocks after which a worker had never held so much", fontsize=10, loc="left")
    axes.set_xlabel("blocks done")
    axes.set_ylabel("MiB")
    before = 0
    for number, stage in enumerate(report.stages):
        marks = sorted((before + done, size / _MEBI) for _, size, done in stage.memory)
        if marks:
            x, y = zip(*marks, strict=True)
            axes.scatter(x, y, s=18, color=color_of(number), label=short_name(stage))
        before += stage.n_done
    axes.set_xlim(0, max(1, before))
    axes.margins(y=0.25)
    labels = axes.get_legend_handles_labels()[1]
    if 0 < len(labels) <= _MOST_STAGES:
        axes.legend(fontsize=8)
    if not labels:
        axes.text(0.5, 0.5, "none seen", ha="center", va="center", transform=axes.transAxes, color="0.4")
        axes.set_yticks([])
