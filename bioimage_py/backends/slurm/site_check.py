"""Whether runs will work at a SLURM site: what this host, the scheduler and one small job find."""

from __future__ import annotations

import fcntl
import getpass
import importlib.util
import json
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ...errors import ConfigError
from ...extras import pip_line
from ..config import SlurmConfig, memory_bytes
from ..subprocess import worker_environment
from . import commands, node_probe, site

VERSIONS_CODE = "import json; from bioimage_py.runner.worker.process import versions; print(json.dumps(versions()))"
CLOCK_SECONDS = 5.0
"""Clocks that differ by more are told."""
_LOOK_SECONDS = 0.2
_FIRST_LOOK = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is as it should be, what was found, and what to do where it is not."""

    what: str
    ok: bool
    told: str
    remedy: str = ""
    needed: bool = True
    """Whether runs need it."""


def check_site(config: SlurmConfig, folder: Path, timeout: float = 300.0) -> Iterator[Finding]:
    """Look at a site, and submit one small job that looks from a node.

    Parameters
    ----------
    config : SlurmConfig
    folder : Path
        A folder on the shared file system; what is made there is removed.
    timeout : float
        Seconds for the job to start and answer.

    Yields
    ------
    Finding
        One after the other; no job is submitted where it could not be.
    """
    able = True
    for finding in (*_here(), *_settings(config)):
        able = able and (finding.ok or not finding.needed)
        yield finding
    if not able:
        return
    shared = folder / f".bioimage_py-check-{secrets.token_hex(4)}"
    shared.mkdir(parents=True)
    try:
        yield from _from_a_node(config, shared, timeout)
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _here() -> Iterator[Finding]:
    there = shutil.which("sbatch") is not None
    version = commands.run("sbatch", "--version").stdout.strip() if there else "sbatch is not found"
    yield Finding("scheduler", there, version, "run this on a login node of the cluster")
    if not there:
        return
    has = importlib.util.find_spec("submitit") is not None
    yield Finding("submitit", has, "installed" if has else "not installed", pip_line("submitit"))
    closed = site.accounting()
    why = f"sacct does not answer ({closed}): squeue and the workers tell the rest"
    yield Finding("accounting", not closed, why if closed else "sacct answers", needed=False)
    settings = commands.site_settings()
    if not settings:
        yield Finding("controller", False, "scontrol does not answer", "scontrol ping")
        return
    limits = ", ".join(f"{name} {settings[name]}" for name in ("MaxArraySize", "MaxJobCount") if name in settings)
    most = site.max_submit(getpass.getuser())
    yield Finding("limits", True, f"{limits}, MaxSubmit {most or 'not set'}; larger calls are cut", needed=False)


def _settings(config: SlurmConfig) -> Iterator[Finding]:
    try:
        found = {one.name: one for one in site.partitions()}
    except ConfigError as error:
        yield Finding("partitions", False, error.message, error.remedy)
        return
    shown = ", ".join(
        f"{one.name}{'*' if one.default else ''} ({one.nodes} nodes, "
        + ("no time limit" if one.minutes is None else f"up to {one.minutes} min")
        + f", {one.mem} MiB)"
        for one in found.values()
    )
    yield Finding("partitions", bool(found), shown or "none is up", "sinfo")
    wanted = (config.partition or next((one.name for one in found.values() if one.default), "")).split(",")
    unknown = [name for name in wanted if name not in found]
    remedy = f'partition = "{next(iter(found), "")}" in the configuration, or bioimage-py slurm init'
    yield Finding("partition", not unknown, f"{','.join(wanted) or 'none is the default'}", remedy)
    mem = memory_bytes("max_mem", config.max_mem) or memory_bytes("mem", config.mem)
    for name in set(wanted) - set(unknown):
        fits = mem is None or mem <= found[name].mem * 2**20
        told = f"{config.max_mem or config.mem or 'the default of the site'}, nodes of {name!r} have {found[name].mem}M"
        yield Finding("memory", fits, told, f'max_mem = "{found[name].mem}M"', needed=False)


def _from_a_node(config: SlurmConfig, shared: Path, timeout: float) -> Iterator[Finding]:
    (shared / "here").write_text("here")
    (shared / "taken").touch()
    with open(shared / "locked", "w") as locked:
        try:
            fcntl.lockf(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield Finding(
                "locks", False, f"cannot be taken here: {error}", "don't write HDF5 from several hosts", needed=False
            )
        name, begin = f"bioimage_py-check-{secrets.token_hex(4)}", monotonic()
        python = os.fspath(config.python_executable or sys.executable)
        variables = [f"{key}={value}" for key, value in worker_environment(python).items()]
        command = [python, "-I", "-S", node_probe.__file__, str(shared), "env", *variables, python, "-c", VERSIONS_CODE]
        (shared / "job").mkdir()
        try:
            mem = None if config.mem is None else str(config.mem)
            job = commands.submit(shared / "job", name, 0, shlex.join(command), config, mem, "")
        except (RuntimeError, OSError) as error:
            yield Finding("job", False, f"sbatch refuses it: {str(error).strip()}", "bioimage-py slurm init")
            return
        try:
            yield from _answers(shared, name, job, begin, timeout)
        finally:
            commands.cancel(f"--name={name}")


def _answers(shared: Path, name: str, job: str, begin: float, timeout: float) -> Iterator[Finding]:
    hello = _wait(shared, "hello.json", name, begin + timeout)
    if hello is None:
        told, remedy = _why(shared, name, job)
        yield Finding("job", False, told, remedy)
        return
    yield Finding("job", True, f"{job} began on {hello['host']} after {monotonic() - begin:.1f} s")
    seen = hello["seen"]
    where = "a folder that all nodes see: --folder, tmp_root or $BIOIMAGE_PY_RUN_ROOT"
    told = "not seen from the node" if seen is None else f"seen from the node after {seen:.1f} s"
    yield Finding("shared folder", seen is not None, f"{shared.parent} is {told}", where)
    pinged = monotonic()
    (shared / "ping").touch()
    result = _wait(shared, "result.json", name, monotonic() + 2 * node_probe.PATIENCE)
    if result is None:
        yield Finding("answer", False, "the job began and did not answer", f"scontrol show job {job}")
        return
    told = f"what one host writes is seen by the other and back after {monotonic() - pinged:.1f} s"
    yield Finding("latency", result["ping"] is not None, told, "latency_wait = 300 in the configuration")
    yield from _folder(result, node_probe.clock(str(shared)))
    yield from _python(result)


def _folder(result: dict[str, Any], mine: float) -> Iterator[Finding]:
    elsewhere = "put the run folders on another file system: tmp_root or $BIOIMAGE_PY_RUN_ROOT"
    for key, what in (("exclusive", "exclusive create"), ("link", "hard link"), ("rename", "rename")):
        told = {True: "works", False: "two hosts get the same name"}.get(result[key], str(result[key]))
        yield Finding(what, result[key] is True, told, elsewhere)
    words = {True: "are seen by other hosts", False: "of one host are not seen by others"}
    locks = words.get(result["lock"], str(result["lock"]))
    yield Finding("locks", result["lock"] is True, locks, "don't write HDF5 from several hosts", needed=False)
    if isinstance(clock := result["clock"], float):
        told_clock = f"this host {mine:+.1f} s, the node {clock:+.1f} s, against the file server's, whose times count"
        calm = max(abs(mine), abs(clock)) < CLOCK_SECONDS
        yield Finding("clock", calm, told_clock, needed=False)
    if isinstance(sync := result["sync"], float):
        yield Finding("disk", True, f"a small write is durable after {1000 * sync:.0f} ms", needed=False)


def _python(result: dict[str, Any]) -> Iterator[Finding]:
    version = "{}.{}".format(*sys.version_info)
    fits = result["python"].startswith(f"{version}.")
    told = f"{result['executable']} is {result['python']}"
    yield Finding("python", fits, told, f"python_executable: a Python {version} that nodes see")
    if result["versions"] is None:
        why = result["error"].strip().splitlines()[-1:] or ["no word"]
        yield Finding("packages", False, f"cannot be imported on the node: {why[0]}", 'setup = ["module load ..."]')
        return
    yield Finding("packages", True, ", ".join(f"{k} {v}" for k, v in json.loads(result["versions"]).items()))
    told = "nodes can submit" if result["sbatch"] else "nodes cannot submit: no detach=True"
    yield Finding("sbatch on nodes", result["sbatch"], told, "stay attached, or run the driver where sbatch is", False)


def _wait(shared: Path, name: str, job_name: str, deadline: float) -> dict[str, Any] | None:
    next_look = monotonic() + _FIRST_LOOK
    while monotonic() < deadline:
        if name in os.listdir(shared):
            answer: dict[str, Any] = json.loads((shared / name).read_text())
            return answer
        if monotonic() > next_look:
            next_look = monotonic() + _FIRST_LOOK
            if commands.queued([job_name]) == set() and name not in os.listdir(shared):
                sleep(node_probe.PATIENCE / 10)
                if name not in os.listdir(shared):
                    return None
        sleep(_LOOK_SECONDS)
    return None


def _why(shared: Path, name: str, job: str) -> tuple[str, str]:
    """Why a job has not answered, and what to do."""
    listed = commands.run("squeue", "-h", f"--name={name}", "-o", "%T %r").stdout.strip()
    if listed:
        return f"{job} is {listed} after the timeout", "--timeout 3600, or another partition"
    log = next(iter((shared / "job").glob("*.out")), None)
    told = "" if log is None else log.read_text(errors="replace").strip()[-500:]
    if told:
        return f"{job} ended without an answer: {told}", 'python_executable, or setup = ["module load ..."]'
    return (
        f"{job} ended without an answer and without a log: its node does not see {shared.parent}, or not this Python",
        "a folder that all nodes see: --folder, tmp_root or $BIOIMAGE_PY_RUN_ROOT",
    )
