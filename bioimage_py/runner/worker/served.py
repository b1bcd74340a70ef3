"""A run folder that workers ask for instead of seeing it: the driver's side; `remote` is the worker's.

The ledger is the same folder as ever, on the driver's machine. What a worker would write there itself is written here
in its name, so a run goes on from the driver's journals, whoever has died.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import cloudpickle

from ...errors import ParameterError
from ...run_folder import RunFolder
from ..ledger.encoding import dump_batches
from ..ledger.fence import Fence, HeldDeadError
from ..ledger.journal import load_stage
from ..ledger.records import Record
from ..ledger.stage_record import StageRecord
from ..ledger.worker_side import AVOID_SECONDS, FolderWork
from ..planning.plan_file import plan_bytes
from .undo import Undo

ANSWER_BYTES = 2**24
"""Values of blocks in one answer; one that is larger goes alone."""


class Served:
    """Answers what workers ask of a run.

    Parameters
    ----------
    work : FolderWork
        The ledger as a worker of this machine sees it.
    """

    def __init__(self, work: FolderWork) -> None:
        self._work = FolderWork(work.folder, work.plan)
        self._inside = RunFolder(work.folder)
        self._record = functools.cache(self._loaded)
        self._undo: dict[tuple[int, int], Undo] = {}
        self._questions: dict[str, Callable[..., Any]] = {
            "plan": self._plan,
            "look": self._look,
            "claim": self._claim,
            "enter": self._enter,
            "record": self._write,
            "folded": self._folded,
            "values": self._values,
            "keep": self._keep,
        }

    def answer(self, worker: str, question: str, *about: Any) -> Any:
        """What a worker is told; what goes wrong is raised."""
        if question not in self._questions:
            raise ParameterError(f"a worker asks {question!r}", remedy="the same version of this package everywhere")
        return self._questions[question](worker, *about)

    def close(self) -> None:
        """Close the files of the workers."""
        self._work.shut()

    def _plan(self, worker: str) -> dict[str, Any]:
        inside = self._inside
        payload = plan_bytes(inside.part if inside.part.exists() else inside.plan)
        return {"plan": payload, "arrays": inside.arrays_at, "code": inside.code(), "versions": inside.versions()}

    def _look(self, worker: str) -> dict[str, bool]:
        """Whether it may write, whether it is to end, and whether it tells each block: one has died unexplained."""
        try:
            Fence(self._work.folder, worker).check()
        except HeldDeadError:
            return {"wanted": False, "stop": True, "tell": True}
        with suppress(OSError):
            return {"wanted": True, "stop": self._inside.stop.exists(), "tell": any(self._inside.gone.iterdir())}
        return {"wanted": True, "stop": False, "tell": False}

    def _claim(self, worker: str, waited: float, memory: int | None) -> bytes | str:
        """A batch; "over", or "wait" where there is none now."""
        if self._inside.over.exists():
            return "over"
        lists = self._work.lists
        lists.takes_any, lists.memory = waited > AVOID_SECONDS, memory
        batch = self._work._take(worker)
        if batch is None:
            return "over" if lists.strange else "wait"
        self._work.recorder(worker, batch)
        return dump_batches([batch])

    def _enter(self, worker: str, stage: int, block: int, done: int) -> None:
        self._work.enter(worker, stage, block, done)

    def _write(self, worker: str, record: bytes) -> None:
        told: Record = pickle.loads(record)
        self._work.write(told)

    def _loaded(self, stage: int) -> StageRecord:
        return load_stage(self._work.folder, stage, self._work.plan.stages[stage])[0]

    def _folded(self, worker: str, stage: int) -> bytes:
        fold = self._record(stage).fold
        packed: bytes = cloudpickle.dumps(None if fold is None else fold.result())
        return packed

    def _values(self, worker: str, stage: int, ids: list[int]) -> tuple[list[tuple[int, bytes]], int]:
        """Values of the first ones of some ids that have any, and how many ids that were."""
        values = self._record(stage).block_values
        assert values is not None
        found: list[tuple[int, bytes]] = []
        size = looked = 0
        for block, value in values.at(ids):
            looked = ids.index(block, looked) + 1
            found.append((block, cloudpickle.dumps(value)))
            size += len(found[-1][1])
            if size > ANSWER_BYTES:
                return found, looked
        return found, len(ids)

    def _keep(self, worker: str, stage: int, number: int, name: str, content: bytes | None) -> bytes | None:
        """Decide what a unit held before the stage: what the first who asks says."""
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise ParameterError(f"{name!r} is no unit", remedy="the same version of this package everywhere")
        if (stage, number) not in self._undo:
            folder, synced = self._work.undo_folder(stage, number), self._work.plan.execution.durability == "node"
            self._undo[stage, number] = Undo(folder, self._work.plan.stages[stage].outputs[number], sync=synced)
        kept = self._undo[stage, number].decide(name, None if content is None else io.BytesIO(content))
        return kept
