"""Runs while they go on, as text and as a page: what is told, to whom, and that nothing of a run is code there."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bioimage_py.cli import main
from bioimage_py.errors import BioimageError
from bioimage_py.runner.control.inspect import RunStatus, StageStatus
from bioimage_py.runner.control.watching import BlockAt, Look, StageMap, Watching, WorkerAt
from bioimage_py.viz.live.server import PAGE, Runs, RunServer, _answer
from bioimage_py.viz.live.text import lines_of

from ..runner.control.gated import going, look_when, until


def look(**changes: Any) -> Look:
    """A look at a run of 8 x 8 blocks."""
    stage = StageStatus("write", "blocks", 64, 30, 1)
    status = RunStatus("/d/job-1", "job-1", "job", "running", 0.0, 0.0, "ws12", 7, 1, (stage,))
    done = np.zeros((8, 8))
    done[:4] = 1
    running, failed = np.zeros((8, 8), int), np.zeros((8, 8), int)
    running[5, 2] = failed[6, 3] = 1
    worker = WorkerAt("s1w1", "write", 42, "[20:24, 8:12]", 3.0, 12, 2**28)
    bad = BlockAt("write", 51, "[24:28, 12:16]", error="ValueError: <b>hole</b>\x1b[2J")
    slow = BlockAt("write", 3, "[0:4, 12:16]", 9.5)
    maps = (StageMap("write", (0, 1), done, running, failed),)
    return replace(Look(status, 61.0, 0.5, 68.0, (worker,), (slow,), (bad,), maps), **changes)


class TestText:
    def test_tells_what_one_wants_to_know(self) -> None:
        text = "\n".join(lines_of(look()))
        for part in (
            "job-1: running, 61 s, 0.5 blocks a second, about 68 s left", "30 of 64 (47 %)", "1 failed",
            "workers: 1 of 1 in a block", "s1w1       write 42 [20:24, 8:12], for 3 s, 12 done, 256 MiB",
            "slowest blocks: write 3 (9.5 s)", "failed: write 51", "████████",
        ):  # fmt: skip
            assert part in text

    def test_a_map_shows_where_workers_and_failures_are(self) -> None:
        rows = lines_of(look())[-8:]
        assert rows[0] == "  ████████"
        assert rows[5][2:] == "  R"
        assert rows[6][2:] == "   F"

    def test_what_a_run_says_moves_no_cursor(self) -> None:
        told = "\n".join(lines_of(look(), colors=True))
        assert "\x1b[2J" not in told
        assert "\x1b[31m" in told
        assert "\x1b" not in "".join(lines_of(look()))

    @pytest.mark.parametrize("shape", [(1, 1), (1, 64), (64, 64), (40, 7)])
    def test_a_map_fits_a_terminal(self, shape: tuple[int, int]) -> None:
        zeros = np.zeros(shape, int)
        maps = (StageMap("write", (1, 2), np.ones(shape), zeros, zeros),)
        lines = lines_of(look(maps=maps))
        assert all(len(line) <= 120 for line in lines)
        assert lines[-1] == "  " + "█" * shape[1]
        assert len(lines) < 30

    def test_of_a_run_that_is_over(self) -> None:
        quiet = look(workers=(), slowest=(), failed=(), maps=(), rate=0.0, left=None)
        assert lines_of(quiet)[0] == "job-1: running, 61 s"


def damages(content: bytes) -> Iterator[bytes]:
    """A file of a run as a bad disk, or somebody who wants to harm, has made it."""
    random = np.random.default_rng(0)
    yield b""
    yield b"[" * 100_000
    for _ in range(8):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 3):
            damaged[at] = random.integers(256)
        yield bytes(damaged[: random.integers(len(content))] if random.random() < 0.2 else damaged)
    for value in ("null", '"<b>"', "-1", "1e999", "NaN", "[]", "{}", f"{2**70}", "true"):
        # every number becomes something else; then one of them
        yield re.sub(rb"(?<=[:\[ ])-?[0-9][0-9.e+-]*", value.encode(), content)
        yield re.sub(rb"(?<=[:\[ ])-?[0-9][0-9.e+-]*", value.encode(), content, count=1)


@pytest.mark.processes
class TestServer:
    def get(self, url: str, **headers: str) -> tuple[str, str]:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.read().decode(), answer.headers["Content-Type"]

    def runs(self, server: RunServer) -> list[dict[str, Any]]:
        return list(json.loads(self.get(f"{server.url}runs.json")[0])["runs"])

    def test_of_a_run_from_its_beginning_to_its_end(self, tmp_path: Path) -> None:
        with going(tmp_path, last=20, bad=3) as (folder, end), RunServer([str(tmp_path)]) as server:
            look_when(Watching(folder), lambda one: any(worker.block >= 20 for worker in one.workers))
            page, kind = self.get(server.url)
            assert page == PAGE.read_text()
            assert kind == "text/html; charset=utf-8"
            (run,) = self.runs(server)
            assert run["state"] == "running"
            assert np.sum(run["maps"][0]["failed"]) == 1
            assert "hole" in self.get(f"{server.url}error/{run['id']}")[0]
            report, _ = self.get(f"{server.url}report/{run['id']}")
            assert "&lt;b&gt;hole" in report
            assert "<b>hole" not in report
            end()
            assert until(lambda: self.runs(server)[0]["state"] == "failed")

    def test_a_run_that_has_finished_stays_as_over(self, tmp_path: Path) -> None:
        with going(tmp_path, last=20) as (_, end), RunServer([str(tmp_path)]) as server:
            assert until(lambda: [run["state"] for run in self.runs(server)] == ["running"])
            end()
            assert self.runs(server)[0]["state"] == "over"

    @pytest.mark.parametrize("name", ["events.jsonl", "run.json", "plan.json", "progress/s1w0", "journal/0/s1w0"])
    def test_a_damaged_run_harms_no_other(self, tmp_path: Path, name: str) -> None:
        with going(tmp_path / "good", last=20) as (good, end):
            look_when(Watching(good), lambda one: any(worker.block >= 20 for worker in one.workers))
            with going(tmp_path / "bad", last=20, bad=3) as (folder, end_bad):
                look_when(Watching(folder), lambda one: any(worker.block >= 20 for worker in one.workers))
                folder = Path(folder)
                copied = tmp_path / "copied" / folder.name
                shutil.copytree(folder, copied, ignore=shutil.ignore_patterns("undo"))
                end_bad()
            written = (copied / name).read_bytes()
            for number, damage in enumerate(damages(written)):
                (copied / name).write_bytes(damage)
                runs = Runs([str(tmp_path / "good"), str(copied)])
                told = json.loads(json.dumps(runs.look(), allow_nan=False))
                assert any(run["state"] == "running" and run["id"] != folder.name for run in told), number
                for run in told:
                    for kind in ("report", "error") if number in (4, 12) else ("error",):
                        with suppress(BioimageError, OSError, KeyError):  # these are told: 404
                            assert _answer(runs, [kind, run["id"]])[1]
            end()

    def test_of_many_runs_those_that_gave_a_sign_last(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bioimage_py.viz.live.server.MOST", 3)
        monkeypatch.setattr("bioimage_py.viz.live.server._SEARCH_SECONDS", 0.0)
        with going(tmp_path / "failed", last=99, bad=5) as (failed, end):
            end()
            look_when(Watching(failed), lambda one: one.status.state == "failed")
        with going(tmp_path / "here", last=20) as (folder, _):
            look_when(Watching(folder), lambda one: one.status.state == "running")
            old = [tmp_path / "old" / "runs" / f"run-{number}" for number in range(6)]
            for number, copied in enumerate(old):
                shutil.copytree(failed, copied, ignore=shutil.ignore_patterns("undo"))
                for path in (copied, *copied.iterdir()):
                    os.utime(path, (number, number))
            runs = Runs([str(tmp_path / "here"), str(tmp_path / "old" / "runs")])
            for _ in range(2):
                assert {run["id"]: run["state"] for run in runs.look()} == {
                    Path(folder).name: "running",
                    "run-4": "failed",
                    "run-5": "failed",
                }
                assert runs.more == 4
            shutil.rmtree(old[5])
            assert [run["state"] for run in runs.look() if run["id"] == "run-5"] == ["over"]
            assert {run["id"] for run in runs.look()} >= {Path(folder).name, "run-3", "run-4"}
            assert runs.more == 3
            os.utime(old[0])  # as where it goes on
            assert {run["id"] for run in runs.look() if run["state"] != "over"} == {Path(folder).name, "run-0", "run-4"}

    def test_nobody_else_is_answered(self, tmp_path: Path) -> None:
        with RunServer([str(tmp_path)]) as server:
            assert server.url.startswith("http://127.0.0.1:")
            root = server.url.removesuffix("/").rpartition("/")[0]
            for path in ("", "runs.json", "x/runs.json", f"{'a' * 32}/runs.json"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    self.get(f"{root}/{path}")
            for path in ("report/../../etc", "report/nothing", "error/%2Fetc%2Fpasswd", "other/x", "page.html"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    self.get(server.url + path)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                self.get(server.url, Host="evil.example:80")
            with pytest.raises(urllib.error.HTTPError, match="501"):
                urllib.request.urlopen(server.url, data=b"x", timeout=60)

    def test_what_a_page_may_do(self, tmp_path: Path) -> None:
        with RunServer([str(tmp_path)]) as server:
            host, _, path = server.url.removeprefix("http://").partition("/")
            connection = http.client.HTTPConnection(host, timeout=60)
            connection.request("GET", f"/{path}")
            answer = connection.getresponse()
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            connection.close()

    def test_the_page_makes_text_of_what_it_gets(self) -> None:
        text = PAGE.read_text()
        assert "innerHTML" not in text
        assert not re.search(r"https?://", text)


class TestCommands:
    def run(self, *arguments: Any, code: int = 0) -> Any:
        result = CliRunner(mix_stderr=False).invoke(main, ["runs", *map(str, arguments)])
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    def test_watch(self, tmp_path: Path) -> None:
        with going(tmp_path, last=20) as (folder, _):
            look_when(Watching(folder), lambda one: any(worker.block >= 20 for worker in one.workers))
            before = Watching(folder).look().status.stages[0].done
            text = self.run("watch", folder, "--once").stdout
            told = re.search(r"(\d+) of 32", text)
            assert told
            assert before <= int(told[1]) <= Watching(folder).look().status.stages[0].done <= 20
            assert "job, axes 0 and 1:" in text
            assert json.loads(self.run("watch", folder, "--once", "--json").stdout)["state"] == "running"

    def test_watch_ends_with_the_run(self, tmp_path: Path) -> None:
        with going(tmp_path, last=99, bad=5) as (folder, end):
            end()
            text = self.run("watch", folder, "--every", "0.1", "--no-map").stdout
            assert "failed" in text
        assert "runs list" in self.run("watch", "nothing", code=1).stderr

    def test_serve_on_a_port_that_is_taken(self, tmp_path: Path) -> None:
        with RunServer([str(tmp_path)]) as server:
            port = server.url.split(":")[2].partition("/")[0]
            assert "--port 0" in self.run("serve", tmp_path, "--port", port, "--no-browser", code=1).stderr
