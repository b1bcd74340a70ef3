"""Calls that overlap: the same bits, the same resume, and what cannot overlap is refused with its reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import PipelineError, RunnerError
from bioimage_py.pipelines.folder import known_calls
from bioimage_py.runner import SlurmConfig
from bioimage_py.runner.planning.stage import Plan, Stage
from bioimage_py.runner.planning.work_list import Units
from bioimage_py.wrapper import RoiSource, ThresholdSource
from tests.backends.slurm_fake import fake_slurm

from . import overlapping

HOW: dict[str, Any] = {"block_shape": 8, "progress": False}
NAMES = ["add", "shift0", "shift1", "shift2", "shift3", "max"]


@pytest.fixture
def raw(tmp_path: Path) -> Any:
    array = bp.io.create_array(tmp_path / "raw.zarr", "x", shape=(16, 16), dtype="u1", chunks=(8, 8))
    array[...] = np.arange(256).reshape(16, 16) % 100
    return array


def actions(p: Any) -> list[str]:
    return [call.action for call in p.explain()]


@pytest.mark.processes
@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_overlap_has_the_bits_of_one_call_after_the_other(tmp_path: Path, job_type: str) -> None:
    overlapping.begin(tmp_path)
    p, most = overlapping.run(tmp_path, job_type=job_type)
    np.testing.assert_array_equal(bp.open_source(tmp_path / "t3.zarr")[...], overlapping.expected())
    assert most == overlapping.expected().max()
    assert [call.name for call in p.explain()] == NAMES
    assert set(actions(p)) == {"run"}
    assert not (tmp_path / "script.run" / "scratch").exists()
    assert not list((tmp_path / ".bioimage_py").glob("[!.]*")), "no run folder is left"
    for lap in (True, False):  # overlapping or not, what is done is done
        assert set(actions(overlapping.run(tmp_path, job_type=job_type, lap=lap)[0])) == {"skipped"}
    blocks = {call.name: call.blocks for call in known_calls(tmp_path / "script.run")}
    assert (blocks["shift0"], blocks["shift1"]) == (25, 15)


@pytest.mark.processes
def test_overlap_on_jobs_of_a_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm").mkdir()
    bin_folder = fake_slurm.install(tmp_path / "site")
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "slurm"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    overlapping.begin(tmp_path)
    config = SlurmConfig(mem="1G", latency_wait=5.0, poll_interval=1.0, idle_timeout=60.0)
    p, _ = overlapping.run(tmp_path, job_type="slurm", num_workers=2, job_config=config)
    np.testing.assert_array_equal(bp.open_source(tmp_path / "t3.zarr")[...], overlapping.expected())
    assert set(actions(p)) == {"run"}


@pytest.mark.processes
def test_the_next_driver_adopts_the_jobs_of_an_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm").mkdir()
    monkeypatch.setenv("PATH", f"{fake_slurm.install(tmp_path / 'site')}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "slurm"))
    monkeypatch.setenv("BIOIMAGE_PY_NO_CONFIG", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    overlapping.begin(tmp_path)
    one = start(tmp_path, "slurm", '{"num_workers": 2}', SECONDS_A_BLOCK="0.1")
    end = time.monotonic() + 90
    while time.monotonic() < end and len(list((tmp_path / "t1.zarr").glob("c/*/*"))) < 3:
        time.sleep(0.02)
    one.kill()
    one.communicate()
    before = {job["id"] for job in fake_slurm.jobs(tmp_path / "slurm")}
    check_goes_on(tmp_path, "slurm")
    assert before <= {job["id"] for job in fake_slurm.jobs(tmp_path / "slurm")}


@pytest.mark.parametrize("before", [True, False])
def test_an_edit_runs_what_depends_on_it(tmp_path: Path, before: bool) -> None:
    overlapping.begin(tmp_path)
    overlapping.run(tmp_path, lap=before)
    p, _ = overlapping.run(tmp_path, more=3)
    np.testing.assert_array_equal(bp.open_source(tmp_path / "t3.zarr")[...], overlapping.expected(3))
    assert actions(p) == ["skipped", "skipped", "skipped", "run", "run", "run"]
    assert set(actions(overlapping.run(tmp_path, more=3)[0])) == {"skipped"}
    bp.open_source(tmp_path / "t1.zarr", mode="r+")[0, 0] = 1
    p, _ = overlapping.run(tmp_path, more=3)
    assert actions(p) == ["skipped", "skipped", "run", "run", "run", "run"]
    bp.open_source(tmp_path / "t0.zarr", mode="r+")[0, 0] = 1
    p, _ = overlapping.run(tmp_path, more=3)
    assert actions(p) == ["run again", "run", "run", "run", "run", "run"]
    np.testing.assert_array_equal(bp.open_source(tmp_path / "t3.zarr")[...], overlapping.expected(3))


@st.composite
def scripts(draw: Any) -> dict[str, Any]:
    ndim = draw(st.integers(1, 3))
    axes = st.tuples(*[st.integers(1, 7)] * ndim)
    shape = tuple(draw(st.integers(1, 14)) for _ in range(ndim))
    begin = [draw(st.integers(0, n - 1)) for n in shape]
    roi = tuple(slice(b, draw(st.integers(b + 1, n))) for b, n in zip(begin, shape, strict=True))
    made = [
        {
            "chunks": draw(axes),
            "block_shape": draw(axes),
            "sigma": tuple(draw(st.sampled_from([0.4, 1.0])) for _ in shape),
        }
        for _ in range(3)
    ]
    return {
        "shape": shape,
        "dtype": draw(st.sampled_from(["u1", ">u2", "i4", "f4", ">f8"])),
        "made": made,
        "roi": draw(st.sampled_from([None, roi])),
        "masked": draw(st.booleans()),
        "workers": draw(st.integers(1, 3)),
    }


def smoothed(folder: Path, script: dict[str, Any], *, lap: bool) -> np.ndarray:
    values = np.random.default_rng(2).integers(0, 200, script["shape"]).astype(script["dtype"])
    mask = values.astype("f8") > 60 if script["masked"] else None
    with bp.pipeline(folder / "p", num_workers=script["workers"], progress=False) as p:
        last: Any = values
        with p.overlap() if lap else nullcontext():
            for number, one in enumerate(script["made"]):
                target = bp.io.create_array(
                    folder / f"{number}.zarr", "", shape=script["shape"], dtype="f4", chunks=one["chunks"]
                )
                bp.filters.gaussian_smoothing(
                    last, one["sigma"], target, block_shape=one["block_shape"], mask=mask, roi=script["roi"]
                )
                last = target
    assert actions(p) == ["run"] * 3
    return np.asarray(last[...])


@given(scripts())
def test_grids_regions_and_masks_of_any_kind(script: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        try:
            plain = smoothed(Path(one), script, lap=False)
        except bp.errors.BlockShapeError:
            return
        np.testing.assert_array_equal(smoothed(Path(other), script, lap=True), plain)


def test_an_array_that_is_looked_at_is_there(tmp_path: Path, raw: Any) -> None:
    target = bp.io.create_array(tmp_path / "b.zarr", "", shape=(16, 16), dtype="u1", chunks=(8, 8))
    with bp.pipeline(tmp_path / "p", progress=False) as p, p.overlap():
        more = bp.operations.add(raw, 1, p.scratch("more"), **HOW)
        np.testing.assert_array_equal(more[2:5], raw[2:5] + 1)
        bp.operations.add(more, 1, target, **HOW)
        np.testing.assert_array_equal(RoiSource(target, (slice(3, 9), slice(0, 9)))[...], raw[3:9, :9] + 2)
        bp.operations.add(target, 1, tmp_path / "c.zarr", **HOW)
        bp.operations.multiply(raw, 0, tmp_path / "d.zarr", **HOW)
        target[0, 0] = 77  # what a script writes by itself comes after the calls in front of it
    assert bp.open_source(tmp_path / "c.zarr")[0, 0] == 3
    assert target[0, 0] == 77
    assert actions(p) == ["run"] * 4


def test_what_changes_between_a_call_and_its_run_is_refused(tmp_path: Path, raw: Any) -> None:
    def script(folder: Path, *, late: bool) -> Any:
        with bp.pipeline(folder) as p, p.overlap():
            last = raw
            for number in range(2):
                target = bp.io.create_array(folder.with_name(f"{folder.name}{number}"), "", shape=(16, 16), dtype="u1")

                def bound(block: Any, inputs: Any, outputs: Any, mask: Any, by: int = number) -> None:
                    outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + by

                def unbound(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
                    outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + number  # noqa: B023 - the point

                more = unbound if late else bound
                bp.map_blocks(more, [last], [target], block_shape=16, name=f"more{number}")
                last = target
        return last

    with pytest.raises(PipelineError, match=r"more0 is run when the overlap.* more0\.function"):
        script(tmp_path / "p", late=True)
    np.testing.assert_array_equal(script(tmp_path / "q", late=False)[...], raw[...] + 1)
    values = raw[...]
    with pytest.raises(PipelineError, match=r"add\.input 0"), bp.pipeline(tmp_path / "r") as p, p.overlap():  # noqa: PT012
        bp.operations.add(values, 1, tmp_path / "v.zarr", **HOW)
        values[0] = 3


def test_after_an_error_nothing_stands_for_what_was_not_computed(tmp_path: Path, raw: Any) -> None:
    target = bp.io.create_array(tmp_path / "b.zarr", "", shape=(16, 16), dtype="u1", chunks=(8, 8))
    with bp.pipeline(tmp_path / "p") as p:
        with pytest.raises(ZeroDivisionError), p.overlap():  # noqa: PT012
            more = bp.operations.add(raw, 1, p.scratch("more"), **HOW)
            bp.operations.add(more, 1, target, **HOW)
            raise ZeroDivisionError
        for array in (more, target, more, target):
            with pytest.raises(PipelineError, match="has not ended"):
                array[...]
        bp.operations.add(raw, 5, target, **HOW)
        np.testing.assert_array_equal(target[...], raw[...] + 5)
    with pytest.raises(PipelineError, match="has not ended"):
        more[...]


def test_a_call_that_looks_by_itself_waits_for_those_in_front(tmp_path: Path, raw: Any) -> None:
    target = bp.io.create_array(tmp_path / "b.zarr", "", shape=(16, 16), dtype="u1", chunks=(8, 8))
    seen = []
    with bp.pipeline(tmp_path / "p") as p, p.overlap():
        bp.operations.add(raw, 1, target, **HOW)

        def look(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
            seen.append(inputs[0][bp.to_roi(block)].max())

        bp.map_blocks(look, [target], [], block_shape=16, debug=True, progress=False)
    assert seen == [raw[...].max() + 1]


def test_calls_of_few_blocks_use_all_workers() -> None:
    stages = tuple(Stage("s", "items", print, Units(4), early=early) for early in (False, True))
    assert Plan("x", stages, bp.Execution()).widest == 8


def broken(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    if block.id == 3 and not Path(os.environ["MENDED"]).exists():
        raise ValueError("block 3")
    outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1


def test_a_block_that_fails_is_told_and_the_same_script_goes_on(
    tmp_path: Path, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MENDED", str(tmp_path / "mended"))

    def script() -> Any:
        with bp.pipeline(tmp_path / "p", progress=False, num_workers=2) as p, p.overlap():
            last = raw
            for number in range(3):
                target = bp.io.create_array(tmp_path / f"{number}.zarr", "", shape=(16, 16), dtype="u1", chunks=(8, 8))
                bp.map_blocks(broken, [last], [target], block_shape=8, name=f"broken{number}")
                last = target
        return p, last

    with pytest.raises(RunnerError, match="block 3"):
        script()
    assert not [call for call in known_calls(tmp_path / "p") if call.done]
    (tmp_path / "mended").touch()
    p, last = script()
    np.testing.assert_array_equal(last[...], raw[...] + 3)
    assert [call.reason for call in p.explain()] == ["it was not finished"] * 3


def reads_all(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    outputs[0][bp.to_roi(block)] = inputs[0][...].max()


class Holds:
    """A function with an array of its own."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][bp.to_roi(block)] = self.array[bp.to_roi(block)]


def into_hdf5(first: Any, folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        bp.operations.add(first, 1, file.create_dataset("x", (16, 16), "u1", chunks=(8, 8)), **HOW)


REFUSED: dict[str, tuple[Callable[[Any, Any, Path], Any], str]] = {
    "merge": (lambda first, raw, at: bp.segmentation.label(first, at / "l.zarr", **HOW), "has 3 stages"),
    "fold": (lambda first, raw, at: bp.stats.max(first, **HOW), "returns a value"),
    "in memory": (lambda first, raw, at: bp.operations.add(first, 1, **HOW), "output is in memory"),
    "in place": (lambda first, raw, at: bp.operations.add(raw, 1, raw, **HOW), "changes its output in place"),
    "changes an input": (
        lambda first, raw, at: bp.operations.add(first, 1, raw, **HOW),
        "changes what add reads",
    ),
    "writes the same": (
        lambda first, raw, at: bp.operations.add(raw, 2, at / "first.zarr", **HOW),
        "writes what add writes",
    ),
    "a view": (
        lambda first, raw, at: bp.operations.add(ThresholdSource(first, 3), 1, at / "o.zarr", **HOW),
        "a view of which the blocks cannot be told",
    ),
    "some blocks": (
        lambda first, raw, at: bp.operations.add(first, 1, at / "o.zarr", block_ids=[0], **HOW),
        "runs some blocks only",
    ),
    "other workers": (
        lambda first, raw, at: bp.operations.add(first, 1, at / "o.zarr", num_workers=3, **HOW),
        "its num_workers is not that of add",
    ),
    "its own array": (
        lambda first, raw, at: bp.map_blocks(Holds(first), [raw], [made(at)], block_shape=8),
        "reads by itself what add writes",
    ),
    "HDF5": (lambda first, raw, at: into_hdf5(first, at), "a file that one process writes"),
}


def made(at: Path) -> Any:
    return bp.io.create_array(at / "m.zarr", "", shape=(16, 16), dtype="u1", chunks=(8, 8))


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_all_of_another_is_refused_with_the_reason(tmp_path: Path, raw: Any, name: str, plan: bool) -> None:
    call, reason = REFUSED[name]
    with pytest.raises(PipelineError, match=reason), bp.pipeline(tmp_path / "p", plan=plan) as p, p.overlap():  # noqa: PT012
        first = bp.operations.add(raw, 1, tmp_path / "first.zarr", **HOW)
        call(first, raw, tmp_path)
    assert not (tmp_path / "first.zarr").exists(), "nothing was run"


def test_a_function_that_reads_beyond_its_block_is_an_error_not_other_bits(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(RunnerError, match="may read"), bp.pipeline(tmp_path / "p") as p, p.overlap():  # noqa: PT012
        first = bp.operations.add(raw, 1, tmp_path / "first.zarr", **HOW)
        bp.map_blocks(reads_all, [first], [made(tmp_path)], block_shape=8)


def test_overlap_inside_of_overlap_and_the_budget(tmp_path: Path, raw: Any) -> None:
    inside = pytest.raises(PipelineError, match="inside of another")
    with bp.pipeline(tmp_path / "p") as p, p.overlap(), inside, p.overlap():
        pass
    above = pytest.raises(PipelineError, match="scratch_bytes=300")
    with bp.pipeline(tmp_path / "q", scratch_bytes=300) as p, above, p.overlap():
        first = bp.operations.add(raw, 1, p.scratch("one"), **HOW)
        bp.operations.add(first, 1, p.scratch("two"), **HOW)


POINTS = [
    (name, number)
    for name, numbers in {
        "pipeline-begun": (1,),
        "pipeline-before-record": (1,),
        "pipeline-between-records": (1, 3, 5),
        "pipeline-after-record": (1,),
        "before-complete": (1,),
        "after-complete": (1,),
        "before-finish": (1,),
        "after-stamps": (1,),
        "before-release": (1, 2, 4),
        "after-release": (1, 3),
        "before-stage": (1, 2, 4),
        "after-stage": (1, 2),
        "before-journal": (2, 9, 40, 70),
        "after-journal": (5, 30, 60),
        "before-write": (3, 50, 90),
        "after-write": (3, 50, 90),
        "after-claim": (1, 30, 60),
    }.items()
    for number in numbers
]


def start(folder: Path, job_type: str, how: str = "{}", **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.pipelines.overlapping", str(folder), job_type, how]
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(folder: Path) -> dict[tuple[int, str], float]:
    return {(one.number, one.name): one.finished for one in known_calls(folder / "script.run") if one.done}


def check_goes_on(folder: Path, job_type: str) -> None:
    before = finished(folder)
    second = start(folder, job_type)
    out, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    np.testing.assert_array_equal(bp.open_source(folder / "t3.zarr")[...], overlapping.expected())
    told = json.loads(out.rpartition("]")[0] + "]")
    assert int(out.split()[-1]) == overlapping.expected().max()
    after = finished(folder)
    assert all(after.get(call) == when for call, when in before.items()), "a finished call was done again"
    assert len(before) in (0, 5, 6), "all or none of what ran as one is recorded"
    assert [action for _, action, _ in told].count("skipped") == len(before)
    assert not (folder / "script.run" / "scratch").exists()
    assert not list((folder / "script.run" / "calls").glob("*.together"))
    assert not list((folder / ".bioimage_py").glob("[!.]*")), "no run folder is left"


@pytest.mark.processes
@pytest.mark.some(8)
@pytest.mark.parametrize(("point", "number"), POINTS)
def test_a_kill_at_any_point_of_an_overlap_loses_nothing(tmp_path: Path, point: str, number: int) -> None:
    overlapping.begin(tmp_path)
    token = tmp_path / "token"
    token.touch()
    first = start(tmp_path, "local", BIOIMAGE_PY_FAULT=f"{point}:{number}:{token}")
    _, errors = first.communicate(timeout=240)
    if token.exists():
        pytest.skip("the point was not passed so often")
    assert first.returncode == -9, errors
    check_goes_on(tmp_path, "local")


@pytest.mark.processes
@pytest.mark.some(2)
@pytest.mark.parametrize("point", ["after-write", "before-journal", "after-claim", "before-write"])
@pytest.mark.parametrize("number", [2, 15])
def test_a_worker_that_is_killed_in_an_overlap_is_replaced(tmp_path: Path, point: str, number: int) -> None:
    overlapping.begin(tmp_path)
    token = tmp_path / "token"
    token.touch()
    one = start(tmp_path, "subprocess", BIOIMAGE_PY_FAULT=f"{point}:{number}:{token}")
    out, errors = one.communicate(timeout=240)
    assert one.returncode == 0, errors
    assert not token.exists()
    np.testing.assert_array_equal(bp.open_source(tmp_path / "t3.zarr")[...], overlapping.expected())
    assert [action for _, action, _ in json.loads(out.rpartition("]")[0] + "]")] == ["run"] * 6


@pytest.mark.processes
@pytest.mark.some(1)
@pytest.mark.parametrize("job_type", ["local", "subprocess"])
@pytest.mark.parametrize("lap", [True, False])
def test_a_script_that_was_killed_with_overlap_goes_on(tmp_path: Path, job_type: str, lap: bool) -> None:
    """Also where the overlap was put around calls of which one had begun by itself."""
    overlapping.begin(tmp_path)
    one = start(tmp_path, job_type, json.dumps({"lap": lap}), SECONDS_A_BLOCK="0.1")
    end = time.monotonic() + 60
    while time.monotonic() < end and len(list((tmp_path / "t1.zarr").glob("c/*/*"))) < 4:
        time.sleep(0.02)
    one.send_signal(signal.SIGKILL)
    one.communicate()
    if lap:
        check_goes_on(tmp_path, job_type)
        return
    two = start(tmp_path, job_type)
    out, errors = two.communicate(timeout=240)
    assert two.returncode == 0, errors
    told = json.loads(out.rpartition("]")[0] + "]")
    assert [action for _, action, _ in told] == ["skipped", "skipped", "run", "run", "run", "run"]
    np.testing.assert_array_equal(bp.open_source(tmp_path / "t3.zarr")[...], overlapping.expected())


def test_a_mask_is_waited_for_like_an_input(tmp_path: Path, raw: Any) -> None:
    found = []
    for lap in (False, True):
        with bp.pipeline(tmp_path / f"p{lap}", num_workers=3, progress=False) as p:
            with p.overlap() if lap else nullcontext():
                inside = bp.operations.greater(raw, 50, p.scratch("inside"), block_shape=(16, 8))
                out = bp.operations.add(raw, 1, tmp_path / f"{lap}.zarr", mask=inside, block_shape=8)
            found.append(out[...])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[1], np.where(raw[...] > 50, raw[...] + 1, 0))
