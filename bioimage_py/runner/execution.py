"""How to run: one frozen value, whose fields are also the flat keywords of every operation."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from ..arguments import check_names, named_fields
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..backends.config import RunnerConfig
    from ..sources.casting import Casting


@named_fields
@dataclass(frozen=True)
class Execution:
    """How a run is executed.

    Parameters
    ----------
    job_type : str
        Name of the backend, in any case; ``"local"`` runs threads in this process, ``"auto"`` too, unless the run is
        large, its kernel lets no other thread run, and processes can open the data: then it is ``"subprocess"``.
    num_workers : int
        Number of workers at once.
    job_config : object, optional
        Settings of the backend.
    retries : int
        How often the blocks of a failed write group are run again before they are set aside.
    max_failures : int, optional
        Blocks that may fail before the run stops; by default 1 % of the blocks, at least 10.
    memory : int, optional
        Memory budget in bytes for all workers on this machine; by default what is available.
    cache : int, optional
        Bytes of decoded chunks that each process keeps of the inputs, against reading them again for the halo of the
        next block. By default about two planes of blocks, 256 MiB at most, and none where no chunk is read twice.
    read_ahead : bool, optional
        Read the next block while one is computed, for one block more of memory a worker. By default for inputs that
        are reached through a network.
    casting : {"checked", "unsafe"}
        What happens to values that an output's data type can't hold: an error, or numpy's ``astype``.
    progress : bool
        Show a progress bar (on a terminal).
    durability : {"process", "node"}, optional
        What finished blocks survive: the death of any process, or of the machine too (slower: waits for the disk). By
        default ``"node"`` for slurm, ``"process"`` for all others.
    resume : str
        ``"auto"`` continues an unfinished run of the same call, ``"never"`` forgets it, a path continues the run in
        that folder although its inputs were touched.
    block_timeout : float, optional
        Seconds after which a worker that is still in one block is ended, where the backend can.
    version : str, optional
        Stands for the function in the comparison of calls, where its code cannot tell.
    plan : bool
        Return a `RunPlan` (blocks, bytes, files, memory) instead of running.
    debug : bool
        Run the blocks one after the other in the calling thread, writing to memory instead of the outputs; the first
        exception comes as it is.
    detach : bool
        Have the run driven by a job of its own (slurm) and return a `DetachedRun` at once.

    Raises
    ------
    ConfigError
        A field with a value that makes no sense.
    """

    job_type: str = "local"
    num_workers: int = 1
    job_config: Any = None
    retries: int = 1
    max_failures: int | None = None
    memory: int | None = None
    cache: int | None = None
    read_ahead: bool | None = None
    casting: Casting = "checked"
    progress: bool = True
    durability: Literal["process", "node"] | None = None
    resume: str = "auto"
    block_timeout: float | None = None
    version: str | None = None
    plan: bool = False
    debug: bool = False
    detach: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.job_type, str):
            raise ConfigError(f"job_type {self.job_type!r} is not a name", remedy='job_type="local"')
        object.__setattr__(self, "job_type", self.job_type.lower())
        for name, least in (("num_workers", 1), ("retries", 0), ("max_failures", 0), ("memory", 1), ("cache", 0)):
            value = getattr(self, name)
            if value is None and name in ("max_failures", "memory", "cache"):
                continue
            try:
                if isinstance(value, bool):
                    raise TypeError
                number = operator.index(value)
            except TypeError:
                raise ConfigError(f"{name}={value!r} is not a whole number", remedy=f"{name}={least}") from None
            if number < least:
                raise ConfigError(f"{name}={value!r} is below {least}", remedy=f"{name}={least}")
            object.__setattr__(self, name, number)
        for name, known in (("casting", ("checked", "unsafe")), ("durability", ("process", "node"))):
            value = getattr(self, name)
            if not (isinstance(value, str) and value in known) and not (name == "durability" and value is None):
                raise ConfigError(
                    f'{name}={value!r} is neither "{known[0]}" nor "{known[1]}"', remedy=f'{name}="{known[0]}"'
                )
        if not (self.read_ahead is None or isinstance(self.read_ahead, bool)):
            raise ConfigError(f"read_ahead={self.read_ahead!r} is neither True nor False", remedy="read_ahead=True")
        try:
            object.__setattr__(self, "resume", os.fspath(self.resume))
        except TypeError:
            message = f'resume={self.resume!r} is neither "auto" nor "never" nor a folder'
            raise ConfigError(message, remedy='resume="auto"') from None
        limit = self.block_timeout
        if limit is not None and not (type(limit) is not bool and isinstance(limit, int | float) and limit > 0):
            raise ConfigError(f"block_timeout={limit!r} is not a number of seconds above 0", remedy="block_timeout=600")

        if not (self.version is None or isinstance(self.version, str)):
            raise ConfigError(f"version={self.version!r} is not text", remedy=f'version="{self.version}"')

    def updated(self, changes: Mapping[str, Any]) -> Execution:
        """A copy with other values for some fields; unknown names are a ConfigError that lists the known ones."""
        check_names(
            changes, {field.name for field in fields(self)}, "execution setting(s)", "one of the known settings"
        )
        return replace(self, **changes)

    @property
    def settings(self) -> RunnerConfig:
        """What every backend is asked for (`Backend.settings`), without one at hand."""
        from ..backends.config import settings_of  # a worker does without

        return settings_of(self.job_config)

    def resuming(self, resume_from: Any, ids: Any = None) -> Execution:
        """A copy that continues the run in a folder; itself for None."""
        if resume_from is None:
            return self
        if ids is not None:
            raise ConfigError("resume_from and block_ids exclude each other", remedy="drop one of them")
        return self.updated({"resume": str(resume_from)})


_current: ContextVar[Execution | None] = ContextVar("bioimage_py_execution", default=None)
_session: ContextVar[Session | None] = ContextVar("bioimage_py_session", default=None)


class Session:
    """What an `execution` block keeps alive between calls, by key, closed at its end; and the reports of its runs.

    Attributes
    ----------
    through : callable, optional
        Gets each call in place of the runner, ``through(name, stages, how, run)``, and returns its report.
    override : callable, optional
        Gets the keywords of each operation, ``override(name, given, known)``, and returns those that
        hold.
    """

    def __init__(self, outer: Session | None = None) -> None:
        self.through: Callable[..., Any] | None = None
        self.override: Callable[[str, dict[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None
        if outer is not None:
            self.through, self.override = outer.through, outer.override
        self.stack = ExitStack()
        self.process = os.getpid()
        self.reports: list[Any] = []
        self._kept: dict[Hashable, Any] = {}

    def keep(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The thing of a key, made when it is first asked for; its ``close`` is called at the end."""
        if key not in self._kept:
            self._kept[key] = make()
            self.stack.callback(self._close, key)
        return self._kept[key]

    def _close(self, key: Hashable) -> None:
        if os.getpid() == self.process:  # a forked child that leaves the block leaves its parent's workers alone
            self._kept[key].close()


def current_session() -> Session | None:
    """The session of the innermost `execution` block; None outside of one, and in a child that was forked in it."""
    session = _session.get()
    return session if session is not None and session.process == os.getpid() else None


def current_execution(given: Execution | None = None) -> Execution:
    """The execution that holds here: the given one, else that of the innermost `execution` block, else the defaults.

    Raises
    ------
    ConfigError
        What is given is no `Execution`.
    """
    if given is None:
        return _current.get() or Execution()
    if not isinstance(given, Execution):
        raise ConfigError(
            f"execution={given!r} is not an Execution", remedy='execution=bioimage_py.Execution("local", num_workers=2)'
        )
    return given


def _by_backend(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with ``<backend>=value`` as its ``job_type`` and ``job_config``."""
    found = dict(settings)
    if unknown := set(settings) - {one.name for one in fields(Execution)}:
        from ..backends import backend_class, backend_names

        for name in unknown & set(backend_names()):
            found.update(job_type=name, job_config=backend_class(name).configured(found.pop(name)))
    return found


@contextmanager
def execution(
    job_type: str | Execution | None = None, num_workers: int | None = None, **settings: Any
) -> Iterator[Execution]:
    """Set the defaults of every operation inside a ``with`` block.

    Parameters
    ----------
    job_type : str or Execution, optional
        Name of the backend, or a whole `Execution`.
    num_workers : int, optional
    **settings
        Other fields of `Execution`; or the name of a backend with what it takes in place of its settings, such as
        ``executor=pool`` or ``dask=client``.

    Yields
    ------
    Execution
    """
    changes = _by_backend(settings)
    if num_workers is not None:
        changes["num_workers"] = num_workers
    base = current_execution()
    if isinstance(job_type, Execution):
        base = job_type
    elif job_type is not None:
        changes["job_type"] = job_type
    outer = current_session()
    session = Session(outer)
    tokens = _current.set(base.updated(changes)), _session.set(session)
    try:
        with session.stack:
            yield current_execution()
    finally:
        _current.reset(tokens[0])
        _session.reset(tokens[1])
        if outer is not None:
            outer.reports.extend(session.reports)
