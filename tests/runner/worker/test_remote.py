"""A worker that asks for the run folder instead of seeing it; here it asks in the same process."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from bioimage_py.backends.hosted.exchange import UnreachedError
from bioimage_py.blocks import to_roi
from bioimage_py.errors import ParameterError
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.ledger.driver_side import FolderLedger
from bioimage_py.runner.ledger.fence import HeldDeadError
from bioimage_py.runner.planning.build import Where, blocks_stage
from bioimage_py.runner.planning.stage import Plan
from bioimage_py.runner.worker import remote as module
from bioimage_py.runner.worker import served
from bioimage_py.runner.worker.loop import InProcess
from bioimage_py.runner.worker.remote import RemoteWork
from bioimage_py.runner.worker.served import Served


def add(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    outputs[0][to_roi(block)] = inputs[0][to_roi(block)] + 1
    return int(block.id)


class Run:
    """A run in place of 16 blocks of two voxels in chunks of four, and who answers for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "run.json").write_text(json.dumps({"sessions": 1, "adopted": []}))
        (folder / "gone").mkdir()
        self.data = zarr.create_array(folder / "data.zarr", shape=(32,), chunks=(4,), dtype="i4")
        self.data[:] = np.arange(32)
        stage = blocks_stage(add, [self.data], [self.data], Where(2), name="add", returns="each")
        self.plan = Plan("add", (_undone(stage),), Execution(num_workers=2, resume="auto"))
        self.ledger = FolderLedger(folder, self.plan, session=1)
        self.ledger.open(0)
        self.served = Served(self.ledger.workers())

    def work(self, worker: str) -> RemoteWork:
        return RemoteWork(self.plan, partial(self.served.answer, worker))

    def end(self) -> list[int]:
        list(self.ledger.events(0))
        return [value for _, value in self.ledger.records[0].values()]


def _undone(stage: Any) -> Any:
    from dataclasses import replace

    return replace(stage, undo=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_blocks_are_done_once_in_place(run: Run) -> None:
    work = run.work("s1w0")
    run.ledger.close()  # no batch will follow: what is there is done
    (run.folder / "over").unlink()
    asked = iter(["over"] * 100)
    answer = run.served.answer

    def ask(*question: Any) -> Any:
        told = answer("s1w0", *question)
        return next(asked) if question[0] == "claim" and told == "wait" else told

    work._ask = ask
    InProcess(work)("s1w0")
    work.shut()
    assert run.end() == list(range(16))
    np.testing.assert_array_equal(run.data[:], np.arange(32) + 1)


def test_who_asks_first_decides_what_a_unit_held(run: Run) -> None:
    keep = partial(run.served.answer, "s1w0", "keep", 0, 0)
    assert keep("c/0", b"old") == b"old"
    assert keep("c/0", b"new") == b"old"
    assert keep("c/0", None) == b"old"
    assert keep("c/7", None) is None
    assert keep("c/7", b"late") is None
    for name in ("../x", "/etc/x", "c/../../x"):
        with pytest.raises(ParameterError, match="no unit"):
            keep(name, b"x")


def test_a_worker_that_was_given_up_is_told_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module, "passing_seconds", lambda: clock[0])
    monkeypatch.setattr(module, "LOOK_SECONDS", 1e6)
    work, other = run.work("s1w0"), run.work("s1w1")
    work.hold("s1w0")
    (run.folder / "gone" / "s1w0").touch()
    clock[0] = 4.0
    work.hold("s1w0")
    clock[0] = 6.0
    with pytest.raises(HeldDeadError, match="held dead"):
        work.hold("s1w0")
    assert work.claim("s1w0") is None
    assert work.left()
    other.hold("s1w1")
    work.shut()
    other.shut()


def test_a_worker_that_gets_no_answer_writes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 1e6)

    def ask(*question: Any) -> Any:
        if question[0] == "plan":
            return {"versions": {}, "code": {}, "plan": payload, "arrays": str(run.folder)}
        raise UnreachedError("nobody")

    import cloudpickle

    payload = cloudpickle.dumps(run.plan)
    told = module.serve("s1w0", None, ask, 0.0)
    assert told["kind"] == "node"
    assert "nobody" in told["detail"]
    np.testing.assert_array_equal(run.data[:], np.arange(32))


def test_values_come_in_pieces(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "ANSWER_BYTES", 10)
    monkeypatch.setattr(module, "_IDS", 3)

    class Values:
        def at(self, ids: list[int]) -> Any:
            return ((one, f"value {one}") for one in ids if one % 5)

    monkeypatch.setattr(Served, "_loaded", lambda self, stage: type("Record", (), {"block_values": Values()})())
    run.served._record = run.served._loaded
    questions = []

    def ask(ids: list[int]) -> Any:
        questions.append(ids)
        return run.served.answer("s1w0", "values", 0, ids)

    values = module._AskedValues(ask, None, 16)
    assert list(values) == [(one, f"value {one}") for one in range(16) if one % 5]
    assert [block for block, _ in values.at([3, 3, 5, 10, 2, 3, 0])] == [3, 3, 2, 3]
    assert max(map(len, questions)) == 3
    with pytest.raises(ParameterError, match="same version"):
        run.served.answer("s1w0", "unheard of")


def test_which_block_is_told_only_where_it_must_be(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 1e6)
    told: list[tuple[Any, ...]] = []
    work = RemoteWork(run.plan, lambda *question: told.append(question))
    for block in range(50):
        work.enter("s1w0", 0, block, block)
    assert 0 < len(told) < 50
    work._tells = True
    told.clear()
    for block in range(50):
        work.enter("s1w0", 0, 100 + block, block)
    assert [question[2] for question in told] == list(range(100, 150))
    work.shut()
