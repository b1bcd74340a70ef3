"""What is asked of SLURM's commands: submit an array, tell the states of jobs, cancel. Each is one short command."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...extras import needing
from ..config import SlurmConfig, wall_seconds
from ..jobs.question import JOB_ID, Question, ask, checked_id

SIGNAL_SECONDS = 90
"""How long before the wall time a job is told so."""
SEES_NODES: bool = True
MOST_JOBS = 10**6
"""Jobs of an array at most; SLURM allows no more than four million, and sites a thousand."""
_PART = re.compile(r"(?P<first>\d{1,9})(-(?P<last>\d{1,9})(:(?P<step>\d{1,9}))?)?", re.ASCII)
_NODES = re.compile(r"[\w.,\[\]-]*", re.ASCII)
TRANSIENT: tuple[str, ...] = (
    "timed out",
    "socket",
    "unable to contact",
    "communication",
    "connection",
    "try again",
    "temporarily",
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of SLURM's commands; a hanging one counts as failed."""
    return ask(command)


def array_limit(config: SlurmConfig) -> int:
    """Jobs in one array at most."""
    told = site_settings().get("MaxArraySize", "")
    site = int(told) if told.isdigit() else 1001
    return max(1, min(site, config.max_array_size or site))


def site_settings() -> dict[str, str]:
    """The controller's settings by name; empty where it does not answer."""
    parts = (line.partition("=") for line in run("scontrol", "show", "config").stdout.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in parts}


def submit(folder: Path, name: str, n_jobs: int, command: str, config: SlurmConfig, mem: str | None, avoid: str) -> str:
    """Submit an array of jobs, or with 0 a single one, through submitit, which writes the job script; the array's id.

    submitit's FailedJobError (a RuntimeError) where sbatch answered with an error, or not at all.
    """
    with needing("submitit", "job_type='slurm'"):
        from submitit.slurm.slurm import SlurmExecutor

    class Executor(SlurmExecutor):
        """Submits one command for the whole array, in place of a pickled call a job."""

        def _make_submission_file_text(self, command: str, uid: str) -> str:
            text: str = super()._make_submission_file_text(command, uid)
            return text if config.shebang is None else text.replace("#!/bin/bash", config.shebang, 1)

    executor = Executor(folder)
    executor.update_parameters(**_parameters(name, config, mem, avoid, requeue=config.requeue and not n_jobs))
    if n_jobs:
        executor.parameters.update(map_count=n_jobs, array_parallelism=n_jobs)
    # exec: the signal before the end of the wall time goes to the shell, which would die of it
    return checked_id(str(executor._submit_command(f"exec {command}").job_id))


def _parameters(name: str, config: SlurmConfig, mem: str | None, avoid: str, *, requeue: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "signal": f"B:USR2@{_signal_seconds(config.time)}",
        "requeue" if requeue else "no-requeue": True,
    }
    if config.gpus:
        options["gpus-per-node"] = config.gpus
    options.update({key: value for key, value in config.options.items() if value is not None and value is not False})
    exclude = ",".join(part for part in (config.exclude, avoid) if part)
    return {
        "job_name": name,
        "partition": config.partition,
        "time": config.time,
        "mem": mem,
        "cpus_per_task": config.cpus_per_task,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "exclude": exclude or None,
        "setup": list(config.setup) or None,
        "wckey": None,
        "use_srun": False,
        "stderr_to_stdout": True,
        "additional_parameters": options,
    }


def _signal_seconds(time: str | int | None) -> int:
    """How long before the end a job is told so: less where it is short."""
    seconds = wall_seconds(time)
    if seconds is None:
        return SIGNAL_SECONDS
    return max(1, min(SIGNAL_SECONDS, seconds // 3))


def find(name: str) -> str | None:
    """The array that was submitted under a name; None where the scheduler knows of none.

    Raises
    ------
    OSError
        It could not be asked.
    """
    listed = run("squeue", "-h", "-t", "all", f"--name={name}", "-o", "%F")
    if listed.returncode:
        raise OSError(listed.stderr.strip())
    return next(filter(JOB_ID.fullmatch, listed.stdout.split()), None)


def cancel(*what: str) -> None:
    """Cancel jobs; what has ended already is no error."""
    run("scancel", "--quiet", *what)


def cancel_named(names: Iterable[str], *, pending: bool = False) -> None:
    """Cancel the jobs of these names, or those of them that wait; scancel takes one name at a time."""
    for name in sorted(set(names)):
        cancel(*(["--state=PENDING"] if pending else []), f"--name={name}")


def queued(names: Iterable[str]) -> set[str] | None:
    """Ids ``<array>_<index>`` of the jobs of these names that wait or run; None where the scheduler cannot be asked."""
    listed = run("squeue", "-h", "-r", f"--name={','.join(names)}", "-o", "%F_%K")
    return None if listed.returncode else set(listed.stdout.split())


class StateQuery:
    """One question for the states of all jobs, which does not wait for the answer.

    sacct is asked for the jobs and their steps; where accounting is closed, squeue.
    """

    def __init__(self) -> None:
        self.accounting = True
        self._question: Question | None = None

    @property
    def asked(self) -> bool:
        """Whether an answer is being waited for."""
        return self._question is not None

    def ask(self, jobs: Sequence[str], names: Sequence[str]) -> None:
        """Put the question."""
        sacct = ["sacct", "-n", "-P", "-j", ",".join(jobs), "--format=JobID,State,NodeList"]
        squeue = ["squeue", "-h", "-r", "-t", "all", f"--name={','.join(names)}", "-o", "%F_%K|%T|%N"]
        self._question = Question(sacct if self.accounting else squeue)

    def answer(self) -> dict[str, tuple[str, str]] | None:
        """State and nodes of each job by ``<array>_<index>``; None while there is no answer, and where it failed."""
        if self._question is None or (done := self._question.answer()) is None:
            return None
        self._question = None
        if done.returncode and self.accounting:
            self.accounting = False  # squeue from now on
        return None if done.returncode else states(done.stdout)


def states(text: str) -> dict[str, tuple[str, str]]:
    """State and nodes by job, of lines ``id|state|nodes``: a step killed for memory tells more than its job."""
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        job, state, nodes = (*line.split("|"), "", "")[:3]
        main, _, step = job.partition(".")
        state = state.partition(" ")[0]
        nodes = nodes if _NODES.fullmatch(nodes) or nodes == "None assigned" else ""
        for one in expand(main):
            if not step:
                # an earlier line is that of a step that knew better
                found[one] = found[one] if found.get(one, ("",))[0] == "OUT_OF_MEMORY" else (state, nodes)
            elif state == "OUT_OF_MEMORY":
                found[one] = (state, found.get(one, ("", nodes))[1])
    return found


def expand(job: str) -> list[str]:
    """Single jobs of an id such as ``12_[2-4,7%2]``; none of what can be no id."""
    array, bracket, rest = job.partition("_[")
    if not bracket:
        return [job]
    indices: list[int] = []
    for part in rest.partition("]")[0].partition("%")[0].split(","):
        if (match := _PART.fullmatch(part)) is None:
            return []
        first = int(match["first"])
        span = range(first, int(match["last"] or first) + 1, int(match["step"] or 1) or 1)
        if len(indices) + len(span) > MOST_JOBS:
            return []
        indices.extend(span)
    return [f"{array}_{index}" for index in indices]
