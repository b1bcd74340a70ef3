"""What a backend is, and the registry of backends."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from ..errors import ConfigError
from ..extras import pip_upgrade_line
from ..run_folder import RunFolder
from .config import settings_of

ENTRY_POINTS = "bioimage_py.backends"


@dataclass(frozen=True)
class Limits:
    """What a backend can do.

    Parameters
    ----------
    shares_memory : bool
        Workers see the caller's objects; otherwise sources are reopened from their specs.
    kills_blocks : bool
        A worker can be ended in the middle of a block.
    detaches : bool
        Workers go on when the driver leaves.
    one_machine : bool
        All workers share the memory of this machine.
    durability : {"process", "node"}
        What finished blocks survive, where an execution does not say it.
    """

    shares_memory: bool = False
    kills_blocks: bool = False
    detaches: bool = False
    one_machine: bool = True
    durability: Literal["process", "node"] = "process"


@dataclass(frozen=True)
class BackendEvent:
    """The end of a worker.

    Parameters
    ----------
    worker : str
    kind : {"finished", "killed", "memory", "too slow", "preempted", "node", "crashed", "cannot start", "cancelled"}
        The last three end the run: nothing would be better with another worker. After the others but the first one
        another worker goes on.
    detail : str
        For people.
    error : BaseException, optional
        The exception, if there is one.
    peak_bytes : int
        Highest resident memory of its process, 0 if it had none of its own.
    """

    worker: str
    kind: str
    detail: str = ""
    error: BaseException | None = None
    peak_bytes: int = 0


class Work(Protocol):
    """What a worker runs: in this process by calling it, elsewhere by opening the run folder."""

    @property
    def folder(self) -> str | None:
        """The run folder, None for a run in memory."""

    def served(self) -> Any:
        """What answers workers that do not see the run folder."""

    def __call__(self, worker: str) -> None:
        """Run the worker loop here until there is nothing left to do."""


class Backend(ABC):
    """Starts, lists, explains and stops workers.

    Parameters
    ----------
    config : object, optional
        Settings of the backend.
    """

    limits: Limits = Limits()
    limits_depend: ClassVar[bool] = False
    """Whether the limits are known only when it has got its settings."""
    pool: Path | None = None
    """Where jobs that serve one run after the other are given their orders; None where they serve one."""
    sees_folder: bool = True
    """Whether workers see the run folder; else they ask the calling process for what they need of it."""
    scratch: str | None = None
    """URL below which arrays of a run lie whose folder workers do not see."""
    job_bytes: int | None = None
    """Memory that a worker may use, where it has some of its own and that is known."""
    most_workers: int | None = None
    """Workers at once at most, where that is known."""
    submitted: int = 0
    """Jobs of a scheduler that were submitted so far."""

    def __init__(self, config: Any = None) -> None:
        self.check(config)
        self.config = config
        self.settings = settings_of(config)
        """What every backend is asked for, with defaults where its settings say nothing."""

    @classmethod
    def check(cls, config: Any) -> None:
        """Refuse settings that make no sense, with a ConfigError."""
        if config is not None and not hasattr(config, "tmp_root"):
            remedy = "job_config=bioimage_py.runner.RunnerConfig(...)"
            raise ConfigError(f"job_config {config!r} is not a runner configuration", remedy=remedy)

    @classmethod
    def default_config(cls) -> Any:
        """Settings where a call gives none."""
        return None

    @classmethod
    def missing(cls) -> str:
        """What is missing to use it here, and what to type; empty where nothing is."""
        return ""

    @classmethod
    def configured(cls, value: Any) -> Any:
        """Settings of this backend for ``bioimage_py.execution(<its name>=value)``."""
        return value

    @classmethod
    def left_workers(cls, folder: Path) -> bool:
        """Whether workers of a run outlive its driver and can be ended from here, a job that drives it too."""
        return False

    @classmethod
    def left_driver(cls, folder: Path) -> bool:
        """Whether a job of the backend drives a run, or waits to."""
        return False

    @classmethod
    def end_left(cls, folder: Path) -> bool:
        """End what `left_workers` speaks of, but this process; whether nothing is left."""
        return True

    @classmethod
    def end_by_hand(cls, folder: Path) -> str:
        """What to type where `end_left` could not end all."""
        return f"look for its workers: cat {RunFolder(folder).workers}/*"

    def adopt(self, folder: Path) -> frozenset[str]:
        """Workers that earlier drivers of a run have left, and that go on for this one."""
        return frozenset()

    def leave(self) -> None:  # noqa: B027 - workers of most backends end with their driver
        """Let the workers go on without this driver, where they can (`Limits.detaches`)."""

    def detach(self, folder: Path) -> str:
        """Have a run driven by a job of its own, where the backend can (`Limits.detaches`); the job's id."""
        raise ConfigError(f"{type(self).__name__} has no jobs that could drive a run", remedy='job_type="slurm"')

    def begin_program(self, command: Sequence[str], log: Path) -> dict[str, Any]:
        """Begin a program that goes on without this process and prints to a log; what to know of it, as JSON."""
        from . import programs

        return programs.begin(command, log)

    @classmethod
    def program_lives(cls, told: Mapping[str, Any]) -> bool | None:
        """Whether such a program waits or runs; None where that cannot be told from here."""
        from . import programs

        return programs.lives(told)

    @classmethod
    def end_program(cls, told: Mapping[str, Any]) -> None:
        """End such a program, and wait until it is gone."""
        from . import programs

        programs.end(told)

    @abstractmethod
    def start(self, worker: str, work: Work) -> None:
        """Start one worker."""

    @abstractmethod
    def alive(self) -> set[str]:
        """Names of the workers that live."""

    @abstractmethod
    def ended(self) -> list[BackendEvent]:
        """Ends of workers since the last call."""

    def kill(self, worker: str) -> None:
        """End a worker in the middle of a block, where the backend can (`Limits.kills_blocks`)."""
        raise ConfigError(f"{type(self).__name__} cannot end a worker", remedy='job_type="subprocess"')

    def abandon(self) -> None:  # noqa: B027 (threads end by themselves)
        """End the workers that are at work, without a word."""

    def close(self) -> None:  # noqa: B027 (threads end by themselves)
        """End all workers, idle ones too."""

    @abstractmethod
    def join(self, timeout: float | None = None) -> None:
        """Wait until all workers have ended."""


_BUILT_IN = {
    # threads, unless a run is better off with processes (runner/planning/defaults.py)
    "auto": "bioimage_py.backends.local:LocalBackend",
    "batch": "bioimage_py.backends.batch.backend:BatchBackend",
    "dask": "bioimage_py.backends.hosted.dask:DaskBackend",
    "executor": "bioimage_py.backends.hosted.executor:ExecutorBackend",
    "local": "bioimage_py.backends.local:LocalBackend",
    "slurm": "bioimage_py.backends.slurm.backend:SlurmBackend",
    "subprocess": "bioimage_py.backends.subprocess:SubprocessBackend",
}
_NAME = re.compile(r"[A-Za-z][\w-]{0,63}", re.ASCII)
_registered: dict[str, type[Backend]] = {}


def register_backend(name: str, cls: type[Backend]) -> None:
    """Make a backend known under a job type: letters, digits, ``-`` and ``_``; capital ones count as small ones.

    Raises
    ------
    ConfigError
        Another character, which would mean something in a file or a command.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"a backend cannot be called {name!r}", remedy='register_backend("my-backend", MyBackend)')
    _registered[name.lower()] = cls


def backend_names() -> list[str]:
    """Known job types."""
    return sorted({*_BUILT_IN, *_registered, *_offered()})


def _offered() -> dict[str, Any]:
    """Entry points of other packages by name."""
    return {point.name.lower(): point for point in entry_points(group=ENTRY_POINTS) if _NAME.fullmatch(point.name)}


def backend_class(job_type: str) -> type[Backend]:
    """The class of the backend of a job type.

    Raises
    ------
    ConfigError
        Unknown job type; the message lists the known ones.
    """
    name = job_type.lower()
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, _, cls = _BUILT_IN[name].partition(":")
        _registered[name] = getattr(import_module(module), cls)
        return _registered[name]
    if (point := _offered().get(name)) is not None:
        _registered[name] = _loaded(name, point)
        return _registered[name]
    raise ConfigError(f"unknown job_type {job_type!r}; known are {backend_names()}", remedy='job_type="local"')


def _loaded(name: str, point: Any) -> type[Backend]:
    """The class that an entry point of another package names."""
    try:
        found = point.load()
        if not (isinstance(found, type) and issubclass(found, Backend)):
            raise TypeError(f"{found!r} is no class that derives from Backend")
    except Exception as error:
        package = point.dist.name if point.dist else re.split("[.:]", point.value)[0]
        raise ConfigError(
            f"the backend {name!r} of the package {package} ({point.value}) cannot be loaded:"
            f" {type(error).__name__}: {error}",
            remedy=pip_upgrade_line(package),
        ) from error
    return found


def get_backend(job_type: str, config: Any = None) -> Backend:
    """The backend of a job type.

    Raises
    ------
    ConfigError
        Unknown job type, or settings that make no sense.
    """
    return backend_class(job_type)(config)
