"""Several processes at one address: all answer, one that dies is started again, and none outlives the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import httpx
import psutil
import pytest

from bioimage_py.errors import ParameterError
from bioimage_py.server.http.metrics import Metrics, read, shown
from bioimage_py.server.running import Listening

from ..starting import Running


def answering(running):
    """The processes that answer."""
    found = []
    for child in psutil.Process(running.process.pid).children():
        with suppress(psutil.Error):  # one that was killed just now
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


def until(true, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def asked(running, n=8):
    """Requests by connections of their own."""
    for _ in range(n):
        with httpx.Client() as client:
            assert client.get(f"{running.url}/api/v1/health", timeout=60).status_code == 200


def counted(text, name):
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"bioimage_py_{name}"))


@pytest.mark.processes
def test_processes_answer_die_and_are_started_again(tmp_path):
    running = Running(tmp_path / "site", "--workers", "2", "--metrics", "0")
    try:
        client = running.client()
        first = until(lambda: len(answering(running)) == 2 and answering(running))
        asked(running)
        first[0].send_signal(signal.SIGKILL)
        until(lambda: len(answering(running)) == 2 and first[0].pid not in {one.pid for one in answering(running)})
        asked(running)
        assert client.get("/users/me").json()["admin"]  # a login holds, whoever answers
        url = next(line.split()[-1] for line in running.lines if "Prometheus" in line)

        def all_there():
            asked(running, 1)
            return counted(httpx.get(url).text, 'requests_total{method="GET",route="/health"') >= 17

        until(all_there)
        until(lambda: counted(httpx.get(url).text, "processes ") == 2)
        assert httpx.get(url.replace("/metrics", "/")).status_code == 404
        last = until(lambda: len(answering(running)) == 2 and answering(running))
        begun = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begun < 25  # nobody had to be killed
        assert not [one for one in last if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert "started again" in running.log()
    finally:
        running.stop()


@pytest.mark.processes
def test_processes_end_with_the_one_that_started_them(tmp_path):
    running = Running(tmp_path / "site", "--workers", "2")
    running.client()
    children = until(lambda: len(answering(running)) == 2 and answering(running))
    running.kill()
    for child in children:
        child.wait(60)
    (left,) = running.root.glob("metrics-*")  # of who was killed
    (left / "1.json").touch()
    running.start()
    assert [path for path in running.root.glob("metrics-*/*") if path.name == "1.json"] == []
    assert running.stop() == 0
    assert not list(running.root.glob("metrics-*"))


TOLD = """
import os, signal, sys, threading, time
from pathlib import Path
from bioimage_py.server.running import Listening, run
from bioimage_py.server.site import Times

def on():
    for _ in range(int(sys.argv[2])):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

def tell(text):
    if text.startswith("Serving"):
        threading.Thread(target=on, daemon=True).start()
        os.kill(os.getpid(), signal.SIGTERM)

run(Path(sys.argv[1]), Listening(port=0, workers=2), "", Times(), tell)
"""


@pytest.mark.processes
@pytest.mark.parametrize("more", [0, 1000])
def test_who_is_told_where_it_serves_may_end_it_at_once(tmp_path, more):
    command = [sys.executable, "-c", TOLD, str(tmp_path / "site"), str(more)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)  # and all that hold its output
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr


def test_counts_of_processes_are_added_and_those_of_dead_ones_stay(tmp_path):
    one = Metrics(tmp_path)
    one.begin()
    one.begin()
    one.end("GET", "/a", 200, 0.02, 3, 100)
    one.end("ODD\n", "", 404, 11.0, 0, 10)
    one.begin()
    one.write()
    (tmp_path / f"{os.getpid()}.json").rename(tmp_path / "1.json")
    text = (tmp_path / "1.json").read_text()
    dead = text.replace(f'"pid": {os.getpid()}', '"pid": 4194999')
    (tmp_path / "2.json").write_text(dead)
    (tmp_path / "3.json").write_text("half")
    found = shown(read(tmp_path))
    assert 'bioimage_py_requests_total{method="GET",route="/a",status="200"} 2\n' in found
    assert 'bioimage_py_requests_total{method="OTHER",route="",status="404"} 2\n' in found
    assert "bioimage_py_requests_under_way 1\n" in found
    assert "bioimage_py_sent_bytes_total 220\n" in found
    classes = [line for line in found.splitlines() if line.startswith('bioimage_py_request_seconds_bucket{route="/a"')]
    assert {line.split('le="')[1] for line in classes if line.endswith(" 2")} >= {'0.025"} 2', '+Inf"} 2', '30.0"} 2'}
    assert not any('le="0.01"' in line for line in classes)
    assert found.index("# TYPE bioimage_py_request_seconds histogram") < found.index("request_seconds_bucket")
    other = Metrics(tmp_path)
    other.begin()
    other.end("GET", "/a", 200, 0.001, 0, 1)
    assert 'bioimage_py_requests_total{method="GET",route="/a",status="200"}' in other.text()


@pytest.mark.parametrize("address", ["x", "1.2.3.4:", "1:70000", "-1"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ParameterError, match="--metrics 127"):
        Listening(metrics=address).check()
    assert Listening(metrics="0.0.0.0:9123").metrics_address() == ("0.0.0.0", 9123)
