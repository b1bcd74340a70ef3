"""A batch scheduler by its profile: scripts are written, commands run, and what they print is read."""

from __future__ import annotations

import re
import shlex
import string
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import memory_bytes, wall_seconds
from ..jobs import job
from ..jobs.question import JOB_ID, Question, ask, checked_id
from ..jobs.scheduler import UNLISTED
from .profile import RUNNING, WAITING, Profile

_INDEX = re.compile(r"\d{1,9}", re.ASCII)
_NO_JOBS = re.compile(r"(?i)no (unfinished |matching )?jobs?\b|job.* not found|unknown job")
"""Some say that there are no jobs by an error; what is printed then says that a job is meant, not a server."""


@dataclass(frozen=True)
class Listed:
    """A job as the scheduler lists it."""

    array: str
    index: int
    name: str
    state: str
    node: str
    single: bool

    @property
    def id(self) -> str:
        """As ``<array>_<index>``, from 0."""
        return f"{self.array}_{self.index}"

    @property
    def queued(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (WAITING, RUNNING)


class BatchScheduler:
    """The commands of a scheduler, as `Scheduler` has them."""

    SEES_NODES: bool = False
    TRANSIENT: tuple[str, ...] = ("timed out", "connect", "communication", "try again", "temporarily", "not responding")

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def array_limit(self, config: Any) -> int:
        """Jobs in one array at most."""
        return min(self.profile.most, config.max_array_size or self.profile.most)

    def submit(
        self, folder: Path, name: str, n_jobs: int, command: str, config: Any, mem: str | None, avoid: str
    ) -> str:
        """Write the script of an array, or with 0 of a single job, and submit it; its id."""
        script = folder / f"{name}.sh"
        script.write_text(self.script(folder, name, n_jobs, command, config, mem))
        words = shlex.split(self.profile.submit)
        done = ask(words, script.read_text()) if self.profile.by_input else ask([*words, str(script)])
        found = re.search(self.profile.submitted, done.stdout)
        if done.returncode or found is None:
            raise RuntimeError((done.stderr or done.stdout).strip() or f"{words[0]} said nothing")
        return checked_id(found["id"])

    def script(self, folder: Path, name: str, n_jobs: int, command: str, config: Any, mem: str | None) -> str:
        """The script of a job or an array."""
        profile = self.profile
        many = n_jobs >= max(1, profile.least)
        values = self._values(folder, name, config, mem)
        values.update(first=profile.first, last=profile.first + n_jobs - 1)
        lines = [*(profile.array if many else profile.single), *profile.options]
        lines += [f"{key} {value}".strip() for key, value in config.options.items() if value not in (None, False)]
        told = [f"{profile.directive} {text}" for line in lines if (text := _filled(line, values))]
        index = f"$(({profile.index} - {profile.first}))" if many else "0"
        variables = [
            f"export {job.TASK_VARIABLE}={index}",
            f'export {job.JOB_VARIABLE}="${profile.job}"',
            f"export {job.NAME_VARIABLE}={name}",
        ]
        shebang = config.shebang or "#!/bin/sh"
        # exec: the signal before the end of the wall time goes to the shell, which would die of it
        return "\n".join([shebang, *told, *variables, *config.setup, f"exec {command}", ""])

    @staticmethod
    def _values(folder: Path, name: str, config: Any, mem: str | None) -> dict[str, Any]:
        seconds, size = wall_seconds(config.time), memory_bytes("mem", mem)
        values = {key: getattr(config, key) for key in ("partition", "account", "cpus_per_task")}
        values.update(gpus=config.gpus or None, name=name, log=str(folder / f"{name}.out"))
        if seconds is not None:
            hours, rest = divmod(seconds, 3600)
            values.update(
                seconds=seconds, minutes=-(-seconds // 60), clock=f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
            )
        if size is not None:
            values["mem_mb"] = -(-size // 2**20)
        return values

    def find(self, name: str) -> str | None:
        """The array of a name; None where there is none. OSError where that could not be asked."""
        listed = self._listed()
        if listed is None:
            raise OSError(f"{self.profile.status} does not answer")
        return next((one.array for one in listed if one.name == name), None)

    def cancel(self, *what: str) -> None:
        """Cancel a job ``<array>_<index>``."""
        for one in what:
            array, _, index = one.rpartition("_")
            listed = next((found for found in self._listed() or () if found.id == one), None)
            if listed is not None:
                self._cancel(array, int(index), single=listed.single)

    def _cancel(self, array: str, index: int, *, single: bool) -> None:
        values = {"id": array, "index": index + self.profile.first}
        command = self.profile.cancel_array.replace("[]", "") if single else self.profile.cancel
        ask(shlex.split(command.format(**values)))

    def cancel_named(self, names: Iterable[str], *, pending: bool = False) -> None:
        """Cancel the jobs of these names, or those of them that wait."""
        wanted = set(names)
        found = [one for one in self._listed() or () if one.name in wanted and one.queued]
        if pending:
            for one in (one for one in found if one.state == WAITING):
                self._cancel(one.array, one.index, single=one.single)
            return
        for array in sorted({one.array for one in found if not one.single}):
            ask(shlex.split(self.profile.cancel_array.format(id=array)))
        for one in (one for one in found if one.single):
            self._cancel(one.array, one.index, single=True)

    def queued(self, names: Iterable[str]) -> set[str] | None:
        """Ids of the jobs of these names that wait or run; None where the scheduler cannot be asked."""
        wanted, listed = set(names), self._listed()
        return None if listed is None else {one.id for one in listed if one.name in wanted and one.queued}

    def _listed(self) -> list[Listed] | None:
        return self.listed(ask(shlex.split(self.profile.status)))

    def listed(self, done: subprocess.CompletedProcess[str]) -> list[Listed] | None:
        """Jobs of an answer of the status command; None where it has failed."""
        return None if done.returncode and not _NO_JOBS.search(done.stderr) else self.read(done.stdout)

    def read(self, text: str) -> list[Listed]:
        """Jobs of what the status command has printed; what can be no job is left out."""
        found = []
        for match in re.finditer(self.profile.record, text):
            groups = match.groupdict()
            index = groups.get("index") or None
            if JOB_ID.fullmatch(groups["id"]) is None or (index and _INDEX.fullmatch(index) is None):
                continue
            single = index is None or int(index) < self.profile.first
            state = self.profile.states.get(groups["state"], WAITING)
            place = 0 if index is None or single else int(index) - self.profile.first
            found.append(Listed(groups["id"], place, groups["name"].strip(), state, groups.get("node") or "", single))
        return found

    def StateQuery(self) -> BatchQuery:  # noqa: N802 - as a module of functions has it
        """Return a question for states."""
        return BatchQuery(self)


class BatchQuery:
    """One question for the states of all jobs, which does not wait for the answer."""

    def __init__(self, scheduler: BatchScheduler) -> None:
        self._scheduler = scheduler
        self._seen: set[str] = set()
        self._question: Question | None = None

    @property
    def asked(self) -> bool:
        """Whether an answer is being waited for."""
        return self._question is not None

    def ask(self, jobs: Sequence[str], names: Sequence[str]) -> None:
        """Put the question."""
        self._question = Question(shlex.split(self._scheduler.profile.status))

    def answer(self) -> dict[str, tuple[str, str]] | None:
        """State and nodes of each job; None while there is no answer, and where it failed."""
        if self._question is None or (done := self._question.answer()) is None:
            return None
        self._question = None
        found = self._scheduler.listed(done)
        if found is None:
            return None
        listed = {one.id: (one.state, one.node) for one in found}
        # some forget a job when it ends; and a list may leave one out that works
        gone = dict.fromkeys(self._seen - set(listed), (UNLISTED, ""))
        self._seen |= set(listed)
        return {**gone, **listed}


def _filled(text: str, values: dict[str, Any]) -> str:
    """A line with its values, without what stands in ``<>`` and has none; empty where another one is missing."""
    text = re.sub(r"<([^<>]*)>", lambda part: part[1] if _has_all(part[1], values) else "", text)
    return text.format(**values) if _has_all(text, values) else ""


def _has_all(text: str, values: dict[str, Any]) -> bool:
    return all(values.get(name) is not None for _, name, _, _ in string.Formatter().parse(text) if name)
