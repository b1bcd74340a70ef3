"""How fast a server of label projects answers, on the machine that also runs its clients.

    python benchmarks/server_speed.py reads | lists | streams | people [options of the server, such as --workers 2]

`reads` asks for a mix of documents, lists, events, locks and chunks by `wrk` (Debian has it), which costs next to no
CPU, and beside it for a bare route of FastAPI: the floor. `lists` has 100,000 data sets, `streams` 200 clients that are
told of events, `people` 50 annotators of whom each commits every 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.server.starting import Running

_LUA = Path(__file__).with_name("server_reads.lua")
_FLOOR = """
import sys
import uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/api/v1/bare")
async def bare() -> dict[str, int]:
    return {"seq": 1}
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


def made(folder: Path, count: int) -> str:
    """Make a project of so many data sets, and return its id; every 100th has a label map of 64 chunks."""
    from bioimage_py.projects import Label, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind

    layer = Layer("cells", LayerKind.PIXELWISE, [Label("one", LayerKind.PIXELWISE, value=1)])
    project = Project.create(ProjectSettings("speed", tags=[Tag("Reviewed", TagKind.Bool)], layers=[layer]), folder)
    image = np.zeros((128, 128, 128), np.uint8)
    first = project.add_descriptor(image, "image 0")
    project.save()
    labels = np.random.default_rng(0).integers(0, 2, image.shape).astype(np.uint8)
    first.labelmap_layers["cells"].save_new_data(labels)
    _copied(folder, first.identifier, count)
    return str(project.id)


def _copied(folder: Path, identifier: str, count: int) -> None:
    """Write further documents as `add_descriptor` does, which opens an image for each."""
    import json

    document = json.loads((folder / "descriptors" / f"{identifier}.json").read_text())
    names = list(document["tags"]) or []
    for n in range(1, count):
        own = f"20260101-{n // 3600 % 24:02}{n // 60 % 60:02}{n % 60:02}-{n:06}-{n:06x}"
        tags = {name: bool(n % 2) for name in names}
        text = {**document, "identifier": own, "name": f"image {n}", "layers": {}, "tags": tags}
        (folder / "descriptors" / f"{own}.json").write_text(json.dumps(text))


class Site:
    """A server with one project."""

    def __init__(self, folder: Path, count: int, *options: str) -> None:
        self.root = folder / "site"
        self.id = made(folder / "project", count)
        self.server = Running(self.root, *options)
        atexit.register(self.server.stop)  # also where a measurement fails
        command = [sys.executable, "-m", "bioimage_py", "server", "project", "add", str(self.root)]
        rest = ["--owner", "admin", *(option for option in options if "postgresql" in option)]
        if rest[2:]:
            rest.insert(2, "--database")
        subprocess.run([*command, str(folder / "project"), *rest], check=True, capture_output=True)
        self.client = self.server.client()
        self.token = self.client.headers["Authorization"].split()[1]
        self.path = f"/api/v1/projects/{self.id}"

    def mapped(self) -> tuple[str, str, str]:
        """Data set, layer and version of the label map."""
        rows = self.client.get(f"/projects/{self.id}/descriptors", params={"limit": 1000}).json()["descriptors"]
        descriptor = next(row["identifier"] for row in rows if row["layers"])
        layers = self.client.get(f"/projects/{self.id}/documents/{descriptor}").json()["layers"]
        ((layer, record),) = layers.items()
        return descriptor, layer, record["version"]

    def cpu(self) -> float:
        """CPU seconds that the server has used, with its children."""
        process = psutil.Process(self.server.process.pid)
        return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])


def mixed(site: Site) -> list[str]:
    """Paths: of 20, 8 documents, 5 chunks, 3 of events, 2 locks, one list of 100, one of projects."""
    answer = site.client.get(site.path.removeprefix("/api/v1") + "/descriptors", params={"limit": 1000}).json()
    names = [row["identifier"] for row in answer["descriptors"]]
    mapped, layer, stamp = site.mapped()
    version = f"{site.path}/descriptors/{mapped}/layers/{layer}/versions/{stamp}"
    folder = next((site.root.parent / "project" / "annotations").glob(f"{mapped}/{layer}/{stamp}*"))
    keys = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "/c/" in str(path)]
    last = site.client.get(f"/projects/{site.id}").json()["last"]
    paths = []
    for n in range(50):
        paths += [f"{site.path}/documents/{names[(8 * n + k) % len(names)]}" for k in range(8)]
        paths += [f"{version}/{keys[(5 * n + k) % len(keys)]}" for k in range(5)]
        paths += [f"{site.path}/events?since={last}"] * 3
        paths += [f"{site.path}/descriptors/{names[(2 * n + k) % len(names)]}/lock" for k in range(2)]
        paths += [f"{site.path}/descriptors?limit=100&after={names[n % len(names)]}", "/api/v1/projects"]
    return paths


def asked(url: str, paths: list[str], token: str, seconds: int, connections: int) -> dict[str, float]:
    """Ask by `wrk`; return requests a second, how many went wrong, and percentiles in ms."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(paths) + "\n")
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(_LUA), url]
        environment = {**os.environ, "READS_PATHS": file.name, "READS_TOKEN": token}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("READS"))
    count, wrong, duration, *percentiles = (float(word) for word in line.split()[1:])
    p50, p95, p99 = (value / 1000 for value in percentiles)
    return {"count": count, "rate": count / duration * 1e6, "wrong": wrong, "p50": p50, "p95": p95, "p99": p99}


def shown(what: str, found: dict[str, float], cpu: float) -> None:
    """Print a row."""
    times = "  ".join(f"{name} {found[name]:7.1f}" for name in ("p50", "p95", "p99"))
    each = 1000 * cpu / max(1, found["count"])
    print(f"{what:28} {found['rate']:8.0f} /s  {times} ms  CPU {each:6.2f} ms a request  wrong {found['wrong']:.0f}")
    sys.stdout.flush()


def reads(options: argparse.Namespace) -> None:
    """Mixed reads, and a bare route."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        floor = subprocess.Popen([sys.executable, "-c", _FLOOR, "18124"])
        time.sleep(3)
        site = Site(Path(folder), options.data_sets, *options.server)
        try:
            paths = mixed(site)
            asked(site.server.url, paths, site.token, 2, options.connections)
            for _ in range(options.rounds):
                for what, some in _kinds(paths) if options.each else [("mixed reads", paths)]:
                    before = site.cpu()
                    found = asked(site.server.url, some, site.token, options.seconds, options.connections)
                    shown(what, found, site.cpu() - before)
                process = psutil.Process(floor.pid)
                before = sum(process.cpu_times()[:2])
                found = asked("http://127.0.0.1:18124", ["/api/v1/bare"], "", options.seconds, options.connections)
                shown("bare FastAPI route", found, sum(process.cpu_times()[:2]) - before)
        finally:
            floor.terminate()
            site.server.stop()


def lists(options: argparse.Namespace) -> None:
    """Pages and filters of many data sets, and the first load of a client."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), options.many, *options.server)
        try:
            begun, before = time.perf_counter(), site.cpu()
            path = f"/projects/{site.id}/descriptors"
            site.client.get(path, params={"limit": 1}, timeout=600)
            print(f"first list, which reads {options.many} files: {time.perf_counter() - begun:.1f} s", flush=True)
            tag = next(iter(site.client.get(f"/projects/{site.id}/documents/project").json()["tags"]))
            middle = site.client.get(path, params={"limit": 1000, "after": "20260101-12"}).json()["next"]
            asked = {
                "page of 1000": {"after": middle, "limit": 1000},
                "page of 100": {"after": middle, "limit": 100},
                "page by name": {"sort": "name", "limit": 1000, "after": "image 5/x"},
                "filter: name, none": {"name": "*no such*"},
                "filter: name, 1 %": {"name": "*99", "limit": 1000},
                "filter: tag": {"tags": f'{{"{tag}": true}}', "limit": 1000},
                "filter: annotated": {"annotated": "true"},
                "filter: layer": {"layer": "layer-0"},
            }
            for what, query in asked.items():
                times, before = [], site.cpu()
                for _ in range(20):
                    begun = time.perf_counter()
                    answer = site.client.get(path, params=query)
                    times.append(1000 * (time.perf_counter() - begun))
                    assert answer.status_code == 200, answer.text
                cpu = 1000 * (site.cpu() - before) / 20
                rows = len(answer.json()["descriptors"])
                print(f"{what:20} {rows:5} rows: median {np.median(times):6.1f} ms  CPU {cpu:6.1f} ms", flush=True)
            _first_load(site)
            print(f"server: {psutil.Process(site.server.process.pid).memory_info().rss / 2**20:.0f} MiB")
        finally:
            site.server.stop()


_LOAD = """
import resource, sys, time
from bioimage_py.projects import Project
url, id, password = sys.argv[1:]
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun, cpu = time.perf_counter(), time.process_time()
project = Project.load(url, id, "admin", password)
count = len(project.descriptors)
named = project.descriptors.filter(name="image 77")
wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024
print(f"first load of a client: {count} data sets, {wall:.1f} s, CPU {cpu:.1f} s, {more:.0f} MiB more than before")
"""


def _first_load(site: Site) -> None:
    command = [sys.executable, "-c", _LOAD, site.server.url, site.id, site.server.password]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout or done.stderr, end="", flush=True)


def streams(options: argparse.Namespace) -> None:
    """Streams on which nothing happens, and how soon an event is seen."""
    asyncio.run(_streams(options))


async def _streams(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), 10, *options.server)
        host, port = "127.0.0.1", site.server.port
        last = site.client.get(f"/projects/{site.id}").json()["last"]
        head = f"GET {site.path}/events/stream?since={last} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        tokens = [site.token] * options.streams
        if options.logins:  # of each reader the rights are looked at for themselves
            tokens = [site.server.client().headers["Authorization"].split()[1] for _ in tokens]
        seen: dict[int, list[float]] = {}

        async def read(token: str) -> None:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"{head}{token}\r\n\r\n".encode())
            async for line in reader:
                if line.startswith(b"id:"):
                    seen.setdefault(int(line[3:]), []).append(time.perf_counter())

        readers = [asyncio.create_task(read(token)) for token in tokens]
        await asyncio.sleep(8)
        before, begun = site.cpu(), time.perf_counter()
        await asyncio.sleep(30)
        idle = (site.cpu() - before) / (time.perf_counter() - begun)
        print(f"{options.streams} streams, idle: {100 * idle:.1f} % of a core", flush=True)
        path, delays, before = f"/projects/{site.id}/commit", [], site.cpu()
        for n in range(30):
            field = {"path": ["configuration", f"n{n}"], "new": n}
            body = {"changes": [{"name": "project", "fields": [field]}]}
            begun = time.perf_counter()
            answer = await asyncio.to_thread(site.client.post, path, json=body)
            seq = answer.json()["seq"]
            over = begun + 60
            while len(seen.get(seq, [])) < options.streams and time.perf_counter() < over:
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            delays += [moment - begun for moment in seen.get(seq, [])]
            assert len(seen.get(seq, [])) == options.streams, (seq, len(seen.get(seq, [])))
        found = 1000 * np.percentile(delays, [50, 95, 99])
        cpu = 1000 * (site.cpu() - before) / 30
        told = f"p50 {found[0]:.0f}, p95 {found[1]:.0f}, p99 {found[2]:.0f} ms"
        print(f"events seen after the commit was sent: {told}; {cpu:.0f} ms CPU a commit that all see")
        for reader in readers:
            reader.cancel()
        site.server.stop()


def people(options: argparse.Namespace) -> None:
    """Many annotators, each of whom commits every 5 s and listens to the others."""
    asyncio.run(_people(options))


async def _people(options: argparse.Namespace) -> None:
    import httpx

    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), 200, *options.server)
        rows = site.client.get(f"/projects/{site.id}/descriptors").json()["descriptors"]
        times: list[float] = []
        wrong = 0

        async def annotate(n: int, client: httpx.AsyncClient) -> None:
            nonlocal wrong
            name, old = rows[n % len(rows)]["identifier"], ""
            await asyncio.sleep(5 * n / options.people)
            for k in range(options.seconds_of_people // 5):
                field = {"path": ["comments"], "old": old, "new": f"{n} {k}"}
                body = {"changes": [{"name": name, "fields": [field]}]}
                begun = time.perf_counter()
                answer = await client.post(f"{site.path}/commit", json=body)
                seconds = time.perf_counter() - begun
                times.append(seconds)
                wrong += answer.status_code != 200
                old = f"{n} {k}"
                await asyncio.sleep(max(0.0, 5 - seconds))

        headers = {"Authorization": f"Bearer {site.token}"}
        limits = httpx.Limits(max_connections=options.people)
        async with httpx.AsyncClient(base_url=site.server.url, headers=headers, limits=limits, timeout=60) as client:
            before, begun = site.cpu(), time.perf_counter()
            await asyncio.gather(*(annotate(n, client) for n in range(options.people)))
            cpu = (site.cpu() - before) / (time.perf_counter() - begun)
        found = 1000 * np.percentile(times, [50, 95, 99])
        print(
            f"{options.people} annotators, {len(times)} commits, {wrong} wrong: p50 {found[0]:.0f}, p95 {found[1]:.0f},"
            f" p99 {found[2]:.0f} ms; {100 * cpu:.0f} % of a core, {5000 * cpu / options.people:.1f} ms CPU a commit"
        )
        site.server.stop()


def _kinds(paths: list[str]) -> list[tuple[str, list[str]]]:
    kinds = {"documents": "/documents/", "chunks": "/versions/", "events": "/events", "lock": "/lock"}
    found = [(name, [path for path in paths if part in path]) for name, part in kinds.items()]
    found.append(("list of 100", [path for path in paths if "/descriptors?" in path]))
    return [*found, ("projects", ["/api/v1/projects"]), ("mixed reads", paths)]


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["reads", "lists", "streams", "people"])
    parser.add_argument("--data-sets", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--many", type=int, default=100_000, help="data sets of `lists`")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--logins", action="store_true", help="each of the streams by a login of its own")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds-of-people", type=int, default=30)
    parser.add_argument("--each", action="store_true", help="also each kind of request by itself")
    options: Any
    options, options.server = parser.parse_known_args()  # the rest is for the server
    {"reads": reads, "lists": lists, "streams": streams, "people": people}[options.part](options)


if __name__ == "__main__":
    main()
