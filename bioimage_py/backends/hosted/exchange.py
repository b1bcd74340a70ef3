"""Questions of workers that do not see the run folder, and their answers, by queues of Dask's scheduler.

So nobody has to reach the calling process: it may sit behind a router, and so may the workers.
"""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

import cloudpickle

from ...run_folder import RunFolder
from ...system.files import write_once
from .task import link_new

ANSWER_SECONDS = 30.0
"""How long a worker waits for an answer; without one it writes nothing more."""
CLOSE_SECONDS = 5.0
"""How long the end of a run waits for a scheduler that is silent."""
_PAUSE = 0.2
_BROKEN = (OSError, TimeoutError, RuntimeError, ValueError)


class UnreachedError(Exception):
    """The driver does not answer."""


def queue_of(client: Any, name: str) -> Any:
    """A queue of the scheduler, by its name."""
    import distributed

    made: Any = distributed.Queue
    return made(name, client=client)


class Exchange:
    """Answers the workers of a run, from a thread of the calling process, until it is closed.

    Parameters
    ----------
    client : distributed.Client
    name : str
        Of the queue in which questions arrive; that of a worker has its name behind it.
    run : Path
        The run folder.
    served : runner.worker.served.Served
        Answers what is asked of the ledger.
    """

    def __init__(self, client: Any, name: str, run: Path, served: Any) -> None:
        self.name = name
        self.run = run
        self._client, self._inside, self._served = client, RunFolder(run), served
        self._workers: set[str] = set()
        self._over = threading.Event()
        self._asked = self._queue(name)
        self._thread = threading.Thread(target=self._listen, daemon=True, name="bioimage_py-exchange")
        self._thread.start()

    def _queue(self, name: str) -> Any:
        return queue_of(self._client, name)

    def _listen(self) -> None:
        queues: dict[str, Any] = {}
        while not self._over.is_set():
            try:
                message = self._asked.get()  # without a limit, of which the scheduler would log each
            except _BROKEN:
                sleep(_PAUSE)  # the scheduler has gone, or is being started again
                continue
            try:
                worker, number, question = pickle.loads(message)
            except Exception:  # noqa: BLE001 - no worker of this run has put that there
                continue
            self._workers.add(worker)
            answer = self._answered(worker, question)
            with suppress(*_BROKEN):
                if worker not in queues:
                    queues[worker] = self._queue(f"{self.name}-{worker}")
                queues[worker].put(cloudpickle.dumps((number, *answer)))

    def _answered(self, worker: str, question: tuple[Any, ...]) -> tuple[Any, Exception | None]:
        try:
            return self._answer(worker, *question), None
        except Exception as error:  # noqa: BLE001 - the worker gets it
            return None, error

    def _answer(self, worker: str, question: str, *about: Any) -> Any:
        beat = self._inside.beats / worker
        if question == "begin":
            link_new(beat, json.dumps(*about))  # FileExistsError where the task was repeated
            return not (self._inside.gone / worker).exists()
        if question == "end":
            write_once(self._inside.ends / f"{worker}.json", json.dumps(*about).encode())
            return True
        beat.touch()
        return self._served.answer(worker, question, *about)

    def close(self) -> None:
        """Answer nothing more; who asks now leaves."""
        self._over.set()
        with suppress(*_BROKEN):
            self._asked.put(b"", timeout=CLOSE_SECONDS)  # wakes who listens
            self._thread.join(CLOSE_SECONDS)
        self._served.close()
        for name in (self.name, *(f"{self.name}-{worker}" for worker in sorted(self._workers))):
            with suppress(*_BROKEN):
                self._queue(name).close()


def asking(name: str, worker: str) -> Callable[..., Any]:
    """``ask(question, *about)`` of a worker, in a task of Dask; its threads ask one after the other."""
    from distributed import get_client

    client = get_client()
    to, back = queue_of(client, name), queue_of(client, f"{name}-{worker}")
    lock, count = threading.Lock(), [0]

    def ask(*question: Any) -> Any:
        with lock:
            count[0] += 1
            try:
                to.put(cloudpickle.dumps((worker, count[0], question)), timeout=ANSWER_SECONDS)
                number = 0
                while number != count[0]:  # an answer that came too late is nobody's
                    number, answer, error = pickle.loads(back.get(timeout=ANSWER_SECONDS))
            except (*_BROKEN, pickle.PickleError) as broken:
                raise UnreachedError(f"the driver did not answer {question[0]!r}: {broken!r}") from broken
        if error is not None:
            raise error
        return answer

    return ask
