"""The programs of a cluster that is this host: jobs are processes, accounting is closed, srun is only there.

Run under the name of a command; ``$FAKE_SLURM`` is the folder in which the jobs are written down. While it has a file
``down`` there, nobody answers.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sacct")
"""All that a call looks for: what is missing here would be taken from a package that this machine may not have."""


def install(folder: Path) -> Path:
    """Put the commands into a folder; returns the one for ``$PATH``."""
    path = folder / "bin"
    path.mkdir(parents=True)
    for name in COMMANDS:
        (path / name).write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} {name} "$@"\n')
        (path / name).chmod(0o755)
    return path


def jobs(folder: Path) -> list[dict[str, Any]]:
    """All jobs, with whether they live."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("job-*.json"))]
    return [{**job, "alive": start_of(job["pid"]) == job["start"]} for job in found]


def start_of(pid: int) -> str:
    """When a process began; empty if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def sbatch(folder: Path, arguments: list[str]) -> None:
    """Start the jobs of a script."""
    script = Path(arguments[-1]).read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE))
    number = 1 + len(list(folder.glob("array-*")))
    (folder / f"array-{number}").touch()
    last = re.match(r"0-(\d+)", options.get("array", ""))
    for index in range(int(last[1]) + 1) if last else [None]:
        name = str(number) if index is None else f"{number}_{index}"
        log = options["output"].replace("%j", name).replace("%A", str(number)).replace("%a", str(index))
        task = {} if index is None else {"SLURM_ARRAY_TASK_ID": str(index)}
        with open(log, "a") as output:
            process = subprocess.Popen(
                ["bash", arguments[-1]],
                env={**os.environ, "SLURM_JOB_ID": name, "SLURM_JOB_NAME": options["job-name"], **task},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        about = {"id": name, "name": options["job-name"], "pid": process.pid, "start": start_of(process.pid)}
        (folder / f"job-{name}.json").write_text(json.dumps(about))
    print(f"Submitted batch job {number}")


def squeue(folder: Path, arguments: list[str]) -> None:
    """List jobs: those that live, or with ``-t all`` all."""
    names = next(one.partition("=")[2].split(",") for one in arguments if one.startswith("--name="))
    shape = arguments[arguments.index("-o") + 1]
    for job in jobs(folder):
        if job["name"] in names and (job["alive"] or "all" in arguments):
            array, _, index = job["id"].partition("_")
            state = "RUNNING" if job["alive"] else "COMPLETED" if not job.get("cancelled") else "CANCELLED"
            parts = {"%F": array, "%K": index or "N/A", "%T": state, "%N": "n1"}
            line = shape
            for part, value in parts.items():
                line = line.replace(part, value)
            print(line)


def scancel(folder: Path, arguments: list[str]) -> None:
    """End jobs by their name, or by their ids."""
    if "--state=PENDING" in arguments:
        return
    named = [one.partition("=")[2] for one in arguments if one.startswith("--name=")]
    chosen = [job for job in jobs(folder) if job["alive"] and (job["name"] in named or job["id"] in arguments)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for job in chosen:
            (folder / f"job-{job['id']}.json").write_text(json.dumps({**job, "cancelled": True}))
            with suppress(ProcessLookupError):
                os.killpg(job["pid"], number)
        deadline = time.monotonic() + 2
        while any(start_of(job["pid"]) == job["start"] for job in chosen) and time.monotonic() < deadline:
            time.sleep(0.02)


def main() -> None:
    """Be one of the commands."""
    folder, command, arguments = Path(os.environ["FAKE_SLURM"]), sys.argv[1], sys.argv[2:]
    if (folder / "down").exists():
        sys.exit(f"{command}: error: Unable to contact slurm controller (connect failure)")
    if command == "sbatch":
        sbatch(folder, arguments)
    elif command == "squeue":
        squeue(folder, arguments)
    elif command == "scancel":
        scancel(folder, arguments)
    elif command == "scontrol":
        print("MaxArraySize = 1001")
    elif command == "sacct":
        sys.exit("Slurm accounting storage is disabled")
    else:
        sys.exit(f"{command}: nobody should call this")


if __name__ == "__main__":
    main()
