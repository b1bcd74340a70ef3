"""Reports of runs as pages, pictures and data."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from array import array
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.engine.stages import BlocksStage, run_stages
from bioimage_py.errors import ConfigError, ParameterError, RunnerError
from bioimage_py.io import create_array
from bioimage_py.runner import RunReport, StageReport, map_blocks
from bioimage_py.runner.control.inspect import report_of
from bioimage_py.runner.ledger.block_times import BlockTimes
from bioimage_py.runner.ledger.records import BlockFailure, Span
from bioimage_py.segmentation import labelling
from bioimage_py.viz import write_report
from bioimage_py.viz.run_figure import _Clock, duration, slowest_blocks

# workers cannot import this file: its functions travel by value
cloudpickle.register_pickle_by_value(sys.modules[__name__])

BAD = 5


class FailsOnce:
    """The write stage of `label`, whose block 5 fails when it is first run."""

    def __init__(self, inner: Any, mark: Path) -> None:
        self.inner = inner
        self.mark = mark

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any, *, context: Any) -> None:
        if block.id == BAD and not self.mark.exists():
            self.mark.touch()
            raise OSError("<the file system> was away & came back")
        self.inner(block, inputs, outputs, mask, context=context)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """Of `label` on two worker processes, with one block that fails and succeeds when it is run again."""
    folder = tmp_path_factory.mktemp("report")
    raw = create_array(folder / "v.zarr", "raw", shape=(32, 32, 32), chunks=(16, 16, 16), dtype="u1")
    raw[...] = np.random.default_rng(0).integers(0, 2, raw.shape)
    reports: list[RunReport] = []

    def with_failure(name: str, stages: Any, job: Any) -> RunReport:
        last = stages[-1]
        flaky = BlocksStage(
            last.name, FailsOnce(last.function, folder / "mark"), last.inputs, last.outputs, setup=last.setup
        )
        reports.append(run_stages(name, [*stages[:-1], flaky], job))
        return reports[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelling, "run_stages", with_failure)
        bp.segmentation.label(
            raw, str(folder / "v.zarr/labels"), job_type="subprocess", num_workers=2, block_shape=16, progress=False
        )
    return reports[0]


class Page(HTMLParser):
    """What a page shows, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.opened: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "img"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.opened and self.opened[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def png_size(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


# --- what a report holds -------------------------------------------------------------------------------------------


def test_the_report_has_what_the_pictures_need(report: RunReport) -> None:
    assert [stage.name for stage in report.stages] == ["components", "merge", "write"]
    assert report.n_blocks == 17
    write = report.stages[2]
    assert write.failures == ()
    assert [(f.block_id, f.region, f.attempt) for f in write.overcome] == [(BAD, "[16:32, 0:16, 16:32]", 0)]
    assert write.regions[write.slowest(1)[0][0]].startswith("[")
    assert set(report.worker_peaks) == {"s1w0", "s1w1"}
    kinds = [event["event"] for event in report.events]
    assert kinds.count("GroupFailed") == kinds.count("Retry") == 1
    times = [event["time"] for event in report.events]
    assert times == sorted(times)
    begin, end = times[0] - 1, times[-1] + 1
    assert all(begin < span.begin <= span.end < end for stage in report.stages for span in stage.spans)


def test_what_was_overcome_is_remembered_up_to_a_limit() -> None:
    seen: set[int] = set()

    def function(index: int) -> None:
        if index and index not in seen:
            seen.add(index)
            raise ValueError(index)

    blocks = map_blocks(lambda b, i, o, m: function(b.id), [np.zeros(300)], block_shape=1, max_failures=1000)
    assert isinstance(blocks, RunReport)
    assert blocks.n_blocks == 300
    assert len(blocks.stages[0].overcome) == 100


def test_a_failure_is_read_where_its_exception_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = BlockFailure.of(0, 3, "[0:1]", "w", 0, Gone("three"))
    data = pickle.dumps(failure)
    again = pickle.loads(data)
    assert type(again.error) is Gone
    assert again.error.args == ("three",)
    monkeypatch.delitem(globals(), "Gone")
    lost = pickle.loads(data)
    assert type(lost.error) is RuntimeError
    assert "Gone: three" in str(lost.error)
    assert (lost.block_id, lost.region, lost.traceback) == (3, "[0:1]", failure.traceback)


class Gone(Exception):
    """An exception whose class is not there later."""


# --- files ---------------------------------------------------------------------------------------------------------


def test_the_page_needs_no_other_file_and_tells_all(report: RunReport, tmp_path: Path) -> None:
    path = write_report(report, tmp_path / "deep" / "run.html")
    assert path == str(tmp_path / "deep" / "run.html")
    page = Page(Path(path).read_text())
    assert page.opened == []
    assert len(page.loaded) == 1
    assert page.loaded[0].startswith("data:image/png;base64,iVBOR")
    assert "label: 17 of 17 blocks" in page.text
    rows = [[cell.strip() for cell in row] for row in page.rows]
    assert ["components", "8", "8", "0"] in [row[:4] for row in rows]
    failed = next(row for row in rows if row[1:3] == [str(BAD), "[16:32, 0:16, 16:32]"])
    assert failed[4] == "OSError: <the file system> was away & came back"
    assert "in __call__" in page.text
    assert "Blocks that failed and succeeded when run again: 1" in page.text
    for worker, peak in report.worker_peaks.items():
        assert [worker, f"{peak / 2**20:.0f} MiB"] in [[row[0], row[2]] for row in rows if len(row) == 4]
    stage, block, seconds = slowest_blocks(report.stages)[0]
    name = report.stages[stage].name
    assert [name, str(block)] in [row[:2] for row in rows if row[-1] == duration(seconds)]
    assert sum("GroupFailed" in row for row in rows) == 1
    assert not re.search(r"https?://", Path(path).read_text())


def test_the_picture_is_a_png(report: RunReport, tmp_path: Path) -> None:
    from matplotlib.image import imread

    path = write_report(report, tmp_path / "run.png")
    width, height = png_size(Path(path).read_bytes())
    assert width > 1000
    assert height > 700
    found = {tuple(color) for color in np.rint(imread(path)[..., :3] * 255).astype(int).reshape(-1, 3)}
    assert {(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73)} <= found, "a colour for each stage"
    assert (0xB0, 0x00, 0x20) in found, "the failure"


def test_data_for_machines(report: RunReport, tmp_path: Path) -> None:
    totals = json.loads(Path(write_report(report, tmp_path / "run.json")).read_text())
    assert totals == json.loads(report.to_json())
    assert [stage["done"] for stage in totals["stages"]] == [8, 1, 8]
    lines = [json.loads(line) for line in Path(write_report(report, tmp_path / "run.jsonl")).read_text().splitlines()]
    assert [line["event"] for line in lines] == [event["event"] for event in report.events] + ["Report"]
    assert lines[-1]["report"] == totals


def test_other_suffixes_are_refused(report: RunReport, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"'run\.pdf': its suffix is none of \.html, \.png, ") as error:
        write_report(report, tmp_path / "run.pdf")
    assert error.value.remedy == "run.html"
    assert list(tmp_path.iterdir()) == []


# --- runs of every kind --------------------------------------------------------------------------------------------


def _stage(n: int, workers: int, *, begin: float = 1e9, session: int = 1) -> StageReport:
    times = BlockTimes()
    times.add(array("q", range(n)), array("f", np.linspace(0.1, 0.2, n)))
    spans = tuple(Span(f"s{session}w{i}", begin + i / 7, begin + i / 7 + 1.0, 3) for i in range(workers))
    return StageReport("a stage with a <long> name", n, n, times, (), spans, ((0, 2**26, 1), (n - 1, 2**27, n)))


@pytest.mark.parametrize(
    "report",
    [
        RunReport("nothing", (), 0.0, 1, 2**26),
        RunReport("", (_stage(0, 0),), 0.0, 1, 2**26),
        RunReport("one", (_stage(1, 1),), 1.0, 1, 2**26, ((0.0, 2**25),), promised_bytes=2**27),
        RunReport("many", (_stage(5000, 300),), 1e5, 300, 1, promised_bytes=2**36),
        RunReport("stages", tuple(_stage(9, 2, begin=1e9 + i) for i in range(12)), 40.0, 2, 1, worker_peaks={"x": 9}),
    ],
    ids=["nothing", "empty", "one", "many", "stages"],
)
def test_every_run_can_be_drawn(report: RunReport, tmp_path: Path) -> None:
    _, height = png_size(Path(write_report(report, tmp_path / "run.png")).read_bytes())
    assert height < 3000
    assert Page(Path(write_report(report, tmp_path / "run.html")).read_text()).opened == []


def test_a_pause_between_sessions_is_shortened() -> None:
    day = 86400.0
    stage = _stage(9, 2)
    later = tuple(replace(span, begin=span.begin + day, end=span.end + day) for span in stage.spans)
    clock = _Clock(RunReport("", (stage, replace(stage, spans=later)), 3.0, 2, 1))
    assert [round(end - begin) for begin, end in clock.pauses] == [86399]
    assert 2.2 < clock.length < 2.6
    times = np.linspace(1e9, 1e9 + day + 1.1, 200)
    places = [clock(time) for time in times]
    assert places == sorted(places)
    assert clock(1e9) == 0
    assert clock(1e9 + 0.5) == pytest.approx(0.5)
    assert clock(1e9 + day + 0.5) == pytest.approx(clock(1e9 + day) + 0.5)


def test_the_report_of_a_run_folder(tmp_path: Path) -> None:
    raw = create_array(tmp_path / "v.zarr", "raw", shape=(40,), chunks=(4,), dtype="u1")

    with pytest.raises(RunnerError) as error:
        map_blocks(_fails, [raw], [raw], block_shape=4, num_workers=2, retries=0, name="job", progress=False)
    folder = error.value.tmp_folder
    assert folder is not None
    report = report_of(folder)
    assert (report.name, report.n_blocks, report.num_workers) == ("job", 9, 2)
    assert [(f.block_id, f.region) for f in report.stages[0].failures] == [(5, "[20:24]")]
    assert report.promised_bytes > 0
    assert report.seconds > 0
    assert report.worker_peaks == {}, "threads have no memory of their own"
    text = Path(write_report(report, tmp_path / "run.html")).read_text()
    assert "job: 9 of 10 blocks" in text
    assert "1 failed" in text
    assert "ValueError: no" in text
    with pytest.raises(ConfigError, match="there is no run in"):
        report_of(tmp_path)


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_the_report_of_an_unfinished_run_has_times_and_memory(tmp_path: Path, job_type: str) -> None:
    raw = create_array(tmp_path / "v.zarr", "raw", shape=(40,), chunks=(4,), dtype="u1")
    with pytest.raises(RunnerError) as error:
        map_blocks(_fails, [raw], [raw], block_shape=4, retries=0, name="job", progress=False, job_type=job_type)
    folder = Path(str(error.value.tmp_folder))
    report = report_of(folder)
    assert report.peak_bytes >= report.memory_marks[-1][1] > 2**20
    assert (min(report.worker_peaks.values(), default=0) > 2**20) == (job_type == "subprocess")
    assert "Memory" not in {event["event"] for event in report.events}

    notes = [
        ("s1", 1.0, 1001.0, {"event": "Memory", "bytes": 5}),
        ("s1", 2.0, 1002.0, {"event": "Start", "count": 1}),
        ("s1", 9.0, 1009.0, {"event": "Memory", "bytes": 7}),
        ("s2", 0.5, 1100.5, {"event": "Memory", "bytes": 6}),
        ("s2", 4.0, 1104.0, {"event": "Memory", "bytes": 9}),
        ("s3", 0.5, 2000.5, {"event": "Start", "count": 1}),
    ]
    lines = [json.dumps({"session": session, "seconds": s, "time": t, **what}) for session, s, t, what in notes]
    (folder / "events.jsonl").write_text("\n".join([*lines, '{"torn']))
    for path in (folder / "journal" / "0").iterdir():
        path.unlink()
    # the last sign of each worker; one of the second session went on for the driver of the third
    for worker, at in (("s1w0", 1050), ("s1w1", 1040), ("s2w0", 2500), ("s3w0", 2003)):
        (folder / "journal" / "0" / worker).touch()
        os.utime(folder / "journal" / "0" / worker, (at, at))
    report = report_of(folder)
    assert report.seconds == pytest.approx(50.0 + 900.0 + 3.0)
    assert report.memory_marks == ((1.0, 5), (9.0, 7), (54.0, 9))
    assert report.peak_bytes == 9


def _fails(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    if block.id == 5:
        raise ValueError("no")
    outputs[0][bp.to_roi(block)] = 1
    return int(block.id)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00123, "1.23 ms"), (0.5, "500 ms"), (2.345, "2.35 s"), (125, "2 min 05 s"), (7310, "2 h 02 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_report_draws_itself() -> None:
    array = np.zeros((8, 8))
    report = bp.map_blocks(_nothing, [array], [array], block_shape=4, name="drawn", progress=False)
    figure = report.plot()
    assert "drawn: 4 of 4 blocks" in figure.get_suptitle()
    assert len(figure.axes) >= 5


def _nothing(block: object, inputs: object, outputs: object, mask: object) -> None:
    """Do nothing with a block."""
