"""Settings of the backends whose workers are in processes of others."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

from ...arguments import named_fields
from ...errors import ConfigError
from ..config import RunnerConfig


@named_fields
@dataclass(frozen=True)
class ExecutorConfig(RunnerConfig):
    """Settings of the ``executor`` backend: one of the two.

    Parameters
    ----------
    executor : concurrent.futures.Executor, optional
        One that is there; it is left open.
    make : callable, optional
        ``make()`` returns one; it is shut down at the end, and another one is made where it breaks.
    start_timeout : float
        Seconds within which it has to begin a first task.

    Raises
    ------
    ConfigError
        A value that makes no sense.

    Notes
    -----
    An executor is not kept with a run, for it cannot be sent to other processes: the same call continues such a run,
    and ``bioimage-py runs resume`` does not. What ``make`` is can be kept.

    Examples
    --------
    >>> ExecutorConfig(make=lambda: ProcessPoolExecutor(8, mp_context=multiprocessing.get_context("spawn")))
    """

    executor: Any = None
    make: Any = None
    start_timeout: float = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("start_timeout")
        if self.executor is not None and self.make is not None:
            raise ConfigError("executor= and make= exclude each other", remedy="drop one of them")
        if self.make is not None and not callable(self.make):
            raise ConfigError(f"make={self.make!r} cannot be called", remedy="make=lambda: ThreadPoolExecutor(4)")

    def __reduce__(self) -> tuple[Any, ...]:
        left = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "executor"}
        return _restored, (type(self), {**left, "make": _Later.of(self.make)})


def _restored(cls: Any, settings: dict[str, Any]) -> Any:
    return cls(**settings)


class _Later:
    """A function as its pickle, which is opened when it is called: a worker that does not call it need not have it."""

    def __init__(self, pickled: bytes) -> None:
        self.pickled = pickled

    @classmethod
    def of(cls, function: Any) -> _Later | None:
        """None where it cannot be pickled."""
        import cloudpickle

        if function is None or isinstance(function, _Later):
            return function
        with suppress(Exception):  # pickling calls foreign code
            return cls(cloudpickle.dumps(function))
        return None

    def __call__(self) -> Any:
        import cloudpickle

        return cloudpickle.loads(self.pickled)()


@named_fields
@dataclass(frozen=True)
class DaskConfig(RunnerConfig):
    """Settings of the ``dask`` backend.

    Parameters
    ----------
    cluster : distributed.Client, str or cluster object, optional
        A client, the address of a scheduler, or a cluster (`distributed.LocalCluster`, one of dask-jobqueue or of
        dask-kubernetes). By default the client that was made last in this process. Nothing of it is closed.
    resources : dict
        What a worker needs, as Dask counts it (``{"GPU": 1}``).
    start_timeout : float
        Seconds within which the scheduler has to answer.
    shared : bool
        Whether all workers see the run folder. With False they ask the calling process for what they need of it, by
        way of the scheduler, and it is enough that they reach the data, as in a bucket.
    scratch : str, optional
        URL of a folder in object storage for arrays that operations keep between their stages, with ``shared=False``.

    Raises
    ------
    ConfigError
        A value that makes no sense.

    Notes
    -----
    With a run, the address of the scheduler is kept.
    """

    cluster: Any = None
    resources: dict[str, Any] = field(default_factory=dict)
    start_timeout: float = 60.0
    shared: bool = True
    scratch: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("start_timeout")
        if self.scratch is not None and (not isinstance(self.scratch, str) or "://" not in self.scratch):
            raise ConfigError(f"scratch={self.scratch!r} is no URL", remedy='scratch="s3://bucket/tmp"')
        if not isinstance(self.resources, Mapping) or not all(isinstance(name, str) for name in self.resources):
            raise ConfigError(f"resources={self.resources!r} is not a dict of names", remedy='resources={"GPU": 1}')

    def __reduce__(self) -> tuple[Any, ...]:
        left = {one.name: getattr(self, one.name) for one in fields(self)}
        if not isinstance(self.cluster, str | None):
            scheduler = getattr(self.cluster, "scheduler", None)  # of a client; a cluster has its address itself
            address = getattr(scheduler, "address", None) or getattr(self.cluster, "scheduler_address", None)
            left["cluster"] = None if address is None else str(address)
        return _restored, (type(self), left)
