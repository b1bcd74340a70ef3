"""Label maps by chunk: a project on a server against one in a folder, and a server's chunks against nginx.

The same labels are written by the same call into a draft in a folder and into one on a server on this machine, with as
many workers, in turn: once as they are stored (`copy`), once decoded and encoded (`recode`). Then both label maps are
read region by region by as many threads, also from plain file servers that ask nobody who he is: the floor. Ratios are
of seconds, and of CPU seconds of all processes, since clients and server share the cores here. Chunks are also fetched
over eight connections from the server and, where it is installed, from nginx that serves the same folder. At last one
chunk of a label map of a terabyte, of which almost nothing is stored, is changed: what that moves, and how long it
takes.

    python benchmarks/server_chunks.py [--size 512] [--workers 4] [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil

import bioimage_py as bp
from bioimage_py.blocks import Grid, to_roi
from bioimage_py.io import create_array
from bioimage_py.projects import Layer, LayerKind, Project, ProjectSettings
from bioimage_py.wrapper import RoiSource

CONNECTIONS = 8


@contextmanager
def serving(root: Path) -> Iterator[tuple[str, str, int]]:
    """Serve a folder; yield URL, password and process id."""
    command = [sys.executable, "-m", "bioimage_py", "server", "run", str(root), "--port", "0"]
    log = open(root.with_suffix(".log"), "wb")  # noqa: SIM115 - the process writes into it
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        password = url = ""
        assert process.stdout is not None
        while not url:
            line = process.stdout.readline()
            password = found[1] if (found := re.search(r"with the password (\S+)", line)) else password
            url = found[1] if (found := re.search(r"at (http://\S+)", line)) else url
        yield url, password, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def peak(pid: int) -> float:
    """Largest memory of a process, in MB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def made_labels(path: Path, size: int) -> bp.sources.Source:
    """Cells of eight voxels' size with borders, as segmentations have them; like real ones they pack well."""
    array = create_array(path, "labels", shape=(size,) * 3, dtype="uint32", chunks=(64, 64, 64))
    grid = Grid(array.shape, (64, 64, 64))
    index = np.indices((64, 64, 64)) // 8
    cells = (index[0] * 8 + index[1]) * 8 + index[2] + 1
    random = np.random.default_rng(0)
    for number in range(grid.n_blocks):
        labels = cells + 512 * number
        labels[random.random(labels.shape) < 0.01] = 0
        array[to_roi(grid[number])] = labels.astype(np.uint32)
    return bp.open_source(path, "labels")


class Cost(NamedTuple):
    """What some work takes: seconds, and CPU seconds of this process, its children and servers."""

    wall: float
    cpu: float


def cpu_of(*pids: int) -> float:
    """CPU seconds of this process, of children that have ended, and of processes with theirs."""
    found = sum(os.times()[:4])
    for pid in pids:
        process = psutil.Process(pid)
        found += sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])
    return found


def taken(work: Callable[[], object], *pids: int) -> Cost:
    """Return what some work takes here and in other processes."""
    begun, before = time.perf_counter(), cpu_of(*pids)
    work()
    return Cost(time.perf_counter() - begun, cpu_of(*pids) - before)


def read(source: bp.sources.Source, threads: int) -> None:
    """Read all voxels, region by region."""
    grid = Grid(source.shape, (128, 128, 128))
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda number: source.read(to_roi(grid[number])).sum(), range(grid.n_blocks)):
            pass


def settings(name: str) -> ProjectSettings:
    return ProjectSettings(name, layers=[Layer("cells", LayerKind.PIXELWISE)])


def against_a_folder(root: Path, url: str, password: str, pid: int, size: int, workers: int, rounds: int) -> None:
    """Write and read in a folder and on a server, in turn, and print what that takes."""
    labels = made_labels(root / "labels.zarr", size)
    create_array(root / "image.zarr", "raw", shape=labels.shape, dtype="uint8").close()
    image = bp.open_source(root / "image.zarr", "raw")
    places = {
        "folder": Project.create(settings("folder"), root / "folder"),
        "server": Project.create(settings("chunks"), url, "admin", password),
    }
    layers = {}
    for name, project in places.items():
        layers[name] = project.add_descriptor(image, "one").labelmap_layers["cells"]
        project.save()
    costs: dict[str, list[Cost]] = {}

    def note(name: str, work: Callable[[], object], *pids: int) -> None:
        costs.setdefault(name, []).append(taken(work, *pids))

    view = RoiSource(labels, tuple(slice(0, size) for size in labels.shape))  # so chunks are decoded and encoded
    how = {"job_type": "subprocess", "num_workers": workers, "progress": False}
    for _ in range(rounds):
        for name, layer in layers.items():
            draft = layer.draft(dtype="uint32")
            note(f"recode {name}", lambda draft=draft: bp.copy(view, draft.source, **how), pid)
            draft.discard()
        for name, layer in layers.items():
            draft = layer.draft(dtype="uint32")
            note(f"copy {name}", lambda draft=draft: bp.copy(labels, draft.source, **how), pid)
            if layer.load() is None:
                note(f"publish {name}", draft.publish, pid)
            else:
                draft.discard()
        for name, layer in layers.items():
            stored = layer.load()
            assert stored is not None
            note(f"read {name}", lambda stored=stored: read(stored, workers), pid)
        (version,) = (root / "site").glob(f"projects/{places['server'].id}/annotations/*/*/2*.zarr")
        for name, start in FLOORS.items():
            if (floor := start(root, version)) is not None:
                with floor as (where, other):
                    plain = bp.open_source(where, "0", format="zarr")
                    note(f"read {name}", lambda plain=plain: read(plain, workers), other)
    best = {name: Cost(*map(min, zip(*found, strict=True))) for name, found in costs.items()}
    for name, found in best.items():
        rate = size**3 * 4 / 1e6 / found.wall
        print(f"{name:16} {found.wall:8.2f} s {found.cpu:8.2f} s of CPU {rate:8.0f} MB/s of voxels")
    for name, found in best.items():
        what, where = name.split(" ", 1)
        if where != "folder":
            folder = best[f"{what} folder"]
            print(f"{name:16} {folder.wall / found.wall:.2f} of the folder's rate, {folder.cpu / found.cpu:.2f} by CPU")
    np.testing.assert_array_equal(*(layer.load()[:64, :64] for layer in layers.values()))


@contextmanager
def started(command: list[str], port: int) -> Iterator[tuple[str, int]]:
    """Run a plain file server; yield its URL and process id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(2)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def python_server(root: Path, folder: Path) -> AbstractContextManager[tuple[str, int]]:
    """That of Python's library."""
    command = [sys.executable, "-m", "http.server", "8992", "--bind", "127.0.0.1", "--directory", str(folder)]
    return started([*command, "--protocol", "HTTP/1.1"], 8992)


def nginx_server(root: Path, folder: Path) -> AbstractContextManager[tuple[str, int]] | None:
    """That of nginx, None where it is not installed."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        print("nginx is not installed: apt-get install nginx-light")
        return None
    config = root / "nginx.conf"
    config.write_text(
        f"user root;\nworker_processes 1;\npid {root}/nginx.pid;\ndaemon off;\nerror_log {root}/nginx.log;\n"
        f"events {{}}\nhttp {{ access_log off; sendfile on; keepalive_requests 100000;\n"
        f"server {{ listen 127.0.0.1:8991; root {folder}; }} }}\n"
    )
    return started([nginx, "-c", str(config), "-p", str(root)], 8991)


FLOORS = {"http.server": python_server, "nginx": nginx_server}


def against_nginx(root: Path, site: Path, url: str, password: str, pid: int) -> None:
    """Fetch chunks as they are from both over as many connections."""
    body = {"username": "admin", "password": password}
    access = httpx.post(f"{url}/api/v1/auth/login", json=body).json()["access"]
    versions = site.glob("projects/*/annotations/*/*/2*.zarr")
    largest = max(versions, key=lambda version: sum(1 for _ in version.glob("0/c/*/*/*")))
    chunks = sorted(largest.glob("0/c/*/*/*"))[:2000]
    parts = [chunk.relative_to(site / "projects").parts for chunk in chunks]
    paths = [
        f"/api/v1/projects/{p[0]}/descriptors/{p[2]}/layers/{p[3]}/versions/{p[4][:-5]}/{'/'.join(p[5:])}"
        for p in parts
    ]
    rate = fetched(url, paths, {"Authorization": f"Bearer {access}"})
    print(f"chunks from the server {rate:8.0f} a second, memory of the server {peak(pid):.0f} MB")
    corners = {tuple(int(at) // 2 for at in part[-3:]) for part in parts}
    boxes = [",".join(f"{2 * at}-{2 * at + 2}" for at in corner) for corner in sorted(corners)]
    base = paths[0].partition("/0/c/")[0]
    together = 8 * fetched(url, [f"{base}/box/{box}" for box in boxes], {"Authorization": f"Bearer {access}"})
    print(f"by boxes of eight      {together:8.0f} a second")
    if (floor := nginx_server(root, site / "projects")) is not None:
        with floor as (where, _):
            plain = fetched(where, ["/" + "/".join(part) for part in parts], {})
        print(
            f"chunks from nginx      {plain:8.0f} a second: {rate / plain:.2f} of it, by boxes {together / plain:.2f}"
        )


def fetched(url: str, paths: list[str], headers: dict[str, str]) -> float:
    """Return how many a second are fetched over eight connections."""
    client = httpx.Client(base_url=url, headers=headers, limits=httpx.Limits(max_connections=CONNECTIONS))

    def fetch(path: str) -> None:
        client.get(path).raise_for_status()

    with client, ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(fetch, paths[:100]))
        return len(paths) / taken(lambda: list(pool.map(fetch, paths))).wall


def one_chunk_of_a_terabyte(root: Path, url: str, password: str) -> None:
    """Change a chunk of a label map of which almost nothing is stored."""
    create_array(root / "large.zarr", "raw", shape=(10240,) * 3, dtype="uint8").close()
    project = Project.create(settings("large"), url, "admin", password)
    layer = project.add_descriptor(bp.open_source(root / "large.zarr", "raw"), "large").labelmap_layers["cells"]
    project.save()
    draft = layer.draft(dtype="uint8")
    for at in range(0, 640, 64):
        draft.source[at : at + 64, :64, :64] = np.full((64, 64, 64), 1 + at // 64)
    draft.publish()
    log = root / "site.log"
    before = log.stat().st_size

    def change() -> None:
        draft = layer.draft()
        draft.source[64:128, :64, :64] = np.random.default_rng(0).integers(0, 9, (64, 64, 64))
        draft.publish()

    seconds = taken(change).wall
    lines = [json.loads(line) for line in log.read_bytes()[before:].splitlines()]
    moved = sum(line.get("bytes_in", 0) + line.get("bytes_out", 0) for line in lines)
    print(f"a chunk of 1 TB: {len(lines)} requests, {moved / 1e6:.3f} MB, {seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        root = Path(folder)
        with serving(root / "site") as (url, password, pid):
            one_chunk_of_a_terabyte(root, url, password)
            against_a_folder(root, url, password, pid, given.size, given.workers, given.rounds)
            against_nginx(root, root / "site", url, password, pid)
            print(f"memory of the server {peak(pid):.0f} MB at most")


if __name__ == "__main__":
    main()
