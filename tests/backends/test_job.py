"""The parent of a worker in a job of a scheduler."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from bioimage_py.backends.jobs.job import Job
from bioimage_py.backends.jobs.orders import prepare


def job_of(run: Path) -> Job:
    """One that has its order, and no worker yet."""
    prepare(run)
    (run / "token.json").write_text(json.dumps({"run": str(run), "workers": {"0": "w0"}}))
    return Job(str(run), "token")


def test_two_threads_tell_an_end_at_once(tmp_path: Path) -> None:
    """As where a worker ends while it is ended: what a driver reads is whole at any time."""
    job, seen = job_of(tmp_path), list[Any]()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for path in (tmp_path / "ends").glob("*.json"):
                seen.append(json.loads(path.read_text() or "{}"))

    def tell(kind: str) -> None:
        for _ in range(60):
            job.tell({"kind": kind})

    reader = threading.Thread(target=look)
    tellers = [threading.Thread(target=tell, args=(kind,)) for kind in ("node", "killed")]
    for thread in (reader, *tellers):
        thread.start()
    for thread in tellers:
        thread.join()
    over.set()
    reader.join()
    assert seen
    assert {one.get("kind") for one in seen} <= {"node", "killed"}
    assert [path.name for path in (tmp_path / "ends").iterdir()] == ["w0.json"]
