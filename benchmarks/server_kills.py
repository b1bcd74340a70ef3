"""Kills processes that commit to a served project; each commit and its event must be there together, once, or neither.

A commit of number k sets the comments of every data set and the configuration to k, under the idempotency key "k".
The writer says what it begins and what was acknowledged. After each kill the next writer repeats the commit that was
under way with its key, as a client does whose answer was lost. `proved` then looks at everything: documents of one
number, events without gaps, one for each number that was acknowledged, none twice, the audit log whole.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from sqlalchemy import insert, select

from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.storage.events import Origin, numbers
from bioimage_py.projects.storage.folder import Change, Folder
from bioimage_py.server.database import audit, tables
from bioimage_py.server.database.engine import Database
from bioimage_py.server.served import Served

N = 3
POINTS = (
    "project-commit",
    "project-transaction",
    "project-place",
    "server-take",
    "server-taking",
    "server-taken",
    "server-answer",
)
"""Every step of a commit at which a process may die."""


def make(root: Path, url: str = "") -> None:
    """Make a served project of three data sets, and its database."""
    project = Project.create(ProjectSettings("kills"), root / "project")
    for n in range(N):
        project.add_descriptor(np.zeros((4, 4), np.uint8), f"image {n}")
    project.save()
    database = Database(url or f"sqlite:///{root}/server.db")
    folder = {"folder": str(root / "project"), "created": 0.0, "first": 1, "last": 0}
    with database.writing() as connection:
        user = {"id": 1, "name": "owner", "password": "", "admin": True, "disabled": False, "created": 0.0}
        connection.execute(insert(tables.users).values(**user))
        connection.execute(insert(tables.projects).values(id=project.id, name="kills", owner_id=1, **folder))
    database.close()
    project._session.folder.serve(0, Origin("owner"))
    (root / "url").write_text(url or f"sqlite:///{root}/server.db")


def opened(root: Path) -> Served:
    """Open it, as a server does that starts."""
    database = Database((root / "url").read_text())
    with database.reading() as connection:
        id = connection.execute(select(tables.projects.c.id)).scalar_one()
    return Served(id, Folder(root / "project"), database)


def commit(served: Served, writer: str, k: int) -> int:
    """Bring all documents to a number, whatever it was before; return that of the event."""
    folder, value, changes = served.folder, f"{writer} {k}", []
    folder.roll_forward()
    for path in sorted(folder.descriptors.glob("[!.]*.json")):
        base = folder.read(path.stem).document
        assert base is not None
        changes.append(Change(path.stem, base, {**base, "comments": value}))
    base = folder.read("project").document
    assert base is not None
    changes.append(Change("project", base, {**base, "configuration": {"state": value}}))
    return served.commit(changes, Origin(writer, "test", f"{writer}-{k} digest")).seq


def work(root: Path, writer: str, k: int) -> None:
    """Commit for ever, from a number on."""
    from bioimage_py.errors import ConflictError

    served = opened(root)
    while True:
        print("begin", k, flush=True)
        while True:
            try:
                seq = commit(served, writer, k)
                break
            except ConflictError:  # another writer came between reading and writing
                continue
        print("done", k, seq, flush=True)
        k += 1


class Writer:
    """A process that commits, is killed, and begins again where it was."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.next = 1
        self.acknowledged: dict[int, int] = {}

    def start(self, **more: str) -> None:
        """Start the process; it says what it begins, and what is acknowledged."""
        command = [sys.executable, __file__, str(self.root), self.name, str(self.next)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(**more))

    def end(self, *, kill: bool = True) -> None:
        """Kill it, or let it die by itself, and hear what it said."""
        if kill:
            self.process.send_signal(signal.SIGKILL)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = line.split()
            self.next = int(words[1])
            if words[0] == "done":
                number, seq = int(words[1]), int(words[2])
                self.acknowledged[number] = seq
                self.next = number + 1
        self.process.wait()
        self.process.stdout.close()
        assert self.process.returncode == -signal.SIGKILL, self.process.returncode


def proved(root: Path, writers: list[Writer]) -> int:
    """Look at all that is there; return the number of the last event."""
    served = opened(root)
    served.folder.roll_forward()
    found = []
    while True:
        page = served.events(found[-1]["seq"] if found else 0, limit=100)
        found += page.events
        if not page.events:
            break
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    keys = Counter(event["key"].partition(" ")[0] for event in found if event["key"])
    assert set(keys.values()) <= {1}, [key for key, count in keys.items() if count > 1]
    by_key = {event["key"].partition(" ")[0]: event["seq"] for event in found}
    for writer in writers:
        for k, seq in writer.acknowledged.items():
            assert by_key[f"{writer.name}-{k}"] == seq
        assert sum(key.startswith(f"{writer.name}-") for key in by_key) <= len(writer.acknowledged) + 1
    states = {json.loads(path.read_text())["comments"] for path in served.folder.descriptors.glob("[!.]*.json")}
    settings = served.folder.read("project").document
    assert settings is not None
    states.add(settings["configuration"].get("state", ""))
    written = [change for event in found for change in event["changes"] if change["name"] == "project"]
    assert states == {written[-1]["fields"][0][2] if written else ""}
    assert numbers(served.folder.root)[-1] == len(found)
    with served._database.reading() as connection:
        assert audit.broken(connection) is None
        assert len([row for row in audit.entries(connection, limit=10**6) if row.action == "commit"]) == len(found)
    served._database.close()
    return len(found)


def soak(root: Path, kills: int, writers: int, seed: int, url: str = "", seconds: float = 0.5) -> int:
    """Kill writers at random instants; return the number of events."""
    chance = random.Random(seed)
    make(root, url)
    several = [Writer(root, f"writer{n}") for n in range(writers)]
    for writer in several:
        writer.start()
    for _ in range(kills):
        writer = chance.choice(several)
        assert writer.process.stdout is not None
        writer.process.stdout.readline()  # it has begun
        time.sleep(chance.uniform(0, seconds))
        writer.end()
        writer.start()
    for writer in several:
        writer.end()
    return proved(root, several)


def environment(**more: str) -> dict[str, str]:
    """Environment of a process that imports this package."""
    root = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]), **more}


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
