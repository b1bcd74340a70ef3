"""What a batch scheduler is, as a value: its commands, what they print, and how an array of jobs is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NoReturn

from ...errors import ConfigError

_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
WAITING, RUNNING = "PENDING", "RUNNING"
OUTCOMES = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED")
"""Words for the ends of jobs, besides those that it waits or runs."""


@dataclass(frozen=True)
class Profile:
    """A batch scheduler.

    In commands and options, ``{...}`` are the settings of `BatchConfig` by their names, and: ``{name}`` of the job,
    ``{first}`` and ``{last}`` index of the array, ``{log}`` (a file), ``{minutes}``, ``{seconds}`` and ``{clock}``
    (``HH:MM:SS``) of ``time``, ``{mem_mb}``; for ``cancel``, ``{id}`` and ``{index}``. An option that names a setting
    without a value is left out, and so is a part in ``<...>``.

    Parameters
    ----------
    name : str
    directive : str
        What begins a line of options in a script (``"#BSUB"``).
    submit : str
        Command that takes a script: its path goes behind it, or the script to its standard input with ``by_input``.
    submitted : str
        Regular expression of what it prints; the group ``id`` is the number of the job or array.
    options : tuple of str
        Lines of options of every job.
    single, array : tuple of str
        Those of a single job, and of an array.
    first : int
        Index of the first job of an array.
    index, job : str
        Variables that hold the index and the number of a job.
    status : str
        Command that lists the user's jobs.
    record : str
        Regular expression of one job in the list, with the groups ``id``, ``state``, ``name`` and, where there are
        any, ``index`` and ``node``.
    states : dict
        From its words for states to ``PENDING``, ``RUNNING``, ``COMPLETED``, ``FAILED``, ``CANCELLED``, ``TIMEOUT``,
        ``OUT_OF_MEMORY``, ``NODE_FAIL`` or ``PREEMPTED``; a word that is not there counts as waiting.
    cancel, cancel_array : str
        Commands that end one job of an array, and a whole one.
    by_input : bool
        Whether the script goes to the standard input of ``submit``.
    least : int
        Jobs that an array has at least; fewer are submitted one by one.
    most : int
        Jobs that an array has at most.

    Raises
    ------
    ConfigError
        A value that makes no sense.
    """

    name: str
    directive: str
    submit: str
    submitted: str
    options: tuple[str, ...]
    single: tuple[str, ...]
    array: tuple[str, ...]
    first: int
    index: str
    job: str
    status: str
    record: str
    states: dict[str, str] = field(default_factory=dict)
    cancel: str = ""
    cancel_array: str = ""
    by_input: bool = False
    least: int = 1
    most: int = 1000

    def __post_init__(self) -> None:
        self._check_types()
        for name in ("options", "single", "array"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, wanted in (("submitted", {"id"}), ("record", {"id", "state", "name"})):
            try:
                found = re.compile(getattr(self, name)).groupindex.keys()
            except re.error as error:
                raise ConfigError(f"{name} of the profile {self.name!r}: {error}", remedy="(?P<id>\\d+)") from error
            if missing := wanted - found:
                raise ConfigError(
                    f"{name} of the profile {self.name!r} has no group {sorted(missing)}", remedy="(?P<id>\\d+)"
                )
        if wrong := set(self.states.values()) - {WAITING, RUNNING, *OUTCOMES}:
            raise ConfigError(
                f"states of the profile {self.name!r}: {sorted(wrong)} are none of {(WAITING, RUNNING, *OUTCOMES)}",
                remedy='states={"R": "RUNNING"}',
            )

    def _check_types(self) -> None:
        """Refuse values of another type, and words that would mean something else in a command or a script."""
        for name, kind in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                self._refuse(name, f"{value!r} is no {kind.__name__}")
        for name in ("options", "single", "array"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or not all(
                isinstance(one, str) and "\n" not in one for one in value
            ):
                self._refuse(name, f"{value!r} are no lines")
        for name in ("index", "job"):
            if _VARIABLE.fullmatch(getattr(self, name)) is None:
                self._refuse(name, f"{getattr(self, name)!r} is no name of a variable")
        for name in ("submit", "status", "cancel", "cancel_array"):
            try:
                words = shlex.split(getattr(self, name))
            except ValueError as error:
                self._refuse(name, str(error))
            if not words:
                self._refuse(name, "there is no command")
        if self.first not in (0, 1) or not 1 <= self.least <= self.most:
            self._refuse("first, least, most", f"{self.first}, {self.least}, {self.most} make no sense")
        for name in ("submitted", "record"):
            if may_hang(getattr(self, name)):
                self._refuse(name, "a repetition in a repetition may take for ever on what a command prints")

    def _refuse(self, name: str, why: str) -> NoReturn:
        raise ConfigError(
            f"{name} of the profile {self.name!r}: {why}",
            remedy='bioimage_py.runner.BatchConfig(scheduler="lsf").scheduler',
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


_TYPES = {one.name: int if one.type == "int" else str for one in fields(Profile) if one.type in ("int", "str")}


def may_hang(pattern: str) -> bool:
    """Whether a regular expression repeats without end what itself repeats without end, as ``(a+)+``."""
    try:
        return _nests(re._parser.parse(pattern), inside=False)  # type: ignore[attr-defined]
    except re.error:
        return False  # said by who compiles it


def _nests(parsed: Any, *, inside: bool) -> bool:
    for what, about in parsed:
        endless = str(what).endswith("REPEAT") and about[1] == re._constants.MAXREPEAT  # type: ignore[attr-defined]
        if endless and inside:
            return True
        if any(_nests(part, inside=inside or endless) for part in _parts(about)):
            return True
    return False


def _parts(about: Any) -> Iterator[Any]:
    """The expressions within one."""
    if hasattr(about, "getwidth"):
        yield about
    elif isinstance(about, tuple | list):
        for part in about:
            yield from _parts(part)


LSF = Profile(
    name="lsf",
    directive="#BSUB",
    submit="bsub",
    by_input=True,
    submitted=r"Job <(?P<id>\d+)> is submitted",
    options=(
        "-o {log}",
        "-q {partition}",
        "-P {account}",
        "-W {minutes}",
        "-n {cpus_per_task} -R span[hosts=1]",
        "-M {mem_mb}MB -R rusage[mem={mem_mb}MB]",
        "-gpu num={gpus}",
        "-rn",
    ),
    single=("-J {name}",),
    array=("-J {name}[{first}-{last}]",),
    first=1,
    index="LSB_JOBINDEX",
    job="LSB_JOBID",
    status="bjobs -a -noheader -o \"jobid jobindex stat job_name exec_host delimiter='|'\"",
    record=r"(?m)^(?P<id>\d+)\|(?P<index>\d+)\|(?P<state>\w+)\|(?P<name>[^|\[]+)[^|]*\|(?P<node>[^|\n]*)$",
    states={
        "PEND": "PENDING",
        "PROV": "PENDING",
        "PSUSP": "PENDING",
        "WAIT": "PENDING",
        "RUN": "RUNNING",
        "USUSP": "RUNNING",
        "SSUSP": "RUNNING",
        "UNKWN": "RUNNING",  # its node is silent: so will be its heartbeat
        "DONE": "COMPLETED",
        "EXIT": "FAILED",
        "ZOMBI": "NODE_FAIL",
    },
    cancel='bkill "{id}[{index}]"',
    cancel_array="bkill {id}",
)
"""IBM Spectrum LSF 10.1, by its command reference."""

PBS = Profile(
    name="pbs",
    directive="#PBS",
    submit="qsub",
    submitted=r"(?m)^(?P<id>\d+)(\[\])?\.",
    options=(
        "-j oe",
        "-o {log}",
        "-q {partition}",
        "-A {account}",
        "-l walltime={clock}",
        "-l select=1:ncpus={cpus_per_task}<:mem={mem_mb}mb><:ngpus={gpus}>",
        "-r n",
    ),
    single=("-N {name}",),
    array=("-N {name}", "-J {first}-{last}"),
    first=0,
    index="PBS_ARRAY_INDEX",
    job="PBS_JOBID",
    status="qstat -x -t -f",
    record=(
        r"(?s)Job Id: (?P<id>\d+)(?:\[(?P<index>\d+)\])?\.\S*\n(?:(?!Job Id:).)*?Job_Name = (?P<name>[^\n]+)\n"
        r"(?:(?!Job Id:).)*?job_state = (?P<state>\w)(?:(?:(?!Job Id:).)*?exec_host = (?P<node>[^/\n]+))?"
    ),
    states={
        **dict.fromkeys("QHWTMB", "PENDING"),
        **dict.fromkeys("RESU", "RUNNING"),
        **dict.fromkeys("FX", "COMPLETED"),
    },
    cancel='qdel "{id}[{index}]"',
    cancel_array='qdel "{id}[]"',
    least=2,
)
"""OpenPBS and PBS Professional, by their reference guide."""

GRID_ENGINE = Profile(
    name="grid-engine",
    directive="#$",
    submit="qsub -terse",
    submitted=r"(?m)^(?P<id>\d+)",
    options=(
        "-S /bin/sh",
        "-j y",
        "-o {log}",
        "-q {partition}",
        "-P {account}",
        "-l h_rt={seconds}",
        "-l h_vmem={mem_mb}M",
        "-r n",
    ),
    single=("-N {name}",),
    array=("-N {name}", "-t {first}-{last}"),
    first=1,
    index="SGE_TASK_ID",
    job="JOB_ID",
    status="qstat -xml -g d",
    record=(
        r"(?s)<job_list state=\"\w+\">(?:(?!</job_list>).)*?<JB_job_number>(?P<id>\d+)</JB_job_number>"
        r"(?:(?!</job_list>).)*?<JB_name>(?P<name>[^<]+)</JB_name>"
        r"(?:(?!</job_list>).)*?<state>(?P<state>\w+)</state>"
        r"(?:(?!</job_list>|<queue_name>).)*(?:<queue_name>[^<@]*@?(?P<node>[^<]*)</queue_name>)?"
        r"(?:(?!</job_list>|<tasks>).)*(?:<tasks>(?P<index>\d+)</tasks>)?"
    ),
    states={
        **dict.fromkeys(("qw", "hqw", "hRwq", "t", "Eqw"), "PENDING"),
        **dict.fromkeys(("r", "dr", "s", "S", "T", "dt", "Rr"), "RUNNING"),
    },
    cancel="qdel {id} -t {index}",
    cancel_array="qdel {id}",
)
"""Son of Grid Engine, Open Grid Scheduler and Univa, by their manual pages."""

PROFILES = {one.name: one for one in (LSF, PBS, GRID_ENGINE)}


def profile_of(given: Any) -> Profile:
    """A profile by its name, as a table, or as itself.

    Raises
    ------
    ConfigError
        There is none of that name, or the table is none.
    """
    if isinstance(given, Profile):
        return given
    if isinstance(given, str) and given in PROFILES:
        return PROFILES[given]
    if isinstance(given, Mapping):
        known = {one.name for one in fields(Profile)}
        if unknown := sorted(set(given) - known):
            raise ConfigError(
                f"unknown part(s) of a profile {unknown}; known are {sorted(known)}", remedy="leave them out"
            )
        base = PROFILES[given["name"]].to_dict() if given.get("name") in PROFILES else {}
        try:
            return Profile(**{**base, **given})
        except TypeError as error:
            raise ConfigError(
                f"the profile is not whole: {error}", remedy=f"scheduler={sorted(PROFILES)[0]!r}"
            ) from error
    raise ConfigError(
        f"scheduler={given!r} is none of {sorted(PROFILES)}, nor a profile", remedy=f"scheduler={sorted(PROFILES)[0]!r}"
    )
