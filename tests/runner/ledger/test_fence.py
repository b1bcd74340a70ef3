"""A worker that was held dead does not write, whatever has kept it from hearing of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zarr

from bioimage_py.blocks import to_roi
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.ledger import fence as module
from bioimage_py.runner.ledger.driver_side import FolderLedger
from bioimage_py.runner.ledger.fence import Fence, HeldDeadError
from bioimage_py.runner.ledger.worker_side import FolderWork
from bioimage_py.runner.planning.build import Where, blocks_stage
from bioimage_py.runner.planning.stage import Plan
from bioimage_py.runner.worker.loop import InProcess


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "passing_seconds", made)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Path:
    own(tmp_path, 1)
    (tmp_path / "gone").mkdir()
    return tmp_path


def own(run: Path, session: int, *adopted: str) -> None:
    (run / "run.json").write_text(json.dumps({"sessions": session, "adopted": adopted}))


def refused(fence: Fence) -> bool:
    try:
        fence.check()
    except HeldDeadError:
        return True
    return False


def test_who_was_given_up_may_not_write_once_it_has_to_look_again(run: Path, clock: Clock) -> None:
    fence, other = Fence(run, "s1w0"), Fence(run, "s1w1")
    assert not refused(fence)
    (run / "gone" / "s1w0").touch()
    clock.now = 4.9
    assert not refused(fence), "it has looked a moment ago, and who gives it up waits longer"
    clock.now = 5.1
    assert refused(fence)
    (run / "gone" / "s1w0").unlink()
    assert refused(fence), "what it did not write is not done"
    assert not refused(other)


def test_a_run_that_another_driver_has_taken_over(run: Path, clock: Clock) -> None:
    left, adopted = Fence(run, "s1w0"), Fence(run, "s1w1")
    own(run, 2, "s1w1")
    assert refused(left)
    assert not refused(adopted)
    assert not refused(Fence(run, "s2w0"))


def test_a_look_in_which_the_process_was_stopped_is_repeated(
    run: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def stopped(self: Any) -> tuple[int, list[str]]:
        looks.append(clock.now)
        if len(looks) == 1:
            clock.now += 3600
            (run / "gone" / "s1w0").touch()
            return 1, []
        return 1, []

    monkeypatch.setattr("bioimage_py.run_folder.RunFolder.adopted", stopped)
    monkeypatch.setattr(module.os, "listdir", lambda path: [] if len(looks) == 1 else ["s1w0"])
    assert refused(Fence(run, "s1w0"))
    assert looks == [0.0, 3600.0]


def test_a_folder_that_cannot_be_read_is_waited_for(run: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "run.json").write_text("{")

    def passed(seconds: float) -> None:
        clock.now += seconds
        if clock.now > healed:
            own(run, 1)

    monkeypatch.setattr(module, "sleep", passed)
    healed = 30.0
    assert not refused(Fence(run, "s1w0"))
    assert clock.now > 30
    (run / "run.json").write_text("{")
    healed = 1e9
    assert refused(Fence(run, "s1w0")), "for ever is too long"
    (run / "run.json").unlink()
    assert refused(Fence(run / "not there", "s1w0"))


class Swallows:
    """Writes its block, and hides what is raised at that; held dead in the middle of the third block."""

    def __init__(self, run: Path, clock: Clock) -> None:
        self.run, self.clock = run, clock

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == 2:
            (self.run / "gone" / "s1w0").touch()
            self.clock.now += 60.0
        try:
            outputs[0][to_roi(block)] = 7
        except BaseException:
            if block.id % 2:
                raise


@pytest.mark.parametrize("block_shape", [4, 2])
def test_nothing_is_written_or_recorded_after_that(run: Path, clock: Clock, block_shape: int) -> None:
    """Neither where blocks are written at once, nor where several share a chunk."""
    data = zarr.create_array(run / "data.zarr", shape=(32,), chunks=(4,), dtype="i4")
    function = Swallows(run, clock)
    stage = blocks_stage(function, [], [data], Where(block_shape), name="write", returns="none")
    plan = Plan("write", (stage,), Execution(num_workers=1, resume="auto"))
    ledger = FolderLedger(run, plan, session=1)
    ledger.open(0)
    work = FolderWork(run, plan)
    with pytest.raises(HeldDeadError):
        InProcess(work)("s1w0")
    list(ledger.events(0))
    left = {int(block) for part in ledger.records[0].pending() for block in part}
    done = set(range(stage.units.n_blocks)) - left
    for block in range(stage.units.n_blocks):
        written = bool((data[block * block_shape : (block + 1) * block_shape] == 7).all())
        assert written or block not in done, f"block {block} was recorded and not written"
        assert not (written and block >= 2), f"block {block} was written by a worker that was held dead"
