"""LSF, PBS and Grid Engine as their manuals have them, on this host: jobs are processes.

Run under the name of a command; ``$FAKE_BATCH`` is the folder in which the jobs are written down, ``$FAKE_KIND`` says
which scheduler it is. An option that its manual does not have is refused, as it would be. While the folder has a file
``down``, nobody answers.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

COMMANDS = {
    "lsf": ("bsub", "bjobs", "bkill"),
    "pbs": ("qsub", "qstat", "qdel"),
    "grid-engine": ("qsub", "qstat", "qdel"),
}
OPTIONS = {
    "lsf": {"-J", "-o", "-q", "-P", "-W", "-n", "-R", "-M", "-gpu", "-rn"},
    "pbs": {"-N", "-j", "-o", "-q", "-A", "-l", "-r", "-J"},
    "grid-engine": {"-N", "-S", "-j", "-o", "-q", "-P", "-l", "-r", "-notify", "-t", "-terse"},
}
DIRECTIVES = {"lsf": "#BSUB", "pbs": "#PBS", "grid-engine": "#$"}
ALONE = {"-rn", "-notify", "-terse"}
"""Options without a value."""


def install(folder: Path, kind: str) -> Path:
    """Put the commands into a folder; returns the one for ``$PATH``."""
    path = folder / "bin"
    path.mkdir(parents=True)
    for name in COMMANDS[kind]:
        (path / name).write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} {name} "$@"\n')
        (path / name).chmod(0o755)
    return path


def start_of(pid: int) -> str:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def jobs(folder: Path) -> list[dict[str, Any]]:
    """All jobs, with whether they live."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("job-*.json"))]
    return [{**job, "alive": start_of(job["pid"]) == job["start"]} for job in found]


def options_of(kind: str, text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith(DIRECTIVES[kind] + " "):
            continue
        words = shlex.split(line[len(DIRECTIVES[kind]) :])
        while words:
            name = words.pop(0)
            if name not in OPTIONS[kind]:
                sys.exit(f"{name}: Illegal option")
            found.setdefault(name, []).append("" if name in ALONE else words.pop(0))
    return found


def submit(kind: str, folder: Path, text: str) -> int:
    options = options_of(kind, text)
    number = 1 + len(list(folder.glob("array-*")))
    (folder / f"array-{number}").touch()
    script = folder / f"script-{number}"
    script.write_text(text)
    name = options["-J" if kind == "lsf" else "-N"][0]
    span = {"lsf": name, "pbs": options.get("-J", [""])[0], "grid-engine": options.get("-t", [""])[0]}[kind]
    many = re.search(r"(\d+)-(\d+)\]?$", span) if kind != "lsf" or "[" in span else None
    if kind == "pbs" and many and int(many[1]) == int(many[2]):
        sys.exit("qsub: illegal -J value")
    indices = range(int(many[1]), int(many[2]) + 1) if many else [None]
    for index in indices:
        variables = {
            "lsf": {"LSB_JOBID": str(number), "LSB_JOBINDEX": str(index or 0)},
            "pbs": {"PBS_JOBID": f"{number}[{index}].host"}
            | ({} if index is None else {"PBS_ARRAY_INDEX": str(index)}),
            "grid-engine": {"JOB_ID": str(number), "SGE_TASK_ID": "undefined" if index is None else str(index)},
        }[kind]
        with open(options["-o"][0], "a") as output:
            process = subprocess.Popen(
                ["sh", str(script)],
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        told = {"id": number, "index": index, "name": name.partition("[")[0], "full": name}
        told |= {"pid": process.pid, "start": start_of(process.pid)}
        (folder / f"job-{number}-{index}.json").write_text(json.dumps(told))
    return number


def end(folder: Path, number: int, index: int | None) -> None:
    """End one job, or all of an array."""
    for job in jobs(folder):
        if job["id"] == number and (index is None or job["index"] == index) and job["alive"]:
            with suppress(ProcessLookupError):
                os.killpg(job["pid"], signal.SIGKILL)
            while start_of(job["pid"]) == job["start"]:
                time.sleep(0.01)


def bsub(folder: Path, arguments: list[str]) -> None:
    assert not arguments
    print(f"Job <{submit('lsf', folder, sys.stdin.read())}> is submitted to default queue <normal>.")


def bjobs(folder: Path, arguments: list[str]) -> None:
    assert arguments[:3] == ["-a", "-noheader", "-o"], arguments
    assert arguments[3] == "jobid jobindex stat job_name exec_host delimiter='|'"
    found = jobs(folder)
    if not found:
        sys.exit("No job found")
    for job in found:
        name = job["name"] if job["index"] is None else f"{job['name']}[{job['index']}]"
        print(f"{job['id']}|{job['index'] or 0}|{'RUN' if job['alive'] else 'DONE'}|{name}|node1")


def bkill(folder: Path, arguments: list[str]) -> None:
    match = re.fullmatch(r"(\d+)(?:\[(\d+)\])?", arguments[0])
    assert match
    end(folder, int(match[1]), int(match[2]) if match[2] else None)


def qsub(folder: Path, arguments: list[str]) -> None:
    kind = os.environ["FAKE_KIND"]
    text = Path(arguments[-1]).read_text()
    number = submit(kind, folder, text)
    array = "[]" if kind == "pbs" and "#PBS -J" in text else ""
    print(f"{number}{array}.host" if kind == "pbs" else number)


def qstat(folder: Path, arguments: list[str]) -> None:
    if os.environ["FAKE_KIND"] == "pbs":
        assert arguments == ["-x", "-t", "-f"]
        for job in jobs(folder):
            index = "" if job["index"] is None else f"[{job['index']}]"
            print(f"Job Id: {job['id']}{index}.host\n    Job_Name = {job['name']}\n    Job_Owner = me@host")
            print(f"    job_state = {'R' if job['alive'] else 'F'}\n    queue = workq\n    exec_host = node1/0*2\n")
        return
    assert arguments == ["-xml", "-g", "d"]
    print("<?xml version='1.0'?>\n<job_info>\n  <queue_info>")
    for job in (job for job in jobs(folder) if job["alive"]):
        print(f'    <job_list state="running">\n      <JB_job_number>{job["id"]}</JB_job_number>')
        print(
            f"      <JAT_prio>0.55500</JAT_prio>\n      <JB_name>{job['name']}</JB_name>\n      <JB_owner>me</JB_owner>"
        )
        print("      <state>r</state>\n      <queue_name>all.q@node1</queue_name>\n      <slots>1</slots>")
        if job["index"] is not None:
            print(f"      <tasks>{job['index']}</tasks>")
        print("    </job_list>")
    print("  </queue_info>\n  <job_info>\n  </job_info>\n</job_info>")


def qdel(folder: Path, arguments: list[str]) -> None:
    if os.environ["FAKE_KIND"] == "pbs":
        match = re.fullmatch(r"(\d+)(\[(\d*)\])?", arguments[0])
        assert match
        end(folder, int(match[1]), int(match[3]) if match[3] else None)
        return
    end(folder, int(arguments[0]), int(arguments[2]) if arguments[1:2] == ["-t"] else None)


if __name__ == "__main__":
    where = Path(os.environ["FAKE_BATCH"])
    if (where / "down").exists():
        sys.exit("cannot connect to the server: communication timed out")
    globals()[sys.argv[1]](where, sys.argv[2:])
