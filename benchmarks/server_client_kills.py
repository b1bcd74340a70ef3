"""Kills clients of a server, and the server itself, while they commit: what was acknowledged is there, once.

    python benchmarks/server_client_kills.py [--commits 10000] [--kills 100] [--clients 10] [--postgres] [--workers 2]

Each client owns a field of the settings and the comment of a data set, and commits numbers to one of them, for ever,
each under a key of its own. Every second something is killed, in turn a client and a process of the server. A client
that begins again repeats what was under way, with its key; so does one whose answer was lost.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from server_speed import Site

_CLIENT = """
import json, sys, time
import httpx
url, path, token, name, descriptor, k, kept = sys.argv[1:]
k, before = int(k), json.loads(kept)
client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=20)
while True:
    print("begin", k, flush=True)
    key = {"Idempotency-Key": f"key-{name}-{k}"}
    if k % 3:
        change = {"name": "project", "fields": [{"path": ["configuration", name], "new": k}]}
    else:
        change = {"name": descriptor, "fields": [{"path": ["comments"], "new": f"{name} {k}"}]}
    where, field = change["name"], change["fields"][0]
    if where in before:
        field["old"] = before[where]
    elif where != "project":
        field["old"] = ""
    while True:
        try:
            answer = client.post(f"{path}/commit", json={"changes": [change]}, headers=key)
        except httpx.HTTPError:
            time.sleep(0.1)
            continue
        if answer.status_code == 200:
            break
        if answer.status_code not in (502, 503):
            print("wrong", k, answer.status_code, answer.text.replace(chr(10), " "), flush=True)
            sys.exit(1)
        time.sleep(0.1)
    before[where] = field["new"]
    print("done", k, answer.json()["seq"], json.dumps(before), flush=True)
    k += 1
"""


class Client:
    """A process that commits."""

    def __init__(self, site: Site, name: str, descriptor: str, folder: Path) -> None:
        self.site, self.name, self.descriptor = site, name, descriptor
        self.log = folder / f"{name}.log"
        self.log.touch()
        self.starts = 0
        self.start()

    def told(self) -> tuple[dict[int, int], int, str]:
        """What was acknowledged, which number comes next, and what was saved last."""
        acknowledged, following, kept = {}, 1, "{}"
        for line in self.log.read_text().splitlines():
            words = line.split(" ", 3)
            assert words[0] != "wrong", line
            if words[0] == "done" and len(words) == 4 and words[3].endswith("}"):
                acknowledged[int(words[1])], following, kept = int(words[2]), int(words[1]) + 1, words[3]
        return acknowledged, following, kept

    def start(self) -> None:
        """Begin where it was."""
        _, following, kept = self.told()
        self.starts += 1
        path = f"/api/v1/projects/{self.site.id}"
        words = [self.site.server.url, path, self.site.token, self.name, self.descriptor, str(following), kept]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([sys.executable, "-c", _CLIENT, *words], stdout=log, stderr=log)

    def kill(self) -> None:
        """Kill it; a line that it had begun is not counted."""
        self.process.kill()
        self.process.wait()
        with open(self.log, "a") as log:
            log.write("\n")


def soak(options: argparse.Namespace, folder: Path, database: str) -> None:
    """Kill until enough was killed and committed; then look at everything."""
    chance = random.Random(options.seed)
    more = ["--database", database] if database else []
    site = Site(folder, options.clients, "--workers", str(options.workers), "--access-seconds", "86400", *more)
    rows = site.client.get(f"/projects/{site.id}/descriptors").json()["descriptors"]
    site.client.close()
    clients = [Client(site, f"client{n}", rows[n]["identifier"], folder) for n in range(options.clients)]
    killed, begun, done = Counter[str](), time.monotonic(), 0
    while time.monotonic() - begun < options.seconds:
        time.sleep(chance.uniform(0.5, 1.5) * options.pause)
        before, patience = done, time.monotonic() + 30
        while done == before and time.monotonic() < patience:  # who is killed before anything was done proves nothing
            time.sleep(0.1)
            done = sum(len(client.told()[0]) for client in clients)
        if sum(killed.values()) >= options.kills and done >= options.commits:
            break
        if sum(killed.values()) % 2:
            client = chance.choice(clients)
            client.kill()
            client.start()
            killed["client"] += 1
        elif options.workers > 1 and chance.random() < 0.5:
            chance.choice(psutil.Process(site.server.process.pid).children()).kill()
            killed["a process of the server"] += 1
        else:
            site.server.kill()
            site.server.start()
            killed["server"] += 1
    for client in clients:
        client.kill()
    count = proved(site, clients, database)
    seconds = time.monotonic() - begun
    print(f"{dict(killed)}; {count} events, all as they were acknowledged, in {seconds:.0f} s", flush=True)
    site.server.stop()


def proved(site: Site, clients: list[Client], database: str) -> int:
    """Look at all events and documents; return the number of events."""
    from bioimage_py.server.database import audit
    from bioimage_py.server.site import Site as Opened

    opened = Opened(site.root, database)
    served, events = opened.projects.served(site.id), []
    while page := served.events(events[-1]["seq"] if events else 0).events:
        events += page
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    keys = Counter(event["key"].partition(" ")[0] for event in events if event["key"])
    assert set(keys.values()) <= {1}, keys.most_common(3)
    by_key = {event["key"].partition(" ")[0]: event["seq"] for event in events if event["key"]}
    settings = served.folder.read("project").document or {}
    total = 0
    for client in clients:
        acknowledged, following, _ = client.told()
        total += len(acknowledged)
        assert list(acknowledged) == list(range(1, following))
        for k, seq in acknowledged.items():
            assert by_key[f"key-{client.name}-{k}"] == seq, (client.name, k)
        own = [k for k in range(1, following + 1) if f"key-{client.name}-{k}" in by_key]
        fields, comments = ([k for k in own if bool(k % 3) is kind] for kind in (True, False))
        assert settings["configuration"].get(client.name) == (fields[-1] if fields else None)
        document = served.folder.read(client.descriptor).document or {}
        assert document["comments"] == (f"{client.name} {comments[-1]}" if comments else "")
    assert total, "nothing was acknowledged: the machine is too busy for such short pauses"
    with opened.database.reading() as connection:
        assert audit.broken(connection) is None
    opened.close()
    print(f"{total} acknowledged commits of {len(clients)} clients")
    return len(events)


def main() -> None:
    """Run it with SQLite or PostgreSQL."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two kills, more or less")
    parser.add_argument("--seconds", type=float, default=3600.0, help="end after this time at the latest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = ""
        if options.postgres:
            from tests.server import postgres

            folder.chmod(0o711)
            database = stack.enter_context(postgres.running(folder / "postgres")) + "/postgres"
        soak(options, folder, database)
        print(json.dumps(vars(options)))


if __name__ == "__main__":
    main()
